//! Rates: at most so many in a time. The generic cell rate algorithm (ITU-T I.371): one number per meter, and no timer
//! that fills buckets. Not responsible for what is counted.

use std::time::Duration;

use mailtier_types::Timestamp;

/// What may pass at once is what a steady flow passes in this time, and one at least.
pub(crate) const BURST: Duration = Duration::from_secs(1);

/// So many in a time, evenly spread but for a second's worth at once: in any stretch of time no more than the rate gives
/// for it and one second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Between two of a steady flow, in microseconds.
    interval_us: i64,
    /// May pass at once.
    burst: u32,
}

impl Rate {
    /// `count` in `per`, or less where that is no whole number of microseconds for each. A count of 0 is taken as 1.
    #[must_use]
    pub fn new(count: u32, per: Duration) -> Self {
        let interval_us = i64::try_from(per.as_micros().div_ceil(u128::from(count.max(1)))).unwrap_or(i64::MAX);
        Self::every(interval_us)
    }

    /// One in each interval, in microseconds; less than 1 is taken as 1.
    #[must_use]
    pub fn every(interval_us: i64) -> Self {
        let interval_us = interval_us.max(1);
        let at_once = i64::try_from(BURST.as_micros()).unwrap_or(i64::MAX) / interval_us;
        Self { interval_us, burst: u32::try_from(at_once).unwrap_or(u32::MAX).max(1) }
    }

    /// Between two of a steady flow, in microseconds.
    #[must_use]
    pub const fn interval_us(self) -> i64 {
        self.interval_us
    }

    /// What is left for each where so many share it.
    #[must_use]
    pub fn shared_by(self, sharers: u32) -> Self {
        Self::every(self.interval_us.saturating_mul(i64::from(sharers.max(1))))
    }

    /// What is left where some of those that share it evenly have theirs.
    pub(crate) fn without(self, gone: u32, sharers: u32) -> Self {
        let left = i64::from(sharers.saturating_sub(gone).max(1));
        let together = self.interval_us.saturating_mul(left.max(i64::from(sharers)));
        Self::every(together / left + i64::from(together % left > 0))
    }

    const fn tolerance_us(self) -> i64 {
        self.interval_us.saturating_mul(self.burst as i64 - 1)
    }
}

/// What has passed of late; the greater one lets less pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Meter {
    /// When a steady flow would have the next one pass.
    next: Timestamp,
    /// When the last one passed.
    last: Timestamp,
}

impl Meter {
    /// How many may pass now.
    pub(crate) fn free(self, rate: Rate, now: Timestamp) -> u32 {
        let room_us = now.as_micros().saturating_add(rate.tolerance_us()).saturating_sub(self.next.as_micros());
        if room_us < 0 {
            return 0;
        }
        u32::try_from(room_us / rate.interval_us).unwrap_or(u32::MAX).saturating_add(1).min(rate.burst)
    }

    /// One of which nothing is known but that as much as may pass at once may have passed then.
    pub(crate) const fn exhausted(rate: Rate, at: Timestamp) -> Self {
        let next = at.as_micros().saturating_add(rate.tolerance_us()).saturating_add(rate.interval_us);
        Self { next: Timestamp::from_micros(next), last: at }
    }

    /// One passes.
    pub(crate) fn count(&mut self, rate: Rate, now: Timestamp) {
        self.count_many(rate, 1, now);
    }

    /// So many pass.
    pub(crate) fn count_many(&mut self, rate: Rate, count: u32, now: Timestamp) {
        if count > 0 {
            let passed = rate.interval_us.saturating_mul(i64::from(count));
            let next = self.next.as_micros().max(now.as_micros()).saturating_add(passed);
            (self.next, self.last) = (Timestamp::from_micros(next), now);
        }
    }

    /// One that was counted then has not passed after all. Its place is lost where others have passed since: not all of
    /// these might have passed when they did had another taken it later.
    pub(crate) fn take_back(&mut self, rate: Rate, at: Timestamp) {
        if self.last == at {
            self.give_back(rate, 1);
        }
    }

