//! Which deliveries a filter means: what the columns of a row tell is looked for by the database, the rest here. Pure.

use std::sync::Arc;

use mailtier_api::filter::{AddressPattern, DeliveryState, Filter, ReplyCode};
use mailtier_schedule::Rules;
use mailtier_store::{DeliveryFilter, StoredDelivery};
use mailtier_types::{Cause, Outcome};

use crate::stored::{last_outcome, size_bytes};

/// What the database looks for.
pub(super) fn columns(filter: &Filter) -> DeliveryFilter {
    let (sender, sender_domain) = pattern(filter.sender.as_ref());
    let (recipient, recipient_domain) = pattern(filter.recipient.as_ref());
    let asks_for_outcome = filter.provider.is_some() || filter.reply_text.is_some() || filter.reply_code.is_some();
    let is_deferred = asks_for_outcome || filter.state == Some(DeliveryState::Deferred);
    DeliveryFilter {
        tenant: filter.tenant,
        destination: filter.destination.as_ref().map(ToString::to_string),
        sender,
        sender_domain,
        recipient,
        recipient_domain,
        min_attempts: filter.min_attempts.unwrap_or(0).max(u16::from(is_deferred)),
        max_attempts: if filter.state == Some(DeliveryState::Waiting) { 0 } else { u16::MAX },
        held: filter.state.map(|state| state == DeliveryState::Held),
    }
}

/// The whole address, and the domain: one of them at the most.
fn pattern(pattern: Option<&AddressPattern>) -> (Option<String>, Option<String>) {
    match pattern {
        None => (None, None),
        Some(AddressPattern::Null) => (Some(String::new()), None),
        Some(AddressPattern::Mailbox(mailbox)) => (Some(mailbox.as_str().to_owned()), None),
        Some(AddressPattern::Domain(domain)) => (None, Some(domain.to_string())),
    }
}

/// What the database cannot look for, because it is in what is stored encoded.
#[derive(Debug)]
pub(super) struct Matcher {
    provider: Option<String>,
    /// In lower case.
    reply_text: Option<String>,
    reply_code: Option<ReplyCode>,
    larger_than: Option<u64>,
    rules: Arc<Rules>,
}

impl Matcher {
    pub(super) fn new(filter: &Filter, rules: Arc<Rules>) -> Self {
        Self {
            provider: filter.provider.clone(),
            reply_text: filter.reply_text.as_ref().map(|text| text.to_lowercase()),
            reply_code: filter.reply_code,
            larger_than: filter.larger_than,
            rules,
        }
    }

    /// Whether it looks at anything at all.
    pub(super) const fn is_needed(&self) -> bool {
        self.asks_for_outcome() || self.larger_than.is_some()
    }

    const fn asks_for_outcome(&self) -> bool {
        self.provider.is_some() || self.reply_text.is_some() || self.reply_code.is_some()
    }

    /// Whether a row that the database has found is meant. What cannot be read fits nothing that is asked of it.
    pub(super) fn fits(&self, row: &StoredDelivery) -> bool {
        self.fits_size(row) && (!self.asks_for_outcome() || last_outcome(row).is_some_and(|last| self.fits_last(&last)))
    }

    fn fits_size(&self, row: &StoredDelivery) -> bool {
        self.larger_than.is_none_or(|limit| size_bytes(row).is_some_and(|size| size > limit))
    }

    fn fits_last(&self, last: &Outcome) -> bool {
        self.provider.as_ref().is_none_or(|name| provider(&self.rules, last) == Some(name.as_str()))
            && self.reply_text.as_ref().is_none_or(|text| last.cause.to_string().to_lowercase().contains(text))
            && self.reply_code.is_none_or(|code| has_code(last, code))
    }
}

/// Whose exchanger an attempt was made at.
pub(super) fn provider<'a>(rules: &'a Rules, outcome: &Outcome) -> Option<&'a str> {
    rules.provider_of(&outcome.remote.as_ref()?.name)
}

