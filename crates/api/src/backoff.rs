//! How long to wait before the next try of a connection to a queue replica. Pure.

use std::time::Duration;

/// Doubles from a first wait to a longest; each is shortened at random by up to a half, so that the programs of an
/// installation do not come back in step.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// From the beginning.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, next: first, longest }
    }

    /// The next wait; `random` is from 0 to 1.
    pub fn wait(&mut self, random: f32) -> Duration {
        let wait = self.next.mul_f32(1.0 - random.clamp(0.0, 1.0) / 2.0);
        self.next = (self.next * 2).min(self.longest);
        wait
    }

    /// From the beginning again: it went well.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_are_spread() {
        let new = || Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let mut backoff = new();
        let waits: Vec<_> = (0..8).map(|_| backoff.wait(0.0).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000, 1000, 1000]);
        assert_eq!(backoff.wait(1.0).as_millis(), 500);
        assert_eq!(new().wait(0.5).as_millis(), 75);
        backoff.reset();
        assert_eq!(backoff.wait(0.0).as_millis(), 100);
    }
}
