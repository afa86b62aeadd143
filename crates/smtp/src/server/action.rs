//! What a server session and its driver say to each other. Not responsible for when they say it.

use bytes::Bytes;
use mailtier_types::{Mailbox, Reply, ReversePath};

/// What the driver does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerAction {
    /// Write [`super::ServerSession::output`], then say [`super::ServerSession::sent`].
    Send,
    /// Decide, then [`super::ServerSession::answer`]. Only one question is open at a time.
    Ask(Question),
    /// The next piece of the content, dots already taken off (RFC 5321 §4.5.2).
    Body(Bytes),
    /// The transaction was abandoned: by RSET, EHLO, STARTTLS or disconnection, or since its content was refused. What
    /// was collected for it can go.
    Reset,
    /// Everything was written: do the TLS handshake, then say [`super::ServerSession::handle_tls`].
    UpgradeTls,
    /// Wait for input or [`super::ServerSession::next_timeout`].
    NeedInput,
    /// Close the connection; everything was written.
    Close,
}

/// What the driver decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// A connection was opened: greet it?
    Connect,
    /// EHLO (`extended`) or HELO.
    Hello {
        /// The host name or address literal, as it was said.
        name: String,
        /// EHLO.
        extended: bool,
    },
    /// A transaction begins.
    Mail(MailParameters),
    /// A recipient.
    Rcpt(Mailbox),
    /// The content is announced; at least one recipient was accepted.
    Data,
    /// The content is complete, within its limits and clean. A positive verdict says that the server is responsible
    /// for the message from now on (RFC 5321 §4.2.5); whatever the verdict, the transaction is over.
    EndOfData {
        /// Octets of content.
        size_bytes: u64,
    },
}

/// What MAIL said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailParameters {
    /// The reverse-path.
    pub sender: ReversePath,
    /// SIZE, as declared and within the limit (RFC 1870).
    pub size: Option<u64>,
    /// BODY=8BITMIME (RFC 6152).
    pub eight_bit: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes, in the engine's words.
    Accept,
    /// Yes, in these words. They need a 2xx code; greeting, EHLO and DATA keep the engine's words, which are protocol.
    AcceptWith(Reply),
    /// No. At [`Question::Connect`] the session then only waits for QUIT (RFC 5321 §3.1).
    Reject(Reply),
    /// No, and the connection is closed after the reply.
    RejectAndClose(Reply),
}
