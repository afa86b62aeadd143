//! Whose turn it is: a ring of queues with something ready, each served once a round. A destination keeps only as many
//! of its queues in the ring as it may begin attempts; the others are parked with it and come into the ring in the order
//! in which they were parked, and a queue that had its turn goes behind them. Every step costs the same however many
//! queues there are.
//!
//! A queue whose turn comes while a gate (of its tenant, of its destination's provider, or of an egress pool) is closed is
//! held by the gate.
//!
//! Invariant: of each destination, as many queues are in the ring as it may begin attempts, or all that have something
//! ready. (While more attempts are in flight than the limit says, which happens after a takeover, queues may be in the
//! ring without need; they are parked when their turn comes.) Not responsible for what a queue holds.

use crate::memory::{Key, List};
use crate::scheduler::Scheduler;
use crate::scheduler::places::{Destination, Queue, Turn, Turns};

/// The queues in their round.
pub(crate) type Ring = List<Queue, Turns>;

impl Scheduler {
    /// Attempts that may be begun to a destination.
    fn free_attempts(&self, key: Key<Destination>) -> u32 {
        let destination = &self.places.destinations[key];
        if destination.is_suspended {
            return 0;
        }
        let limits = destination.limits;
        let concurrency = destination.health.concurrency(limits, self.now);
        let most = if self.is_unknown(key) { concurrency.min(1) } else { concurrency };
        let free = most.saturating_sub(destination.in_flight);
        limits.rate.map_or(free, |rate| free.min(destination.meter.free(rate, self.now)))
    }

    /// Attempts that may be begun to a destination and that no queue in the ring stands for.
    fn unclaimed_attempts(&self, destination: Key<Destination>) -> u32 {
        self.free_attempts(destination).saturating_sub(self.places.destinations[destination].ringed)
    }

    /// The queue has got its first ready delivery.
    pub(super) fn begin_turns(&mut self, queue: Key<Queue>) {
        self.park(queue);
        self.unpark(self.places.queues[queue].destination);
    }

    /// The queue has lost its last ready delivery other than by its turn.
    pub(super) fn end_turns(&mut self, key: Key<Queue>) {
        let queue = &mut self.places.queues[key];
        let destination = queue.destination;
        match std::mem::take(&mut queue.turn) {
            Turn::Idle => {}
            Turn::Parked => {
                self.places.destinations[destination].parked.remove(&mut self.places.queues, key);
            }
            Turn::Ringed => {
                self.ring.remove(&mut self.places.queues, key);
                self.places.destinations[destination].ringed -= 1;
                self.unpark(destination);
                self.pass_on(key);
            }
            Turn::HeldByTenant => {
                let gate = queue.gate;
                self.gates[gate].held.remove(&mut self.places.queues, key);
            }
            Turn::HeldByProvider => {
                let gate = self.places.destinations[destination].provider;
                self.gates[gate].held.remove(&mut self.places.queues, key);
            }
            Turn::HeldByPool => {
                let gate = queue.holder;
                self.gates[gate].held.remove(&mut self.places.queues, key);
            }
        }
    }

    /// The next queue whose destination and gates let it begin an attempt. It is out of the ring until [`Self::end_turn`].
    pub(super) fn begin_turn(&mut self) -> Option<Key<Queue>> {
        while let Some(key) = self.ring.pop_front(&mut self.places.queues) {
            let queue = &mut self.places.queues[key];
            queue.turn = Turn::Idle;
            let destination = queue.destination;
            self.places.destinations[destination].ringed -= 1;
            if self.free_attempts(destination) == 0 {
                self.park(key);
                self.wake_later(destination);
                self.pass_on(key);
            } else if let Some((turn, gate)) = self.closed_gate(key) {
                self.hold(key, turn, gate);
                self.unpark(destination);
                self.pass_on(key);
            } else {
                return Some(key);
            }
        }
        None
    }

    /// The queue has had its turn, and its attempt is counted.
    pub(super) fn end_turn(&mut self, key: Key<Queue>) {
        let queue = &self.places.queues[key];
        let destination = queue.destination;
        if !queue.heap.is_empty() {
            self.park(key);
        }
        self.unpark(destination);
    }

    /// Brings as many queues into the ring as the destination may begin attempts: one has ended, or a queue has left.
    pub(super) fn unpark(&mut self, destination: Key<Destination>) {
        while !self.places.destinations[destination].parked.is_empty() {
            if self.unclaimed_attempts(destination) == 0 {
                return self.wake_later(destination);
            }
            let parked = &mut self.places.destinations[destination].parked;
            let Some(key) = parked.pop_front(&mut self.places.queues) else { return };
            self.places.queues[key].turn = Turn::Ringed;
            self.places.destinations[destination].ringed += 1;
            self.ring.push_back(&mut self.places.queues, key);
        }
    }

    pub(super) fn park(&mut self, key: Key<Queue>) {
        let queue = &mut self.places.queues[key];
        queue.turn = Turn::Parked;
        self.places.destinations[queue.destination].parked.push_back(&mut self.places.queues, key);
    }
}
