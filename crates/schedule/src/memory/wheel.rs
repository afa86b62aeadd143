//! Timers: a hierarchical wheel (Varghese and Lauck 1987) of milliseconds, its buckets lists through the slots. Setting
//! and cancelling cost the same however many there are; a timer is touched once more for each level it comes down. Not
//! responsible for what a timer means.

use crate::memory::list::List;
use crate::memory::slab::{Key, Slab};
use crate::memory::slot::{Slot, Timed};

/// Ticks are numbers of [`LEVELS`] digits of this many bits.
const DIGIT_BITS: u32 = 6;
const DIGITS: u64 = 1 << DIGIT_BITS;
/// 48 bits of milliseconds last until the year 10889.
const LEVELS: u32 = 8;
const MAX_TICK: u64 = (1 << (DIGIT_BITS * LEVELS)) - 1;

/// A timer lies in the level of the highest digit in which its tick differs from the clock, in the bucket of that digit.
#[derive(Debug)]
pub(crate) struct Wheel {
    /// The clock. No timer is behind it.
    tick: u64,
    /// Per level, a bit for each bucket that has timers.
    occupied: [u64; LEVELS as usize],
    buckets: Box<[List<Slot, Timed>]>,
}

/// A bucket that has timers.
#[derive(Clone, Copy)]
struct Bucket {
    level: u32,
    number: usize,
    /// The first tick it can hold.
    begins: u64,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        let buckets = vec![List::new(); usize::try_from(u64::from(LEVELS) * DIGITS).unwrap_or(0)];
        Self { tick: 0, occupied: [0; LEVELS as usize], buckets: buckets.into_boxed_slice() }
    }

    /// Sets the timer of a slot to the tick it asks for; what is past goes off with the next [`Self::pop`].
    pub(crate) fn insert(&mut self, slab: &mut Slab<Slot>, key: Key<Slot>) {
        let tick = slab[key].tick().clamp(self.tick, MAX_TICK.max(self.tick));
        let level = (tick ^ self.tick).checked_ilog2().unwrap_or(0) / DIGIT_BITS;
        let digit = (tick >> (level * DIGIT_BITS)) % DIGITS;
        let number = usize::try_from(u64::from(level) * DIGITS + digit).unwrap_or(0);
        slab[key].bucket = u16::try_from(number).unwrap_or(0);
        if let (Some(bucket), Some(bits)) = (self.buckets.get_mut(number), self.occupied.get_mut(level as usize)) {
            bucket.push_back(slab, key);
            *bits |= 1 << digit;
        }
    }

    /// Cancels the timer of a slot that has one here.
    pub(crate) fn remove(&mut self, slab: &mut Slab<Slot>, key: Key<Slot>) {
        let number = usize::from(slab[key].bucket);
        let Some(bucket) = self.buckets.get_mut(number) else { return };
        bucket.remove(slab, key);
        if bucket.is_empty() {
            self.vacate(number);
        }
    }

    fn vacate(&mut self, number: usize) {
        let (level, digit) = (number >> DIGIT_BITS, number % (1 << DIGIT_BITS));
        if let Some(bits) = self.occupied.get_mut(level) {
            *bits &= !(1 << digit);
        }
    }

    /// A timer that has gone off at `to` or before, in the order of their ticks; when there is none the clock stands
    /// at `to`.
    pub(crate) fn pop(&mut self, slab: &mut Slab<Slot>, to: u64) -> Option<Key<Slot>> {
        let to = to.min(MAX_TICK);
        while let Some(bucket) = self.first_bucket().filter(|bucket| bucket.begins <= to) {
            self.tick = self.tick.max(bucket.begins);
            if bucket.level == 0 {
                let first = self.buckets.get(bucket.number).map_or(Key::NONE, List::first);
                self.remove(slab, first);
                return Some(first);
            }
            self.cascade(slab, bucket);
        }
        self.tick = self.tick.max(to);
        None
    }

    /// The clock has come to the beginning of a bucket: its timers belong to lower levels now.
    fn cascade(&mut self, slab: &mut Slab<Slot>, bucket: Bucket) {
        let mut timers = self.buckets.get_mut(bucket.number).map(std::mem::take).unwrap_or_default();
        self.vacate(bucket.number);
        while let Some(key) = timers.pop_front(slab) {
            self.insert(slab, key);
        }
    }

    /// Timers of a lower level all go off before those of a higher one.
    fn first_bucket(&self) -> Option<Bucket> {
        let (level, bits) = (0..LEVELS).zip(&self.occupied).find(|(_, bits)| **bits != 0)?;
        let digit = bits.trailing_zeros();
        let shift = level * DIGIT_BITS;
        let above = self.tick >> shift >> DIGIT_BITS << DIGIT_BITS;
        let number = usize::try_from(level * (1 << DIGIT_BITS) + digit).ok()?;
        Some(Bucket { level, number, begins: (above + u64::from(digit)) << shift })
    }

    /// When [`Self::pop`] has something to do next: never later than the first timer, and exact within 64 ticks of it.
    pub(crate) fn next_tick(&self) -> Option<u64> {
        self.first_bucket().map(|bucket| bucket.begins)
    }

    /// One of the timers that go off last, to the precision of its bucket.
    pub(crate) fn latest(&self) -> Option<Key<Slot>> {
        let (level, bits) = (0..LEVELS).zip(&self.occupied).rfind(|(_, bits)| **bits != 0)?;
        let digit = bits.checked_ilog2()?;
        let number = usize::try_from(level * (1 << DIGIT_BITS) + digit).ok()?;
        self.buckets.get(number)?.last().some()
    }

    /// Puts the clock back, and every timer where it belongs then.
    pub(crate) fn rewind(&mut self, slab: &mut Slab<Slot>, to: u64) {
        let mut all = List::<Slot, Timed>::new();
        for bucket in &mut self.buckets {
            let mut timers = std::mem::take(bucket);
            while let Some(key) = timers.pop_front(slab) {
                all.push_back(slab, key);
            }
        }
        self.occupied = [0; LEVELS as usize];
        self.tick = to.min(MAX_TICK);
        while let Some(key) = all.pop_front(slab) {
            self.insert(slab, key);
        }
    }
}

