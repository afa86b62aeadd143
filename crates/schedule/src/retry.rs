//! Which waits between attempts count for a delivery: those of its destination, else those of the class of its failure,
//! else those of all. Not responsible for how long each is (`backoff`).

use std::collections::HashMap;
use std::time::Duration;

use mailtier_types::Class;

use crate::backoff::RetryPolicy;
use crate::rules::nearest;

/// The first wait before an attempt from another address.
const SWITCH_AFTER: Duration = Duration::from_secs(60);

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
    use super::*;

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