    /// So many that were counted have not passed.
    pub(crate) fn give_back(&mut self, rate: Rate, count: u32) {
        let unused = rate.interval_us.saturating_mul(i64::from(count.min(rate.burst)));
        self.next = Timestamp::from_micros(self.next.as_micros().saturating_sub(unused));
    }

    /// When one more may pass.
    pub(crate) const fn opens_at(self, rate: Rate) -> Timestamp {
        Timestamp::from_micros(self.next.as_micros().saturating_sub(rate.tolerance_us()))
    }

    /// From when on it has nothing to remember.
    pub(crate) const fn rests_at(self) -> Timestamp {
        self.next
    }

    /// Whether it has nothing to remember.
    pub(crate) fn is_at_rest(self, now: Timestamp) -> bool {
        self.rests_at() <= now
    }

    /// The clock was put back: nothing lies further ahead than one burst.
    pub(crate) fn rewind(&mut self, rate: Rate, now: Timestamp) {
        let furthest = now.as_micros().saturating_add(rate.tolerance_us()).saturating_add(rate.interval_us);
        self.next = Timestamp::from_micros(self.next.as_micros().min(furthest));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + ms)
    }

    /// Lets pass what may at each of some times; says when each passed.
    fn passed(rate: Rate, times: impl IntoIterator<Item = i64>) -> Vec<i64> {
        let (mut meter, mut passed) = (Meter::default(), Vec::new());
        for ms in times {
            let free = meter.free(rate, at(ms));
            for _ in 0..free {
                meter.count(rate, at(ms));
                passed.push(ms);
            }
            assert_eq!(meter.free(rate, at(ms)), 0);
            assert!(meter.opens_at(rate) > at(ms));
        }
        passed
    }

    #[test]
    fn a_rate_is_met_and_not_exceeded() {
        // Ten a second: ten at once, then one each 100 ms.
        let rate = Rate::new(600, Duration::from_secs(60));
        assert_eq!(passed(rate, [0]).len(), 10);
        assert_eq!(passed(rate, 0..10_000).len(), 10 + 99);
        // Two a minute: never two at once.
        let slow = Rate::new(2, Duration::from_secs(60));
        assert_eq!(passed(slow, (0..600_000).step_by(50)), (0..20).map(|n| n * 30_000).collect::<Vec<_>>());
        // What is no whole number of microseconds is rounded to the slower: half a million here, not a million.
        assert_eq!(passed(Rate::new(600_000, Duration::from_secs(1)), [0, 1000]).len(), 2 * 500_000);
        assert_eq!(Rate::every(10).without(1, 4).interval_us(), 14);
        // Shared by three, each has a third.
        assert_eq!(passed(rate.shared_by(3), 0..30_000).len(), 3 + 99);
    }

    #[test]
    fn a_meter_says_when_it_opens() {
        let rate = Rate::new(60, Duration::from_secs(60));
        let mut meter = Meter::default();
        assert!(meter.is_at_rest(at(0)));
        meter.count(rate, at(0));
        assert_eq!((meter.free(rate, at(999)), meter.opens_at(rate)), (0, at(1000)));
        assert_eq!(meter.free(rate, at(1000)), 1);
        meter.rewind(rate, at(-3_600_000));
        assert_eq!(meter.opens_at(rate), at(-3_600_000 + 1000));
    }

    proptest! {
        #[test]
        fn no_stretch_of_time_has_more(count in 1..500_u32, seconds in 1..200_u64, gaps in prop::collection::vec(0..5_000_i64, 1..200)) {
            let rate = Rate::new(count, Duration::from_secs(seconds));
            let mut now = 0;
            let times = gaps.iter().map(|gap| { now += gap; now }).collect::<Vec<_>>();
            let passed = passed(rate, times);
            for (first, begin) in passed.iter().enumerate() {
                for (last, end) in passed.iter().enumerate().skip(first) {
                    let stretch_us = (end - begin) * 1000;
                    let most = i64::from(rate.burst) + stretch_us / rate.interval_us;
                    prop_assert!((last - first + 1) as i64 <= most);
                }
            }
        }
    }
}
