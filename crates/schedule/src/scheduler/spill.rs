//! What stays in memory when not everything can. The database has every delivery, so a delivery that finds no room is
//! not lost: its shard is marked, and its owner reads the shard again when there is room.
//!
//! - One destination may have only so much ready or in flight: its own limit, or as much as is left for the others,
//!   whichever is less (Choudhury and Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", 1998).
//!   So a flood never takes the room of other destinations. Once it has overflowed, nothing more is taken for it
//!   until half is worked off and the shard is read again from its oldest delivery: what comes later does not overtake
//!   for ever.
//! - What waits for a retry makes room for what is due earlier, and what nothing can be attempted of now (its destination
//!   is dead or suspended) for what can. Such mail counts as due when that is over: so it does not come back before, and
//!   nobody has to go for it.
//! - What is to be given up has a little room of its own: it expires even while nothing else comes in.
//!
//! Not responsible for reading anything again: the owner asks [`Scheduler::reloadable_shards`].

use std::time::Duration;

use mailtier_types::{ShardId, Timestamp};

use crate::entry::Entry;
use crate::memory::{Key, Slot};
use crate::scheduler::Scheduler;
use crate::scheduler::places::Destination;

/// So many ready deliveries any destination may have while there is room at all.
const DESTINATION_FLOOR: usize = 100;
/// Of queues that rest, so many are looked at for one that can make room.
const RESTING_LOOKED_AT: usize = 16;
/// So many deliveries that are to be given up may be there beyond the limit.
const EXPIRED_BEYOND: usize = 1000;
/// How late what has no room may be given up, and its sender told that it is late: a shard is read once for all of it that
/// comes to that meanwhile, and not again and again while one after the other does.
const SPOKEN_OF_WITHIN: Duration = Duration::from_secs(60);

impl Scheduler {
    /// Ready deliveries and those being attempted: what can't make room for others. What nothing is attempted of can.
    const fn busy(&self) -> usize {
        self.counts.ready.saturating_sub(self.dormant_ready) + self.in_attempt
    }

    /// So full that reading more makes sense again.
    const fn low_water(&self) -> usize {
        self.limits.max_entries / 4 * 3
    }

    /// The most a destination may have ready or in flight now.
    fn destination_limit(&self) -> usize {
        let left = self.limits.max_entries.saturating_sub(self.busy());
        self.limits.max_entries_per_destination.min(left.max(DESTINATION_FLOOR))
    }

    /// Whether a new delivery may come in; if need be one that is due later goes.
    pub(super) fn admit(&mut self, destination: &str, entry: &Entry) -> bool {
        let Entry { due, expires_at, warn_at, shard, .. } = *entry;
        let is_ready = due <= self.now && self.now < expires_at;
        if is_ready && self.overflows(destination, shard) {
            let speaks_at = self.speaks_at(expires_at, warn_at);
            self.shards[shard].spill.overflow(speaks_at);
            return false;
        }
        if !self.saturated && self.entries.len() < self.limits.max_entries {
            return true;
        }
        let rests_until = self.rests_until(destination, entry);
        let attempted_at = rests_until.map_or(due, |until| due.max(until));
        let speaks_at = self.speaks_at(expires_at, warn_at);
        let wakes = if rests_until.is_some() { attempted_at.min(speaks_at) } else { entry.wakes() };
        if !self.saturated && (self.evict_after(wakes) || rests_until.is_none() && self.evict_resting_after(wakes))
            || expires_at <= self.now && self.has_room_for_expired()
        {
            return true;
        }
        self.saturated |= is_ready && rests_until.is_none() && self.busy() > self.low_water();
        let spill = &mut self.shards[shard].spill;
        spill.miss(attempted_at, speaks_at);
        spill.rests |= rests_until.is_some();
        false
    }

    /// When there is something to say of a delivery. One that is late already is told of when it comes in: nothing is read
    /// again and again for it.
    fn speaks_at(&self, expires_at: Timestamp, warn_at: Option<Timestamp>) -> Timestamp {
        let warn_at = warn_at.filter(|warn_at| *warn_at > self.now);
        warn_at.unwrap_or(expires_at).min(expires_at)
    }

    fn has_room_for_expired(&self) -> bool {
        self.entries.len() < self.limits.max_entries.saturating_add(EXPIRED_BEYOND)
    }

