//! Counting what fits a filter, in groups. One call counts a bounded part of the queue; whoever asks adds the parts up
//! ([`Groups`]). Not responsible for how deliveries are found.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;

use mailtier_config::expected;
use mailtier_types::Timestamp;

use crate::admin::AdminClient;
use crate::error::ApiError;
use crate::filter::{Filter, filter};
use crate::wire;

/// Ages in minutes that divide what is counted: up to the first, up to the second … and beyond the last, as in Postfix's
/// qshape.
pub const AGE_LIMITS_MIN: [u64; 9] = [5, 10, 20, 40, 80, 160, 320, 640, 1280];
/// How many ages are told apart.
pub const AGES: usize = AGE_LIMITS_MIN.len() + 1;
/// Groups that are kept while parts are added up.
const GROUPS_KEPT: usize = 100_000;

macro_rules! group_by {
    ($( $(#[$doc:meta])* $variant:ident = $name:literal ; )*) => {
        /// What the deliveries of one group have in common.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub enum GroupBy {
            /// Nothing: all are one group.
            #[default]
            Nothing,
            $( $(#[$doc])* $variant, )*
        }

        impl GroupBy {
            /// All but [`GroupBy::Nothing`].
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Their words.
            pub const WORDS: &'static [&'static str] = &[$($name),*];

            /// Its word; empty for nothing.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { Self::Nothing => "", $( Self::$variant => $name, )* }
            }

            const fn wire(self) -> wire::GroupBy {
                match self { Self::Nothing => wire::GroupBy::Unspecified, $( Self::$variant => wire::GroupBy::$variant, )* }
            }

            fn from_wire(value: i32) -> Result<Self, ApiError> {
                match wire::GroupBy::try_from(value) {
                    Ok(wire::GroupBy::Unspecified) => Ok(Self::Nothing),
                    $( Ok(wire::GroupBy::$variant) => Ok(Self::$variant), )*
                    Err(_) => Err(ApiError::invalid("by", format!("{value} is unknown"))),
                }
            }
        }
    };
}

group_by! {
    /// What limits apply to.
    Destination = "destination";
    /// The domain of the recipients.
    RecipientDomain = "recipient-domain";
    /// By number.
    Tenant = "tenant";
    /// The reverse-path; `<>` for the null one.
    Sender = "sender";
    /// The reverse-path's domain; `<>` for the null one.
    SenderDomain = "sender-domain";
    /// Whose exchanger the last attempt was made at; empty where that is nobody's in the configuration, or not known.
    Provider = "provider";
    /// Waiting, deferred or held.
    State = "state";
    /// What the last attempt was told, or what went wrong, without words that differ from one to the next; empty before
    /// the first.
    Reply = "reply";
    /// How long ago it was accepted.
    Age = "age";
    /// Where it is scheduled.
    Shard = "shard";
}

impl FromStr for GroupBy {
    type Err = ApiError;

    fn from_str(text: &str) -> Result<Self, ApiError> {
        let known = Self::ALL.iter().find(|by| by.name() == text);
        known.copied().ok_or_else(|| ApiError::invalid("by", format!("`{text}`: {}", expected(text, Self::WORDS))))
    }
}

/// Which of the [`AGES`] this is, from 0.
#[must_use]
pub fn age_place(age: Duration) -> usize {
    let minutes = age.as_secs() / 60;
    AGE_LIMITS_MIN.iter().position(|limit| minutes < *limit).unwrap_or(AGE_LIMITS_MIN.len())
}

/// What is counted of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What its deliveries have in common; empty where there is nothing such.
    pub key: String,
    /// How many.
    pub deliveries: u64,
    /// Their recipients, those that are left.
    pub recipients: u64,
    /// Of their messages; one that goes to several destinations counts for each.
    pub octets: u64,
    /// When the oldest was accepted.
    pub oldest: Timestamp,
    /// The recipients by the age of their message; see [`AGE_LIMITS_MIN`].
    pub by_age: [u64; AGES],
}

impl Group {
    /// Nothing counted yet.
    #[must_use]
    pub const fn new(key: String) -> Self {
        Self {
            key,
            deliveries: 0,
            recipients: 0,
            octets: 0,
            oldest: Timestamp::from_micros(i64::MAX),
            by_age: [0; AGES],
        }
    }

