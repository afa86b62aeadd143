//! What is queued and what happened to it.

use bytes::Bytes;
use mailtier_types::{Cause, EventKind, Mailbox, Options, Transcript, TranscriptLine};

use super::shape::shape;
use super::{At, TlsReport, millis};
use crate::admin::{DeliveryView, ListReply, ShowReply, TraceReply};
use crate::audit::{self, AuditReply};
use crate::change::ChangeAnswer;
use crate::suspensions::Suspension;

shape! {
    answer
    /// A delivery: one message to one destination.
    Delivery {
        /// The message's id.
        message: String,
        /// The delivery's id.
        delivery: String,
        /// Where it is scheduled.
        shard: u8,
        /// Whose it is.
        tenant: i32,
        /// What limits apply to: the recipients' domain.
        destination: String,
        /// The reverse-path; empty for notifications.
        sender: String,
        /// Still to be delivered.
        recipients: Vec<String>,
        /// When it was committed.
        accepted_at: At,
        /// When it is given up.
        expires_at: At,
        /// Attempts that ended without settling all recipients.
        attempts: u16,
        /// Not before; null: due since it was accepted.
        next_attempt_at: Option<At>,
        /// What stood in the way last.
        last_outcome: Option<Outcome>,
        /// Of the message.
        size_bytes: u64,
        /// Higher goes first, within a tenant's mail to a destination.
        priority: i16,
        /// What must be resumed before it is attempted, as far as that is known of a delivery: a destination, a tenant,
        /// everything.
        suspended: Option<String>,
        /// That it is held; null where it is not.
        held: Option<Held>,
        /// Where an operator sends its next attempts, in order; empty: its own way.
        hosts: Vec<String>,
        /// What of it is stored and cannot be read, and why: it is missing above, and only a change that names its
        /// message changes it.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        unreadable: Vec<String>,
    }

    answer
    /// What an attempt meant for some recipients.
    Outcome {
        /// When.
        at: At,
        /// How far the conversation had come: resolve, connect, banner, ehlo, starttls, mail, rcpt, data, final.
        stage: String,
        /// The remote host.
        host: Option<String>,
        /// Its address.
        address: Option<String>,
        /// Version and cipher, where there was TLS.
        tls: Option<String>,
        /// Milliseconds in a worker's hands before a connection was asked for (Postfix's delay b).
        waiting_ms: u64,
        /// Milliseconds of finding and opening the connection (delay c).
        connecting_ms: u64,
        /// Milliseconds of the transaction (delay d).
        sending_ms: u64,
        /// The egress pool, where some are configured.
        pool: Option<String>,
        /// Our address, where the pool has some.
        source: Option<String>,
        /// The enhanced status code (RFC 3463).
        status: String,
        /// What the remote host replied, where that decided.
        reply: Option<String>,
        /// What went wrong, where no reply decided.
        trouble: Option<String>,
        /// What was said in the attempt, where that is kept (`outbound.transcripts`): with one of its outcomes.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        transcript: Vec<Said>,
    }

    answer
    /// A line of what was said in an attempt.
    Said {
        /// Milliseconds since the connection, or the transaction on one that was open, began.
        at_ms: u64,
        /// client, server, or note: something that happened.
        by: String,
        /// What.
        text: String,
    }

    answer
    /// Something that happened to a message.
    Event {
        /// When.
        at: At,
        /// accepted, deferred, delivered, failed, expired, removed, held, released, rerouted, hastened,
        /// bounced, complained, answered, tls_reported.
        kind: String,
        /// The message's id.
        message: String,
        /// The reverse-path; empty for notifications.
        sender: String,
        /// Whom it was about.
        recipients: Vec<String>,
        /// The delivery's id.
        #[serde(skip_serializing_if = "Option::is_none")]
        delivery: Option<String>,
        /// Which attempt, counted from 1.
        #[serde(skip_serializing_if = "Option::is_none")]
        attempt: Option<u16>,
        /// What the attempt meant.
        #[serde(skip_serializing_if = "Option::is_none")]
        outcome: Option<Outcome>,
        /// Why it failed: a bounce class of docs/classification.md.
        #[serde(skip_serializing_if = "Option::is_none")]
        class: Option<String>,
        /// When it is tried again.
        #[serde(skip_serializing_if = "Option::is_none")]
        next_attempt_at: Option<At>,
        /// Deferred: until when the address that it left from, which is blocked there, is not used there.
        #[serde(skip_serializing_if = "Option::is_none")]
        source_avoided_until: Option<At>,
        /// The message that told the sender.
        #[serde(skip_serializing_if = "Option::is_none")]
        notification: Option<String>,
        /// The message that this one tells of.
        #[serde(skip_serializing_if = "Option::is_none")]
        notification_about: Option<String>,
        /// Bounced, complained, answered, tls_reported: the message that said so.
        #[serde(skip_serializing_if = "Option::is_none")]
        report: Option<String>,
        /// Tls_reported: what it says of one policy of one domain.
        #[serde(skip_serializing_if = "Option::is_none")]
        tls_report: Option<TlsReport>,
        /// Whose token it was, and who used it: `ci-bot (alice)`.
        #[serde(skip_serializing_if = "Option::is_none")]
        operator: Option<String>,
        /// Why, as far as the operator said it; what came back where it is neither bounce nor delivery.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// Rerouted: where to; empty: its own way.
        #[serde(skip_serializing_if = "Option::is_none")]
        hosts: Option<Vec<String>>,
        /// Of the message.
        #[serde(skip_serializing_if = "Option::is_none")]
        size_bytes: Option<u64>,
        /// The client's address.
        #[serde(skip_serializing_if = "Option::is_none")]
        client: Option<String>,
        /// How it came in: SMTP, ESMTPS, ESMTPSA …
        #[serde(skip_serializing_if = "Option::is_none")]
        proto: Option<String>,
        /// Version and cipher of the client's session.
        #[serde(skip_serializing_if = "Option::is_none")]
        tls: Option<String>,
        /// Who was logged in.
        #[serde(skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        /// The field Message-ID.
        #[serde(skip_serializing_if = "Option::is_none")]
        message_id_field: Option<String>,
        /// What of it is stored and cannot be read, and why: it is missing above.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        unreadable: Vec<String>,
    }

    answer
    /// All about one message.
    Message {
        /// What is not settled.
        deliveries: Vec<Delivery>,
        /// What happened, oldest first.
        events: Vec<Event>,
        /// Its header section, while it is stored; what is no UTF-8 in it is replaced.
        headers: Option<String>,
        /// Its content, where that was asked for and is still there; what is no UTF-8 in it is replaced.
        content: Option<String>,
    }

    answer
    /// A page of deliveries.
    Deliveries {
        /// Oldest first.
        deliveries: Vec<Delivery>,
        /// To be given as `after` for the next page; null at the end.
        next: Option<String>,
        /// Deliveries that were looked at.
        looked_at: u64,
    }

    answer
    /// History.
    Events {
        /// Oldest first.
        events: Vec<Event>,
        /// Everything since then was looked at.
        looked_back_to: At,
        /// To be given as `until` to look further back; null at the end.
        next_until: Option<At>,
    }

    answer
    /// A recipient that is in no state, or in two.
    Finding {
        /// The message's id.
        message: String,
        /// Who.
        recipient: String,
        /// Whether it is still queued.
        queued: bool,
        /// Whether it is at its end.
        over: bool,
    }

    answer
    /// What a part of the audit showed.
    Audit {
        /// Messages looked at.
        messages: u64,
        /// Their recipients.
        recipients: u64,
        /// What is wrong.
        findings: Vec<Finding>,
        /// To be given as `after` to go on; null at the end.
        next: Option<String>,
        /// Deliveries that are held and over; in the first part only.
        held_and_over: Vec<String>,
    }

    request
    /// Which deliveries to change, beside what the query says, and how.
    Change {
        /// Those of these messages, at most 1000.
        messages: Option<Vec<String>>,
        /// All that is queued, where nothing else is said: exactly one of both is expected.
        all: Option<bool>,
        /// Where to, in the order in which they are tried: `host`, `host:port`, an IPv4 address or an IPv6 address in
        /// brackets. None: their own way again. For `route` alone.
        hosts: Option<Vec<String>>,
        /// Why, in one line: for the history, and for the senders of what is bounced.
        reason: Option<String>,
        /// Change nothing, and say what would be changed.
        dry_run: Option<bool>,
        /// With `dry_run`: show so many of them, at most 1000.
        show: Option<u32>,
        /// What the call before said is `next`.
        after: Option<String>,
    }

    answer
    /// What a part of a change came to.
    ChangedDeliveries {
        /// Those that were changed, or would be.
        changed: u64,
        /// Those that are meant; the others are so already, or cannot be changed.
        matched: u64,
        /// Those that were looked at.
        looked_at: u64,
        /// To be given as `after` to go on; null at the end.
        next: Option<String>,
        /// The first of those that would be changed.
        first: Vec<Delivery>,
    }

    answer
    /// That a delivery is neither attempted nor given up for its age, until it is released.
    Held {
        /// Since when.
        since: At,
        /// By whom.
        operator: String,
        /// Why; may be empty.
        reason: String,
    }
}

