//! Gives what was counted to the queue: once a minute, and when the worker ends. What a worker that is killed has counted since
//! the last time is lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use mailtier_api::ApiError;
use mailtier_api::tls::CountedSessions;
use mailtier_directory::Directory;
use mailtier_types::{Domain, DomainCounts, WorkerId};
use tokio::sync::Mutex;

use super::SessionCounter;
use crate::desk::Desk;

/// Between two times.
const FLUSH_EVERY: Duration = Duration::from_secs(60);
/// Domains that are looked up at a time.
const LOOKUPS: usize = 16;
/// Domains of one batch.
const BATCH_DOMAINS: usize = 100;

/// See the module.
pub(crate) struct SessionFlusher {
    worker: WorkerId,
    counter: Arc<SessionCounter>,
    directory: Directory,
    desk: Arc<Desk>,
    pending: Mutex<Pending>,
}

/// What is under way: nothing of it is lost where a flush is broken off.
#[derive(Default)]
struct Pending {
    /// Taken out of the table; who of them wants reports is not known yet.
    taken: Vec<DomainCounts>,
    /// What is not known to be added, and must be given again as it is.
    batches: VecDeque<CountedSessions>,
    /// The number of the last batch.
    last: u64,
}

impl SessionFlusher {
    pub(crate) fn new(worker: WorkerId, counter: Arc<SessionCounter>, directory: Directory, desk: Arc<Desk>) -> Self {
        Self { worker, counter, directory, desk, pending: Mutex::default() }
    }

    /// Flushes again and again, until it is dropped.
    pub(crate) async fn run(&self) {
        let mut beat = tokio::time::interval(FLUSH_EVERY);
        beat.tick().await;
        loop {
            beat.tick().await;
            self.flush().await;
        }
    }

    /// Flushes once; false where the queue did not take all. What it did not take is kept for the next time; meanwhile what is
    /// counted stays where it is, which is bounded.
    pub(crate) async fn flush(&self) -> bool {
        let mut pending = self.pending.lock().await;
        if !self.give(&mut pending.batches).await {
            return false;
        }
        if pending.taken.is_empty() {
            pending.taken = self.counter.take().into_counts();
        }
        let wanted = self.wanted(pending.taken.clone()).await;
        pending.taken.clear();
        for domains in wanted.chunks(BATCH_DOMAINS) {
            pending.last += 1;
            let (worker, batch) = (self.worker, pending.last);
            pending.batches.push_back(CountedSessions { worker, batch, domains: domains.to_vec() });
        }
        self.give(&mut pending.batches).await
    }

    /// Gives batches to the queue, in their order; false where it does not take them now. One that it cannot take ever stands
    /// in nobody's way.
    async fn give(&self, batches: &mut VecDeque<CountedSessions>) -> bool {
        while let Some(batch) = batches.front() {
            match self.desk.ask_tls(|client| async move { client.count_sessions(batch).await }).await {
                Ok(()) => {}
                Err(error @ ApiError::Invalid(_)) => {
                    tracing::error!(%error, domains = batch.domains.len(), "what sessions came to is not taken: it is lost");
                }
                Err(error) => {
                    tracing::debug!(%error, "what sessions came to cannot be given to the queue now");
                    return false;
                }
            }
            batches.pop_front();
        }
        true
    }

    /// What was counted of domains that want reports.
    async fn wanted(&self, taken: Vec<DomainCounts>) -> Vec<DomainCounts> {
        let looked_up = stream::iter(taken).map(|counts| self.with_destinations(counts)).buffer_unordered(LOOKUPS);
        looked_up.filter_map(|counts| async move { counts }).collect().await
    }

    /// Nothing where a domain has no record, or where that cannot be learnt.
    async fn with_destinations(&self, counts: DomainCounts) -> Option<DomainCounts> {
        let domain = Domain::parse(&counts.domain).ok()?;
        let destinations = self.directory.report_destinations(&domain).await?;
        if destinations.is_empty() {
            self.counter.note_silent(domain);
            return None;
        }
        Some(DomainCounts { destinations, ..counts })
    }
}
