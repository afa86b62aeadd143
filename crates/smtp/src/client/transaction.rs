//! What goes into a transaction and what comes out of it. Not responsible for carrying it out.

use mailtier_types::{ByMode, Cause, EnvelopeId, Mailbox, RecipientRequest, Return, ReversePath, Stage};

use crate::server::ClientAttribute;

/// A message and its recipients at one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// MAIL FROM.
    pub sender: ReversePath,
    /// RCPT TO, in this order.
    pub recipients: Vec<Mailbox>,
    /// The content has octets above 127 and so needs 8BITMIME (RFC 6152).
    pub eight_bit: bool,
    /// The header has octets above 127, or an address does, and so SMTPUTF8 is needed (RFC 6531 §3.2).
    pub smtputf8: bool,
    /// Every line of the content ends with CRLF, the last one too, and neither CR nor LF is anywhere else.
    pub proper_lines: bool,
    /// Octets of the content, before dot-stuffing, for SIZE (RFC 1870).
    pub size_bytes: u64,
    /// What the sender asked for beside delivery.
    pub wishes: Wishes,
}

/// What a sender asked for beside delivery; by default nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// The content is BINARYMIME (RFC 3030 §3): it goes by BDAT, or not at all.
    pub binary: bool,
    /// REQUIRETLS (RFC 8689): only to a server that offers it.
    pub require_tls: bool,
    /// RET (RFC 3461 §4.3).
    pub ret: Option<Return>,
    /// ENVID (RFC 3461 §4.4).
    pub envelope_id: Option<EnvelopeId>,
    /// NOTIFY and ORCPT (RFC 3461 §4.1, §4.2) of the recipients that had any.
    pub requests: Vec<RecipientRequest>,
    /// BY (RFC 2852).
    pub deliver_by: Option<RemainingTime>,
    /// MT-PRIORITY (RFC 6710); 0 is not said.
    pub priority: i8,
    /// Where the message came from, for a remote that asks with XFORWARD; empty where it is not to know.
    pub origin: Vec<ClientAttribute>,
    /// Nothing is delivered: after RCPT the transaction is given up. Recipients that were accepted report
    /// [`Stage::Rcpt`] with the reply.
    pub probe: bool,
}

/// How much time is left for delivery (RFC 2852 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemainingTime {
    /// Seconds; below zero when it is over.
    pub seconds: i64,
    /// What happens then.
    pub mode: ByMode,
    /// Each relay is reported.
    pub trace: bool,
}

impl Transaction {
    /// Whether it can be sent only to a remote that offers SMTPUTF8.
    #[must_use]
    pub fn needs_smtputf8(&self) -> bool {
        self.smtputf8
            || self.sender.mailbox().is_some_and(Mailbox::needs_smtputf8)
            || self.recipients.iter().any(Mailbox::needs_smtputf8)
    }
}

/// What a transaction meant for one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipientReport {
    /// How far it came. Delivered is [`Stage::Final`] with a positive reply, and nothing else is.
    pub stage: Stage,
    /// What decided.
    pub cause: Cause,
}

impl RecipientReport {
    /// Whether the remote has taken responsibility for the message.
    #[must_use]
    pub fn is_delivered(&self) -> bool {
        self.stage == Stage::Final && matches!(&self.cause, Cause::Reply(reply) if reply.is_positive())
    }
}

/// What a transaction meant for all its recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionReport {
    /// One for each recipient, in the order of [`Transaction::recipients`].
    pub recipients: Vec<RecipientReport>,
    /// Whether the session can carry another transaction.
    pub reusable: bool,
}

/// Why a session came to nothing before any transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionFailure {
    /// Banner, EHLO or STARTTLS.
    pub stage: Stage,
    /// What decided.
    pub cause: Cause,
}
