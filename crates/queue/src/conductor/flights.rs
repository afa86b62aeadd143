//! Deliveries in the hands of workers. Pure.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mailtier_types::{DeliveryId, ShardId, TenantId, WorkerId};

use super::handle::Content;

/// One delivery in a worker's hands.
#[derive(Debug)]
pub(super) struct Flight {
    /// Whose hands.
    pub(super) worker: WorkerId,
    /// Which attempt.
    pub(super) attempt: u16,
    /// Of which shard, once that is known: a worker names only the delivery.
    pub(super) shard: Option<ShardId>,
    /// Whose mail.
    pub(super) tenant: TenantId,
    /// What was dispatched; absent when another owner dispatched it.
    pub(super) content: Option<Arc<Content>>,
    /// How many questions had been asked when it was dispatched: it is news to none that was asked before.
    pub(super) inquiries: u64,
    /// After this it is taken for lost; absent while its worker is connected and knows of it.
    pub(super) limbo_until: Option<Instant>,
    /// Its result is with the settler.
    pub(super) is_settling: bool,
    /// A worker has named it, and its row is being read: it does not count under any limit yet.
    pub(super) is_unread: bool,
    /// An operator sent it elsewhere: what it meets there says nothing of its destination.
    pub(super) is_rerouted: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Flights {
    flights: HashMap<DeliveryId, Flight>,
    /// No flight has to be looked at before this.
    next_limbo: Option<Instant>,
}

impl Flights {
    pub(super) fn insert(&mut self, id: DeliveryId, flight: Flight) {
        self.flights.insert(id, flight);
    }

    pub(super) fn get(&self, id: DeliveryId) -> Option<&Flight> {
        self.flights.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: DeliveryId) -> Option<&mut Flight> {
        self.flights.get_mut(&id)
    }

    pub(super) fn remove(&mut self, id: DeliveryId) -> Option<Flight> {
        self.flights.remove(&id)
    }

    /// How many each worker has.
    pub(super) fn by_worker(&self) -> HashMap<WorkerId, u64> {
        let mut counts = HashMap::new();
        for flight in self.flights.values() {
            *counts.entry(flight.worker).or_default() += 1;
        }
        counts
    }

    pub(super) fn len(&self) -> usize {
        self.flights.len()
    }

    /// How many a worker has.
    pub(super) fn held_by(&self, worker: WorkerId) -> usize {
        self.flights.values().filter(|flight| flight.worker == worker).count()
    }

    pub(super) fn drop_shard(&mut self, shard: ShardId) {
        self.flights.retain(|_, flight| flight.shard != Some(shard));
    }

    /// A worker is gone: what it holds waits for its return, for a while.
    pub(super) fn worker_lost(&mut self, worker: WorkerId, until: Instant) {
        self.put_in_limbo(worker, until, |_| true);
    }

    /// A worker is about to say what it holds of these shards: what it does not name of what it was sent before it was
    /// asked, as question number `inquiry`, waits for a while and is then taken for lost.
    pub(super) fn worker_holds(&mut self, worker: WorkerId, shards: &HashSet<ShardId>, inquiry: u64, until: Instant) {
        self.put_in_limbo(worker, until, |flight| {
            !flight.is_settling
                && flight.inquiries < inquiry
                && flight.shard.is_some_and(|shard| shards.contains(&shard))
        });
    }

    fn put_in_limbo(&mut self, worker: WorkerId, until: Instant, concerns: impl Fn(&Flight) -> bool) {
        for flight in self.flights.values_mut().filter(|flight| flight.worker == worker && concerns(flight)) {
            flight.limbo_until.get_or_insert(until);
        }
        self.next_limbo = Some(self.next_limbo.map_or(until, |next| next.min(until)));
    }

    /// Shards of which something is being read.
    pub(super) fn unread(&self) -> HashSet<ShardId> {
        let unread = self.flights.values().filter(|flight| flight.is_unread && !flight.is_settling);
        unread.filter_map(|flight| flight.shard).collect()
    }

    /// Takes out what is lost by now, and with whom. What the settler has is not lost.
    pub(super) fn lost(&mut self, now: Instant) -> Vec<(DeliveryId, WorkerId)> {
        if self.next_limbo.is_none_or(|next| now < next) {
            return Vec::new();
        }
        let is_lost = |flight: &Flight| !flight.is_settling && flight.limbo_until.is_some_and(|until| until <= now);
        let lost = self.flights.iter().filter(|(_, flight)| is_lost(flight));
        let lost: Vec<(DeliveryId, WorkerId)> = lost.map(|(id, flight)| (*id, flight.worker)).collect();
        for (id, _) in &lost {
            self.flights.remove(id);
        }
        self.next_limbo = self.flights.values().filter_map(|flight| flight.limbo_until).min();
        // Those with the settler stay; they are looked at again a little later, not at once.
        self.next_limbo = self.next_limbo.map(|next| next.max(now + Duration::from_secs(1)));
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId::new(7);

    fn id(number: i64) -> DeliveryId {
        DeliveryId::from_i64(number).unwrap()
    }

    fn flight(worker: WorkerId, inquiries: u64) -> Flight {
        Flight {
            worker,
            attempt: 1,
            shard: Some(SHARD),
            tenant: TenantId::default(),
            content: None,
            inquiries,
            limbo_until: None,
            is_settling: false,
            is_unread: false,
            is_rerouted: false,
        }
    }

    #[test]
    fn what_was_sent_after_the_question_is_not_lost_for_want_of_an_answer() {
        let (mut flights, worker, now) = (Flights::default(), WorkerId::random(), Instant::now());
        flights.insert(id(1), flight(worker, 4));
        flights.insert(id(2), flight(worker, 5));
        flights.insert(id(3), Flight { is_settling: true, ..flight(worker, 1) });
        flights.insert(id(4), flight(WorkerId::random(), 1));
        flights.worker_holds(worker, &HashSet::from([SHARD]), 5, now);
        assert_eq!(flights.lost(now), [(id(1), worker)]);
        assert_eq!(flights.len(), 3);
    }

    #[test]
    fn what_a_lost_worker_held_waits_for_its_return() {
        let (mut flights, worker, now) = (Flights::default(), WorkerId::random(), Instant::now());
        flights.insert(id(1), flight(worker, 1));
        flights.insert(id(2), flight(worker, 1));
        flights.worker_lost(worker, now + Duration::from_secs(10));
        assert!(flights.lost(now + Duration::from_secs(9)).is_empty());
        flights.get_mut(id(2)).unwrap().limbo_until = None;
        assert_eq!(flights.lost(now + Duration::from_secs(10)), [(id(1), worker)]);
    }
}
