//! What goes into the scheduler and what comes out of it. Not responsible for how it is kept there.

use mailtier_types::{DeliveryId, ShardId, TenantId, Timestamp};

use crate::scheduler::PoolClass;

/// Bounds of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Deliveries in memory, about 75 octets each; destinations are interned and cost about 300 octets each.
    pub max_entries: usize,
    /// Of these, ready or in flight to one destination. Deliveries that wait for a retry don't count: they make room
    /// for others when they have to.
    pub max_entries_per_destination: usize,
}

/// A delivery, as far as scheduling is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which; a smaller id is older.
    pub id: DeliveryId,
    /// The shard of its destination.
    pub shard: ShardId,
    /// Whose.
    pub tenant: TenantId,
    /// Which rules of egress pools there are for it, as [`Scheduler::class_of`](crate::Scheduler::class_of) says.
    pub class: PoolClass,
    /// Higher goes first within a queue, until others have waited for long enough: −9 to 9 (RFC 6710).
    pub priority: i16,
    /// Attempts made before.
    pub attempts: u16,
    /// Not attempted before; met to the millisecond.
    pub due: Timestamp,
    /// Not attempted from then on, but given up.
    pub expires_at: Timestamp,
    /// When its sender is to be told that it is late, to the second in the first hour and to a two-thousandth of the time
    /// beyond; never where that is absent, has been done, or lies more than four years ahead.
    pub warn_at: Option<Timestamp>,
}

impl Entry {
    /// When there is something to do about it next, were it not ready.
    pub(crate) fn wakes(&self) -> Timestamp {
        let end = self.due.min(self.expires_at);
        self.warn_at.map_or(end, |warn_at| warn_at.min(end))
    }
}

/// What the database says of a known delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Correction {
    /// Attempts made before; more are believed, fewer are older news.
    pub attempts: u16,
    /// Not attempted before. Of one that is handed out, or that is ready before and after, this says nothing; absent where
    /// it is not known.
    pub due: Option<Timestamp>,
    /// Not attempted from then on, but given up.
    pub expires_at: Timestamp,
}

/// What became of an insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insert {
    /// It will come out of [`Scheduler::next`](crate::Scheduler::next) when its time has come.
    Scheduled,
    /// It is there already, waiting or in flight; nothing changed.
    Known,
    /// There is no room. Its shard is marked, so that it is read again when there is.
    Spilled,
}

/// What is to be done now. The delivery is in flight until it is finished, deferred or released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// Attempt it.
    Attempt(Entry),
    /// Its time is up: give it up. This takes no part in the concurrency of its destination.
    Expired(Entry),
}

/// How many deliveries are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Not due yet.
    pub waiting: usize,
    /// Due, held back by concurrency or not asked for yet.
    pub ready: usize,
    /// Handed out, for an attempt or to be given up.
    pub in_flight: usize,
}