fn texts(mailboxes: &[Mailbox]) -> Vec<String> {
    mailboxes.iter().map(|mailbox| mailbox.as_str().to_owned()).collect()
}

impl Delivery {
    /// A delivery, beside what is suspended.
    #[must_use]
    pub fn new(view: &DeliveryView, suspended: &[Suspension]) -> Self {
        let scope = suspended.iter().map(|suspension| &suspension.scope).find(|scope| scope.holds(view));
        Self {
            message: view.message.to_string(),
            delivery: view.delivery.to_string(),
            shard: view.shard.number(),
            tenant: view.tenant.0,
            destination: view.destination.clone(),
            sender: view.sender.as_str().to_owned(),
            recipients: texts(&view.recipients),
            accepted_at: At(view.accepted_at),
            expires_at: At(view.expires_at),
            attempts: view.attempts,
            next_attempt_at: view.next_attempt_at.map(At),
            last_outcome: view.last_outcome.as_ref().map(Into::into),
            size_bytes: view.size_bytes,
            priority: view.priority,
            suspended: scope.map(ToString::to_string),
            held: view.held.as_ref().map(|held| Held {
                since: At(held.since),
                operator: held.operator.clone(),
                reason: held.reason.clone(),
            }),
            hosts: view.hosts.iter().map(ToString::to_string).collect(),
            unreadable: view.unreadable.clone(),
        }
    }
}

