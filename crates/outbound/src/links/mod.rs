//! The links to the queue: one to each replica that the endpoints lead to, made again whenever it breaks.
//!
//! Responsible for following the names as replicas come and go. Not responsible for what is said over a link.

mod link;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mailtier_api::replicas::{Lookup, Replicas, SystemLookup};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::worker::Worker;
use link::QueueLink;

/// How often names are resolved again.
const RESOLVE_EVERY: Duration = Duration::from_secs(2);

/// Keeps a link to every replica.
pub(crate) struct LinkKeeper<L = SystemLookup> {
    worker: Arc<Worker>,
    replicas: Replicas<L>,
    links: BTreeMap<String, JoinHandle<()>>,
    /// The URLs of all addresses that should have a link.
    wanted: watch::Sender<BTreeSet<String>>,
    end: CancellationToken,
}

impl<L: Lookup> LinkKeeper<L> {
    /// Links end when `end` is cancelled.
    pub(crate) fn new(worker: Arc<Worker>, replicas: Replicas<L>, end: CancellationToken) -> Self {
        let (wanted, _) = watch::channel(BTreeSet::new());
        Self { worker, replicas, links: BTreeMap::new(), wanted, end }
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
            let wanted = self.replicas.resolve().await;
            self.wanted.send_replace(wanted);
            self.follow();
        }
    }

    /// Starts links to new addresses. A link to an address that is gone ends by itself when it breaks.
    fn follow(&mut self) {
        self.links.retain(|_, link| !link.is_finished());
        let wanted = self.wanted.borrow().clone();
        for url in wanted {
            self.links.entry(url).or_insert_with_key(|url| {
                let (worker, wanted) = (Arc::clone(&self.worker), self.wanted.subscribe());
                let link = QueueLink::new(worker, url.clone(), wanted, self.end.clone());
                tokio::spawn(link.run())
            });
        }
    }
}
