//! What is known per shard: its destinations, since when it is owned, and whether all its deliveries are in memory. Not
//! responsible for deciding what is spilled (`spill`).

use std::ops::{Index, IndexMut};

use mailtier_types::{Epoch, SHARD_COUNT, ShardId, Timestamp};

use crate::memory::{Key, List, Slab};
use crate::scheduler::Scheduler;
use crate::scheduler::places::Destination;

/// That of a shard's first owner: each change of owner raises it.
const FIRST_EPOCH: Epoch = Epoch(1);

/// Marks the list of a shard's destinations.
#[derive(Debug)]
pub(crate) struct OfShard;

/// What of a shard is not in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spill {
    /// A destination had too much.
    pub(crate) overflowed: bool,
    /// Since then that destination has worked off half of it.
    pub(crate) drained: bool,
    /// There was no room at all.
    pub(crate) missed: bool,
    /// Of some of it nothing could be attempted then.
    pub(crate) rests: bool,
    /// When the first of what is not in memory may be attempted.
    pub(crate) wanted_at: Option<Timestamp>,
    /// When there is something to say of the first of it: a warning that it is late, or that its time is up.
    pub(crate) speaks_at: Option<Timestamp>,
}

impl Spill {
    pub(crate) const fn any(self) -> bool {
        self.overflowed || self.missed
    }

    /// There is no room for a delivery, which may be attempted at a time, and of which something is to be said at another.
    pub(crate) fn miss(&mut self, attempted_at: Timestamp, speaks_at: Timestamp) {
        self.missed = true;
        self.wanted_at = earlier(self.wanted_at, attempted_at);
        self.speaks_at = earlier(self.speaks_at, speaks_at);
    }

    /// A destination has too much for a delivery, of which something is to be said at a time.
    pub(crate) fn overflow(&mut self, speaks_at: Timestamp) {
        self.overflowed = true;
        self.speaks_at = earlier(self.speaks_at, speaks_at);
    }

    /// What rests is wanted at a time: something may be attempted of it then.
    pub(crate) fn wake(&mut self, at: Timestamp) {
        if self.rests {
            self.wanted_at = earlier(self.wanted_at, at);
        }
    }
}

fn earlier(known: Option<Timestamp>, at: Timestamp) -> Option<Timestamp> {
    known.into_iter().chain([at]).min()
}

/// One shard.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    pub(crate) destinations: List<Destination, OfShard>,
    pub(crate) spill: Spill,
    /// Since when it is this replica's, where another may have had it before.
    pub(crate) gained_at: Timestamp,
}

impl Shard {
    /// What was known of its destinations is forgotten.
    pub(crate) fn regain(&mut self, now: Timestamp) {
        if self.gained_at > Timestamp::EPOCH {
            self.gained_at = now;
        }
    }
}

/// All shards, owned or not.
pub(crate) struct Shards([Shard; SHARD_COUNT as usize]);

const _: () = assert!(SHARD_COUNT as usize > u8::MAX as usize, "every shard has its place");

impl Shards {
    pub(crate) fn new() -> Box<Self> {
        Box::new(Self(std::array::from_fn(|_| Shard::default())))
    }
}

#[expect(clippy::indexing_slicing, reason = "asserted above")]
impl Index<ShardId> for Shards {
    type Output = Shard;

    fn index(&self, shard: ShardId) -> &Shard {
        &self.0[shard.index()]
    }
}

#[expect(clippy::indexing_slicing, reason = "asserted above")]
impl IndexMut<ShardId> for Shards {
    fn index_mut(&mut self, shard: ShardId) -> &mut Shard {
        &mut self.0[shard.index()]
    }
}

impl Scheduler {
    /// A shard is this replica's now, in this epoch, and what is left of an earlier time is forgotten. What has passed of
    /// rates is not known where somebody owned it before, who may have been this replica itself: as much as may pass at once
    /// counts as passed just now. So it does for groups with the first such shard, by which others may have kept to their
    /// limits until now.
    pub fn gain_shard(&mut self, shard: ShardId, epoch: Epoch, now: Timestamp) {
        self.observe(now);
        self.drop_shard(shard);
        if epoch <= FIRST_EPOCH {
            return;
        }
        if ShardId::all().all(|other| self.shards[other].gained_at == Timestamp::EPOCH) {
            self.exhaust_gates();
        }
        self.shards[shard].gained_at = self.now;
    }
}

/// The next destination of the same shard.
pub(crate) fn after(destinations: &Slab<Destination>, key: Key<Destination>) -> Option<Key<Destination>> {
    List::<Destination, OfShard>::after(destinations, key).some()
}