#[cfg(test)]
mod tests {
    use mailtier_types::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn set(wheel: &mut Wheel, slab: &mut Slab<Slot>, tick: u64) -> Key<Slot> {
        let key = slab.take();
        slab[key].expires_at = Timestamp::from_millis(i64::try_from(tick).unwrap());
        wheel.insert(slab, key);
        key
    }

    proptest! {
        #[test]
        fn timers_go_off_in_order_and_on_time(
            start in 0..1_u64 << 44,
            delays in prop::collection::vec((0_u32..42, any::<u64>(), any::<bool>()), 1..100),
            steps in prop::collection::vec((0_u32..43, any::<u64>()), 1..20),
        ) {
            let (mut wheel, mut slab) = (Wheel::new(), Slab::new());
            assert!(wheel.pop(&mut slab, start).is_none());
            let mut expected = Vec::new();
            for (bits, random, cancel) in delays {
                let tick = start + random % (1 << bits);
                let key = set(&mut wheel, &mut slab, tick);
                if cancel { wheel.remove(&mut slab, key) } else { expected.push(tick) }
            }
            expected.sort_unstable();
            let mut now = start;
            for (bits, random) in steps.into_iter().chain([(43, (1 << 43) - 1)]) {
                now = (now + random % (1 << bits)).min(MAX_TICK);
                while let Some(key) = wheel.pop(&mut slab, now) {
                    prop_assert_eq!(slab[key].tick(), expected.remove(0));
                }
                prop_assert!(expected.first().is_none_or(|&tick| tick > now), "{} is late", expected[0]);
                match (wheel.next_tick(), expected.first()) {
                    (Some(next), Some(&first)) => prop_assert!(next > now && next <= first),
                    (next, first) => prop_assert_eq!(next, first.copied()),
                }
            }
        }

        #[test]
        fn after_the_clock_was_put_back_timers_keep_their_ticks(
            ticks in prop::collection::vec(1_000_u64..9_000_000, 1..50), to in 0_u64..1_000,
        ) {
            let (mut wheel, mut slab) = (Wheel::new(), Slab::new());
            assert!(wheel.pop(&mut slab, 999).is_none());
            let mut expected = ticks.clone();
            expected.sort_unstable();
            for tick in ticks {
                set(&mut wheel, &mut slab, tick);
            }
            wheel.rewind(&mut slab, to);
            prop_assert!(wheel.pop(&mut slab, to).is_none());
            let mut order = Vec::new();
            while let Some(key) = wheel.pop(&mut slab, 9_000_000) {
                order.push(slab[key].tick());
            }
            prop_assert_eq!(order, expected);
        }
    }

    #[test]
    fn the_latest_timer_is_found_to_the_precision_of_its_bucket() {
        let (mut wheel, mut slab) = (Wheel::new(), Slab::new());
        assert!(wheel.latest().is_none());
        for tick in [5, 70, 9_000, 9_050, 300, u64::from(u32::MAX)] {
            set(&mut wheel, &mut slab, tick);
        }
        let latest = wheel.latest().unwrap();
        assert_eq!(slab[latest].tick(), u64::from(u32::MAX));
        wheel.remove(&mut slab, latest);
        assert!(slab[wheel.latest().unwrap()].tick() >= 9_000);
    }

    #[test]
    fn times_beyond_the_end_of_the_wheel_are_kept() {
        let (mut wheel, mut slab) = (Wheel::new(), Slab::<Slot>::new());
        let key = slab.take();
        slab[key].expires_at = Timestamp::from_micros(i64::MAX);
        wheel.insert(&mut slab, key);
        assert!(wheel.pop(&mut slab, 1 << 40).is_none());
        assert_eq!(wheel.latest(), Some(key));
    }
}
