//! What a server session is told once: its name, what it offers, its limits and its patience. Not responsible for
//! where the values come from.

use std::time::Duration;

/// Configuration shared by many sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// What the greeting and EHLO say, and the domain of `<Postmaster>`.
    pub hostname: String,
    /// The largest content in octets, offered with SIZE (RFC 1870).
    pub max_message_bytes: u64,
    /// Accepted recipients of one transaction.
    pub max_recipients: usize,
    /// Whether STARTTLS is offered (RFC 3207).
    pub starttls: bool,
    /// Whether a transaction needs TLS (RFC 3207 §4: 530 to all but NOOP, EHLO, STARTTLS and QUIT).
    pub tls_required: bool,
    /// How much a peer may use.
    pub limits: ServerLimits,
    /// How long a peer may take.
    pub timeouts: ServerTimeouts,
}

impl ServerConfig {
    /// Everything but the name at its default: 50 MiB, 1000 recipients, no TLS.
    #[must_use]
    pub fn new(hostname: impl Into<String>) -> Self {
        Self {
            hostname: hostname.into(),
            max_message_bytes: 50 * 1024 * 1024,
            max_recipients: 1000,
            starttls: false,
            tls_required: false,
            limits: ServerLimits::default(),
            timeouts: ServerTimeouts::default(),
        }
    }
}

/// The least RFC 5321 §4.5.3.1.4 allows for a command line, with what the extensions offered here add to MAIL: 26 for
/// SIZE (RFC 1870 §3), 17 for BODY (RFC 6152 §2), 10 for SMTPUTF8 (RFC 6531 §3.1).
const LEAST_COMMAND_LINE_OCTETS: usize = 512 + 26 + 17 + 10;
/// RFC 5321 §4.5.3.1.6.
const LEAST_CONTENT_LINE_OCTETS: usize = 1000;

/// How much a peer may use of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// A command line with its CRLF, in octets.
    pub command_line_octets: usize,
    /// A line of content with its CRLF, in octets. Mailers that never break lines are common, and a line costs no
    /// memory here, so there is much room beyond the 1000 octets every server must take.
    pub content_line_octets: usize,
    /// Input kept while a question is open, in octets; beyond it [`super::ServerSession::wants_input`] says no.
    pub input_octets: usize,
    /// Refusals (5xx) since the last accepted message before the session is closed.
    pub errors: u32,
}

impl ServerLimits {
    const DEFAULT: Self =
        Self { command_line_octets: 2048, content_line_octets: 65_536, input_octets: 65_536, errors: 20 };
}

const _: () = assert!(ServerLimits::DEFAULT.command_line_octets >= LEAST_COMMAND_LINE_OCTETS);
const _: () = assert!(ServerLimits::DEFAULT.content_line_octets >= LEAST_CONTENT_LINE_OCTETS);
const _: () = assert!(ServerLimits::DEFAULT.input_octets >= ServerLimits::DEFAULT.command_line_octets);

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
