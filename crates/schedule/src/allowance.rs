//! What one replica may let out of a pool that warms up, today: slices of the day's allowance, which all replicas take
//! from one place, and what is left of them here. Not responsible for that place, nor for where mail goes that finds
//! nothing left.

use mailtier_types::Day;

/// A slice is this part of what is left of a day at the most, for each replica: several replicas come near the end of a
/// day together, and none has much when the others have nothing.
const SLICES: u64 = 4;
/// The largest slice. What a killed replica had taken and not used is lost for the day.
const LARGEST: u64 = 1000;

/// One replica's part of a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allowance {
    day: Day,
    /// Absent: as much as there is.
    limit: Option<u64>,
    /// Of the limit, what nobody has taken, as far as is known.
    untaken: u64,
    /// Taken for this replica and not used.
    left: u32,
    /// The last slice.
    slice: u32,
    /// A slice was asked for.
    is_asked: bool,
    /// Nobody could take more when it was last asked for.
    is_exhausted: bool,
    /// It may be asked for all the same: somebody may have given some back.
    may_look: bool,
    /// Something went out since it was last looked at.
    is_used: bool,
}

/// A wish for a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllowanceWish {
    /// Of which pool.
    pub pool: crate::PoolId,
    /// Of which day.
    pub day: Day,
    /// At the most.
    pub count: u32,
    /// What may go out on that day altogether.
    pub limit: u64,
}

impl Allowance {
    /// A day begins.
    pub(crate) fn begin(day: Day, limit: Option<u64>) -> Self {
        Self { day, limit, untaken: limit.unwrap_or(0), is_exhausted: limit == Some(0), ..Self::default() }
    }

    /// Whether there is an end to what may go out today.
    pub(crate) const fn is_limited(&self) -> bool {
        self.limit.is_some()
    }

    /// What may go out now; absent: as much as there is.
    pub(crate) const fn free(&self) -> Option<u32> {
        match self.limit {
            Some(_) => Some(self.left),
            None => None,
        }
    }

    /// Whether the day's allowance is used up, and nothing goes before the next.
    pub(crate) const fn is_over(&self) -> bool {
        self.limit.is_some() && self.left == 0 && self.is_exhausted
    }

    /// What is left of the day, as far as is known here.
    pub(crate) fn remaining(&self) -> Option<u64> {
        self.limit.map(|_| self.untaken + u64::from(self.left))
    }

    /// One goes out.
    pub(crate) fn spend(&mut self) {
        self.left = self.left.saturating_sub(1);
        self.is_used = true;
    }

    /// One did not go out after all.
    pub(crate) fn give_back(&mut self) {
        if self.limit.is_some() {
            self.left = self.left.saturating_add(1);
        }
    }

    /// What to ask for now that something waits for it; it is then asked for. `replicas` ask for the same day.
    pub(crate) fn ask(&mut self, replicas: u32) -> Option<(Day, u32, u64)> {
        let limit = self.limit.filter(|limit| *limit > 0)?;
        let is_low = self.left <= self.slice / 2;
        if self.is_asked || !is_low || self.is_exhausted && !self.may_look {
            return None;
        }
        self.is_asked = true;
        let count = (self.untaken / (SLICES * u64::from(replicas.max(1)))).clamp(1, LARGEST);
        Some((self.day, u32::try_from(count).unwrap_or(1), limit))
    }

    /// A slice of a day has come, which may be empty; `taken` is what all have taken of it until now.
    pub(crate) fn take(&mut self, day: Day, slice: u32, taken: u64) {
        let Some(limit) = self.limit.filter(|_| day == self.day) else { return };
        self.untaken = limit.saturating_sub(taken);
        self.left = self.left.saturating_add(slice);
        self.slice = slice;
        self.is_exhausted = self.untaken == 0;
        (self.is_asked, self.may_look) = (false, false);
    }

    /// It could not be asked for.
    pub(crate) fn fail(&mut self, day: Day) {
        if day == self.day {
            self.is_asked = false;
        }
    }

