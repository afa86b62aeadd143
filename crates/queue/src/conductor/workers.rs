//! The connected workers, the egress pools they serve and their credit. Pure.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use mailtier_api::work::{Dispatch, Inquire, QueueFrame, Settled};
use mailtier_schedule::PoolId;
use mailtier_types::WorkerId;

use super::handle::Outbox;

/// Dispatches of one frame, so that a worker can begin before the last of a burst was encoded.
const DISPATCHES_PER_FRAME: usize = 64;
/// Octets of bodies after which a frame is sent: far below what a frame may have.
const FRAME_BYTES: usize = 4 << 20;

/// One worker.
#[derive(Debug)]
struct Worker {
    connection: u64,
    name: String,
    /// Of each pool; absent where it serves it not.
    credit: Vec<Option<u32>>,
    outbox: Outbox,
    /// Gathered for its next frame, and the octets of bodies in it.
    frame: QueueFrame,
    frame_bytes: usize,
    /// Numbers of the questions it has not answered yet.
    asked: VecDeque<u64>,
}

impl Worker {
    fn credit(&self, pool: PoolId) -> Option<u32> {
        self.credit.get(pool.index()).copied().flatten()
    }

    fn flush(&mut self) {
        if !self.frame.dispatches.is_empty() || !self.frame.settled.is_empty() {
            // A worker that is gone says so by itself; what was in this frame is then in nobody's hands.
            let _ = self.outbox.send(std::mem::take(&mut self.frame));
            self.frame_bytes = 0;
        }
    }
}

/// What it means that a connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parting {
    /// Nothing: it was not the worker's current one.
    Old,
    /// The worker is connected by another from now on.
    Changed,
    /// The worker is gone.
    Lost,
}

/// All workers.
#[derive(Debug)]
pub(super) struct Workers {
    connected: HashMap<WorkerId, Worker>,
    /// Second connections of those that are connected. A worker that finds itself linked already, over another address,
    /// ends the second without a word; one that has come back after its first had died speaks.
    arriving: HashMap<WorkerId, Worker>,
    /// The sum of all credit, by pool.
    credit: Vec<u32>,
    /// Questions asked until now.
    inquiries: u64,
}

impl Workers {
    /// Of so many pools.
    pub(super) fn new(pools: usize) -> Self {
        Self { connected: HashMap::new(), arriving: HashMap::new(), credit: vec![0; pools], inquiries: 0 }
    }

    /// A worker connects; says whether it is connected by that. While it is by another connection, that stays its current
    /// one until this one speaks ([`Self::speaks`]) or the other is gone.
    pub(super) fn connect(
        &mut self,
        worker: WorkerId,
        name: String,
        pools: &[PoolId],
        outbox: Outbox,
        connection: u64,
    ) -> bool {
        let (frame, asked) = (QueueFrame::default(), VecDeque::new());
        let mut credit = vec![None; self.credit.len()];
        for pool in pools {
            if let Some(credit) = credit.get_mut(pool.index()) {
                *credit = Some(0);
            }
        }
        let known = Worker { connection, name, credit, outbox, frame, frame_bytes: 0, asked };
        let is_first = !self.connected.contains_key(&worker);
        let workers = if is_first { &mut self.connected } else { &mut self.arriving };
        workers.insert(worker, known);
        is_first
    }

    /// Something is heard over a connection; says whether it is the worker's current one only from now on.
    pub(super) fn speaks(&mut self, worker: WorkerId, connection: u64) -> bool {
        let arrives = self.arriving.get(&worker).is_some_and(|arriving| arriving.connection == connection);
        arrives && self.arrive(worker)
    }

    fn arrive(&mut self, worker: WorkerId) -> bool {
        let Some(arriving) = self.arriving.remove(&worker) else { return false };
        self.remove(worker);
        self.connected.insert(worker, arriving);
        true
    }

    /// Whether this is the worker's connection now.
    pub(super) fn is_current(&self, worker: WorkerId, connection: u64) -> bool {
        self.connected.get(&worker).is_some_and(|known| known.connection == connection)
    }

    /// Forgets a connection.
    pub(super) fn disconnect(&mut self, worker: WorkerId, connection: u64) -> Parting {
        if self.is_current(worker, connection) {
            if self.arrive(worker) {
                return Parting::Changed;
            }
            self.remove(worker);
            return Parting::Lost;
        }
        self.arriving.retain(|arriving, known| *arriving != worker || known.connection != connection);
        Parting::Old
    }

    fn remove(&mut self, worker: WorkerId) {
        if let Some(known) = self.connected.remove(&worker) {
            for (sum, credit) in self.credit.iter_mut().zip(known.credit) {
                *sum = sum.saturating_sub(credit.unwrap_or(0));
            }
        }
    }

