//! What rests: mail that nothing is attempted of until something changes, because its destination is dead or an operator
//! has suspended something that it depends on. It makes room for what can be attempted (`spill`). Not responsible for what
//! makes a destination dead (`health`).

use mailtier_types::{ShardId, Timestamp};

use crate::entry::Entry;
use crate::health::Health;
use crate::memory::{Key, List};
use crate::scheduler::Scheduler;
use crate::scheduler::places::{Destination, Dormant, OfDestination, Queue};
use crate::scheduler::ways::{self, Hosts};

/// Queues that rest and have something ready.
pub(crate) type Resting = List<Queue, Dormant>;

/// A destination that does not answer.
#[derive(Clone, Debug)]
pub struct DeadDestination<'a> {
    /// Its name.
    pub destination: &'a str,
    /// Of the way that is meant; none: its own.
    pub hosts: Hosts<'a>,
    /// Deliveries here.
    pub deliveries: u32,
    /// Until when nothing is attempted.
    pub until: Timestamp,
}

impl Scheduler {
    /// A destination that counts as dead is probed at once, by whatever way its mail goes, if it may be; what else is known
    /// of its health stays. Says whether it was dead. Costs in proportion to the destinations of its shard.
    pub fn revive(&mut self, destination: &str, now: Timestamp) -> bool {
        self.observe(now);
        let shard = ShardId::of(destination);
        let is_dead = |health: &Health| health.dead_until().is_some();
        let dead: Vec<Key<Destination>> = self
            .destinations_of(shard)
            .filter(|&key| {
                let place = &self.places.destinations[key];
                place.domain() == destination && is_dead(&place.health)
            })
            .collect();
        let remembered = self.keeping.remembered.health(destination).filter(|health| is_dead(health));
        let was_dead = remembered.is_some() || !dead.is_empty();
        if let Some(health) = remembered {
            health.rewind(self.now);
        }
        for key in dead {
            self.places.destinations[key].health.rewind(self.now);
            self.unpark(key);
        }
        if was_dead {
            self.shards[shard].spill.wake(self.now);
        }
        was_dead
    }

    /// Destinations that do not answer, each way to one for itself. Costs in proportion to all destinations.
    pub fn dead(&self) -> impl Iterator<Item = DeadDestination<'_>> {
        self.destination_keys().filter_map(|key| {
            let place = &self.places.destinations[key];
            Some(DeadDestination {
                destination: place.domain(),
                hosts: place.hosts(),
                deliveries: place.count,
                until: place.health.dead_until()?,
            })
        })
    }

    /// Until when a delivery that is not here would rest, if it would: its end where that is not known.
    pub(super) fn rests_until(&self, destination: &str, entry: &Entry) -> Option<Timestamp> {
        let (mut provider, mut health, mut busy) = (Key::NONE, None, 0);
        if let Some(key) = self.places.find(destination, entry.shard) {
            let known = &self.places.destinations[key];
            (provider, health, busy) = (known.provider, Some(&known.health), known.busy);
        } else if let Some(known) = self.keeping.remembered.find(destination) {
            (provider, health) = (known.provider, Some(&known.health));
        }
        let suspended = &self.keeping.suspended;
        let is_stopped = suspended.destinations.contains(ways::destination_of(destination))
            || suspended.tenants.contains(&entry.tenant)
            || provider.some().is_some_and(|gate| self.gates[gate].is_suspended)
            || self.keeping.pooling.is_stuck(self.pool_of_class(entry.class, provider));
        if is_stopped {
            return Some(entry.expires_at);
        }
        health.and_then(|health| self.rests_until_probe(health, busy, entry.expires_at))
    }

    /// Until when a delivery that rests need not be here: not for a moment where it is the one that probes its destination.
    pub(super) fn can_go_until(&self, queue: Key<Queue>, expires_at: Timestamp) -> Option<Timestamp> {
        let destination = &self.places.destinations[self.places.queues[queue].destination];
        match self.is_stopped(queue) {
            true => Some(expires_at),
            false => self.rests_until_probe(&destination.health, destination.busy.saturating_sub(1), expires_at),
        }
    }

    /// Until when a delivery rests because its destination is dead, where so many others are there to probe it.
    fn rests_until_probe(&self, health: &Health, others: u32, expires_at: Timestamp) -> Option<Timestamp> {
        match health.dead_until()? {
            until if until > self.now => Some(until),
            _ => (others > 0).then_some(expires_at),
        }
    }

    /// Whether something that a queue depends on is suspended, or its pool of no use.
    fn is_stopped(&self, key: Key<Queue>) -> bool {
        let queue = &self.places.queues[key];
        let mut gates = self.gates_of(key);
        self.places.destinations[queue.destination].is_suspended
            || gates.any(|gate| self.gates[gate].is_suspended)
            || self.keeping.pooling.is_stuck(queue.pool)
    }

    /// Looks at all queues of a destination anew.
    pub(super) fn judge_dormancy(&mut self, key: Key<Destination>) {
        let mut next = self.places.destinations[key].queues.first().some();
        while let Some(queue) = next {
            next = List::<Queue, OfDestination>::after(&self.places.queues, queue).some();
            self.judge(queue);
        }
    }

    pub(super) fn judge(&mut self, key: Key<Queue>) {
        let queue = &self.places.queues[key];
        let (ready, destination) = (queue.ready as usize, &self.places.destinations[queue.destination]);
        let is_dormant = destination.health.dead_until().is_some() || self.is_stopped(key);
        if queue.is_dormant == is_dormant {
            return;
        }
        let shard = destination.shard;
        self.places.queues[key].is_dormant = is_dormant;
        if is_dormant {
            self.dormant_ready += ready;
            if ready > 0 {
                self.dormant.push_back(&mut self.places.queues, key);
            }
            self.desaturate();
        } else {
            self.dormant_ready -= ready;
            if ready > 0 {
                self.dormant.remove(&mut self.places.queues, key);
            }
            // What made room for others is wanted again.
            self.shards[shard].spill.wake(self.now);
        }
    }

    /// What rests without anything of its destination being here may rest no longer.
    pub(super) fn wake_resting(&mut self) {
        ShardId::all().for_each(|shard| self.shards[shard].spill.wake(self.now));
    }

    /// A queue has a ready delivery more.
    pub(super) fn count_ready(&mut self, key: Key<Queue>) {
        let queue = &mut self.places.queues[key];
        queue.ready += 1;
        self.keeping.pooling.count_ready(queue.pool, 1, 0);
        if queue.is_dormant {
            self.dormant_ready += 1;
            if queue.ready == 1 {
                self.dormant.push_back(&mut self.places.queues, key);
            }
        }
    }

    /// A queue has a ready delivery less.
    pub(super) fn discount_ready(&mut self, key: Key<Queue>) {
        let queue = &mut self.places.queues[key];
        queue.ready -= 1;
        self.keeping.pooling.count_ready(queue.pool, 0, 1);
        if queue.is_dormant {
            self.dormant_ready -= 1;
            if queue.ready == 0 {
                self.dormant.remove(&mut self.places.queues, key);
            }
        }
    }
}
