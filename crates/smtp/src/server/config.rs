//! What a server session is told once: its name, what it offers, its limits and its patience. Not responsible for
//! where the values come from.

use std::time::Duration;

use mailtier_types::{SaslMechanism, Timestamp};

use super::extension::{Extension, Extensions};

/// Which protocol is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 5321.
    #[default]
    Smtp,
    /// RFC 2033: LHLO, and a reply for each recipient.
    Lmtp,
}

/// What is done about content whose lines are not RFC 5321's: with a bare CR or LF, a null octet, or too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinePolicy {
    /// It is refused.
    #[default]
    Strict,
    /// It is repaired: bare CR and LF become CRLF, null octets are left out, long lines are folded.
    Normalize,
}

/// Which logins are offered (RFC 4954).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaslOffer {
    /// The mechanisms, in the order EHLO has them. Those that need TLS or a client certificate are left out without.
    pub mechanisms: Vec<SaslMechanism>,
    /// Offered without TLS too.
    pub in_clear: bool,
    /// A transaction needs a login.
    pub required: bool,
}

/// What EHLO offers unless told otherwise. What else must hold (a certificate, TLS, a trusted client) is looked at when
/// it is offered.
const OFFERED: &[Extension] = &[
    Extension::Pipelining,
    Extension::Size,
    Extension::EightBitMime,
    Extension::Chunking,
    Extension::BinaryMime,
    Extension::SmtpUtf8,
    Extension::EnhancedStatusCodes,
    Extension::Dsn,
    Extension::StartTls,
    Extension::Auth,
    Extension::RequireTls,
    Extension::DeliverBy,
    Extension::FutureRelease,
    Extension::MtPriority,
    Extension::Limits,
    Extension::XClient,
    Extension::XForward,
];

/// Configuration shared by many sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// What the greeting and EHLO say, and the domain of `<Postmaster>`.
    pub hostname: String,
    /// What is spoken.
    pub protocol: Protocol,
    /// What is offered where its conditions hold.
    pub extensions: Extensions,
    /// The largest content in octets, offered with SIZE (RFC 1870).
    pub max_message_bytes: u64,
    /// Accepted recipients of one transaction.
    pub max_recipients: usize,
    /// Transactions of one session; 0: any number.
    pub max_transactions: usize,
    /// Whether there is a certificate for STARTTLS (RFC 3207).
    pub starttls: bool,
    /// Whether a transaction needs TLS (RFC 3207 §4: 530 to all but NOOP, EHLO, STARTTLS and QUIT).
    pub tls_required: bool,
    /// Logins.
    pub sasl: Option<SaslOffer>,
    /// The longest time a message may be held (RFC 4865), in seconds; 0: holding is not offered.
    pub max_hold_seconds: u32,
    /// The shortest time in which delivery can be promised (RFC 2852), in seconds.
    pub least_deliver_by_seconds: u32,
    /// What is done about bad lines.
    pub lines: LinePolicy,
    /// Whether EHLO needs a domain or an address literal (RFC 5321 §4.1.1.1); clients that submit often have none.
    pub strict_hello: bool,
    /// How much a peer may use.
    pub limits: ServerLimits,
    /// How long a peer may take.
    pub timeouts: ServerTimeouts,
}

impl ServerConfig {
    /// Everything but the name at its default: SMTP, 50 MiB, 1000 recipients, no TLS, no login.
    #[must_use]
    pub fn new(hostname: impl Into<String>) -> Self {
        Self {
            hostname: hostname.into(),
            protocol: Protocol::Smtp,
            extensions: OFFERED.iter().copied().collect(),
            max_message_bytes: 50 * 1024 * 1024,
            max_recipients: 1000,
            max_transactions: 0,
            starttls: false,
            tls_required: false,
            sasl: None,
            max_hold_seconds: 0,
            least_deliver_by_seconds: 0,
            lines: LinePolicy::Strict,
            strict_hello: true,
            limits: ServerLimits::default(),
            timeouts: ServerTimeouts::default(),
        }
    }
}

/// What is known of a connection before its first octet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// The time of day at which it was opened.
    pub opened_at: Timestamp,
    /// Of the extensions that are not for everyone, those that are for this client. They are announced to nobody else:
    /// XCLIENT, XFORWARD and ETRN, and VRFY and EXPN, which are for whoever has logged in as well.
    pub permitted: Extensions,
}