impl From<&mailtier_types::Outcome> for Outcome {
    fn from(outcome: &mailtier_types::Outcome) -> Self {
        let (remote, egress) = (outcome.remote.as_ref(), outcome.egress.as_ref());
        let (reply, trouble) = match &outcome.cause {
            Cause::Reply(reply) => (Some(reply.to_string()), None),
            Cause::Trouble(trouble) => (None, Some(trouble.text.clone())),
        };
        Self {
            at: At(outcome.at),
            stage: outcome.stage.name().to_owned(),
            host: remote.map(|remote| remote.name.clone()),
            address: remote.and_then(|remote| remote.address).map(|address| address.to_string()),
            tls: outcome.tls.clone(),
            waiting_ms: millis(outcome.waiting),
            connecting_ms: millis(outcome.connecting),
            sending_ms: millis(outcome.sending),
            pool: egress.map(|egress| egress.pool.clone()),
            source: egress.and_then(|egress| egress.source).map(|address| address.to_string()),
            status: outcome.status().to_string(),
            reply,
            trouble,
            transcript: outcome.transcript.iter().flat_map(Transcript::lines).map(Into::into).collect(),
        }
    }
}

impl From<TranscriptLine<'_>> for Said {
    fn from(line: TranscriptLine<'_>) -> Self {
        Self { at_ms: millis(line.at), by: line.by.name().to_owned(), text: line.text.to_owned() }
    }
}

