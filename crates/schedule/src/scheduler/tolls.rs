//! What the attempts under way were counted for, so that one that was not made after all gives back what it took of rates.
//! Not responsible for what a rate lets pass (`rate`), nor for the day of a warm-up (`pools`).

use mailtier_types::Timestamp;

use crate::memory::{Key, Slot};
use crate::scheduler::Scheduler;
use crate::scheduler::gate::Gate;
use crate::scheduler::places::Queue;

/// Of one attempt. Its destination may be found to be another provider's since.
#[derive(Clone, Copy, Debug)]
pub(super) struct Toll {
    at: Timestamp,
    /// Of its tenant, its pool and its provider, those there were.
    gates: [Key<Gate>; 3],
}

impl Scheduler {
    /// Counts an attempt for everything that has a rate.
    pub(super) fn count_rates(&mut self, queue: Key<Queue>, entry: Key<Slot>) {
        let mut toll = Toll { at: self.now, gates: [Key::NONE; 3] };
        let gates = self.gates_of(queue).chain(self.pool_gate(entry));
        toll.gates.iter_mut().zip(gates).for_each(|(place, gate)| *place = gate);
        let destination = &mut self.places.destinations[self.places.queues[queue].destination];
        let mut has_rate = false;
        if let Some(rate) = destination.limits.rate {
            destination.meter.count(rate, self.now);
            has_rate = true;
        }
        for gate in toll.gates.into_iter().filter_map(Key::some) {
            self.gates[gate].count(self.now);
            has_rate |= self.gates[gate].limits.rate.is_some();
            // Others that it let go on before may find it closed now, and those it still holds wait for the next.
            self.open_later(gate);
        }
        if has_rate {
            self.keeping.tolls.insert(entry.number(), toll);
        }
    }

    /// An attempt that was counted, if it was, was not made. What its rates let pass then is seen to when it leaves flight.
    pub(super) fn uncount_rates(&mut self, entry: Key<Slot>) {
        let Some(Toll { at, gates }) = self.keeping.tolls.remove(&entry.number()) else { return };
        let queue = self.entries[entry].queue;
        let destination = &mut self.places.destinations[self.places.queues[queue].destination];
        if let Some(rate) = destination.limits.rate {
            destination.meter.take_back(rate, at);
        }
        for gate in gates.into_iter().filter_map(Key::some) {
            self.gates[gate].take_back(at, self.now);
        }
    }

    /// What was counted for an attempt stays so.
    pub(super) fn keep_toll(&mut self, entry: Key<Slot>) {
        if !self.keeping.tolls.is_empty() {
            self.keeping.tolls.remove(&entry.number());
        }
    }
}
