//! How long to wait between attempts. Not responsible for whether there is another one.

use std::time::Duration;

/// When to try again: at first soon, then after twice as long each time, up to a limit. The defaults are those that
/// operators of Postfix know (`minimal_backoff_time`, `maximal_backoff_time`); RFC 5321 §4.5.4.1 asks for at least 30
/// minutes between attempts in general and allows a sender to be more eager at the beginning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// From the first attempt to the second.
    pub first: Duration,
    /// The longest time between two attempts, before jitter.
    pub max: Duration,
    /// How far a delay may deviate from its rule either way, as a share of it, 0 to 1. It keeps deliveries that failed
    /// together from coming back together.
    pub jitter: f32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { first: Duration::from_secs(300), max: Duration::from_secs(4000), jitter: 0.1 }
    }
}

impl RetryPolicy {
    /// From the end of attempt number `attempts` (counted from 1) to the next. `chance` is a random number from 0 to 1
    /// that the caller draws; 0.5 gives the rule itself.
    #[must_use]
    pub fn delay(&self, attempts: u16, chance: f32) -> Duration {
        let doublings = u32::from(attempts.saturating_sub(1)).min(31);
        let rule = self.first.saturating_mul(1 << doublings).min(self.max);
        let share = if self.jitter.is_nan() { 0.0 } else { self.jitter.clamp(0.0, 1.0) };
        let chance = if chance.is_nan() { 0.5 } else { chance.clamp(0.0, 1.0) };
        rule.mul_f64(1.0 + f64::from(share) * (2.0 * f64::from(chance) - 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_limit() {
        let policy = RetryPolicy::default();
        let delays: Vec<u64> = (0..8).map(|attempts| policy.delay(attempts, 0.5).as_secs()).collect();
        assert_eq!(delays, [300, 300, 600, 1200, 2400, 4000, 4000, 4000]);
        assert_eq!(policy.delay(u16::MAX, 0.5), policy.max);
    }

    #[test]
    fn jitter_stays_within_its_share() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.delay(1, 0.0).as_secs_f64().round(), 270.0);
        assert_eq!(policy.delay(1, 1.0).as_secs_f64().round(), 330.0);
        assert_eq!(RetryPolicy { jitter: 0.0, ..policy }.delay(1, 1.0), policy.first);
    }

    #[test]
    fn senseless_numbers_do_no_harm() {
        let policy = RetryPolicy { first: Duration::MAX, max: Duration::from_secs(10), jitter: f32::NAN };
        assert_eq!(policy.delay(9, f32::NAN), policy.max);
        assert!(RetryPolicy { jitter: 7.0, ..RetryPolicy::default() }.delay(1, 9.0) <= Duration::from_secs(600));
    }
}