    fn overflows(&mut self, destination: &str, shard: ShardId) -> bool {
        let limit = self.destination_limit();
        let Some(key) = self.places.find(destination, shard) else { return false };
        let destination = &mut self.places.destinations[key];
        destination.overflowing |= destination.busy as usize >= limit;
        destination.overflowing
    }

    /// Spills a delivery that has nothing to do until after `wake`. Says whether there was one.
    fn evict_after(&mut self, wake: Timestamp) -> bool {
        let Some(key) = self.due.latest() else { return false };
        let slot = &self.entries[key];
        let end = slot.due.min(slot.expires_at);
        let wakes = slot.warn_at().map_or(end, |warn_at| warn_at.min(end));
        if wakes <= wake {
            return false;
        }
        self.evict(key, slot.due);
        true
    }

    /// Spills a ready delivery of which nothing is attempted until after `wake`. Says whether there was one.
    fn evict_resting_after(&mut self, wake: Timestamp) -> bool {
        for _ in 0..RESTING_LOOKED_AT {
            let Some(queue) = self.dormant.first().some() else { return false };
            let Some(key) = self.places.queues[queue].heap.any_but_first(&self.entries) else { return false };
            let slot = &self.entries[key];
            let until = self.can_go_until(queue, slot.expires_at);
            let speaks_at = self.speaks_at(slot.expires_at, slot.warn_at());
            if let Some(until) = until.filter(|until| speaks_at.min(*until) > wake) {
                let shard = self.evict(key, until);
                self.shards[shard].spill.rests = true;
                return true;
            }
            self.dormant.remove(&mut self.places.queues, queue);
            self.dormant.push_back(&mut self.places.queues, queue);
        }
        false
    }

    fn evict(&mut self, key: Key<Slot>, attempted_at: Timestamp) -> ShardId {
        let slot = &self.entries[key];
        let speaks_at = self.speaks_at(slot.expires_at, slot.warn_at());
        let shard = self.places.destinations[self.places.queues[slot.queue].destination].shard;
        self.shards[shard].spill.miss(attempted_at, speaks_at);
        self.remove(key);
        shard
    }

    /// A destination has one less ready or in flight.
    pub(super) fn calm(&mut self, key: Key<Destination>) {
        let limit = self.destination_limit();
        let destination = &mut self.places.destinations[key];
        destination.busy -= 1;
        if destination.overflowing && destination.busy as usize <= limit / 2 {
            self.shards[destination.shard].spill.drained = true;
        }
    }

    /// After something has left its place: what waits can make room again, or there is much.
    pub(super) const fn desaturate(&mut self) {
        self.saturated &= self.busy() > self.low_water();
    }

    /// Shards of which not all is in memory.
    pub fn spilled_shards(&self) -> impl Iterator<Item = ShardId> + '_ {
        ShardId::all().filter(|&shard| self.shards[shard].spill.any())
    }

    /// Spilled shards that should be read again from their beginning: there is room for what is missing, or some of it
    /// is due, or is to be spoken of. A walk costs what the shard holds, so an owner leaves some time between two walks.
    pub fn reloadable_shards(&self, now: Timestamp) -> impl Iterator<Item = ShardId> + '_ {
        let has_much_room = !self.saturated && self.entries.len() <= self.low_water();
        let has_any_room = !self.saturated && {
            let can_make_room = self.counts.waiting > 0 || self.dormant_ready > 0;
            self.entries.len() < self.limits.max_entries || can_make_room
        };
        let overdue = now.before(SPOKEN_OF_WITHIN);
        ShardId::all().filter(move |&shard| {
            let spill = self.shards[shard].spill;
            let is_wanted = spill.wanted_at.is_some_and(|at| at <= now);
            let is_overdue = spill.speaks_at.is_some_and(|at| at <= overdue) && self.has_room_for_expired();
            spill.overflowed && spill.drained
                || spill.missed && has_much_room
                || is_wanted && has_any_room
                || is_overdue
        })
    }

    /// To be called *before* a shard is read again from its beginning: what finds no room then marks it again.
    pub fn clear_spilled(&mut self, shard: ShardId) {
        self.shards[shard].spill = Default::default();
        let mut next = self.shards[shard].destinations.first().some();
        while let Some(key) = next {
            self.places.destinations[key].overflowing = false;
            next = crate::scheduler::shards::after(&self.places.destinations, key);
        }
    }
}
