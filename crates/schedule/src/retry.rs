//! Which waits between attempts count for a delivery: those of its destination, else those of the class of its failure,
//! else those of all. Not responsible for how long each is (`backoff`).

use std::collections::HashMap;
use std::time::Duration;

use mailtier_types::{Class, Outcome};

use crate::backoff::RetryPolicy;
use crate::class::class_of;
use crate::rules::nearest;

/// The waits between attempts.
#[derive(Clone, Debug, Default)]
pub struct RetryRules {
    /// Where nothing else is said.
    pub standard: RetryPolicy,
    /// After failures of a class.
    pub classes: HashMap<Class, RetryPolicy>,
    /// By name; one that begins with a dot is for all below.
    pub destinations: HashMap<String, RetryPolicy>,
}

impl RetryRules {
    /// With what suits some classes anywhere: who greylists takes the message after some minutes, and lets go of what he
    /// knows after some hours (RFC 6647 §2.2); who has a full mailbox does not empty it within minutes.
    #[must_use]
    pub fn new(standard: RetryPolicy) -> Self {
        let minutes = |first: u64, max: u64| RetryPolicy {
            first: Duration::from_secs(first * 60),
            max: Duration::from_secs(max * 60),
            jitter: standard.jitter,
        };
        let classes = [(Class::Greylisted, minutes(5, 30)), (Class::MailboxFull, minutes(60, 360))].into();
        Self { standard, classes, destinations: HashMap::new() }
    }

    /// What counts after an outcome at a destination.
    #[must_use]
    pub fn after(&self, outcome: &Outcome, destination: &str) -> &RetryPolicy {
        nearest(&self.destinations, destination)
            .or_else(|| self.classes.get(&class_of(outcome)))
            .unwrap_or(&self.standard)
    }
}

#[cfg(test)]
mod tests {
    use mailtier_types::{Cause, Reply, Stage, Timestamp};

    use super::*;

    #[test]
    fn the_destination_counts_before_the_class_and_the_class_before_the_rest() {
        let every = |seconds| RetryPolicy { first: Duration::from_secs(seconds), ..RetryPolicy::default() };
        let mut rules = RetryRules::new(every(1));
        rules.destinations = [(".own.example".to_owned(), every(2))].into();
        let said = |code: u16, status: &str| {
            Outcome::new(
                Stage::Rcpt,
                Cause::Reply(Reply::received(code, status.parse().ok(), String::new())),
                Timestamp::EPOCH,
            )
        };
        let first = |outcome, destination| rules.after(&outcome, destination).first.as_secs();
        assert_eq!(first(said(452, "4.2.2"), "b.example"), 3600);
        assert_eq!(first(said(451, "4.7.1"), "b.example"), 300);
        assert_eq!(first(said(451, "4.3.0"), "b.example"), 1);
        assert_eq!(first(said(452, "4.2.2"), "mx.own.example"), 2);
        assert_eq!(first(said(452, "4.2.2"), "own.example"), 3600);
    }
}
