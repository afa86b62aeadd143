//! What a server session and its driver say to each other. Not responsible for when they say it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use mailtier_types::{
    DeliverBy, EnvelopeId, Mailbox, Notify, OriginalRecipient, Reply, Return, ReversePath, SaslMechanism, Timestamp,
};

use super::xclient::ClientAttribute;
use super::{Extensions, ServerConfig};

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
    /// EHLO or LHLO (`extended`), or HELO.
    Hello {
        /// The host name or address literal, as it was said.
        name: String,
        /// EHLO or LHLO.
        extended: bool,
    },
    /// A login begins (RFC 4954 §4), with the client's first response where it came along.
    SaslStart(SaslMechanism, Option<SaslData>),
    /// The client's response to [`Verdict::Challenge`].
    SaslResponse(SaslData),
    /// XCLIENT: from now on the client is this one. If yes, it is greeted like a new connection.
    Impersonate(Vec<ClientAttribute>),
    /// XFORWARD: the next transaction's mail came from this client originally.
    Forward(Vec<ClientAttribute>),
    /// A transaction begins.
    Mail(Box<MailParameters>),
    /// A recipient.
    Rcpt(RcptParameters),
    /// VRFY: is there such a recipient?
    Verify(String),
    /// EXPN: who is behind this address?
    Expand(String),
    /// ETRN: start delivery to this node (RFC 1985 §5.1).
    StartQueue(String),
    /// The content is announced, by DATA or by the first BDAT; at least one recipient was accepted.
    Data,
    /// The content is complete, within its limits and clean. A positive verdict says that the server is responsible
    /// for the message from now on (RFC 5321 §4.2.5); whatever the verdict, the transaction is over.
    EndOfData {
        /// Octets of content.
        size_bytes: u64,
    },
}

/// What a client says in a login. It may be a password: it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SaslData(pub Vec<u8>);

impl fmt::Debug for SaslData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SaslData(…)")
    }
}

/// What kind of content is announced (RFC 6152, RFC 3030 §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyType {
    /// BODY=7BIT, or nothing said.
    #[default]
    SevenBit,
    /// BODY=8BITMIME.
    EightBit,
    /// BODY=BINARYMIME.
    Binary,
}

/// What MAIL said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailParameters {
    /// The reverse-path.
    pub sender: ReversePath,
    /// SIZE, as declared and within the limit (RFC 1870).
    pub size: Option<u64>,
    /// BODY.
    pub body: BodyType,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// RET (RFC 3461 §4.3).
    pub ret: Option<Return>,
    /// ENVID (RFC 3461 §4.4).
    pub envelope_id: Option<EnvelopeId>,
    /// REQUIRETLS (RFC 8689).
    pub require_tls: bool,
    /// BY (RFC 2852).
    pub deliver_by: Option<DeliverBy>,
    /// HOLDFOR or HOLDUNTIL (RFC 4865).
    pub release_at: Option<Timestamp>,
    /// MT-PRIORITY, −9 to 9 (RFC 6710).
    pub priority: Option<i8>,
    /// AUTH: who submitted the message, as the client knows; null where it does not (RFC 4954 §5).
    pub submitter: Option<ReversePath>,
}

/// What RCPT said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RcptParameters {
    /// The forward-path.
    pub mailbox: Mailbox,
    /// NOTIFY (RFC 3461 §4.1).
    pub notify: Option<Notify>,
    /// ORCPT (RFC 3461 §4.2).
    pub original: Option<OriginalRecipient>,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes, in the engine's words.
    Accept,
    /// Yes, in these words. They need a 2xx code; greeting, EHLO and DATA keep the engine's words, which are protocol.
    AcceptWith(Reply),
    /// Yes, to [`Question::Impersonate`]: what holds for the new client, which may be of another network than the one before.
    /// XCLIENT and XFORWARD stay those of the connection.
    Become {
        /// In place of the session's own.
        config: Arc<ServerConfig>,
        /// In place of [`super::Connection::permitted`].
        permitted: Extensions,
    },
    /// A login needs one more step: these octets are sent as a challenge. Meaningful only for SASL questions.
    Challenge(Vec<u8>),
    /// No. At [`Question::Connect`] the session then only waits for QUIT (RFC 5321 §3.1).
    Reject(Reply),
    /// No, and the connection is closed after the reply.
    RejectAndClose(Reply),
}
