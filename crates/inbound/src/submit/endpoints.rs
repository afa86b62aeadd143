//! Which replicas there are, as DNS has it now, and which of them a message goes to. Not responsible for talking to
//! them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mailtier_config::Secret;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::endpoint::Endpoint;

/// How often names are resolved again.
const RESOLVE_EVERY: Duration = Duration::from_secs(10);

/// The endpoints of the moment.
#[derive(Debug)]
pub(crate) struct Endpoints {
    current: RwLock<Vec<Arc<Endpoint>>>,
    turn: AtomicUsize,
    changed: Arc<Notify>,
    /// Since when no endpoint was healthy.
    none_since: Mutex<Option<Instant>>,
}

impl Endpoints {
    pub(crate) fn new(now: Instant) -> Arc<Self> {
        Arc::new(Self {
            current: RwLock::default(),
            turn: AtomicUsize::new(0),
            changed: Arc::default(),
            none_since: Mutex::new(Some(now)),
        })
    }

    /// The next healthy endpoint that was not tried yet, in turn; one that keeps others waiting only where there is no
    /// other.
    pub(super) fn pick(&self, tried: &[Arc<Endpoint>]) -> Option<Arc<Endpoint>> {
        let current = self.current.read();
        let start = self.turn.fetch_add(1, Ordering::Relaxed) % current.len().max(1);
        let (before, after) = current.split_at_checked(start)?;
        let mut untried = after.iter().chain(before).filter(|endpoint| is_untried(endpoint, tried));
        untried.clone().find(|endpoint| endpoint.is_responsive()).or_else(|| untried.next()).cloned()
    }

    /// Whether there is an endpoint that answers and was not tried yet.
    pub(super) fn has_another(&self, tried: &[Arc<Endpoint>]) -> bool {
        self.current.read().iter().any(|endpoint| endpoint.is_responsive() && is_untried(endpoint, tried))
    }

    /// Every endpoint's URL, healthy ones first.
    pub(crate) fn urls(&self) -> Vec<String> {
        let mut current = self.current.read().clone();
        current.sort_by_key(|endpoint| !endpoint.is_healthy());
        current.iter().map(|endpoint| endpoint.url().to_owned()).collect()
    }

    /// Waits until there is an endpoint, healthy or not.
    pub(super) async fn first(&self) {
        loop {
            // Made before looking, so that nothing is missed in between.
            let changed = self.changed.notified();
            if !self.current.read().is_empty() {
                return;
            }
            changed.await;
        }
    }

    /// Something changed that may make this process ready for mail.
    pub(super) fn announce(&self) {
        self.changed.notify_waiters();
    }

    /// Waits until something changed, or so long.
    pub(crate) async fn changed(&self, at_most: Duration) {
        let _ = tokio::time::timeout(at_most, self.changed.notified()).await;
    }

    /// How many answer.
    pub(crate) fn healthy(&self) -> usize {
        self.current.read().iter().filter(|endpoint| endpoint.is_healthy()).count()
    }

    /// For how long there has been no healthy endpoint; nothing while there is one.
    pub(crate) fn down_for(&self, now: Instant) -> Option<Duration> {
        let healthy = self.current.read().iter().any(|endpoint| endpoint.is_healthy());
        let mut since = self.none_since.lock();
        if healthy {
            *since = None;
            return None;
        }
        Some(now.saturating_duration_since(*since.get_or_insert(now)))
    }
}

fn is_untried(endpoint: &Arc<Endpoint>, tried: &[Arc<Endpoint>]) -> bool {
    endpoint.is_healthy() && !tried.iter().any(|tried| Arc::ptr_eq(tried, endpoint))
}

/// Resolves the configured names again and again, starts an endpoint for each new address and retires those that are
/// gone.
#[derive(Debug)]
pub(crate) struct EndpointKeeper {
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) configured: Vec<String>,
    pub(crate) token: Option<Secret>,
    pub(crate) tasks: TaskTracker,
    pub(crate) end: CancellationToken,
}

impl EndpointKeeper {
    pub(crate) async fn run(self) {
        while !self.end.is_cancelled() {
            self.refresh().await;
            let _ = tokio::time::timeout(RESOLVE_EVERY, self.end.cancelled()).await;
        }
        self.endpoints.current.read().iter().for_each(|endpoint| endpoint.retire());
    }

    async fn refresh(&self) {
        let mut wanted = BTreeSet::new();
        for url in &self.configured {
            match resolve(url).await {
                Ok(urls) => wanted.extend(urls),
                // A name server's trouble is no reason to give up replicas that work.
                Err(error) => {
                    tracing::warn!(queue = url, %error, "cannot resolve");
                    return;
                }
            }
        }
        let mut current = self.endpoints.current.write();
        current.retain(|endpoint| {
            let stays = wanted.remove(endpoint.url());
            if !stays {
                tracing::info!(queue = endpoint.url(), "gone from DNS");
                endpoint.retire();
            }
            stays
        });
        for url in wanted {
            let changed = Arc::clone(&self.endpoints.changed);
            let (endpoint, task) = Endpoint::new(url, self.token.clone(), changed, CancellationToken::new());
            self.tasks.spawn(task);
            current.push(endpoint);
        }
        drop(current);
        self.endpoints.announce();
    }
}

/// The URL with each address of its host.
async fn resolve(url: &str) -> std::io::Result<Vec<String>> {
    let Some(authority) = url.strip_prefix("http://") else { return Ok(vec![url.to_owned()]) };
    let authority = authority.trim_end_matches('/');
    let addresses = tokio::net::lookup_host(authority).await?;
    Ok(addresses.map(|address| format!("http://{address}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_address_of_a_name_is_an_endpoint() {
        assert_eq!(resolve("http://127.0.0.1:7070/").await.unwrap(), ["http://127.0.0.1:7070"]);
        assert_eq!(resolve("http://[::1]:7070").await.unwrap(), ["http://[::1]:7070"]);
        assert!(resolve("http://localhost:7070").await.unwrap().contains(&"http://127.0.0.1:7070".to_owned()));
        assert!(resolve("http://no-such-host.invalid:7070").await.is_err());
    }
}
