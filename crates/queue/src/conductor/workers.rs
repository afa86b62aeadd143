//! The connected workers and their credit. Pure.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use mailtier_api::work::{Dispatch, Inquire, QueueFrame, Settled};
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
    credit: u32,
    outbox: Outbox,
    /// Gathered for its next frame, and the octets of bodies in it.
    frame: QueueFrame,
    frame_bytes: usize,
    /// Numbers of the questions it has not answered yet.
    asked: VecDeque<u64>,
}

impl Worker {
    fn flush(&mut self) {
        if !self.frame.dispatches.is_empty() || !self.frame.settled.is_empty() {
            // A worker that is gone says so by itself; what was in this frame is then in nobody's hands.
            let _ = self.outbox.send(std::mem::take(&mut self.frame));
            self.frame_bytes = 0;
        }
    }
}

/// All workers.
#[derive(Debug, Default)]
pub(super) struct Workers {
    connected: HashMap<WorkerId, Worker>,
    /// The sum of all credit.
    credit: u32,
    /// Questions asked until now.
    inquiries: u64,
}

impl Workers {
    pub(super) fn connect(&mut self, worker: WorkerId, name: String, outbox: Outbox, connection: u64) {
        self.remove(worker);
        let (frame, asked) = (QueueFrame::default(), VecDeque::new());
        let known = Worker { connection, name, credit: 0, outbox, frame, frame_bytes: 0, asked };
        self.connected.insert(worker, known);
    }

    /// Whether this is the worker's connection now.
    pub(super) fn is_current(&self, worker: WorkerId, connection: u64) -> bool {
        self.connected.get(&worker).is_some_and(|known| known.connection == connection)
    }

    /// Forgets a connection; says whether it was the worker's current one.
    pub(super) fn disconnect(&mut self, worker: WorkerId, connection: u64) -> bool {
        let is_current = self.is_current(worker, connection);
        if is_current {
            self.remove(worker);
        }
        is_current
    }

    fn remove(&mut self, worker: WorkerId) {
        if let Some(known) = self.connected.remove(&worker) {
            self.credit = self.credit.saturating_sub(known.credit);
        }
    }

    pub(super) fn grant(&mut self, worker: WorkerId, credit: u32) {
        if let Some(known) = self.connected.get_mut(&worker) {
            let granted = credit.min(u32::MAX - self.credit);
            known.credit += granted;
            self.credit += granted;
        }
    }

    /// What all workers can take.
    pub(super) const fn credit(&self) -> u32 {
        self.credit
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

    pub(super) fn is_connected(&self, worker: WorkerId) -> bool {
        self.connected.contains_key(&worker)
    }

    /// The worker with the most credit, when any has some: work spreads by itself.
    pub(super) fn most_free(&self) -> Option<WorkerId> {
        let (id, worker) = self.connected.iter().max_by_key(|(_, worker)| worker.credit)?;
        (worker.credit > 0).then_some(*id)
    }

    /// Hands a delivery to a worker, against its credit.
    pub(super) fn dispatch(&mut self, worker: WorkerId, dispatch: Dispatch) {
        if let Some(known) = self.connected.get_mut(&worker) {
            let spent = known.credit.min(1);
            known.credit -= spent;
            self.credit -= spent;
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
