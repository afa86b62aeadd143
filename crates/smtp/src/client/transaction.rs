//! What goes into a transaction and what comes out of it. Not responsible for carrying it out.

use mailtier_types::{Cause, Mailbox, ReversePath, Stage};

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
    /// Octets of the content, before dot-stuffing, for SIZE (RFC 1870).
    pub size_bytes: u64,
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
