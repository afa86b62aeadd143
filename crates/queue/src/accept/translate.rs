//! A submission as rows and as what is scheduled. Pure.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mailtier_api::submit::Submission;
use mailtier_schedule::{Entry, PoolClass};
use mailtier_store::{NewDelivery, NewEvent, NewMessage};
use mailtier_types::{
    ByMode, Envelope, EventDetail, EventKind, Mailbox, MessageId, NotAHost, Options, RecipientRequest, ReversePath,
    ShardId, Timestamp,
};

use crate::conductor::{Committed, Content};
use crate::stored::last_outcome;

/// How long messages live.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lifetimes {
    /// With a sender.
    pub(crate) ordinary: Duration,
    /// Notifications.
    pub(crate) notification: Duration,
}

/// A message's rows, and what is scheduled once they are committed. Recipients of one domain become one delivery, in the
/// order in which the domains first appear, so that the same submission always makes the same rows.
pub(crate) fn new_message(submission: Submission, lifetimes: Lifetimes) -> (NewMessage, Vec<Committed>) {
    let Submission { id, resubmission, envelope, body, parts, .. } = submission;
    let detail = accepted_detail(&envelope.options, None);
    let lifetime = if envelope.sender.is_null() { lifetimes.notification } else { lifetimes.ordinary };
    let all: Vec<String> = envelope.recipients.iter().map(|recipient| recipient.as_str().to_owned()).collect();
    let options = &envelope.options;
    let released = options.release_at.unwrap_or_else(|| id.made_at()).max(id.made_at());
    let limit = options.deliver_by.filter(|by| by.mode == ByMode::Return).map(|by| by.at);
    let expires_at = released.after(lifetime).min(limit.unwrap_or(released.after(lifetime)));
    let hold_until = options.release_at.filter(|at| *at > id.made_at());
    let (deliveries, committed) = deliveries(id, &envelope, parts, (hold_until, expires_at), &body);
    let accepted = NewEvent {
        at: id.made_at(),
        kind: EventKind::MessageAccepted,
        message: id,
        delivery: None,
        tenant: envelope.tenant,
        attempt: 0,
        sender: envelope.sender.as_str().to_owned(),
        recipients: all,
        detail,
    };
    (NewMessage { id, resubmission, deliveries, body: Some((parts, body)), accepted, hold_until }, committed)
}

fn deliveries(
    id: MessageId,
    envelope: &Envelope,
    parts: u32,
    (hold_until, expires_at): (Option<Timestamp>, Timestamp),
    body: &Bytes,
) -> (Vec<NewDelivery>, Vec<Committed>) {
    let groups = group(&envelope.recipients);
    let fanout = u16::try_from(groups.len()).unwrap_or(u16::MAX);
    let requests = &envelope.options.requests;
    // RFC 2852 §4: a time of the sender's own.
    let warn_at = envelope.options.deliver_by.filter(|by| by.mode == ByMode::Notify).map(|by| by.at);
    let options =
        Options { fanout, chunks: parts + 1, tls: String::new(), requests: Vec::new(), ..envelope.options.clone() };
    let of_all = mailtier_api::encode_options(options.clone());
    let inline = (parts == 0).then(|| vec![body.clone()]);
    groups
        .into_iter()
        .zip(0_u16..)
        .map(|((destination, recipients), ordinal)| {
            let (delivery, shard) = (id.delivery(ordinal), ShardId::of(destination));
            let (encoded, reports_success) = options_of(&recipients, requests, (&options, &of_all));
            let row = NewDelivery {
                id: delivery,
                shard,
                tenant: envelope.tenant,
                priority: envelope.priority,
                expires_at,
                destination: destination.to_owned(),
                sender: envelope.sender.as_str().to_owned(),
                recipients: recipients.iter().map(|recipient| recipient.as_str().to_owned()).collect(),
                options: encoded.clone(),
            };
            let content = Content {
                message: id,
                fanout,
                sender: envelope.sender.clone(),
                recipients,
                options: encoded,
                traceparent: options.traceparent.clone(),
                received_at: options.received_at,
                reports_success,
                body: inline.clone(),
                hosts: Vec::new(),
                was_held: false,
                last: None,
            };
            let committed = Committed {
                entry: entry_of(&row, hold_until.unwrap_or_else(|| id.made_at()), warn_at),
                hold_until,
                destination: destination.to_owned(),
                sender: envelope.sender.clone(),
                content: Some(Arc::new(content)),
                room: None,
            };
            (row, committed)
        })
        .unzip()
}

/// The options of one delivery as they are stored, and whether its success is reported. What was asked for a recipient stays
/// with him: were each delivery to carry it for all, many domains would cost the square of their number.
fn options_of(
    recipients: &[Mailbox],
    requests: &[RecipientRequest],
    (common, encoded): (&Options, &Bytes),
) -> (Bytes, bool) {
    let wanted = requests.iter().filter(|request| recipients.contains(&request.recipient));
    let requests: Vec<RecipientRequest> = wanted.cloned().collect();
    if requests.is_empty() {
        return (encoded.clone(), reports_success(common));
    }
    let options = Options { requests, ..common.clone() };
    let reports = reports_success(&options);
    (mailtier_api::encode_options(options), reports)
}

/// What the schedule is told of a delivery that is accepted.
pub(super) const fn entry_of(row: &NewDelivery, due: Timestamp, warn_at: Option<Timestamp>) -> Entry {
    let NewDelivery { id, shard, tenant, priority, expires_at, .. } = *row;
    Entry { id, shard, tenant, class: PoolClass::DEFAULT, priority, attempts: 0, due, expires_at, warn_at }
}