    /// Counts another's, too.
    pub fn add(&mut self, other: &Self) {
        self.deliveries = self.deliveries.saturating_add(other.deliveries);
        self.recipients = self.recipients.saturating_add(other.recipients);
        self.octets = self.octets.saturating_add(other.octets);
        self.oldest = self.oldest.min(other.oldest);
        for (count, more) in self.by_age.iter_mut().zip(other.by_age) {
            *count = count.saturating_add(more);
        }
    }
}

/// What is to be counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CountRequest {
    /// Which deliveries.
    pub filter: Filter,
    /// In which groups.
    pub by: GroupBy,
    /// Ids after this one; 0 from the beginning.
    pub after: i64,
    /// Ages are as of then; absent: now.
    pub at: Option<Timestamp>,
}

/// A part of what was to be counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CountReply {
    /// In no order. A group may have more in the parts that follow.
    pub groups: Vec<Group>,
    /// To be passed as `after` for the next part; 0 at the end.
    pub next: i64,
    /// Deliveries that were looked at.
    pub looked_at: u64,
}

/// Parts added up. So many groups are kept; when there are more, the half with the fewest recipients is counted together
/// as others, so that what is told of those that remain may leave out what they had then.
#[derive(Debug)]
pub struct Groups {
    groups: HashMap<String, Group>,
    others: Group,
    kept: usize,
}

impl Default for Groups {
    fn default() -> Self {
        Self { groups: HashMap::new(), others: Group::new(String::new()), kept: GROUPS_KEPT }
    }
}

impl Groups {
    /// Counts a part.
    pub fn add(&mut self, part: Vec<Group>) {
        for group in part {
            match self.groups.get_mut(&group.key) {
                Some(known) => known.add(&group),
                None => drop(self.groups.insert(group.key.clone(), group)),
            }
        }
        if self.groups.len() > self.kept {
            let groups = std::mem::take(&mut self.groups);
            let mut sorted = sorted(groups);
            for group in sorted.drain(self.kept / 2..) {
                self.others.add(&group);
            }
            self.groups = sorted.into_iter().map(|group| (group.key.clone(), group)).collect();
        }
    }

    /// The groups, those with the most recipients first, and what was counted together as others.
    #[must_use]
    pub fn finish(self) -> (Vec<Group>, Option<Group>) {
        (sorted(self.groups), Some(self.others).filter(|others| others.deliveries > 0))
    }
}

fn sorted(groups: HashMap<String, Group>) -> Vec<Group> {
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_unstable_by(|one, other| other.recipients.cmp(&one.recipients).then_with(|| one.key.cmp(&other.key)));
    groups
}

impl AdminClient {
    /// Counts a part.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn count(&self, request: CountRequest) -> Result<CountReply, ApiError> {
        self.asked(self.wire().count_deliveries(wire::CountDeliveriesRequest::from(request))).await?.try_into()
    }
}

impl From<CountRequest> for wire::CountDeliveriesRequest {
    fn from(request: CountRequest) -> Self {
        Self {
            filter: Some((&request.filter).into()),
            by: request.by.wire().into(),
            after: request.after,
            at_us: request.at.map_or(0, Timestamp::as_micros),
        }
    }
}

impl TryFrom<wire::CountDeliveriesRequest> for CountRequest {
    type Error = ApiError;

    fn try_from(request: wire::CountDeliveriesRequest) -> Result<Self, ApiError> {
        Ok(Self {
            filter: filter(request.filter)?,
            by: GroupBy::from_wire(request.by)?,
            after: request.after,
            at: Some(request.at_us).filter(|at| *at != 0).map(Timestamp::from_micros),
        })
    }
}

impl From<CountReply> for wire::CountDeliveriesReply {
    fn from(reply: CountReply) -> Self {
        let view = |group: Group| wire::GroupView {
            key: group.key,
            deliveries: group.deliveries,
            recipients: group.recipients,
            octets: group.octets,
            oldest_us: group.oldest.as_micros(),
            by_age: group.by_age.to_vec(),
        };
        let groups = reply.groups.into_iter().map(view).collect();
        Self { groups, next: reply.next, looked_at: reply.looked_at }
    }
}

