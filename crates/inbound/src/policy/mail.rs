//! The third stage: who may send from which address, how much and how urgently. Not responsible for what an address looks
//! like, nor for the limits that EHLO announces, which are the engine's.

use mailtier_types::{ReversePath, reply};

use super::Refusal;
use crate::peer::User;

/// What is known when MAIL is said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) sender: &'a ReversePath,
    /// SIZE; 0 where it was not said.
    pub(crate) declared_octets: u64,
    /// MT-PRIORITY.
    pub(crate) priority: Option<i8>,
    /// The client is of a network of ours, or has logged in.
    pub(crate) is_of_ours: bool,
    /// Who logged in.
    pub(crate) user: Option<&'a User>,
    /// There is memory for what was declared.
    pub(crate) has_memory: bool,
    /// The largest message of the tenant, where it has a limit of its own.
    pub(crate) tenant_max_octets: Option<u64>,
    /// Whether client, user and tenant may send one more message. Nothing: not asked yet, and asking uses up a rate.
    pub(crate) within_rate: Option<bool>,
}

/// What becomes of the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// That depends on rates.
    AskRate,
    /// It begins.
    Begin,
    /// It begins, and its priority is not what was asked for.
    BeginWithoutPriority,
}

/// Whether a transaction begins.
///
/// # Errors
/// It does not.
pub(crate) fn decide(facts: &Facts<'_>) -> Result<Admission, Refusal> {
    // RFC 1870 §6.1: better now than after the content.
    if !facts.has_memory {
        return Err(Refusal::memory());
    }
    if facts.tenant_max_octets.is_some_and(|most| facts.declared_octets > most) {
        return Err(Refusal::new(reply::MESSAGE_TOO_BIG, "message_too_big"));
    }
    if !owns_sender(facts) {
        return Err(Refusal::new(reply::SENDER_NOT_OWNED, "sender_not_owned"));
    }
    match facts.within_rate {
        None => Ok(Admission::AskRate),
        Some(false) => Err(Refusal::rate()),
        // RFC 6710 §4.1: only who is known to us may come before others.
        Some(true) if facts.priority.is_some_and(|priority| priority > 0) && !facts.is_of_ours => {
            Ok(Admission::BeginWithoutPriority)
        }
        Some(true) => Ok(Admission::Begin),
    }
}

/// RFC 6409 §6.1: who logged in sends from addresses of his own. Notifications have no sender to own.
fn owns_sender(facts: &Facts<'_>) -> bool {
    match (facts.user, facts.sender.mailbox()) {
        (Some(user), Some(sender)) => user.owns(sender),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use mailtier_types::TenantId;

    use super::*;
    use crate::peer::SenderPattern;

    fn sender(text: &str) -> ReversePath {
        ReversePath::parse(text).unwrap()
    }

    fn user(patterns: &[&str]) -> User {
        let senders = patterns.iter().filter_map(|text| SenderPattern::parse(text)).collect();
        User { name: "u".into(), tenant: TenantId(1), senders }
    }

    fn stranger(sender: &ReversePath) -> Facts<'_> {
        Facts {
            sender,
            declared_octets: 0,
            priority: None,
            is_of_ours: false,
            user: None,
            has_memory: true,
            tenant_max_octets: None,
            within_rate: Some(true),
        }
    }

    /// The admission, or the reason of the refusal.
    fn decided(facts: &Facts<'_>) -> Result<Admission, &'static str> {
        decide(facts).map_err(|refusal| refusal.reason)
    }

    #[test]
    fn who_may_send_from_which_address() {
        for (patterns, from, may) in [
            (None, "anyone@anywhere.example", true),
            (None, "", true),
            (Some(&["u@example.org"][..]), "u@example.org", true),
            (Some(&["u@example.org"]), "U@EXAMPLE.ORG", true),
            (Some(&["u@example.org"]), "v@example.org", false),
            (Some(&["u@example.org"]), "u+x@example.org", false),
            (Some(&["u@example.org", "@example.net"]), "any@example.net", true),
            (Some(&["@example.org"]), "any@sub.example.org", false),
            (Some(&["*"]), "any@anywhere.example", true),
            (Some(&[]), "u@example.org", false),
            // Notifications have no sender to own.
            (Some(&[]), "", true),
        ] {
            let (from, user) = (sender(from), patterns.map(user));
            let facts = Facts { user: user.as_ref(), is_of_ours: user.is_some(), ..stranger(&from) };
            let expected = if may { Ok(Admission::Begin) } else { Err("sender_not_owned") };
            assert_eq!(decided(&facts), expected, "{from} by {patterns:?}");
        }
    }

    #[test]
    fn how_much() {
        let from = sender("a@example.com");
        let of_tenant = Facts { tenant_max_octets: Some(1000), ..stranger(&from) };
        for (case, facts, expected) in [
            ("no limit", Facts { declared_octets: u64::MAX, ..stranger(&from) }, Ok(Admission::Begin)),
            ("the most", Facts { declared_octets: 1000, ..of_tenant }, Ok(Admission::Begin)),
            ("more", Facts { declared_octets: 1001, ..of_tenant }, Err("message_too_big")),
            ("no memory", Facts { has_memory: false, ..stranger(&from) }, Err("memory_short")),
            ("no rate left", Facts { within_rate: Some(false), ..stranger(&from) }, Err("rate_limit")),
        ] {
            assert_eq!(decided(&facts), expected, "{case}");
        }
    }

    #[test]
    fn how_urgently() {
        let from = sender("a@example.com");
        for (priority, is_of_ours, expected) in [
            (None, false, Admission::Begin),
            (Some(-3), false, Admission::Begin),
            (Some(0), false, Admission::Begin),
            (Some(1), false, Admission::BeginWithoutPriority),
            (Some(9), false, Admission::BeginWithoutPriority),
            (Some(9), true, Admission::Begin),
        ] {
            let facts = Facts { priority, is_of_ours, ..stranger(&from) };
            assert_eq!(decided(&facts), Ok(expected), "{priority:?} {is_of_ours}");
        }
    }

    #[test]
    fn what_is_refused_anyway_uses_up_no_rate() {
        let (from, nobody) = (sender("a@example.com"), user(&[]));
        let unasked = Facts { within_rate: None, ..stranger(&from) };
        assert_eq!(decided(&unasked), Ok(Admission::AskRate));
        for refused in [
            Facts { has_memory: false, ..unasked },
            Facts { declared_octets: 2, tenant_max_octets: Some(1), ..unasked },
            Facts { user: Some(&nobody), ..unasked },
        ] {
            assert!(decided(&refused).is_err(), "{refused:?}");
        }
    }
}