/// The recipients by domain, in the order in which the domains first appear.
pub(crate) fn group(recipients: &[Mailbox]) -> Vec<(&str, Vec<Mailbox>)> {
    let mut groups: Vec<(&str, Vec<Mailbox>)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for recipient in recipients {
        let domain = recipient.domain_str();
        let place = *places.entry(domain).or_insert_with(|| {
            groups.push((domain, Vec::new()));
            groups.len() - 1
        });
        if let Some((_, members)) = groups.get_mut(place) {
            members.push(recipient.clone());
        }
    }
    groups
}

/// Whether a sender wants to hear of success.
fn reports_success(options: &Options) -> bool {
    let asked = |request: &RecipientRequest| request.notify.is_some_and(|notify| notify.success);
    options.requests.iter().any(asked) || options.deliver_by.is_some_and(|by| by.trace)
}

/// The detail of an accepted event.
pub(crate) fn accepted_detail(options: &Options, about: Option<MessageId>) -> Bytes {
    let detail = EventDetail { options: Some(options.clone()), dsn_about: about, ..EventDetail::default() };
    mailtier_api::encode_detail(detail)
}

/// What a dispatch needs of a stored delivery with these options.
pub(crate) fn content_of(
    stored: &mailtier_store::StoredDelivery,
    options: Options,
    body: Option<Vec<Bytes>>,
) -> Result<Content, mailtier_api::ApiError> {
    let invalid = |error: mailtier_types::AddressError| mailtier_api::ApiError::Invalid(error.to_string());
    let recipients = stored.recipients.iter().map(|text| Mailbox::parse(text)).collect::<Result<_, _>>();
    let not_a_host = |error: NotAHost| mailtier_api::ApiError::Invalid(error.to_string());
    Ok(Content {
        message: stored.message,
        fanout: options.fanout,
        sender: ReversePath::parse(&stored.sender).map_err(invalid)?,
        recipients: recipients.map_err(invalid)?,
        options: stored.options.clone(),
        reports_success: reports_success(&options),
        traceparent: options.traceparent,
        received_at: options.received_at,
        body,
        was_held: stored.was_held,
        // Only what named its address says something of it.
        last: last_outcome(stored).filter(|last| last.egress.is_some()).map(Box::new),
        hosts: stored.hosts.iter().map(|text| text.parse()).collect::<Result<_, _>>().map_err(not_a_host)?,
    })
}

#[cfg(test)]
mod tests {
    use mailtier_types::{IdSource, NodeNumber, Notify, TenantId};

    use super::*;

    const LIFETIMES: Lifetimes =
        Lifetimes { ordinary: Duration::from_secs(500), notification: Duration::from_secs(50) };

    fn submission(sender: &str, recipients: &[&str]) -> Submission {
        let now = Timestamp::from_secs(1_800_000_000);
        Submission {
            id: IdSource::new(NodeNumber::new(3).unwrap()).take(10, now),
            resubmission: false,
            envelope: Envelope {
                sender: ReversePath::parse(sender).unwrap(),
                recipients: recipients.iter().map(|text| Mailbox::parse(text).unwrap()).collect(),
                tenant: TenantId(0),
                priority: 0,
                options: Options { received_at: now, ..Options::default() },
            },
            body: Bytes::from_static(b"Subject: x\r\n\r\ny\r\n"),
            parts: 0,
            screened: false,
            report: false,
        }
    }

    #[test]
    fn recipients_of_one_domain_travel_together() {
        let recipients = ["a@one.example", "b@two.example", "c@ONE.example", "d@two.example"];
        let (message, committed) = new_message(submission("s@x.example", &recipients), LIFETIMES);
        let rows: Vec<_> =
            message.deliveries.iter().map(|row| (row.destination.as_str(), row.recipients.join(" "))).collect();
        assert_eq!(
            rows,
            [
                ("one.example", "a@one.example c@one.example".to_owned()),
                ("two.example", "b@two.example d@two.example".to_owned())
            ]
        );
        assert_eq!(message.deliveries[1].id, message.id.delivery(1));
        assert_eq!(committed.len(), 2);
        let options = mailtier_api::decode_options(&message.deliveries[0].options).unwrap();
        assert_eq!((options.fanout, options.chunks), (2, 1));
        assert_eq!(message.accepted.recipients.len(), 4);
    }

    #[test]
    fn what_is_asked_for_a_recipient_stays_with_its_delivery() {
        let request = |recipient: &str, success| RecipientRequest {
            recipient: Mailbox::parse(recipient).unwrap(),
            notify: Some(Notify { success, failure: true, delay: false }),
            original: None,
        };
        let mut submission = submission("s@x.example", &["a@one.example", "b@two.example", "c@three.example"]);
        submission.envelope.options.requests = vec![request("a@one.example", true), request("b@two.example", false)];
        let (message, committed) = new_message(submission, LIFETIMES);
        let of = |at: usize| mailtier_api::decode_options(&message.deliveries[at].options).unwrap().requests;
        assert_eq!(of(0), [request("a@one.example", true)]);
        assert_eq!(of(1), [request("b@two.example", false)]);
        assert_eq!(of(2), []);
        let reports = |at: usize| committed[at].content.as_ref().unwrap().reports_success;
        assert_eq!([reports(0), reports(1), reports(2)], [true, false, false]);
    }

    #[test]
    fn the_same_submission_makes_the_same_rows() {
        let make = || new_message(submission("s@x.example", &["a@one.example", "b@two.example"]), LIFETIMES).0;
        assert_eq!(make(), make());
    }

    #[test]
    fn notifications_have_a_lifetime_of_their_own() {
        let expiry = |sender| {
            let (message, _) = new_message(submission(sender, &["a@one.example"]), LIFETIMES);
            message.deliveries[0].expires_at.since(message.id.made_at()).as_secs()
        };
        assert_eq!((expiry("s@x.example"), expiry("")), (500, 50));
    }
}
