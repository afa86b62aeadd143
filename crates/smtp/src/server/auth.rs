//! AUTH (RFC 4954): the command and the exchange of challenges and responses. Not responsible for what a mechanism says
//! in them, nor for who may log in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mailtier_types::{SaslMechanism, reply};

use super::action::SaslData;
use super::config::SaslOffer;
use super::extension::Extension;
use super::session::{Asked, Phase};
use super::{Question, ServerSession, Verdict};

impl ServerSession {
    /// The logins possible now: there is something to log in with, and nobody has yet.
    fn offered_logins(&self) -> Option<&SaslOffer> {
        let offered = self.config.extensions.contains(Extension::Auth) && !self.authenticated;
        self.config.sasl.as_ref().filter(|offer| offered && (self.tls.is_some() || offer.in_clear))
    }

    /// The mechanisms possible now, as EHLO has them; nothing where there is none.
    pub(super) fn offered_mechanisms(&self) -> Option<String> {
        let offer = self.offered_logins()?;
        let names: Vec<_> =
            offer.mechanisms.iter().filter(|one| self.has_means_for(**one)).map(|one| one.name()).collect();
        (!names.is_empty()).then(|| names.join(" "))
    }

    /// Whether the connection has what the mechanism builds on.
    fn has_means_for(&self, mechanism: SaslMechanism) -> bool {
        match mechanism {
            // RFC 5802 §6: the binding is to TLS.
            SaslMechanism::ScramSha256Plus => self.tls.as_ref().is_some_and(|tls| tls.can_bind),
            SaslMechanism::External => self.tls.as_ref().is_some_and(|tls| tls.has_client_certificate),
            _ => true,
        }
    }

    /// `AUTH mechanism [initial-response]`.
    pub(super) fn auth(&mut self, arguments: &str) {
        if self.authenticated {
            return self.refuse(reply::ALREADY_AUTHENTICATED);
        }
        let Some(configured) = self.config.sasl.as_ref().filter(|_| self.config.extensions.contains(Extension::Auth))
        else {
            return self.refuse(reply::NOT_IMPLEMENTED);
        };
        let (name, initial) = arguments.split_once(' ').unwrap_or((arguments, ""));
        if name.is_empty() {
            return self.refuse(reply::SYNTAX);
        }
        let mechanism = name.parse().ok().filter(|mechanism| configured.mechanisms.contains(mechanism));
        let Some(mechanism) = mechanism else { return self.refuse(reply::UNKNOWN_MECHANISM) };
        if self.offered_logins().is_none() {
            return self.refuse(reply::LOGIN_NEEDS_TLS);
        }
        if !self.has_means_for(mechanism) {
            return self.refuse(reply::UNKNOWN_MECHANISM);
        }
        let initial = match initial.trim_start_matches(' ') {
            "" => None,
            // RFC 4954 §4: an initial response that is empty.
            "=" => Some(Vec::new()),
            text => match STANDARD.decode(text) {
                Ok(data) => Some(data),
                Err(_) => return self.refuse(reply::BAD_SASL_RESPONSE),
            },
        };
        self.ask(Question::SaslStart(mechanism, initial.map(SaslData)), Asked::Sasl);
    }

    /// A line within a login.
    pub(super) fn sasl_line(&mut self, line: &[u8]) {
        self.phase = Phase::Commands;
        self.at_once = true;
        // RFC 4954 §4.
        if line == b"*" {
            return self.refuse(reply::LOGIN_CANCELLED);
        }
        match STANDARD.decode(line) {
            Ok(response) => self.ask(Question::SaslResponse(SaslData(response)), Asked::Sasl),
            Err(_) => self.refuse(reply::BAD_SASL_RESPONSE),
        }
    }

    pub(super) fn sasl_answered(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Challenge(challenge) => {
                self.say(&reply::CHALLENGE.with_text(STANDARD.encode(challenge)));
                self.phase = Phase::Authenticating;
            }
            // Whoever guesses is told that he has guessed too much, too: that must not be free.
            Verdict::Reject(reply) if !reply.is_permanent() => {
                self.say(&reply);
                self.count_error();
            }
            verdict => {
                if self.heed(verdict, &reply::AUTHENTICATED) {
                    self.authenticated = true;
                    self.adjust_line_limit();
                }
            }
        }
    }

    /// Long lines only while they can be part of a login.
    pub(super) fn adjust_line_limit(&mut self) {
        let limits = &self.config.limits;
        let octets = if self.offered_logins().is_some() { limits.sasl_line_octets } else { limits.command_line_octets };
        self.lines.set_limit(octets);
    }
}
