//! History: what happened to a message and its recipients, in the words every tier uses. Not responsible for storage.

use crate::address::{Mailbox, ReversePath};
use crate::bounce::BounceClass;
use crate::envelope::Options;
use crate::id::{DeliveryId, MessageId, TenantId};
use crate::outcome::Outcome;
use crate::timestamp::Timestamp;
use crate::tls_report::ReceivedTlsReport;

/// What happened. The numbers are part of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum EventKind {
    /// A message was committed.
    MessageAccepted = 1,
    /// An attempt ended with trouble that may pass.
    AttemptDeferred = 2,
    /// A remote took the message for these recipients.
    RecipientDelivered = 3,
    /// These recipients were given up for a permanent failure.
    RecipientFailed = 4,
    /// These recipients were given up for their age.
    RecipientExpired = 5,
    /// An operator took these recipients out.
    RecipientRemoved = 6,
    /// A delivery is kept until it is released.
    DeliveryHeld = 7,
    /// An operator lets a held delivery go on.
    DeliveryReleased = 8,
    /// An operator changed where a delivery's next attempts go.
    DeliveryRerouted = 9,
    /// An operator wants a delivery attempted before its time.
    DeliveryHastened = 10,
    /// Whoever took the message says now that these recipients did not get it.
    BounceReceived = 11,
    /// These recipients did not want the message, and say so.
    ComplaintReceived = 12,
    /// Something came back that is neither, or that says too little.
    AnswerReceived = 13,
    /// Somebody reports what came of TLS with hosts of ours.
    TlsReportReceived = 14,
}

impl EventKind {
    /// The stored number.
    #[must_use]
    pub const fn number(self) -> i16 {
        self as i16
    }

    /// From the stored number.
    #[must_use]
    pub const fn from_number(number: i16) -> Option<Self> {
        match number {
            1 => Some(Self::MessageAccepted),
            2 => Some(Self::AttemptDeferred),
            3 => Some(Self::RecipientDelivered),
            4 => Some(Self::RecipientFailed),
            5 => Some(Self::RecipientExpired),
            6 => Some(Self::RecipientRemoved),
            7 => Some(Self::DeliveryHeld),
            8 => Some(Self::DeliveryReleased),
            9 => Some(Self::DeliveryRerouted),
            10 => Some(Self::DeliveryHastened),
            11 => Some(Self::BounceReceived),
            12 => Some(Self::ComplaintReceived),
            13 => Some(Self::AnswerReceived),
            14 => Some(Self::TlsReportReceived),
            _ => None,
        }
    }

    /// Whether it tells what became of recipients, and not what somebody ordered about their delivery or said after it.
    #[must_use]
    pub const fn is_outcome(self) -> bool {
        match self {
            Self::MessageAccepted
            | Self::AttemptDeferred
            | Self::RecipientDelivered
            | Self::RecipientFailed
            | Self::RecipientExpired
            | Self::RecipientRemoved => true,
            Self::DeliveryHeld | Self::DeliveryReleased | Self::DeliveryRerouted | Self::DeliveryHastened => false,
            Self::BounceReceived | Self::ComplaintReceived | Self::AnswerReceived | Self::TlsReportReceived => false,
        }
    }

    /// The vocabulary's word for it, as in logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MessageAccepted => "accepted",
            Self::AttemptDeferred => "deferred",
            Self::RecipientDelivered => "delivered",
            Self::RecipientFailed => "failed",
            Self::RecipientExpired => "expired",
            Self::RecipientRemoved => "removed",
            Self::DeliveryHeld => "held",
            Self::DeliveryReleased => "released",
            Self::DeliveryRerouted => "rerouted",
            Self::DeliveryHastened => "hastened",
            Self::BounceReceived => "bounced",
            Self::ComplaintReceived => "complained",
            Self::AnswerReceived => "answered",
            Self::TlsReportReceived => "tls_reported",
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: EventKind,
    /// To which message.
    pub message: MessageId,
    /// To which of its deliveries; absent for [`EventKind::MessageAccepted`].
    pub delivery: Option<DeliveryId>,
    /// Whose it is.
    pub tenant: TenantId,
    /// Which attempt, from 1; 0 where none was made.
    pub attempt: u16,
    /// The message's reverse-path.
    pub sender: ReversePath,
    /// Whom it concerns.
    pub recipients: Vec<Mailbox>,
    /// What depends on the kind.
    pub detail: EventDetail,
    /// What of it is stored and cannot be read, and why: it is missing above.
    pub unreadable: Vec<String>,
}

/// The part of an event that depends on its kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventDetail {
    /// Deferred, delivered, failed, expired: the outcome that decided. Bounced: what is said to have decided elsewhere.
    pub outcome: Option<Outcome>,
    /// Deferred, failed, expired, bounced: why, as the rules of that moment had it.
    pub class: Option<BounceClass>,
    /// Deferred: when the next attempt is due.
    pub next_attempt_at: Option<Timestamp>,
    /// Accepted: the facts of reception.
    pub options: Option<Options>,
    /// Accepted: the message that this DSN is about.
    pub dsn_about: Option<MessageId>,
    /// Failed, expired: the DSN that was queued.
    pub dsn: Option<MessageId>,
    /// Where somebody decided it: who.
    pub operator: Option<String>,
    /// Where somebody decided it: why, as far as that was said. Complained, answered: what came back.
    pub reason: Option<String>,
    /// Bounced, complained, answered: the message that said so.
    pub report: Option<MessageId>,
    /// Deferred: until when our address, which is blocked there, is not used there.
    pub source_avoided_until: Option<Timestamp>,
    /// Rerouted: the hosts that are tried from now on; none where it goes its own way again.
    pub hosts: Vec<String>,
    /// Reported of TLS: what it says of one policy of one domain.
    pub tls_report: Option<Box<ReceivedTlsReport>>,
}