    /// Somebody may have given some of the day back: it may be asked for once more. Says whether nothing of what is left
    /// here was used since it was last looked at.
    pub(crate) fn look_again(&mut self) -> bool {
        self.may_look = true;
        !std::mem::take(&mut self.is_used) && self.left > 0 && !self.is_asked
    }

    /// Gives up what was taken and not used.
    pub(crate) fn surrender(&mut self) -> Option<(Day, u32)> {
        self.limit?;
        let left = std::mem::take(&mut self.left);
        (left > 0).then_some((self.day, left))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const DAY: Day = Day::new(20_000);

    /// What the database does.
    #[derive(Default)]
    struct Ledger(HashMap<Day, u64>);

    impl Ledger {
        fn take(&mut self, day: Day, count: u32, limit: u64) -> (u32, u64) {
            let taken = self.0.entry(day).or_default();
            let granted = u64::from(count).min(limit.saturating_sub(*taken));
            *taken += granted;
            (u32::try_from(granted).unwrap(), *taken)
        }
    }

    fn settle(ledger: &mut Ledger, replica: &mut Allowance, replicas: u32) {
        if let Some((day, count, limit)) = replica.ask(replicas) {
            let (slice, taken) = ledger.take(day, count, limit);
            replica.take(day, slice, taken);
        }
    }

    #[test]
    fn a_day_is_used_up_to_the_last_and_no_further() {
        for limit in [1, 2, 3, 50, 20_000] {
            let (mut ledger, mut one) = (Ledger::default(), Allowance::begin(DAY, Some(limit)));
            assert_eq!((one.free(), one.is_over()), (Some(0), false));
            let mut used = 0;
            loop {
                settle(&mut ledger, &mut one, 1);
                if one.free() == Some(0) {
                    break;
                }
                one.spend();
                used += 1;
                assert_eq!(one.remaining(), Some(limit - used));
            }
            assert!(one.is_over());
            assert_eq!(used, limit);
        }
    }

    #[test]
    fn without_a_limit_nothing_is_asked_for_and_before_the_first_day_nothing_goes() {
        let mut warm = Allowance::begin(DAY, None);
        warm.spend();
        assert_eq!((warm.free(), warm.is_over(), warm.ask(1), warm.remaining()), (None, false, None, None));
        let mut early = Allowance::begin(DAY, Some(0));
        early.look_again();
        assert_eq!((early.free(), early.is_over(), early.ask(1)), (Some(0), true, None));
    }

    #[test]
    fn an_answer_for_another_day_changes_nothing_and_a_failure_is_asked_again() {
        let mut one = Allowance::begin(DAY, Some(50));
        assert_eq!(one.ask(2), Some((DAY, 6, 50)));
        assert_eq!(one.ask(2), None, "it was asked for");
        one.take(Day::new(20_001), 6, 6);
        assert_eq!(one.free(), Some(0));
        one.fail(DAY);
        assert_eq!(one.ask(2), Some((DAY, 6, 50)));
        one.take(DAY, 0, 50);
        assert!(one.is_over() && one.ask(2).is_none());
        one.look_again();
        assert!(one.is_over());
        assert_eq!(one.ask(2), Some((DAY, 1, 50)));
        one.take(DAY, 1, 50);
        assert_eq!((one.free(), one.is_over()), (Some(1), false));
        assert_eq!((one.surrender(), one.surrender()), (Some((DAY, 1)), None));
    }

    proptest! {
        #[test]
        fn replicas_together_never_let_out_more(
            limit in 0..300_u64,
            steps in prop::collection::vec((0..3_usize, 0..20_u32, any::<bool>()), 1..200),
        ) {
            let mut ledger = Ledger::default();
            let mut replicas = [Allowance::begin(DAY, Some(limit)); 3];
            let mut used = 0;
            for (which, count, is_killed) in steps {
                let one = &mut replicas[which];
                if is_killed && count == 0 {
                    *one = Allowance::begin(DAY, Some(limit));
                }
                for _ in 0..count {
                    settle(&mut ledger, one, 3);
                    if one.free() == Some(0) {
                        break;
                    }
                    one.spend();
                    used += 1;
                }
            }
            prop_assert!(used <= limit);
        }
    }
}
