//! Counts what a search finds, in groups. Pure. Not responsible for adding up the parts of several calls: whoever asks
//! does.

use std::collections::HashMap;
use std::sync::Arc;

use mailtier_api::counts::{AGE_LIMITS_MIN, Group, GroupBy, age_place};
use mailtier_api::filter::DeliveryState;
use mailtier_schedule::Rules;
use mailtier_store::StoredDelivery;
use mailtier_types::{Cause, Outcome, Timestamp};

use super::matching;
use crate::stored::{last_outcome, size_bytes};

/// Groups after which a call ends: the next one goes on, so that what is told is exact however many there are.
const GROUPS_A_CALL: usize = 10_000;
/// The longest text that is a group, in characters.
const REPLY_CHARS: usize = 120;
/// The null reverse-path, as a group.
const NULL_SENDER: &str = "<>";

/// What has been counted.
#[derive(Debug)]
pub(super) struct Tally {
    by: GroupBy,
    at: Timestamp,
    rules: Arc<Rules>,
    groups: HashMap<String, Group>,
}

impl Tally {
    /// Nothing yet. Ages are as of `at`.
    pub(super) fn new(by: GroupBy, at: Timestamp, rules: Arc<Rules>) -> Self {
        Self { by, at, rules, groups: HashMap::new() }
    }

    pub(super) fn is_full(&self) -> bool {
        self.groups.len() >= GROUPS_A_CALL
    }

    /// Counts one. What cannot be read of it counts as nothing.
    pub(super) fn count(&mut self, row: &StoredDelivery) {
        let accepted_at = row.message.made_at();
        let recipients = row.recipients.len() as u64;
        let key = self.key(row);
        let group = self.groups.entry(key).or_insert_with_key(|key| Group::new(key.clone()));
        group.deliveries += 1;
        group.recipients += recipients;
        group.octets = group.octets.saturating_add(size_bytes(row).unwrap_or(0));
        group.oldest = group.oldest.min(accepted_at);
        if let Some(count) = group.by_age.get_mut(age_place(self.at.since(accepted_at))) {
            *count += recipients;
        }
    }

    pub(super) fn finish(self) -> Vec<Group> {
        self.groups.into_values().collect()
    }

    /// What a delivery has in common with others of its group.
    fn key(&self, row: &StoredDelivery) -> String {
        let domain = |address: &str| address.rsplit_once('@').map_or(address, |(_, domain)| domain).to_owned();
        let sender = if row.sender.is_empty() { NULL_SENDER } else { &row.sender };
        match self.by {
            GroupBy::Nothing => String::new(),
            GroupBy::Destination => row.destination.clone(),
            GroupBy::RecipientDomain => row.recipients.first().map_or_else(String::new, |address| domain(address)),
            GroupBy::Tenant => row.tenant.0.to_string(),
            GroupBy::Sender => sender.to_owned(),
            GroupBy::SenderDomain => domain(sender),
            GroupBy::Provider => {
                let last = last_outcome(row);
                last.as_ref().and_then(|last| matching::provider(&self.rules, last)).unwrap_or_default().to_owned()
            }
            GroupBy::State => state(row).name().to_owned(),
            GroupBy::Reply => last_outcome(row).as_ref().map(common_reply).unwrap_or_default(),
            GroupBy::Age => age(age_place(self.at.since(row.message.made_at()))),
            GroupBy::Shard => row.shard.number().to_string(),
        }
    }
}

const fn state(row: &StoredDelivery) -> DeliveryState {
    match (&row.held, row.attempts) {
        (Some(_), _) => DeliveryState::Held,
        (None, 0) => DeliveryState::Waiting,
        (None, _) => DeliveryState::Deferred,
    }
}

/// An age in words: `under 5m`, `5m to 10m` … `1280m and more`.
fn age(place: usize) -> String {
    let limit = |place: Option<usize>| place.and_then(|place| AGE_LIMITS_MIN.get(place));
    match (limit(place.checked_sub(1)), limit(Some(place))) {
        (None, Some(to)) => format!("under {to}m"),
        (Some(from), Some(to)) => format!("{from}m to {to}m"),
        (from, None) => format!("{}m and more", from.copied().unwrap_or_default()),
    }
}

