//! What operators have ordered, as last read. Pure.

use mailtier_schedule::Suspended;
use mailtier_store::StoredRule;
use mailtier_types::Timestamp;

use crate::suspensions::{suspended, unknown};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct RuleBook {
    /// Absent until they could be read.
    rules: Option<Vec<StoredRule>>,
    /// What the conductor goes by; nothing is suspended in the beginning.
    told: Suspended,
}

impl RuleBook {
    /// Whether the rules were read at all: before that nothing may be dispatched.
    pub(super) const fn is_known(&self) -> bool {
        self.rules.is_some()
    }

    /// They were read.
    pub(super) fn learn(&mut self, rules: Vec<StoredRule>) {
        if self.rules.as_ref().is_some_and(|known| *known == rules) {
            return;
        }
        match unknown(&rules) {
            0 => {}
            count => tracing::warn!(count, "rules of a newer program are not kept to"),
        }
        self.rules = Some(rules);
    }

    /// What is suspended now, where that differs from what this said last: rules were read, or the time of one is over.
    pub(super) fn news(&mut self, now: Timestamp) -> Option<Suspended> {
        let suspended = suspended(self.rules.as_deref()?, now);
        if suspended == self.told {
            return None;
        }
        self.told = suspended.clone();
        Some(suspended)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mailtier_store::RuleKey;

    use super::*;

    #[test]
    fn what_is_known_stays_until_its_time_is_over_and_is_told_once() {
        let now = Timestamp::from_secs(1000);
        let mut book = RuleBook::default();
        assert!(!book.is_known() && book.news(now).is_none());
        let key = RuleKey { kind: "destination".into(), name: "b.example".into() };
        let until = now.after(Duration::from_secs(60));
        let (reason, created_by) = (String::new(), "alice".to_owned());
        let rule = StoredRule { key, reason, created_by, created_at: now, expires_at: Some(until) };
        book.learn(vec![rule]);
        assert!(book.is_known());
        assert_eq!(book.news(now).unwrap().destinations.len(), 1);
        assert_eq!(book.news(now), None);
        assert_eq!(book.news(until), Some(Suspended::default()), "though it was not read again");
    }
}
