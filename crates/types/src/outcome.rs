//! What an attempt meant for its recipients: the facts a worker reports. Not responsible for what follows from them:
//! that is `schedule::Classification`.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::reply::{EnhancedCode, Reply};
use crate::timestamp::Timestamp;
use crate::transcript::Transcript;

/// How far a conversation had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Finding the hosts.
    Resolve,
    /// Opening the connection.
    Connect,
    /// Waiting for the greeting.
    Banner,
    /// EHLO or HELO, and the login that a route asks for.
    Ehlo,
    /// STARTTLS and the handshake.
    StartTls,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA, up to its 354.
    Data,
    /// The content and the reply to its end.
    Final,
}

impl Stage {
    /// All of them, in order.
    pub const ALL: [Self; 9] = [
        Self::Resolve,
        Self::Connect,
        Self::Banner,
        Self::Ehlo,
        Self::StartTls,
        Self::Mail,
        Self::Rcpt,
        Self::Data,
        Self::Final,
    ];

    /// Whether nothing was said yet about sender, recipient or content: what is said speaks of this host or this moment.
    #[must_use]
    pub const fn is_before_mail(self) -> bool {
        matches!(self, Self::Resolve | Self::Connect | Self::Banner | Self::Ehlo | Self::StartTls)
    }

    /// The name in logs, events and DSNs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Banner => "banner",
            Self::Ehlo => "ehlo",
            Self::StartTls => "starttls",
            Self::Mail => "mail",
            Self::Rcpt => "rcpt",
            Self::Data => "data",
            Self::Final => "final",
        }
    }
}

/// What went wrong where no reply of the remote decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TroubleKind {
    /// A name server failed or did not answer.
    DnsTemporary,
    /// The domain does not exist, or has neither MX nor address.
    NoSuchDomain,
    /// The domain says it takes no mail (RFC 7505).
    NullMx,
    /// No connection to any host.
    Connect,
    /// A timeout of RFC 5321 §4.5.3.2 ran out.
    Timeout,
    /// The connection broke.
    Closed,
    /// All of the content was sent, and its end was not answered: the remote may have the message, or not.
    Unanswered,
    /// The handshake failed, or TLS was required and not offered.
    Tls,
    /// The remote broke the protocol.
    Protocol,
    /// The content needs an extension that the remote lacks.
    Conversion,
    /// An address needs SMTPUTF8 and the remote lacks it (RFC 6531 §3.2).
    Smtputf8,
    /// The best exchanger is this system itself.
    Loop,
    /// The remote lacks an extension that the sender asked for.
    NotCapable,
    /// The sender asked for REQUIRETLS, and no way to the remote is secure enough (RFC 8689).
    RequireTls,
    /// The remote does not let us in with the credentials that a route has, or does not offer to: ours to mend.
    Login,
    /// A route holds it until an operator lets it go.
    Held,
    /// An operator gave it up.
    Administrative,
    /// Trouble on our side.
    Local,
}

impl TroubleKind {
    /// Whether trying again can help.
    #[must_use]
    pub const fn is_temporary(self) -> bool {
        !matches!(
            self,
            Self::NoSuchDomain
                | Self::NullMx
                | Self::Conversion
                | Self::Smtputf8
                | Self::Loop
                | Self::NotCapable
                | Self::RequireTls
                | Self::Administrative
        )
    }

    /// The status a DSN gives it (RFC 3463), before it is known whether the failure is final.
    #[must_use]
    pub const fn enhanced(self) -> EnhancedCode {
        match self {
            Self::DnsTemporary => EnhancedCode::new(4, 4, 3),
            Self::NoSuchDomain => EnhancedCode::new(5, 1, 2),
            Self::NullMx => EnhancedCode::new(5, 1, 10),
            Self::Connect => EnhancedCode::new(4, 4, 1),
            Self::Timeout | Self::Closed | Self::Unanswered => EnhancedCode::new(4, 4, 2),
            Self::Tls => EnhancedCode::new(4, 7, 5),
            Self::Protocol => EnhancedCode::new(4, 5, 0),
            Self::Conversion => EnhancedCode::new(5, 6, 3),
            Self::Smtputf8 => EnhancedCode::new(5, 6, 7),
            Self::Loop => EnhancedCode::new(5, 4, 6),
            Self::NotCapable => EnhancedCode::new(5, 3, 3),
            Self::RequireTls => EnhancedCode::new(5, 7, 30),
            // RFC 4954 §6 has 5.7.8 for credentials that are invalid; trying again helps once they are mended.
            Self::Login => EnhancedCode::new(4, 7, 8),
            Self::Held => EnhancedCode::new(4, 7, 0),
            // RFC 3463 §3.8: also "when the condition cannot be further described because of security policies in force".
            Self::Administrative => EnhancedCode::new(5, 7, 0),
            Self::Local => EnhancedCode::new(4, 3, 0),
        }
    }
}

/// Trouble and its description, one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What kind.
    pub kind: TroubleKind,
    /// For people.
    pub text: String,
}