/// The codes and the text of a reply, or the text of trouble, with `#` for each word that has a digit or an `@` in it:
/// hosts write times, addresses and numbers of their own into what they say.
fn common_reply(outcome: &Outcome) -> String {
    let (codes, text) = match &outcome.cause {
        Cause::Reply(reply) => {
            let enhanced = reply.enhanced.map(|code| format!(" {code}")).unwrap_or_default();
            (format!("{}{enhanced} ", reply.code), reply.text.as_ref())
        }
        Cause::Trouble(trouble) => (String::new(), trouble.text.as_str()),
    };
    let own = |word: &str| word.contains(|letter: char| letter.is_numeric() || letter == '@');
    let mut words: Vec<&str> = text.split_whitespace().map(|word| if own(word) { "#" } else { word }).collect();
    words.dedup();
    let text = words.join(" ");
    format!("{codes}{text}").trim_end().chars().take(REPLY_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use mailtier_schedule::{GroupLimits, Provider};
    use mailtier_store::Held;
    use mailtier_types::{EnhancedCode, MessageId, RemoteHost, Reply, ShardId, Stage, TenantId, Trouble, TroubleKind};

    use super::*;
    use crate::stored::example;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn outcome(cause: Cause) -> Outcome {
        Outcome {
            remote: Some(RemoteHost { name: "one.mx.big.example".into(), address: None }),
            ..Outcome::new(Stage::Rcpt, cause, NOW)
        }
    }

    fn row(age: Duration, last: Option<&Outcome>) -> StoredDelivery {
        let message = MessageId::from_i64(MessageId::first_at(NOW.before(age))).unwrap();
        StoredDelivery {
            id: message.delivery(0),
            message,
            shard: ShardId::new(9),
            tenant: TenantId(7),
            expires_at: NOW,
            sender: "\"s@x\"@a.example".into(),
            recipients: vec!["x@b.example".into(), "y@b.example".into()],
            attempts: u16::from(last.is_some()),
            last_outcome: last.cloned().map(mailtier_api::encode_outcome).unwrap_or_default(),
            ..example()
        }
    }

    fn counted(by: GroupBy, rows: &[StoredDelivery]) -> Vec<Group> {
        let providers = vec![Provider {
            name: "big".into(),
            exchangers: vec!["mx.big.example".into()],
            limits: GroupLimits::default(),
        }];
        let mut tally = Tally::new(by, NOW, Arc::new(Rules { providers, ..Rules::plain(1) }));
        rows.iter().for_each(|row| tally.count(row));
        let mut groups = tally.finish();
        groups.sort_by(|one, other| one.key.cmp(&other.key));
        groups
    }

    #[test]
    fn a_group_has_what_its_deliveries_have_in_common() {
        let last = outcome(Cause::Reply(Reply::received(451, None, "later".into())));
        let (fresh, deferred) = (row(Duration::from_secs(60), None), row(Duration::from_secs(3600), Some(&last)));
        let null = StoredDelivery { sender: String::new(), ..fresh.clone() };
        let rows = [fresh, deferred, null];
        let cases: &[(GroupBy, &[&str])] = &[
            (GroupBy::Nothing, &[""]),
            (GroupBy::Destination, &["b.example"]),
            (GroupBy::RecipientDomain, &["b.example"]),
            (GroupBy::Tenant, &["7"]),
            (GroupBy::Sender, &["\"s@x\"@a.example", "<>"]),
            (GroupBy::SenderDomain, &["<>", "a.example"]),
            (GroupBy::Provider, &["", "big"]),
            (GroupBy::State, &["deferred", "waiting"]),
            (GroupBy::Reply, &["", "451 later"]),
            (GroupBy::Age, &["40m to 80m", "under 5m"]),
            (GroupBy::Shard, &["9"]),
        ];
        for (by, expected) in cases {
            let keys: Vec<String> = counted(*by, &rows).into_iter().map(|group| group.key).collect();
            assert_eq!(keys, *expected, "{by:?}");
        }
        let all = counted(GroupBy::Nothing, &rows).remove(0);
        assert_eq!((all.deliveries, all.recipients, all.octets), (3, 6, 3000));
        assert_eq!(all.oldest, rows[1].message.made_at());
        assert_eq!(all.by_age, [4, 0, 0, 0, 2, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn what_is_held_is_neither_waiting_nor_deferred() {
        let last = outcome(Cause::Reply(Reply::received(451, None, "later".into())));
        let held = Some(Held { since: NOW, operator: "alice".into(), reason: String::new() });
        let rows =
            [None, Some(&last)].map(|last| StoredDelivery { held: held.clone(), ..row(Duration::from_secs(60), last) });
        let groups = counted(GroupBy::State, &rows);
        assert_eq!((groups.len(), groups[0].key.as_str(), groups[0].deliveries), (1, "held", 2));
    }

    #[test]
    fn what_cannot_be_read_is_counted_all_the_same() {
        let damaged = Bytes::from_static(&[0xff]);
        let row = StoredDelivery { options: damaged.clone(), last_outcome: damaged, ..row(Duration::ZERO, None) };
        for by in [GroupBy::Reply, GroupBy::Provider] {
            let group = counted(by, std::slice::from_ref(&row)).remove(0);
            assert_eq!((group.key.as_str(), group.deliveries, group.octets), ("", 1, 0));
        }
    }

    #[test]
    fn replies_that_differ_by_numbers_are_one_group() {
        let reply = |code, enhanced, text: &str| {
            common_reply(&outcome(Cause::Reply(Reply::received(code, enhanced, text.to_owned()))))
        };
        let greylisted = Some(EnhancedCode::new(4, 7, 1));
        assert_eq!(reply(450, greylisted, "<x@b.example>: try again in 299 s"), "450 4.7.1 # try again in # s");
        assert_eq!(reply(421, None, "[192.0.2.1] 00f4 :: too\nmany"), "421 # :: too many");
        assert_eq!(reply(421, None, ""), "421");
        assert_eq!(reply(450, None, &"ä ".repeat(500)).chars().count(), 5, "the same word again tells nothing more");
        assert_eq!(reply(450, None, &"ä".repeat(500)).chars().count(), 120);
        let trouble = Trouble { kind: TroubleKind::Connect, text: "connecting to 192.0.2.1: refused".into() };
        assert_eq!(common_reply(&outcome(Cause::Trouble(trouble))), "connecting to # refused");
    }

    #[test]
    fn ages_have_words() {
        assert_eq!(
            [0, 1, 8, 9].map(age),
            ["under 5m", "5m to 10m", "640m to 1280m", "1280m and more"].map(str::to_owned)
        );
    }
}
