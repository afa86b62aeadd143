//! The links to the queue: one to each replica that the endpoints lead to, made again whenever it breaks.
//!
//! Responsible for following the names as replicas come and go. Not responsible for what is said over a link.

mod backoff;
mod endpoints;
mod link;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::worker::Worker;
pub(crate) use endpoints::Endpoint;
use link::QueueLink;

/// How often names are resolved again.
const RESOLVE_EVERY: Duration = Duration::from_secs(2);

/// Keeps a link to every replica.
pub(crate) struct LinkKeeper {
    worker: Arc<Worker>,
    endpoints: Vec<Endpoint>,
    /// The addresses behind each endpoint as they were last known.
    known: BTreeMap<Endpoint, BTreeSet<SocketAddr>>,
    links: BTreeMap<SocketAddr, JoinHandle<()>>,
    /// All addresses that should have a link.
    wanted: watch::Sender<BTreeSet<SocketAddr>>,
    end: CancellationToken,
}

impl LinkKeeper {
    /// Links end when `end` is cancelled.
    pub(crate) fn new(worker: Arc<Worker>, endpoints: Vec<Endpoint>, end: CancellationToken) -> Self {
        let (wanted, _) = watch::channel(BTreeSet::new());
        Self { worker, endpoints, known: BTreeMap::new(), links: BTreeMap::new(), wanted, end }
    }

    /// Runs until the end, and until every link has ended.
    pub(crate) async fn run(mut self) {
        let end = self.end.clone();
        end.run_until_cancelled(self.keep()).await;
        for (_, link) in self.links {
            if let Err(error) = link.await {
                tracing::error!(%error, "a link to the queue ended badly");
            }
        }
    }

    async fn keep(&mut self) {
        let mut beat = tokio::time::interval(RESOLVE_EVERY);
        loop {
            beat.tick().await;
            self.resolve().await;
            self.follow();
        }
    }

    /// What cannot be resolved now stays where it was.
    async fn resolve(&mut self) {
        for endpoint in &self.endpoints {
            match endpoint.resolve().await {
                Ok(found) => drop(self.known.insert(endpoint.clone(), found)),
                Err(error) => tracing::warn!(%endpoint, %error, "cannot resolve the queue's name"),
            }
        }
        let wanted = self.known.values().flatten().copied().collect();
        self.wanted.send_replace(wanted);
    }

    /// Starts links to new addresses. A link to an address that is gone ends by itself when it breaks.
    fn follow(&mut self) {
        self.links.retain(|_, link| !link.is_finished());
        let wanted = self.wanted.borrow().clone();
        for address in wanted {
            self.links.entry(address).or_insert_with(|| {
                let link = QueueLink::new(Arc::clone(&self.worker), address, self.wanted.subscribe(), self.end.clone());
                tokio::spawn(link.run())
            });
        }
    }
}