    /// A worker can take more of a pool; of one that it does not serve that means nothing.
    pub(super) fn grant(&mut self, worker: WorkerId, pool: PoolId, credit: u32) {
        if let Some(known) = self.connected.get_mut(&worker)
            && let Some(Some(own)) = known.credit.get_mut(pool.index())
            && let Some(sum) = self.credit.get_mut(pool.index())
        {
            let granted = credit.min(u32::MAX - *sum);
            *own += granted;
            *sum += granted;
        }
    }

    /// What all workers can take.
    pub(super) fn credit(&self) -> u64 {
        self.credit.iter().map(|credit| u64::from(*credit)).sum()
    }

    /// What all workers can take of one pool.
    pub(super) fn credit_of(&self, pool: PoolId) -> u32 {
        self.credit.get(pool.index()).copied().unwrap_or_default()
    }

    /// Whether a worker serves a pool.
    pub(super) fn serve(&self, pool: PoolId) -> bool {
        self.connected.values().any(|worker| worker.credit(pool).is_some())
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = WorkerId> + '_ {
        self.connected.keys().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.connected.len()
    }

    pub(super) fn name(&self, worker: WorkerId) -> &str {
        self.connected.get(&worker).map_or("", |known| known.name.as_str())
    }

    /// Their names and their credit, over all pools.
    pub(super) fn views(&self) -> impl Iterator<Item = (WorkerId, &str, u64)> {
        let credit = |worker: &Worker| worker.credit.iter().flatten().map(|credit| u64::from(*credit)).sum();
        self.connected.iter().map(move |(id, worker)| (*id, worker.name.as_str(), credit(worker)))
    }

    pub(super) fn is_connected(&self, worker: WorkerId) -> bool {
        self.connected.contains_key(&worker)
    }

    /// The worker with the most credit for a pool, when any of those that may have it has some: work spreads by itself.
    pub(super) fn most_free(&self, pool: PoolId, may: impl Fn(WorkerId) -> bool) -> Option<WorkerId> {
        let free = |worker: &Worker| worker.credit(pool).unwrap_or(0);
        let candidates = self.connected.iter().filter(|(id, _)| may(**id));
        let (id, worker) = candidates.max_by_key(|(_, worker)| free(worker))?;
        (free(worker) > 0).then_some(*id)
    }

    /// Hands a delivery to a worker, against its credit for a pool.
    pub(super) fn dispatch(&mut self, worker: WorkerId, pool: PoolId, dispatch: Dispatch) {
        if let Some(known) = self.connected.get_mut(&worker) {
            if let Some(Some(credit)) = known.credit.get_mut(pool.index())
                && let Some(sum) = self.credit.get_mut(pool.index())
            {
                let spent = (*credit).min(1);
                *credit -= spent;
                *sum = sum.saturating_sub(spent);
            }
            known.frame_bytes += dispatch.body.iter().flatten().map(Bytes::len).sum::<usize>();
            known.frame.dispatches.push(dispatch);
            if known.frame.dispatches.len() >= DISPATCHES_PER_FRAME || known.frame_bytes >= FRAME_BYTES {
                known.flush();
            }
        }
    }

    /// Tells a worker that a result is durable.
    pub(super) fn settled(&mut self, worker: WorkerId, settled: Settled) {
        if let Some(known) = self.connected.get_mut(&worker) {
            known.frame.settled.push(settled);
        }
    }

    /// Asks one worker what it holds.
    pub(super) fn inquire(&mut self, worker: WorkerId, inquire: Inquire) {
        if let Some(known) = self.connected.get_mut(&worker) {
            self.inquiries += 1;
            known.asked.push_back(self.inquiries);
            known.flush();
            let _ = known.outbox.send(QueueFrame { inquire: Some(inquire), ..QueueFrame::default() });
        }
    }

    /// Questions asked until now, of all workers.
    pub(super) const fn inquiries(&self) -> u64 {
        self.inquiries
    }

    /// The number of the question that a worker answers now; they are answered in order.
    pub(super) fn answers(&mut self, worker: WorkerId) -> Option<u64> {
        self.connected.get_mut(&worker)?.asked.pop_front()
    }

    /// Tells all that this replica is leaving.
    pub(super) fn announce_drain(&mut self) {
        for worker in self.connected.values_mut() {
            worker.flush();
            let _ = worker.outbox.send(QueueFrame { draining: true, ..QueueFrame::default() });
        }
    }

    /// Sends what has gathered.
    pub(super) fn flush(&mut self) {
        self.connected.values_mut().for_each(Worker::flush);
    }
}
