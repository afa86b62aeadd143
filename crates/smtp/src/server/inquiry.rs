//! VRFY and EXPN (RFC 5321 §3.5, §4.1.1.6, §4.1.1.7), with SMTPUTF8 (RFC 6531 §3.7.4.2). Not responsible for what is
//! told to whom.

use mailtier_types::{Reply, reply};

use super::extension::Extension;
use super::session::Asked;
use super::{Question, ServerSession, Verdict};

/// The parameter of both commands that allows replies beyond ASCII.
const UTF8_PARAMETER: &str = "SMTPUTF8";

/// What answers beyond ASCII become where the client does not take those.
#[derive(Clone, Copy, Debug)]
pub(super) enum Utf8 {
    Taken,
    Withheld { verified: bool },
}

impl ServerSession {
    /// RFC 5321 §4.1.1.6. What a client is told that it is not announced to, the driver knows. Where nobody is told anything, §3.5.3's and §7.3's way not to give addresses away.
    pub(super) fn vrfy(&mut self, arguments: &str) {
        let (address, utf8) = self.address_and_utf8(arguments, true);
        if address.is_empty() {
            self.refuse(reply::SYNTAX);
        } else if self.config.extensions.contains(Extension::Vrfy) {
            self.ask(Question::Verify(address.to_owned()), Asked::Inquiry(utf8));
        } else {
            self.say(&reply::CANNOT_VRFY);
        }
    }

    /// RFC 5321 §4.1.1.7.
    pub(super) fn expn(&mut self, arguments: &str) {
        let (address, utf8) = self.address_and_utf8(arguments, false);
        if !self.config.extensions.contains(Extension::Expn) {
            self.refuse(reply::NOT_IMPLEMENTED);
        } else if address.is_empty() {
            self.refuse(reply::SYNTAX);
        } else {
            self.ask(Question::Expand(address.to_owned()), Asked::Inquiry(utf8));
        }
    }

    fn address_and_utf8<'a>(&self, arguments: &'a str, verified: bool) -> (&'a str, Utf8) {
        match arguments.rsplit_once(' ') {
            Some((address, last)) if last.eq_ignore_ascii_case(UTF8_PARAMETER) && self.offers(Extension::SmtpUtf8) => {
                (address.trim_end(), Utf8::Taken)
            }
            _ => (arguments, Utf8::Withheld { verified }),
        }
    }

    pub(super) fn inquired(&mut self, utf8: Utf8, verdict: Verdict) {
        let sayable = |reply: Reply| match utf8 {
            Utf8::Withheld { verified } if !reply.text.is_ascii() => withheld(verified),
            _ => reply,
        };
        let verdict = match verdict {
            Verdict::AcceptWith(reply) | Verdict::Reject(reply) => match sayable(reply) {
                reply if reply.is_positive() => Verdict::AcceptWith(reply),
                reply => Verdict::Reject(reply),
            },
            other => other,
        };
        self.heed(verdict, &reply::OK);
    }
}

const fn withheld(verified: bool) -> Reply {
    if verified { reply::CANNOT_VRFY_IN_ASCII } else { reply::CANNOT_EXPN_IN_ASCII }
}
