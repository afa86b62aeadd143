//! Recipients that are on a suppression list when their message is accepted, where they are to fail and not to be refused:
//! they fail in the transaction of the acceptance, with an event and a notification as whatever else fails. Pure. Not
//! responsible for finding them.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use mailtier_message::dsn::{Action, DsnGroup};
use mailtier_store::{AsidePlan, NewDelivery, NewEvent, NewMessage};
use mailtier_telemetry::Meters;
use mailtier_types::{
    Cause, DeliveryId, EventDetail, EventKind, Mailbox, MessageId, Options, Outcome, ReversePath, Stage, Timestamp,
    Trouble, TroubleKind,
};

use super::bounce::BounceFacts;
use super::line::Line;
use super::measures;
use super::plan::Policy;
use super::settler::returned;
use crate::conductor::Committed;

/// Why recipients are suppressed, by their addresses in lower case.
pub(crate) type Reasons = HashMap<String, String>;

/// A message of which some recipients are suppressed.
#[derive(Debug)]
pub(crate) struct Suppressed<'a> {
    /// Its rows.
    pub(crate) message: &'a NewMessage,
    /// Whom it does not go to, and why.
    pub(crate) reasons: &'a Reasons,
    /// The beginning of its content, as it is stored.
    pub(crate) first_chunk: &'a Bytes,
    /// For a notification.
    pub(crate) id: MessageId,
    /// The time.
    pub(crate) now: Timestamp,
}

/// What is written of such a message, and what follows.
#[derive(Debug)]
pub(crate) struct Refused {
    /// What is written.
    pub(crate) plan: AsidePlan,
    /// Deliveries that go on as they were read, and whether to all their recipients.
    kept: HashMap<DeliveryId, bool>,
    /// The notification, to be scheduled.
    notification: Vec<Committed>,
    lines: Vec<Line>,
}

impl Suppressed<'_> {
    /// What is written.
    pub(crate) fn refuse(&self, policy: &Policy) -> Refused {
        let options = self.options();
        let mut message = self.message.clone();
        let (mut events, mut lines, mut groups) = (Vec::new(), Vec::new(), Vec::new());
        let mut kept = HashMap::new();
        for delivery in &mut message.deliveries {
            let failing = self.take_failing(delivery);
            for recipient in &failing {
                let outcome = self.outcome(recipient);
                add_group(&mut groups, recipient, &outcome, &options);
                lines.push(self.line(recipient, &outcome, policy, &options));
                events.push((delivery.id, recipient.clone(), outcome));
            }
            kept.insert(delivery.id, failing.is_empty());
        }
        message.deliveries.retain(|delivery| !delivery.recipients.is_empty());
        let left: HashSet<DeliveryId> = message.deliveries.iter().map(|delivery| delivery.id).collect();
        kept.retain(|id, _| left.contains(id));
        if left.is_empty() {
            message.body = None;
        }
        let (dsn, notification) = self.notification(policy, &options, &groups).unzip();
        let events = events
            .into_iter()
            .map(|(id, recipient, outcome)| self.event(id, recipient, outcome, policy, dsn.is_some()));
        let plan = AsidePlan {
            events: events.collect(),
            messages: std::iter::once(message).chain(dsn).collect(),
            suppressions: Vec::new(),
        };
        Refused { plan, kept, notification: notification.unwrap_or_default(), lines }
    }

    /// What the sender asked for; of an acceptance that cannot be read nothing is.
    fn options(&self) -> Options {
        let detail = mailtier_api::decode_detail(&self.message.accepted.detail).ok();
        detail.and_then(|detail| detail.options).unwrap_or_default()
    }

    /// Takes out of a delivery whom it does not go to.
    fn take_failing(&self, delivery: &mut NewDelivery) -> Vec<String> {
        let is_suppressed = |recipient: &String| self.reasons.contains_key(&recipient.to_lowercase());
        let (failing, going): (Vec<String>, Vec<String>) =
            std::mem::take(&mut delivery.recipients).into_iter().partition(is_suppressed);
        delivery.recipients = going;
        failing
    }

    fn outcome(&self, recipient: &str) -> Outcome {
        let reason = self.reasons.get(&recipient.to_lowercase()).map(String::as_str).unwrap_or_default();
        let text = match reason {
            "" => "the recipient is on the sender's suppression list".to_owned(),
            reason => format!("the recipient is on the sender's suppression list: {reason}"),
        };
        // Of no attempt; the kind of trouble says so.
        Outcome::new(Stage::Resolve, Cause::Trouble(Trouble { kind: TroubleKind::Administrative, text }), self.now)
    }

    fn event(&self, id: DeliveryId, recipient: String, outcome: Outcome, policy: &Policy, is_told: bool) -> NewEvent {
        let class = policy.class_of(&outcome);
        let dsn = is_told.then_some(self.id);
        let detail = EventDetail { outcome: Some(outcome), class, dsn, ..EventDetail::default() };
        NewEvent {
            at: self.now,
            kind: EventKind::RecipientFailed,
            delivery: Some(id),
            recipients: vec![recipient],
            detail: mailtier_api::encode_detail(detail),
            ..self.message.accepted.clone()
        }
    }

    fn line(&self, recipient: &str, outcome: &Outcome, policy: &Policy, options: &Options) -> Line {
        Line {
            message: self.message.id,
            attempt: 0,
            sender: self.message.accepted.sender.clone(),
            kind: EventKind::RecipientFailed,
            recipients: vec![recipient.to_owned()],
            outcome: Some(outcome.clone()),
            class: policy.class_of(outcome),
            operator: None,
            received_at: options.received_at,
            traceparent: options.traceparent.clone(),
        }
    }

    fn notification(
        &self,
        policy: &Policy,
        options: &Options,
        failures: &[DsnGroup],
    ) -> Option<(NewMessage, Vec<Committed>)> {
        let ReversePath::Mailbox(to) = ReversePath::parse(&self.message.accepted.sender).ok()? else { return None };
        if failures.is_empty() {
            return None;
        }
        let returned = returned(self.first_chunk, options);
        Some(policy.bounces.write(BounceFacts {
            id: self.id,
            to,
            about: self.message.id,
            tenant: self.message.accepted.tenant,
            options,
            headers: returned.octets,
            action: Action::Failed,
            is_whole: returned.is_whole,
            failures,
            now: self.now,
        }))
    }
}

impl Refused {
    /// Tells of what is durable, and says what is to be scheduled of what was to be.
    pub(crate) fn conclude(self, committed: Vec<Committed>, policy: &Policy, meters: &Meters) -> Vec<Committed> {
        let Self { plan, kept, notification, lines } = self;
        meters.queue_notifications.add(plan.messages.len() as u64 - 1, &[]);
        measures::count(&lines, &policy.providers, meters);
        lines.iter().for_each(Line::log);
        let going = committed.into_iter().filter_map(|mut one| {
            // Of those that lose some recipients the rest is read again.
            let is_whole = *kept.get(&one.entry.id)?;
            one.content = one.content.filter(|_| is_whole);
            Some(one)
        });
        going.chain(notification).collect()
    }
}

fn add_group(groups: &mut Vec<DsnGroup>, recipient: &str, outcome: &Outcome, options: &Options) {
    let recipients: Vec<Mailbox> =
        Mailbox::parse(recipient).ok().filter(|one| options.notify(one).failure).into_iter().collect();
    if !recipients.is_empty() {
        groups.push(DsnGroup { recipients, outcome: Some(outcome.clone()), expired: false, deadline: false });
    }
}
