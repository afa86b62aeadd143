//! Delivery status notifications (RFC 3464) as new messages of this system. Not responsible for their text: that is
//! `mailtier_message::dsn`.

use bytes::Bytes;
use mailtier_api::submit::Submission;
use mailtier_message::dsn::{Action, DsnFacts, DsnGroup, write};
use mailtier_store::NewMessage;
use mailtier_types::{
    BodyEncoding, Envelope, EnvelopeId, Mailbox, MessageId, Options, ReversePath, TenantId, Timestamp,
};

use crate::accept::{AcceptLimits, Lifetimes, accepted_detail, new_message};
use crate::conductor::Committed;

/// Octets of the original's header section that are returned.
pub(super) const RETURNED_HEADER_BYTES: usize = 16 << 10;
/// A larger message is not returned whole, though its sender asked for that (Postfix's `bounce_size_limit`).
pub(super) const RETURNED_MESSAGE_BYTES: u64 = 50_000;

/// Writes notifications.
#[derive(Debug, Clone)]
pub(crate) struct BounceWriter {
    hostname: String,
    lifetimes: Lifetimes,
}

/// What one notification says.
pub(super) struct BounceFacts<'a> {
    /// Its own id.
    pub(super) id: MessageId,
    /// The original's sender.
    pub(super) to: Mailbox,
    /// The original.
    pub(super) about: MessageId,
    /// Whose mail it is.
    pub(super) tenant: TenantId,
    /// Of the original.
    pub(super) options: &'a Options,
    /// The original's header section.
    pub(super) headers: Bytes,
    /// What has happened.
    pub(super) action: Action,
    /// `headers` is all of the original.
    pub(super) is_whole: bool,
    /// Whom it is about, and why.
    pub(super) failures: &'a [DsnGroup],
    /// The time.
    pub(super) now: Timestamp,
}

impl BounceWriter {
    pub(crate) const fn new(hostname: String, limits: AcceptLimits) -> Self {
        let lifetimes = Lifetimes { ordinary: limits.lifetime, notification: limits.bounce_lifetime };
        Self { hostname, lifetimes }
    }

    /// How long messages are tried.
    pub(crate) const fn lifetimes(&self) -> Lifetimes {
        self.lifetimes
    }

    /// The rows of a notification, and what is scheduled once they are committed.
    pub(super) fn write(&self, facts: BounceFacts<'_>) -> (NewMessage, Vec<Committed>) {
        let dsn = write(&DsnFacts {
            reporting_mta: &self.hostname,
            from_domain: &self.hostname,
            message: facts.id,
            now: facts.now,
            action: facts.action,
            is_whole: facts.is_whole,
            envelope_id: facts.options.envelope_id.as_ref().map(EnvelopeId::as_str),
            requests: &facts.options.requests,
            to: &facts.to,
            about: facts.about,
            arrival: facts.options.received_at,
            original_headers: &facts.headers,
            failures: facts.failures,
        });
        let options = Options {
            eight_bit: dsn.eight_bit,
            smtputf8: dsn.smtputf8,
            traceparent: facts.options.traceparent.clone(),
            received_at: facts.now,
            protocol: "local".to_owned(),
            size_bytes: dsn.content.len() as u64,
            encoding: BodyEncoding::Identity,
            ..Options::default()
        };
        let envelope = Envelope {
            sender: ReversePath::Null,
            recipients: vec![facts.to],
            tenant: facts.tenant,
            priority: 0,
            options,
        };
        let detail = accepted_detail(&envelope.options, Some(facts.about));
        let submission = Submission {
            id: facts.id,
            resubmission: false,
            envelope,
            body: dsn.content.into(),
            parts: 0,
            screened: false,
            report: false,
        };
        let (mut message, committed) = new_message(submission, self.lifetimes);
        message.accepted.detail = detail;
        (message, committed)
    }
}
