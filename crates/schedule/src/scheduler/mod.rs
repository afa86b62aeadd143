//! Which delivery goes next: every delivery a replica owns, in memory, from its acceptance to its end.
//!
//! Fair: queues, one per (tenant, destination) and class of egress pools, take turns; within a queue higher priority goes
//! first, then what has been due for longer, and waiting makes up for priority. No destination, tenant, provider or pool
//! has more attempts at a time, or in a time, than its limits. Whatever expires is given up on time, due or not. Everything
//! is given its time, nothing allocates per operation, and no operation but those named in the documentation takes longer
//! the more deliveries there are.
//!
//! Not responsible for what an outcome means (`classify`), nor for knowing who owns a shard.

mod backlog;
mod dormancy;
mod gate;
mod gates;
mod moves;
mod places;
mod pools;
mod providers;
mod remembered;
mod renewal;
mod shards;
mod slices;
mod spill;
mod strays;
mod tolls;
mod turns;
mod ways;

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use mailtier_types::{DeliveryId, ShardId, Timestamp};

use crate::entry::{Correction, Counts, Entry, Insert, Limits, Ready};
use crate::memory::{Ageing, IdIndex, Key, List, Place, Slab, Slot, Timed, Wheel};
use crate::rules::Rules;
pub use backlog::{Backlog, ProviderStanding};
pub use dormancy::DeadDestination;
use dormancy::Resting;
pub(crate) use gate::Gate;
use gates::Gatekeeping;
pub use gates::{Standing, Suspended};
pub(crate) use places::Queue;
use places::{Destination, OfDestination, Places};
pub(crate) use pools::Through;
pub use pools::{PoolClass, PoolStanding};
use shards::Shards;
pub(crate) use slices::Part;
use strays::Strays;
use turns::Ring;
pub use ways::{Hosts, place_name};

/// By which a delivery's waiting makes up for one step of priority, where nothing else is said.
const PRIORITY_STEP: Duration = Duration::from_secs(3600);

/// The deliveries of the shards a replica owns.
pub struct Scheduler {
    limits: Limits,
    ageing: Ageing,
    /// The latest time it was given.
    now: Timestamp,
    entries: Slab<Slot>,
    ids: IdIndex,
    places: Places,
    shards: Box<Shards>,
    /// Of what waits.
    due: Wheel,
    /// Of what is ready.
    expiry: Wheel,
    expired: List<Slot, Timed>,
    /// Whose senders are to be told that they are late.
    late: VecDeque<i64>,
    ring: Ring,
    gates: Slab<Gate>,
    keeping: Gatekeeping,
    strays: Strays,
    dormant: Resting,
    /// Of what is ready, what is in those.
    dormant_ready: usize,
    counts: Counts,
    /// Of those in flight, the attempts.
    in_attempt: usize,
    /// Nothing could make room for a ready delivery; no more is taken until much is worked off.
    saturated: bool,
}

impl Scheduler {
    /// An empty one. Limits of 0 are taken as 1.
    #[must_use]
    pub fn new(limits: Limits, rules: Rules) -> Self {
        let limits = Limits {
            max_entries: limits.max_entries.max(1),
            max_entries_per_destination: limits.max_entries_per_destination.max(1),
        };
        let mut gates = Slab::new();
        let keeping = Gatekeeping::new(rules, &mut gates);
        Self {
            limits,
            ageing: Ageing::new(PRIORITY_STEP),
            now: Timestamp::EPOCH,
            entries: Slab::new(),
            ids: IdIndex::new(),
            places: Places::new(),
            shards: Shards::new(),
            due: Wheel::new(),
            expiry: Wheel::new(),
            expired: List::new(),
            late: VecDeque::new(),
            ring: Ring::new(),
            gates,
            keeping,
            strays: Strays::default(),
            dormant: Resting::new(),
            dormant_ready: 0,
            counts: Counts::default(),
            in_attempt: 0,
            saturated: false,
        }
    }

    /// The same with another step, while nothing is in it: within a queue, what has been due for so much longer goes before
    /// what has a priority higher by one.
    #[must_use]
    pub fn with_priority_step(mut self, step: Duration) -> Self {
        if self.is_empty() {
            self.ageing = Ageing::new(step);
        }
        self
    }

    /// Takes a delivery in, under the name of its destination or of a way to it ([`place_name`]).
    pub fn insert(&mut self, destination: &str, entry: Entry, now: Timestamp) -> Insert {
        self.observe(now);
        if self.is_known(entry.id) {
            return Insert::Known;
        }
        if !self.admit(destination, &entry) {
            return Insert::Spilled;
        }
        let key = self.add(destination, &entry);
        self.enter(key);
        Insert::Scheduled
    }

    /// What is to be done next: first what is to be given up, then attempts. Costs more by what has become due since it
    /// was last called.
    pub fn next(&mut self, now: Timestamp) -> Option<Ready> {
        if let Some(entry) = self.next_expired(now) {
            return Some(Ready::Expired(entry));
        }
        self.next_attempt(now).map(Ready::Attempt)
    }

