//! One delivery in memory, and the ticks of its timers. Not responsible for moving it between places.

use mailtier_types::Timestamp;

use crate::memory::heap::HeapLinks;
use crate::memory::list::{Linked, Links};
use crate::memory::slab::Key;
use crate::scheduler::Queue;

/// Where a delivery is. Each place has its own structure that threads through the slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nowhere: being moved.
    #[default]
    Nowhere,
    /// In the wheel of due times.
    Waiting,
    /// In its queue's heap, and in the wheel of expiries.
    Ready,
    /// In the list of those to be given up.
    Expired,
    /// Handed out for an attempt: counts for its destination's concurrency.
    InFlight,
    /// Handed out to be given up.
    GivenUp,
}

/// Marks the list a slot is in for its time: a bucket of a wheel, or the list of the expired.
#[derive(Debug)]
pub(crate) struct Timed;

/// Marks the list of all deliveries to a destination.
#[derive(Debug)]
pub(crate) struct Siblings;

/// A delivery. One cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Slot {
    pub(crate) id: i64,
    pub(crate) due: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) heap: HeapLinks,
    pub(crate) timed: Links<Self>,
    pub(crate) siblings: Links<Self>,
    pub(crate) queue: Key<Queue>,
    pub(crate) priority: i16,
    pub(crate) attempts: u16,
    /// Which bucket of its wheel.
    pub(crate) bucket: u16,
    pub(crate) place: Place,
}

const _: () = assert!(size_of::<Slot>() == 64, "five million deliveries fit into 400 MB");

impl Slot {
    /// When its timer goes off: what waits wakes for its attempt or its end, what is ready only for its end.
    pub(crate) fn tick(&self) -> u64 {
        match self.place {
            Place::Waiting => ceil_tick(self.due.min(self.expires_at)),
            _ => ceil_tick(self.expires_at),
        }
    }
}

/// Milliseconds since 1970, rounded up: a timer never goes off early.
fn ceil_tick(at: Timestamp) -> u64 {
    u64::try_from(at.as_micros()).unwrap_or(0).div_ceil(1_000)
}

/// Milliseconds since 1970, rounded down: the clock.
pub(crate) fn floor_tick(now: Timestamp) -> u64 {
    u64::try_from(now.as_millis()).unwrap_or(0)
}

impl Linked<Timed> for Slot {
    fn links(&self) -> &Links<Self> {
        &self.timed
    }

    fn links_mut(&mut self) -> &mut Links<Self> {
        &mut self.timed
    }
}

impl Linked<Siblings> for Slot {
    fn links(&self) -> &Links<Self> {
        &self.siblings
    }

    fn links_mut(&mut self) -> &mut Links<Self> {
        &mut self.siblings
    }
}
