//! The audit within the admin API: the proof that each accepted recipient is in exactly one state, page by page.

use mailtier_types::{DeliveryId, MessageId, Timestamp};

use crate::admin::AdminClient;
use crate::convert::{delivery_id, message_id};
use crate::error::ApiError;
use crate::wire;

/// What to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditRequest {
    /// Messages accepted from then on.
    pub from: Timestamp,
    /// And before then.
    pub until: Timestamp,
    /// After this message; absent: from the beginning.
    pub after: Option<MessageId>,
}

/// A recipient that is in no state, or in two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Of which message.
    pub message: MessageId,
    /// Who. Text as it is stored: what is wrong may be the address.
    pub recipient: String,
    /// True: over and still queued. False: neither.
    pub is_queued: bool,
}

/// What a part of the audit showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditReply {
    /// Messages looked at.
    pub messages: u64,
    /// Their recipients.
    pub recipients: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Where to go on; absent at the end.
    pub next: Option<MessageId>,
    /// Deliveries that are held and over; in the first part only.
    pub held_and_over: Vec<DeliveryId>,
}

impl AdminClient {
    /// A part of the audit.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn audit(&self, request: AuditRequest) -> Result<AuditReply, ApiError> {
        let request = wire::AuditRequest {
            from_us: request.from.as_micros(),
            until_us: request.until.as_micros(),
            after: request.after.map_or(0, MessageId::as_i64),
        };
        self.asked(self.wire().audit(request)).await?.try_into()
    }
}

fn present(id: i64) -> Result<Option<MessageId>, ApiError> {
    if id == 0 { Ok(None) } else { message_id(id).map(Some) }
}

impl TryFrom<wire::AuditRequest> for AuditRequest {
    type Error = ApiError;

    fn try_from(request: wire::AuditRequest) -> Result<Self, ApiError> {
        let (from, until) = (Timestamp::from_micros(request.from_us), Timestamp::from_micros(request.until_us));
        if until <= from {
            return Err(ApiError::invalid("until", "is not after `from`"));
        }
        Ok(Self { from, until, after: present(request.after)? })
    }
}

impl From<AuditReply> for wire::AuditReply {
    fn from(reply: AuditReply) -> Self {
        let finding = |finding: Finding| wire::AuditFinding {
            message_id: finding.message.as_i64(),
            recipient: finding.recipient,
            queued: finding.is_queued,
        };
        Self {
            messages: reply.messages,
            recipients: reply.recipients,
            findings: reply.findings.into_iter().map(finding).collect(),
            next: reply.next.map_or(0, MessageId::as_i64),
            held_and_over: reply.held_and_over.into_iter().map(DeliveryId::as_i64).collect(),
        }
    }
}

impl TryFrom<wire::AuditReply> for AuditReply {
    type Error = ApiError;

    fn try_from(reply: wire::AuditReply) -> Result<Self, ApiError> {
        let finding = |finding: wire::AuditFinding| {
            Ok(Finding {
                message: message_id(finding.message_id)?,
                recipient: finding.recipient,
                is_queued: finding.queued,
            })
        };
        Ok(Self {
            messages: reply.messages,
            recipients: reply.recipients,
            findings: reply.findings.into_iter().map(finding).collect::<Result<_, ApiError>>()?,
            next: present(reply.next)?,
            held_and_over: reply.held_and_over.into_iter().map(delivery_id).collect::<Result<_, _>>()?,
        })
    }
}