impl From<&mailtier_types::Event> for Event {
    fn from(event: &mailtier_types::Event) -> Self {
        let (detail, options) = (&event.detail, event.detail.options.as_ref());
        let fact = |of: fn(&Options) -> &String| options.map(of).filter(|fact| !fact.is_empty()).cloned();
        Self {
            at: At(event.at),
            kind: event.kind.name().to_owned(),
            message: event.message.to_string(),
            sender: event.sender.as_str().to_owned(),
            recipients: texts(&event.recipients),
            delivery: event.delivery.map(|id| id.to_string()),
            attempt: Some(event.attempt).filter(|attempt| *attempt > 0),
            outcome: detail.outcome.as_ref().map(Into::into),
            class: detail.class.map(|class| class.name().to_owned()),
            next_attempt_at: detail.next_attempt_at.map(At),
            source_avoided_until: detail.source_avoided_until.map(At),
            notification: detail.dsn.map(|id| id.to_string()),
            notification_about: detail.dsn_about.map(|id| id.to_string()),
            report: detail.report.map(|id| id.to_string()),
            tls_report: detail.tls_report.as_deref().map(Into::into),
            operator: detail.operator.clone(),
            reason: detail.reason.clone(),
            hosts: (event.kind == EventKind::DeliveryRerouted).then(|| detail.hosts.clone()),
            size_bytes: options.map(|options| options.size_bytes),
            client: options.map(|options| options.client_address.clone()),
            proto: fact(|options| &options.protocol),
            tls: fact(|options| &options.tls),
            user: fact(|options| &options.user),
            message_id_field: options.map(|options| options.header_message_id.clone()),
            unreadable: event.unreadable.clone(),
        }
    }
}

impl Message {
    /// A message, beside what is suspended.
    #[must_use]
    pub fn new(reply: &ShowReply, suspended: &[Suspension]) -> Self {
        let text = |octets: &Bytes| {
            Some(octets).filter(|octets| !octets.is_empty()).map(|octets| String::from_utf8_lossy(octets).into_owned())
        };
        Self {
            deliveries: reply.deliveries.iter().map(|view| Delivery::new(view, suspended)).collect(),
            events: reply.events.iter().map(Into::into).collect(),
            headers: text(&reply.headers),
            content: text(&reply.content),
        }
    }
}

impl From<&TraceReply> for Events {
    fn from(reply: &TraceReply) -> Self {
        Self {
            events: reply.events.iter().map(Into::into).collect(),
            looked_back_to: At(reply.looked_back_to),
            next_until: reply.next_until.map(At),
        }
    }
}

impl From<&audit::Finding> for Finding {
    fn from(finding: &audit::Finding) -> Self {
        let audit::Finding { message, recipient, is_queued } = finding;
        Self { message: message.to_string(), recipient: recipient.clone(), queued: *is_queued, over: *is_queued }
    }
}

impl From<&AuditReply> for Audit {
    fn from(reply: &AuditReply) -> Self {
        Self {
            messages: reply.messages,
            recipients: reply.recipients,
            findings: reply.findings.iter().map(Into::into).collect(),
            next: reply.next.map(|id| id.to_string()),
            held_and_over: reply.held_and_over.iter().map(ToString::to_string).collect(),
        }
    }
}

impl ChangedDeliveries {
    /// An answer, beside what is suspended.
    #[must_use]
    pub fn new(answer: &ChangeAnswer, suspended: &[Suspension]) -> Self {
        let next = mailtier_types::DeliveryId::from_i64(answer.next).ok();
        Self {
            changed: answer.changed,
            matched: answer.matched,
            looked_at: answer.looked_at,
            next: next.map(|id| id.to_string()),
            first: answer.first.iter().map(|view| Delivery::new(view, suspended)).collect(),
        }
    }
}

impl Deliveries {
    /// A page, beside what is suspended.
    #[must_use]
    pub fn new(reply: &ListReply, suspended: &[Suspension]) -> Self {
        let next = mailtier_types::DeliveryId::from_i64(reply.next).ok();
        let (next, looked_at) = (next.map(|id| id.to_string()), reply.looked_at);
        let deliveries = reply.deliveries.iter().map(|view| Delivery::new(view, suspended)).collect();
        Self { deliveries, next, looked_at }
    }
}