/// The least RFC 5321 §4.5.3.1.4 allows for a command line, with what the extensions offered here add to MAIL: 26 for
/// SIZE (RFC 1870 §3), 17 for BODY (RFC 6152 §2), 10 for SMTPUTF8 (RFC 6531 §3.1), 17 for BY (RFC 2852 §2), 34 for
/// FUTURERELEASE (RFC 4865 §3), 15 for MT-PRIORITY (RFC 6710 §4), 11 for REQUIRETLS (RFC 8689 §2), 500 for AUTH
/// (RFC 4954 §3), 119 for RET and ENVID (RFC 3461 §4).
const LEAST_MAIL_LINE_OCTETS: usize = 512 + 26 + 17 + 10 + 17 + 34 + 15 + 11 + 500 + 119;
/// The same for RCPT: 28 for NOTIFY and 507 for ORCPT (RFC 3461 §4).
const LEAST_RCPT_LINE_OCTETS: usize = 512 + 28 + 507;
/// RFC 4954 §4, §4.5: lines within a login, and the AUTH command.
const LEAST_SASL_LINE_OCTETS: usize = 12_288;
/// RFC 5321 §4.5.3.1.6.
const LEAST_CONTENT_LINE_OCTETS: usize = 1000;

/// How much a peer may use of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// A command line with its CRLF, in octets.
    pub command_line_octets: usize,
    /// The same while a login is possible.
    pub sasl_line_octets: usize,
    /// A line of content with its CRLF, in octets.
    pub content_line_octets: usize,
    /// Input kept while a question is open, in octets; beyond it [`super::ServerSession::wants_input`] says no.
    pub input_octets: usize,
    /// Refusals (5xx), and logins that failed of whatever, since the last accepted message before the session is closed.
    pub errors: u32,
    /// Commands since the last accepted message that lead to nothing: EHLO, HELO, LHLO, RSET, NOOP, HELP, VRFY, EXPN, ETRN
    /// and empty chunks. Each beyond them counts as an error, so that nobody holds a session with them for ever. As many
    /// as Postfix allows (`smtpd_junk_command_limit`): clients that say NOOP to keep a connection, or RSET between
    /// messages, never get there.
    pub junk_commands: u32,
}

impl ServerLimits {
    const DEFAULT: Self = Self {
        command_line_octets: 4096,
        sasl_line_octets: 12_288,
        content_line_octets: 1000,
        input_octets: 65_536,
        errors: 20,
        junk_commands: 100,
    };
}

const _: () = assert!(ServerLimits::DEFAULT.command_line_octets >= LEAST_MAIL_LINE_OCTETS);
const _: () = assert!(ServerLimits::DEFAULT.command_line_octets >= LEAST_RCPT_LINE_OCTETS);
const _: () = assert!(ServerLimits::DEFAULT.sasl_line_octets >= LEAST_SASL_LINE_OCTETS);
const _: () = assert!(ServerLimits::DEFAULT.content_line_octets >= LEAST_CONTENT_LINE_OCTETS);
const _: () = assert!(ServerLimits::DEFAULT.input_octets >= ServerLimits::DEFAULT.sasl_line_octets);

impl Default for ServerLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// How long a peer may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTimeouts {
    /// For the next whole command (RFC 5321 §4.5.3.2.7 asks for at least five minutes). Octets of a command that never
    /// ends do not extend it.
    pub command: Duration,
    /// For the next octets of content. RFC 5321 §4.5.3.2.7 again; a client allows itself three minutes a block
    /// (§4.5.3.2.5).
    pub content: Duration,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For taking the last reply before the connection is closed.
    pub closing: Duration,
}

impl ServerTimeouts {
    const DEFAULT: Self = Self {
        command: Duration::from_secs(300),
        content: Duration::from_secs(300),
        handshake: Duration::from_secs(60),
        closing: Duration::from_secs(10),
    };
}

const _: () = assert!(ServerTimeouts::DEFAULT.command.as_secs() >= 5 * 60);
const _: () = assert!(ServerTimeouts::DEFAULT.content.as_secs() >= 3 * 60);

impl Default for ServerTimeouts {
    fn default() -> Self {
        Self::DEFAULT
    }
}
