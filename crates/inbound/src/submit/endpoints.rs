//! Which replicas there are, as DNS has it now, and which of them a message goes to. Not responsible for talking to
//! them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mailtier_api::Credentials;
use mailtier_api::replicas::{Lookup, Replicas, SystemLookup};
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
    changed: Notify,
    /// An endpoint is to be replaced by a successor.
    stale: Notify,
    /// Since when no endpoint was healthy.
    none_since: Mutex<Option<Instant>>,
}

impl Endpoints {
    pub(crate) fn new(now: Instant) -> Arc<Self> {
        Arc::new(Self {
            current: RwLock::default(),
            turn: AtomicUsize::new(0),
            changed: Notify::new(),
            stale: Notify::new(),
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

    /// An endpoint's connection is to be made anew.
    pub(super) fn tell_stale(&self) {
        self.stale.notify_one();
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
pub(crate) struct EndpointKeeper<L = SystemLookup> {
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) replicas: Replicas<L>,
    pub(crate) credentials: Credentials,
    pub(crate) tasks: TaskTracker,
    pub(crate) end: CancellationToken,
}

impl<L: Lookup> EndpointKeeper<L> {
    pub(crate) async fn run(mut self) {
        while !self.end.is_cancelled() {
            let wanted = self.replicas.resolve().await;
            self.follow(wanted);
            tokio::select! {
                () = tokio::time::sleep(RESOLVE_EVERY) => {}
                () = self.endpoints.stale.notified() => {}
                () = self.end.cancelled() => {}
            }
        }
        self.endpoints.current.read().iter().for_each(|endpoint| endpoint.retire());
    }

    fn follow(&self, mut wanted: BTreeSet<String>) {
        let mut current = self.endpoints.current.write();
        let mut renewed = Vec::new();
        current.retain(|endpoint| {
            let stays = wanted.contains(endpoint.url());
            if !stays {
                tracing::info!(queue = endpoint.url(), "gone from DNS");
                endpoint.retire();
            } else if endpoint.takes_successor() {
                renewed.push(Arc::clone(endpoint));
            }
            // One that a successor has retired finishes what it has by itself.
            stays && !endpoint.is_retired()
        });
        for endpoint in current.iter() {
            wanted.remove(endpoint.url());
        }
        let successors = renewed.into_iter().map(|before| (before.url().to_owned(), Some(before)));
        for (url, before) in wanted.into_iter().map(|url| (url, None)).chain(successors) {
            let (endpoint, task) = Endpoint::new(url, self.credentials.clone(), &self.endpoints, before);
            self.tasks.spawn(task);
            current.push(endpoint);
        }
        drop(current);
        self.endpoints.announce();
    }
}
