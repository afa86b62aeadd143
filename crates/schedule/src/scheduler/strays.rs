//! Attempts that go on while their shard is another's: they count under the limits of their tenant, provider and egress
//! pool until they are known to be over, or the new owner has had the time to count them itself. Not responsible for a
//! destination's own limits: those are its owner's.

use std::collections::{HashMap, VecDeque};

use mailtier_types::{DeliveryId, ShardId, Timestamp};

use crate::memory::{Key, List, Place, Siblings, Slot};
use crate::scheduler::Scheduler;
use crate::scheduler::gate::Gate;

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Strays {
    /// Until when each counts, and where.
    by_id: HashMap<i64, (Timestamp, Vec<Key<Gate>>)>,
    /// In the order of their times; some are over already.
    order: VecDeque<(Timestamp, i64)>,
}

impl Scheduler {
    /// Forgets a shard that another replica owns now, as [`Scheduler::drop_shard`]; but what is being attempted counts under
    /// the limits that replicas share until it is over, or until then.
    pub fn give_up_shard(&mut self, shard: ShardId, until: Timestamp, now: Timestamp) -> usize {
        self.observe(now);
        let destinations: Vec<_> = self.destinations_of(shard).collect();
        for destination in destinations {
            let mut next = self.places.destinations[destination].entries.first().some();
            while let Some(key) = next {
                next = List::<Slot, Siblings>::after(&self.entries, key).some();
                if self.entries[key].place == Place::InFlight {
                    self.stray(key, until);
                }
            }
        }
        self.drop_shard(shard)
    }

    fn stray(&mut self, key: Key<Slot>, until: Timestamp) {
        let Slot { id, queue, .. } = self.entries[key];
        let gates = self.gates_of(queue).chain(self.pool_gate(key));
        let gates: Vec<Key<Gate>> = gates.filter(|gate| self.gates[*gate].is_limited()).collect();
        if gates.is_empty() {
            return;
        }
        gates.iter().for_each(|gate| self.enter_gate(*gate));
        self.strays.order.push_back((until, id));
        if let Some((_, before)) = self.strays.by_id.insert(id, (until, gates)) {
            self.leave_gates(&before);
        }
    }

    /// The attempt of a delivery of another's is over.
    pub(super) fn end_stray(&mut self, id: DeliveryId) {
        if let Some((_, gates)) = self.strays.by_id.remove(&id.as_i64()) {
            self.leave_gates(&gates);
        }
    }

    /// When the next one stops counting.
    pub(super) fn next_stray(&self) -> Option<Timestamp> {
        self.strays.order.front().map(|(until, _)| *until)
    }

    /// Those whose time has come count no more.
    pub(super) fn forget_strays(&mut self) {
        while let Some((until, id)) = self.strays.order.pop_front_if(|(until, _)| *until <= self.now) {
            if self.strays.by_id.get(&id).is_some_and(|(latest, _)| *latest == until)
                && let Some((_, gates)) = self.strays.by_id.remove(&id)
            {
                self.leave_gates(&gates);
            }
        }
    }

    /// The clock was put back: when their times come is not known any more.
    pub(super) fn rewind_strays(&mut self) {
        self.strays.order.clear();
        for (_, gates) in std::mem::take(&mut self.strays.by_id).into_values() {
            self.leave_gates(&gates);
        }
    }

    fn leave_gates(&mut self, gates: &[Key<Gate>]) {
        for gate in gates {
            self.gates[*gate].in_flight -= 1;
            self.open(*gate);
            self.drop_idle(*gate);
        }
    }
}