impl TryFrom<wire::CountDeliveriesReply> for CountReply {
    type Error = ApiError;

    fn try_from(reply: wire::CountDeliveriesReply) -> Result<Self, ApiError> {
        let group = |view: wire::GroupView| {
            let by_age = <[u64; AGES]>::try_from(view.by_age);
            Ok(Group {
                key: view.key,
                deliveries: view.deliveries,
                recipients: view.recipients,
                octets: view.octets,
                oldest: Timestamp::from_micros(view.oldest_us),
                by_age: by_age.map_err(|ages| {
                    ApiError::invalid("by_age", format!("expected {AGES} ages, and there are {}", ages.len()))
                })?,
            })
        };
        let groups = reply.groups.into_iter().map(group).collect::<Result<_, ApiError>>()?;
        Ok(Self { groups, next: reply.next, looked_at: reply.looked_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(key: &str, recipients: u64, oldest_s: i64) -> Group {
        let mut by_age = [0; AGES];
        by_age[3] = recipients;
        let (key, oldest) = (key.to_owned(), Timestamp::from_secs(oldest_s));
        Group { key, deliveries: 1, recipients, octets: 100, oldest, by_age }
    }

    #[test]
    fn parts_are_added_up() {
        let mut groups = Groups::default();
        groups.add(vec![group("a", 1, 50), group("b", 5, 40)]);
        groups.add(vec![group("a", 7, 30)]);
        let (found, others) = groups.finish();
        let mut by_age = [0; AGES];
        by_age[3] = 8;
        let oldest = Timestamp::from_secs(30);
        let a = Group { key: "a".into(), deliveries: 2, recipients: 8, octets: 200, oldest, by_age };
        assert_eq!(found, [a, group("b", 5, 40)]);
        assert_eq!(others, None);
    }

    #[test]
    fn what_has_no_room_is_counted_together() {
        let mut groups = Groups { kept: 4, ..Groups::default() };
        groups.add((0..5).map(|number| group(&format!("d{number}"), number + 1, 60)).collect());
        groups.add(vec![group("d0", 1, 10)]);
        let (found, others) = groups.finish();
        let told: Vec<_> = found.iter().map(|group| (group.key.as_str(), group.recipients)).collect();
        assert_eq!(told, [("d4", 5), ("d3", 4), ("d0", 1)]);
        assert_eq!(others.map(|others| (others.deliveries, others.recipients)), Some((3, 6)));
    }

    #[test]
    fn ages_are_those_of_qshape() {
        for (minutes, place) in [(0, 0), (4, 0), (5, 1), (10, 2), (39, 3), (40, 4), (1279, 8), (1280, 9), (99_999, 9)] {
            assert_eq!(age_place(Duration::from_secs(minutes * 60)), place, "{minutes}");
        }
    }

    #[test]
    fn what_is_asked_and_told_arrives() {
        for by in GroupBy::ALL.iter().chain(&[GroupBy::Nothing]) {
            let (filter, at) = (Filter { min_attempts: Some(2), ..Filter::default() }, Some(Timestamp::from_secs(9)));
            let request = CountRequest { filter, by: *by, after: 7, at };
            let carried = CountRequest::try_from(wire::CountDeliveriesRequest::from(request.clone()));
            assert_eq!(carried.unwrap(), request);
            assert!(*by == GroupBy::Nothing || by.name().parse::<GroupBy>().unwrap() == *by);
        }
        let reply = CountReply { groups: vec![group("a", 1, 50)], next: 9, looked_at: 12 };
        let mut wire = wire::CountDeliveriesReply::from(reply.clone());
        assert_eq!(CountReply::try_from(wire.clone()).unwrap(), reply);
        wire.groups[0].by_age.pop();
        assert!(CountReply::try_from(wire).unwrap_err().to_string().contains("expected 10 ages, and there are 9"));
        let refused = "destinations".parse::<GroupBy>().unwrap_err().to_string();
        assert!(refused.contains("did you mean `destination`?"), "{refused}");
    }
}
