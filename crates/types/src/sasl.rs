//! The names of SASL mechanisms (RFC 4422). Not responsible for what any of them says.

use std::fmt;
use std::str::FromStr;

/// A mechanism this project knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SaslMechanism {
    /// A password that cannot be overheard or replayed, bound to the TLS connection (RFC 7677, RFC 5802).
    ScramSha256Plus,
    /// The same without the binding.
    ScramSha256,
    /// A client certificate (RFC 4422 appendix A).
    External,
    /// A token (RFC 7628).
    OAuthBearer,
    /// A token, as Google and Microsoft had it before there was a standard.
    XOAuth2,
    /// A password (RFC 4616).
    Plain,
    /// A password, in two steps; what old clients speak.
    Login,
}

/// The text names no mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a known SASL mechanism")]
pub struct UnknownMechanism;

impl SaslMechanism {
    /// All of them, the strongest first.
    pub const ALL: [Self; 7] = [
        Self::ScramSha256Plus,
        Self::ScramSha256,
        Self::External,
        Self::OAuthBearer,
        Self::XOAuth2,
        Self::Plain,
        Self::Login,
    ];

    /// As registered with IANA.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::External => "EXTERNAL",
            Self::OAuthBearer => "OAUTHBEARER",
            Self::XOAuth2 => "XOAUTH2",
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }
}

impl fmt::Display for SaslMechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SaslMechanism {
    type Err = UnknownMechanism;

    /// In any case, as RFC 4954 §4 has it.
    fn from_str(text: &str) -> Result<Self, UnknownMechanism> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name().eq_ignore_ascii_case(text)).ok_or(UnknownMechanism)
    }
}
