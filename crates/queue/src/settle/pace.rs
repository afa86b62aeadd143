//! How often a transaction begins. Not responsible for what it takes.

use std::time::Duration;

use tokio::time::Instant;

/// From the beginning of one transaction to that of the next. A transaction costs the database as much as dozens of reports,
/// and nobody waits for it but the worker that keeps the result meanwhile. It is a part of the time in which the loss of a
/// worker makes a delivery be attempted again, so it is short.
const INTERVAL: Duration = Duration::from_millis(5);
/// So many reports begin a transaction of their own at once.
const WORTH_A_TRANSACTION: usize = 128;

/// The pace of one loop. What comes after a longer pause waits for nothing.
#[derive(Debug)]
pub(super) struct Pace {
    next: Instant,
}

impl Pace {
    pub(super) const fn new(now: Instant) -> Self {
        Self { next: now }
    }

    /// Until when to gather more, where that is worth it.
    pub(super) fn wait(&self, reports: usize, now: Instant) -> Option<Instant> {
        (reports < WORTH_A_TRANSACTION && now < self.next).then_some(self.next)
    }

    /// A transaction begins.
    pub(super) fn begin(&mut self, now: Instant) {
        self.next = now + INTERVAL;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_wait_after_another_transaction_and_nobody_after_a_pause() {
        let began = Instant::now();
        let mut pace = Pace::new(began);
        assert_eq!(pace.wait(1, began), None, "the first");
        pace.begin(began);
        let after = |ms| began + Duration::from_millis(ms);
        assert_eq!(pace.wait(1, after(1)), Some(after(5)));
        assert_eq!(pace.wait(WORTH_A_TRANSACTION - 1, after(1)), Some(after(5)));
        assert_eq!(pace.wait(WORTH_A_TRANSACTION, after(1)), None);
        assert_eq!(pace.wait(1, after(5)), None);
        pace.begin(after(7));
        assert_eq!(pace.wait(1, after(8)), Some(after(12)));
    }
}
