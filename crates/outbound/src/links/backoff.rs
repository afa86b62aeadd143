//! How long to wait before the next try of a connection to a queue replica. Pure.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
/// Well within `queue.worker_grace`: a replica that has been away waits no longer than that for its workers.
const LONGEST: Duration = Duration::from_secs(1);

/// Doubles from [`FIRST`] to [`LONGEST`]; each wait is shortened at random by up to a half, so that the workers of a
/// cluster do not come back in step.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    /// From the beginning.
    pub(crate) const fn new() -> Self {
        Self { next: FIRST }
    }

    /// The next wait; `random` is from 0 to 1.
    pub(crate) fn wait(&mut self, random: f32) -> Duration {
        let wait = self.next.mul_f32(1.0 - random.clamp(0.0, 1.0) / 2.0);
        self.next = (self.next * 2).min(LONGEST);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_are_spread() {
        let mut backoff = Backoff::new();
        let waits: Vec<_> = (0..8).map(|_| backoff.wait(0.0).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000, 1000, 1000]);
        assert_eq!(backoff.wait(1.0).as_millis(), 500);
        assert_eq!(Backoff::new().wait(0.5).as_millis(), 75);
    }
}