    /// The next attempt: for when enough is being given up already.
    pub fn next_attempt(&mut self, now: Timestamp) -> Option<Entry> {
        self.observe(now);
        self.fire();
        if self.rests() {
            return None;
        }
        let queue = self.begin_turn()?;
        let key = self.dispatch_from(queue);
        self.end_turn(queue);
        key.and_then(|key| self.at(key))
    }

    /// The next delivery to give up: for when no attempt can be begun at all.
    pub fn next_expired(&mut self, now: Timestamp) -> Option<Entry> {
        self.observe(now);
        self.fire();
        if self.rests() {
            return None;
        }
        let key = self.give_up_next()?;
        self.at(key)
    }

    /// The next delivery whose sender is to be told that it is late, each once; it stays where it is.
    pub fn next_late(&mut self, now: Timestamp) -> Option<Entry> {
        self.observe(now);
        self.fire();
        if self.rests() {
            return None;
        }
        while let Some(id) = self.late.pop_front() {
            if let Some(entry) = DeliveryId::from_i64(id).ok().and_then(|id| self.entry(id)) {
                return Some(entry);
            }
        }
        None
    }

    /// The sender of a known delivery is to be told only then that it is late.
    pub fn warn_at(&mut self, id: DeliveryId, at: Timestamp) {
        let Some(key) = self.find(id) else { return };
        let place = self.entries[key].place;
        let wheel = match place {
            Place::Waiting => Some(&mut self.due),
            Place::Ready => Some(&mut self.expiry),
            _ => None,
        };
        match wheel {
            Some(wheel) => {
                wheel.remove(&mut self.entries, key);
                self.entries[key].set_warning(Some(at));
                wheel.insert(&mut self.entries, key);
            }
            None => self.entries[key].set_warning(Some(at)),
        }
    }

