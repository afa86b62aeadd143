//! The greeting, EHLO, HELO and LHLO (RFC 5321 §3.1, §3.2, §4.1.1.1; RFC 2033 §4.1). Not responsible for the extensions
//! it announces.

use std::fmt::Write as _;
use std::net::Ipv6Addr;

use mailtier_types::{Domain, reply};

use super::config::Protocol;
use super::extension::Extension;
use super::session::{Asked, Hello, Phase};
use super::{Question, ServerSession, Verdict, future_release, xclient};

/// The longest name a client may have, in octets (RFC 5321 §4.5.3.1.2).
const MAX_NAME_OCTETS: usize = 255;

impl ServerSession {
    /// What the driver says to a new connection.
    pub(super) fn connect_answered(&mut self, verdict: Verdict) {
        self.phase = Phase::Commands;
        let protocol = match self.config.protocol {
            Protocol::Smtp => reply::GREETING.text,
            Protocol::Lmtp => "LMTP".into(),
        };
        // RFC 5321 §4.3.1: the host name is the first word.
        let words = reply::GREETING.with_text(format!("{} {protocol}", self.config.hostname));
        match verdict {
            // RFC 5321 §3.1: a 554 greeting, and the client still says QUIT.
            Verdict::Reject(reply) if reply.is_permanent() => {
                self.refused = true;
                self.refuse(reply);
            }
            Verdict::Reject(reply) | Verdict::RejectAndClose(reply) => self.close_with(reply),
            Verdict::Accept | Verdict::AcceptWith(_) | Verdict::Become { .. } | Verdict::Challenge(_) => {
                self.say(&words)
            }
        }
    }

    /// EHLO or LHLO (`extended`), or HELO.
    pub(super) fn hello(&mut self, arguments: &str, extended: bool) {
        let name = arguments.trim_start_matches(' ');
        let fits = !name.is_empty() && name.len() <= MAX_NAME_OCTETS;
        if !fits || (self.config.strict_hello && !is_host_name(name)) {
            return self.refuse(reply::BAD_HELO);
        }
        self.ask(Question::Hello { name: name.to_owned(), extended }, Asked::Hello { extended });
    }

    pub(super) fn hello_answered(&mut self, extended: bool, verdict: Verdict) {
        let text = if extended { self.ehlo_text() } else { self.config.hostname.clone() };
        let verdict = if matches!(verdict, Verdict::AcceptWith(_)) { Verdict::Accept } else { verdict };
        if self.heed(verdict, &reply::HELLO.with_text(text)) {
            // RFC 5321 §4.1.4: EHLO clears all buffers as RSET does.
            self.abandon();
            self.hello = Some(Hello { extended });
        }
    }

    /// RFC 5321 §4.1.1.1 `ehlo-ok-rsp`.
    fn ehlo_text(&self) -> String {
        let mut text = self.config.hostname.clone();
        for extension in Extension::ALL.into_iter().filter(|extension| self.offers(*extension)) {
            text.push('\n');
            text.push_str(extension.keyword());
            if let Some(parameters) = self.parameters_of(extension) {
                text.push(' ');
                text.push_str(&parameters);
            }
        }
        text
    }

    /// Whether the extension is offered now: it is wanted, and the session has what it builds on.
    pub(super) fn offers(&self, extension: Extension) -> bool {
        self.config.extensions.contains(extension)
            && self.is_permitted(extension)
            && match extension {
                Extension::StartTls => self.offers_tls(),
                Extension::Auth => self.offered_mechanisms().is_some(),
                // RFC 8689 §2: only within TLS.
                Extension::RequireTls => self.tls.is_some(),
                Extension::FutureRelease => self.config.max_hold_seconds > 0,
                // RFC 3030 §3: binary content comes in chunks only.
                Extension::BinaryMime => self.config.extensions.contains(Extension::Chunking),
                _ => true,
            }
    }

    /// Whether the extension is for this client. What strangers would always be refused is not announced to them.
    fn is_permitted(&self, extension: Extension) -> bool {
        let is_permitted = self.connection.permitted.contains(extension);
        match extension {
            Extension::XClient | Extension::XForward | Extension::Etrn => is_permitted,
            Extension::Vrfy | Extension::Expn => is_permitted || self.authenticated,
            _ => true,
        }
    }

    /// What stands after the keyword.
    fn parameters_of(&self, extension: Extension) -> Option<String> {
        let config = &self.config;
        match extension {
            Extension::Size => Some(config.max_message_bytes.to_string()),
            Extension::Auth => self.offered_mechanisms(),
            Extension::DeliverBy => {
                Some(config.least_deliver_by_seconds).filter(|least| *least > 0).map(|least| least.to_string())
            }
            Extension::FutureRelease => Some(future_release::offer(self.wall_clock(), config.max_hold_seconds)),
            // RFC 9422 §4.
            Extension::Limits => {
                let mut limits = format!("RCPTMAX={}", config.max_recipients);
                if config.max_transactions > 0 {
                    // Writing to a string cannot fail.
                    let _ = write!(limits, " MAILMAX={}", config.max_transactions);
                }
                Some(limits)
            }
            Extension::XClient => Some(xclient::XCLIENT_ATTRIBUTES.to_owned()),
            Extension::XForward => Some(xclient::XFORWARD_ATTRIBUTES.to_owned()),
            _ => None,
        }
    }
}

/// A domain or an address literal (RFC 5321 §4.1.1.1). Tolerated, since they can mean only one thing: a dot at the end,
/// and an IPv6 literal without its tag.
fn is_host_name(name: &str) -> bool {
    let untagged = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    Domain::parse(name.strip_suffix('.').unwrap_or(name)).is_ok()
        || untagged.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok())
}
