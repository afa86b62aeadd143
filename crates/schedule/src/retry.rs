//! Which waits between attempts count for a delivery: those of its destination, else those of the class of its failure,
//! else those of all; and whether there is another attempt where the last may have delivered. Not responsible for how long
//! each wait is (`backoff`).

use std::collections::HashMap;
use std::time::Duration;

use mailtier_types::{Cause, Class, Outcome, TroubleKind};

use crate::backoff::RetryPolicy;
use crate::classification::Verdict;
use crate::rules::nearest;

/// The first wait before an attempt from another address.
const SWITCH_AFTER: Duration = Duration::from_secs(60);

/// The waits between attempts.
#[derive(Clone, Debug)]
pub struct RetryRules {
    /// Where nothing else is said.
    pub standard: RetryPolicy,
    /// After failures of a class.
    pub classes: HashMap<Class, RetryPolicy>,
    /// By name; one that begins with a dot is for all below.
    pub destinations: HashMap<String, RetryPolicy>,
    /// Whether it is tried again what a remote may have, since it did not answer the end of the content: a second copy, or
    /// none.
    pub unanswered: Verdict,
    /// The same by name, as in `destinations`.
    pub unanswered_at: HashMap<String, Verdict>,
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
        let (destinations, unanswered_at) = (HashMap::new(), HashMap::new());
        Self { standard, classes, destinations, unanswered: Verdict::Temporary, unanswered_at }
    }

    /// Whether trying again can help, where the rules of classification say `verdict`.
    #[must_use]
    pub fn verdict(&self, verdict: Verdict, outcome: &Outcome, destination: &str) -> Verdict {
        match &outcome.cause {
            Cause::Trouble(trouble) if trouble.kind == TroubleKind::Unanswered => {
                nearest(&self.unanswered_at, destination).copied().unwrap_or(self.unanswered)
            }
            _ => verdict,
        }
    }

    /// What counts where it is tried from another address, which nobody has refused yet: soon, and less so each time.
    #[must_use]
    pub fn after_switch(&self) -> RetryPolicy {
        RetryPolicy { first: SWITCH_AFTER.min(self.standard.first), ..self.standard }
    }

    /// What counts after a failure of a class at a destination.
    #[must_use]
    pub fn after(&self, class: Class, destination: &str) -> &RetryPolicy {
        nearest(&self.destinations, destination).or_else(|| self.classes.get(&class)).unwrap_or(&self.standard)
    }
}

#[cfg(test)]
mod tests {
    use mailtier_types::{Stage, Timestamp, Trouble};

    use super::*;

    #[test]
    fn what_may_have_arrived_is_sent_again_unless_the_destination_wants_it_once_at_the_most() {
        let mut rules = RetryRules::new(RetryPolicy::default());
        rules.unanswered_at = [(".once.example".to_owned(), Verdict::Permanent)].into();
        let verdict = |kind, destination| {
            let cause = Cause::Trouble(Trouble { kind, text: String::new() });
            let outcome = Outcome::new(Stage::Final, cause, Timestamp::EPOCH);
            rules.verdict(Verdict::Temporary, &outcome, destination)
        };
        assert_eq!(verdict(TroubleKind::Unanswered, "a.example"), Verdict::Temporary);
        assert_eq!(verdict(TroubleKind::Unanswered, "mx.once.example"), Verdict::Permanent);
        assert_eq!(verdict(TroubleKind::Closed, "mx.once.example"), Verdict::Temporary);
    }

    #[test]
    fn the_destination_counts_before_the_class_and_the_class_before_the_rest() {
        let every = |seconds| RetryPolicy { first: Duration::from_secs(seconds), ..RetryPolicy::default() };
        let mut rules = RetryRules::new(every(1));
        rules.destinations = [(".own.example".to_owned(), every(2))].into();
        let first = |class, destination| rules.after(class, destination).first.as_secs();
        assert_eq!(first(Class::MailboxFull, "b.example"), 3600);
        assert_eq!(first(Class::Greylisted, "b.example"), 300);
        assert_eq!(first(Class::Other, "b.example"), 1);
        assert_eq!(first(Class::MailboxFull, "mx.own.example"), 2);
        assert_eq!(first(Class::MailboxFull, "own.example"), 3600);
    }
}
