//! One delivery in memory, and the ticks of its timers. Not responsible for moving it between places.

use std::time::Duration;

use mailtier_types::{DeliveryId, Timestamp};

use crate::memory::heap::HeapLinks;
use crate::memory::list::{Linked, Links};
use crate::memory::slab::Key;
use crate::scheduler::{Queue, Through};

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
    /// Handed out, and not attempted, or not any more: it is given up, or what its attempt means is being stored.
    Settling,
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
    pub(crate) priority: i8,
    pub(crate) attempts: u16,
    /// From its making until its sender is told that it is late, in rounded seconds; 0: nobody is told any more.
    pub(crate) warning: u16,
    /// Which bucket of its wheel. What is in flight is in none, and has here through which egress pool it went.
    pub(crate) bucket: u16,
    pub(crate) place: Place,
}

const _: () = assert!(size_of::<Slot>() == 64, "five million deliveries fit into 400 MB");

impl Slot {
    /// Through which egress pool it went, while it is in flight.
    pub(crate) fn through(&self) -> Option<Through> {
        (self.place == Place::InFlight).then(|| Through::from_octet(self.bucket.to_le_bytes()[0]))
    }

    /// It is in flight through this pool.
    pub(crate) fn set_through(&mut self, through: Through) {
        self.bucket = u16::from(through.octet());
    }

    /// When its timer goes off: what waits wakes for its attempt or its end, what is ready only for its end; both to have
    /// their senders told that they are late.
    pub(crate) fn tick(&self) -> u64 {
        let end = if self.place == Place::Waiting { self.due.min(self.expires_at) } else { self.expires_at };
        ceil_tick(self.warn_at().map_or(end, |warn_at| warn_at.min(end)))
    }

    /// When its sender is told that it is late.
    pub(crate) fn warn_at(&self) -> Option<Timestamp> {
        let warning = Some(self.warning).filter(|warning| *warning > 0)?;
        Some(self.made_at()?.after(Duration::from_secs(exact(warning))))
    }

    /// Sets that time, rounded up.
    pub(crate) fn set_warning(&mut self, warn_at: Option<Timestamp>) {
        let after = warn_at.zip(self.made_at()).map(|(warn_at, made_at)| warn_at.since(made_at).as_millis());
        let seconds = after.map(|after| u64::try_from(after.div_ceil(1000)).unwrap_or(u64::MAX).max(1));
        self.warning = seconds.map_or(0, rounded);
    }

    fn made_at(&self) -> Option<Timestamp> {
        DeliveryId::from_i64(self.id).ok().map(DeliveryId::made_at)
    }
}

/// Twelve bits of a number of seconds and four for the power of two that it is multiplied with.
const DIGIT_BITS: u32 = 12;
const MOST_POWER: u32 = 15;

/// Rounded up: exact below 4096 s, and to a two-thousandth beyond. 0, never, for more than four years.
fn rounded(seconds: u64) -> u16 {
    let mut power = (u64::BITS - seconds.leading_zeros()).saturating_sub(DIGIT_BITS);
    let mut digits = seconds.div_ceil(1 << power);
    if digits >> DIGIT_BITS != 0 {
        (digits, power) = (digits >> 1, power + 1);
    }
    if power > MOST_POWER {
        return 0;
    }
    u16::try_from(u64::from(power) << DIGIT_BITS | digits).unwrap_or(0)
}

fn exact(rounded: u16) -> u64 {
    u64::from(rounded % (1 << DIGIT_BITS)) << (rounded >> DIGIT_BITS)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_up_and_by_little() {
        let four_years = 4095 << 15;
        for seconds in (0..20_000).chain((20_000..four_years).step_by(9_973)).chain([four_years]) {
            let back = exact(rounded(seconds));
            assert!(back >= seconds && back - seconds <= seconds / 2048, "{seconds}: {back}");
        }
        for exact_ones in [1, 60, 3600, 4095, 4 * 3600, 5 * 86_400] {
            assert_eq!(exact(rounded(exact_ones)), exact_ones);
        }
        assert_eq!((rounded(four_years + 1), rounded(u64::MAX)), (0, 0));
    }
}