/// Why an outcome is as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The remote said so.
    Reply(Reply),
    /// No reply decided.
    Trouble(Trouble),
}

/// What was said, with its codes, or what went wrong.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reply(reply) => reply.fmt(f),
            Self::Trouble(trouble) => f.write_str(&trouble.text),
        }
    }
}

/// The host an attempt talked to, or tried to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteHost {
    /// As the MX record or the route names it; of a socket its path.
    pub name: String,
    /// Absent where no address was found.
    pub address: Option<IpAddr>,
}

/// The name, and the address in brackets.
impl fmt::Display for RemoteHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.address.map_or(Ok(()), |address| write!(f, " [{address}]"))
    }
}

impl RemoteHost {
    /// Whether it is a socket of this machine: whose path is nobody's business but an operator's.
    #[must_use]
    pub fn is_socket(&self) -> bool {
        self.name.starts_with('/')
    }
}

/// How an attempt left this system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    /// Through which egress pool.
    pub pool: String,
    /// Our address on the connection; absent where there was none, and where it was not ours to choose.
    pub source: Option<IpAddr>,
    /// The pool has other addresses that it could have left from.
    pub has_others: bool,
}

/// What one attempt meant for some of its recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How far the conversation had come when this was decided.
    pub stage: Stage,
    /// What decided.
    pub cause: Cause,
    /// Where.
    pub remote: Option<RemoteHost>,
    /// Version and cipher as in a Received field; absent without TLS.
    pub tls: Option<String>,
    /// In our hands before a connection was asked for (Postfix's delay b).
    pub waiting: Duration,
    /// Finding and opening the connection, TLS included (delay c).
    pub connecting: Duration,
    /// The transaction (delay d).
    pub sending: Duration,
    /// When it was decided.
    pub at: Timestamp,
    /// The remote was told whom to notify of what, and will (RFC 3461 §5.2.1).
    pub notifies: bool,
    /// How it left; absent where no egress pools are configured, and from workers of earlier versions.
    pub egress: Option<Egress>,
    /// The remote asks not to be tried again before that is over.
    pub retry_after: Option<Duration>,
    /// What was said in the attempt, where that is kept: with one of its outcomes.
    pub transcript: Option<Transcript>,
}

impl Outcome {
    /// What was decided, and when; nothing else is known of the attempt, and it took no time.
    #[must_use]
    pub const fn new(stage: Stage, cause: Cause, at: Timestamp) -> Self {
        Self {
            stage,
            cause,
            remote: None,
            tls: None,
            waiting: Duration::ZERO,
            connecting: Duration::ZERO,
            sending: Duration::ZERO,
            at,
            notifies: false,
            egress: None,
            retry_after: None,
            transcript: None,
        }
    }

    /// A positive reply to the end of data: the remote has taken the message.
    #[must_use]
    pub fn is_delivered(&self) -> bool {
        self.stage == Stage::Final && matches!(&self.cause, Cause::Reply(reply) if reply.is_positive())
    }

    /// The same as it is kept beside the history that has what was said.
    #[must_use]
    pub fn without_transcript(&self) -> Self {
        Self { transcript: None, ..self.clone() }
    }

    /// The status for a DSN (RFC 3463): the remote's enhanced code, else one derived from its reply or the trouble.
    #[must_use]
    pub fn status(&self) -> EnhancedCode {
        match &self.cause {
            Cause::Reply(reply) => reply.enhanced.unwrap_or_else(|| {
                let class = match reply.code / 100 {
                    2 => 2,
                    5 => 5,
                    // 3yz where it cannot be meant is confusion, which may pass.
                    _ => 4,
                };
                EnhancedCode::new(class, 0, 0)
            }),
            Cause::Trouble(trouble) => trouble.kind.enhanced(),
        }
    }
}

/// One line for logs: what was said or went wrong, and where.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.cause, &self.remote) {
            (Cause::Reply(reply), Some(remote)) => {
                write!(f, "host {} said: {reply} (in reply to {})", remote.name, self.stage.name())
            }
            (Cause::Reply(reply), None) => write!(f, "{reply} (in reply to {})", self.stage.name()),
            // No attempt came to this, so no stage of one says anything.
            (Cause::Trouble(trouble), _) if trouble.kind == TroubleKind::Administrative => f.write_str(&trouble.text),
            (Cause::Trouble(trouble), Some(remote)) => {
                write!(f, "{} (host {}, {})", trouble.text, remote.name, self.stage.name())
            }
            (Cause::Trouble(trouble), None) => write!(f, "{} ({})", trouble.text, self.stage.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_without_an_enhanced_code_has_the_status_of_its_class_and_confusion_passes() {
        for (code, status) in [(250, "2.0.0"), (354, "4.0.0"), (451, "4.0.0"), (554, "5.0.0")] {
            let cause = Cause::Reply(Reply::received(code, None, "text".to_owned()));
            assert_eq!(Outcome::new(Stage::Ehlo, cause, Timestamp::from_secs(0)).status().to_string(), status);
        }
    }
}