    /// When to look again after [`Self::next`] gave nothing. It may be somewhat early, never late.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        if self.rests() {
            return None;
        }
        if !self.expired.is_empty() || !self.late.is_empty() || !self.ring.is_empty() {
            return Some(self.now);
        }
        let ticks = self.due.next_tick().into_iter().chain(self.expiry.next_tick());
        let timers = ticks.map(|tick| Timestamp::from_millis(i64::try_from(tick).unwrap_or(i64::MAX)));
        timers.chain(self.keeping.next_alarm()).chain(self.next_stray()).min()
    }

    /// The delivery is gone: delivered, failed, expired or removed. Says whether it was known.
    pub fn finish(&mut self, id: DeliveryId) -> bool {
        let Some(key) = self.find(id) else { return false };
        self.remove(key);
        true
    }

    /// The delivery waits for another attempt. Of a delivery that is not in flight only a later attempt than the last
    /// one known is news. Says whether it was known.
    pub fn defer(&mut self, id: DeliveryId, attempts: u16, due: Timestamp) -> bool {
        let Some(key) = self.find(id) else { return false };
        if self.is_out(key) || attempts > self.entries[key].attempts {
            self.leave(key);
            let slot = &mut self.entries[key];
            (slot.attempts, slot.due) = (attempts, due);
            self.enter(key);
        }
        true
    }

    /// What is known of a delivery is corrected by what is stored of it. Says whether it was known.
    pub fn correct(&mut self, id: DeliveryId, correction: Correction, now: Timestamp) -> bool {
        self.observe(now);
        let Some(key) = self.find(id) else { return false };
        let Correction { attempts, due, expires_at } = correction;
        let is_out = self.is_out(key);
        let slot = &mut self.entries[key];
        slot.attempts = slot.attempts.max(attempts);
        let due = due.filter(|_| !is_out).unwrap_or(slot.due);
        if (slot.due, slot.expires_at) == (due, expires_at) {
            return true;
        }
        if is_out {
            slot.expires_at = expires_at;
        } else {
            self.retime(key, due, expires_at);
        }
        true
    }

    /// The attempt of a delivery that is handed out is over, and what it means is being stored: others may have its place
    /// under the limits. It stays handed out. One of a shard that was given up counts no more, either.
    pub fn end_attempt(&mut self, id: DeliveryId, now: Timestamp) {
        self.observe(now);
        self.end_stray(id);
        let Some(key) = self.find(id).filter(|&key| self.entries[key].place == Place::InFlight) else { return };
        self.leave_flight(key);
        self.entries[key].place = Place::Settling;
        self.counts.in_flight += 1;
    }

    /// The delivery was not attempted after all, and is ready again. Says whether it was in flight.
    pub fn release(&mut self, id: DeliveryId, now: Timestamp) -> bool {
        self.observe(now);
        let Some(key) = self.find(id).filter(|&key| self.is_out(key)) else { return false };
        self.make_due(key);
        true
    }

    fn make_due(&mut self, key: Key<Slot>) {
        self.leave(key);
        let slot = &mut self.entries[key];
        slot.due = slot.due.min(self.now);
        self.enter(key);
    }

    /// A worker already has this delivery, as a new owner of the shard learns. Limits don't apply to what is a fact.
    pub fn mark_in_flight(&mut self, destination: &str, entry: Entry) {
        let key = match self.find(entry.id) {
            Some(key) if self.entries[key].place == Place::InFlight => return,
            Some(key) => {
                self.leave(key);
                self.entries[key].attempts = entry.attempts;
                key
            }
            None => self.add(destination, &entry),
        };
        self.enter_flight(key);
    }

    /// Forgets a shard that another replica owns now, what is in flight too. Says how many deliveries that were; costs
    /// in proportion.
    pub fn drop_shard(&mut self, shard: ShardId) -> usize {
        let before = self.len();
        while let Some(destination) = self.shards[shard].destinations.first().some() {
            let Some(key) = self.places.destinations[destination].entries.first().some() else { break };
            self.remove(key);
        }
        self.shards[shard].spill = Default::default();
        self.shards[shard].gained_at = Timestamp::EPOCH;
        before - self.len()
    }

    /// Whether the delivery is here.
    #[must_use]
    pub fn is_known(&self, id: DeliveryId) -> bool {
        self.find(id).is_some()
    }

    /// Whether it was handed out and not given back.
    #[must_use]
    pub fn in_flight(&self, id: DeliveryId) -> bool {
        self.find(id).is_some_and(|key| self.is_out(key))
    }

    /// How many deliveries are here.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is here.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many deliveries are in which state.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// How many are being attempted: handed out, and not given up.
    #[must_use]
    pub const fn in_attempt(&self) -> usize {
        self.in_attempt
    }

    /// The oldest of the deliveries that are ready and go next in their queues: of all that are ready, where none has
    /// another's priority. Costs in proportion to the queues.
    #[must_use]
    pub fn oldest_ready(&self) -> Option<DeliveryId> {
        let queues = self.destination_keys().flat_map(|key| {
            let first = self.places.destinations[key].queues.first().some();
            std::iter::successors(first, |&queue| {
                List::<Queue, OfDestination>::after(&self.places.queues, queue).some()
            })
        });
        let firsts = queues.filter_map(|queue| self.places.queues[queue].heap.first().some());
        firsts.map(|key| self.entries[key].id).min().and_then(|id| DeliveryId::from_i64(id).ok())
    }

    /// What operators have suspended, as far as it is known here.
    #[must_use]
    pub const fn suspended(&self) -> &Suspended {
        &self.keeping.suspended
    }

    /// A known delivery.
    #[must_use]
    pub fn entry(&self, id: DeliveryId) -> Option<Entry> {
        self.at(self.find(id)?)
    }

    /// Where a known delivery goes.
    #[must_use]
    pub fn destination_of(&self, id: DeliveryId) -> Option<&str> {
        self.place_of(id).map(ways::destination_of)
    }

    /// Whether a known delivery was taken in under another way than by these hosts.
    #[must_use]
    pub fn goes_elsewhere(&self, id: DeliveryId, hosts: &[String]) -> bool {
        self.place_of(id).is_some_and(|place| !ways::hosts_of(place).eq(hosts))
    }

    /// The name under which a known delivery was taken in: its destination's, or that of a way ([`place_name`]).
    #[must_use]
    pub fn place_of(&self, id: DeliveryId) -> Option<&str> {
        let queue = self.entries[self.find(id)?].queue;
        Some(&self.places.destinations[self.places.queues[queue].destination].name)
    }

    fn destination_keys(&self) -> impl Iterator<Item = Key<Destination>> + '_ {
        ShardId::all().flat_map(|shard| self.destinations_of(shard))
    }

    fn destinations_of(&self, shard: ShardId) -> impl Iterator<Item = Key<Destination>> + '_ {
        let first = self.shards[shard].destinations.first().some();
        std::iter::successors(first, |&key| shards::after(&self.places.destinations, key))
    }

    fn find(&self, id: DeliveryId) -> Option<Key<Slot>> {
        self.ids.find(&self.entries, id.as_i64())
    }

    fn is_out(&self, key: Key<Slot>) -> bool {
        matches!(self.entries[key].place, Place::InFlight | Place::Settling)
    }

    fn at(&self, key: Key<Slot>) -> Option<Entry> {
        let slot = &self.entries[key];
        let queue = &self.places.queues[slot.queue];
        Some(Entry {
            id: DeliveryId::from_i64(slot.id).ok()?,
            shard: self.places.destinations[queue.destination].shard,
            tenant: queue.tenant,
            class: queue.class,
            priority: i16::from(slot.priority),
            attempts: slot.attempts,
            due: slot.due,
            expires_at: slot.expires_at,
            warn_at: slot.warn_at(),
        })
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler").field("limits", &self.limits).field("counts", &self.counts).finish_non_exhaustive()
    }
}