fn has_code(outcome: &Outcome, wanted: ReplyCode) -> bool {
    let code = match &outcome.cause {
        Cause::Reply(reply) => Some(reply.code),
        Cause::Trouble(_) => None,
    };
    match wanted {
        ReplyCode::Class(class) => code.is_some_and(|code| code / 100 == u16::from(class)),
        ReplyCode::Code(wanted) => code == Some(wanted),
        ReplyCode::Enhanced(wanted) => outcome.status() == wanted,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use mailtier_schedule::{GroupLimits, Provider};
    use mailtier_types::{
        Domain, EnhancedCode, Mailbox, RemoteHost, Reply, Stage, TenantId, Timestamp, Trouble, TroubleKind,
    };

    use super::*;
    use crate::stored::example;

    fn row(last_outcome: Bytes) -> StoredDelivery {
        StoredDelivery { attempts: 1, last_outcome, ..example() }
    }

    fn outcome(cause: Cause, host: Option<&str>) -> Bytes {
        mailtier_api::encode_outcome(Outcome {
            remote: host.map(|name| RemoteHost { name: name.to_owned(), address: None }),
            ..Outcome::new(Stage::Rcpt, cause, Timestamp::EPOCH)
        })
    }

    fn reply(code: u16, enhanced: Option<EnhancedCode>, text: &str) -> Cause {
        Cause::Reply(Reply::received(code, enhanced, text.to_owned()))
    }

    fn rules() -> Arc<Rules> {
        let provider =
            Provider { name: "big".into(), exchangers: vec!["mx.big.example".into()], limits: GroupLimits::default() };
        Arc::new(Rules { providers: vec![provider], ..Rules::plain(20) })
    }

    fn fits(row: &StoredDelivery, change: impl FnOnce(&mut Filter)) -> bool {
        let mut filter = Filter::default();
        change(&mut filter);
        Matcher::new(&filter, rules()).fits(row)
    }

    #[test]
    fn what_is_stored_encoded_is_compared_here() {
        let greylisted = row(outcome(
            reply(450, Some(EnhancedCode::new(4, 7, 1)), "Greylisted, try Later"),
            Some("a.mx.big.example."),
        ));
        let plain = row(outcome(reply(421, None, "busy"), Some("mx.small.example")));
        let refused = Trouble { kind: TroubleKind::Connect, text: "Connection refused".into() };
        let trouble = row(outcome(Cause::Trouble(refused), None));
        let never = row(Bytes::new());
        let damaged = StoredDelivery { options: Bytes::from_static(&[0xff]), ..row(Bytes::from_static(&[0xff])) };
        // In the order: greylisted, plain, trouble, never, damaged.
        type Change = fn(&mut Filter);
        let cases: &[(&str, Change, [bool; 5])] = &[
            ("nothing", |_| {}, [true; 5]),
            ("provider", |filter| filter.provider = Some("big".into()), [true, false, false, false, false]),
            ("text", |filter| filter.reply_text = Some("TRY LATER".into()), [true, false, false, false, false]),
            ("its code", |filter| filter.reply_text = Some("421".into()), [false, true, false, false, false]),
            ("trouble", |filter| filter.reply_text = Some("refused".into()), [false, false, true, false, false]),
            ("class", |filter| filter.reply_code = Some(ReplyCode::Class(4)), [true, true, false, false, false]),
            ("other", |filter| filter.reply_code = Some(ReplyCode::Class(5)), [false; 5]),
            ("code", |filter| filter.reply_code = Some(ReplyCode::Code(450)), [true, false, false, false, false]),
            ("enhanced", |filter| filter.reply_code = "4.7.1".parse().ok(), [true, false, false, false, false]),
            ("derived", |filter| filter.reply_code = "4.0.0".parse().ok(), [false, true, false, false, false]),
            ("of trouble", |filter| filter.reply_code = "4.4.1".parse().ok(), [false, false, true, false, false]),
            ("size", |filter| filter.larger_than = Some(999), [true, true, true, true, false]),
            ("not larger", |filter| filter.larger_than = Some(1000), [false; 5]),
            (
                "all of it",
                |filter| (filter.provider, filter.reply_code) = (Some("big".into()), Some(ReplyCode::Code(421))),
                [false; 5],
            ),
        ];
        for (name, change, expected) in cases {
            let found = [&greylisted, &plain, &trouble, &never, &damaged].map(|row| fits(row, change));
            assert_eq!(found, *expected, "{name}");
        }
    }

    #[test]
    fn the_rest_is_left_to_the_database() {
        let filter = Filter {
            tenant: Some(TenantId(7)),
            sender: Some(AddressPattern::Null),
            recipient: Some(AddressPattern::recipient("@B.example").unwrap()),
            destination: Some(Domain::parse("C.example").unwrap()),
            min_attempts: Some(3),
            state: Some(DeliveryState::Deferred),
            ..Filter::default()
        };
        let expected = DeliveryFilter {
            tenant: Some(TenantId(7)),
            destination: Some("c.example".into()),
            sender: Some(String::new()),
            recipient_domain: Some("b.example".into()),
            min_attempts: 3,
            held: Some(false),
            ..DeliveryFilter::default()
        };
        assert_eq!(columns(&filter), expected);
        let held = columns(&Filter { state: Some(DeliveryState::Held), ..Filter::default() });
        assert_eq!((held.min_attempts, held.max_attempts, held.held), (0, u16::MAX, Some(true)));
        assert!(!Matcher::new(&filter, rules()).is_needed());
        let mailbox = AddressPattern::Mailbox(Mailbox::parse("a@b.example").unwrap());
        let exact = columns(&Filter { sender: Some(mailbox), ..Filter::default() });
        assert_eq!((exact.sender.as_deref(), exact.sender_domain), (Some("a@b.example"), None));
        let attempts = |state, reply_code| {
            let found = columns(&Filter { state, reply_code, ..Filter::default() });
            (found.min_attempts, found.max_attempts)
        };
        assert_eq!(attempts(None, None), (0, u16::MAX));
        assert_eq!(attempts(Some(DeliveryState::Waiting), None), (0, 0));
        assert_eq!(attempts(Some(DeliveryState::Deferred), None), (1, u16::MAX));
        assert_eq!(
            attempts(None, Some(ReplyCode::Class(4))),
            (1, u16::MAX),
            "who was never attempted was told nothing"
        );
    }
}
