//! MAIL (RFC 5321 §4.1.1.2). Not responsible for whether the sender is welcome.

use mailtier_types::{Reply, ReversePath, reply};

use super::session::{Asked, Transaction};
use super::{MailParameters, Question, ServerConfig, ServerSession, Verdict, eight_bit, size, smtputf8};
use crate::syntax::{parameter, path};

impl ServerSession {
    pub(super) fn mail(&mut self, arguments: &str) {
        let extended = self.hello.is_some_and(|hello| hello.extended);
        match parse(arguments, extended, &self.config) {
            Ok(parameters) => {
                let smtputf8 = parameters.smtputf8;
                self.ask(Question::Mail(parameters), Asked::Mail { smtputf8 });
            }
            Err(reply) => {
                self.refuse(reply);
                self.excuse_what_follows();
            }
        }
    }

    pub(super) fn mail_answered(&mut self, smtputf8: bool, verdict: Verdict) {
        if self.heed(verdict, &reply::SENDER_OK) {
            self.transaction = Some(Transaction { recipients: 0, smtputf8 });
        } else {
            self.excuse_what_follows();
        }
    }

    /// A client that pipelines has sent RCPT and DATA before it could know that MAIL is refused (RFC 2920 §3.1).
    fn excuse_what_follows(&mut self) {
        self.excused = self.config.max_recipients.saturating_add(1);
    }
}

/// `FROM:<reverse-path> [parameters]`.
fn parse(arguments: &str, extended: bool, config: &ServerConfig) -> Result<MailParameters, Reply> {
    let rest = strip_prefix(arguments, "FROM:").ok_or(reply::SYNTAX)?;
    let path = path::split(rest).ok_or(reply::BAD_SENDER)?;
    let sender = ReversePath::parse(path.mailbox).map_err(|_| reply::BAD_SENDER)?;
    let mut parsed = Parsed::default();
    for parameter in parameter::parse(path.parameters) {
        // RFC 5321 §4.1.1.11: parameters belong to the extensions, and those to EHLO.
        if !extended {
            return Err(reply::UNKNOWN_PARAMETER);
        }
        parsed.add(parameter.map_err(|_| reply::SYNTAX)?, config)?;
    }
    let smtputf8 = parsed.smtputf8.is_some();
    smtputf8::check(smtputf8, sender.mailbox())?;
    Ok(MailParameters { sender, size: parsed.size, eight_bit: parsed.eight_bit.unwrap_or(false), smtputf8 })
}

/// What the parameters said so far; each may occur once.
#[derive(Default)]
struct Parsed {
    size: Option<u64>,
    eight_bit: Option<bool>,
    smtputf8: Option<()>,
}

impl Parsed {
    fn add(&mut self, parameter: parameter::Parameter<'_>, config: &ServerConfig) -> Result<(), Reply> {
        let parameter::Parameter { keyword, value } = parameter;
        let again = if keyword.eq_ignore_ascii_case("SIZE") {
            self.size.replace(size::parse(value, config.max_message_bytes)?).is_some()
        } else if keyword.eq_ignore_ascii_case("BODY") {
            self.eight_bit.replace(eight_bit::parse(value)?).is_some()
        } else if keyword.eq_ignore_ascii_case("SMTPUTF8") {
            self.smtputf8.replace(smtputf8::parse(value)?).is_some()
        } else {
            // RFC 5321 §4.1.1.11.
            return Err(reply::UNKNOWN_PARAMETER);
        };
        if again { Err(reply::BAD_PARAMETER) } else { Ok(()) }
    }
}

/// What follows a prefix in any case.
pub(super) fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.trim_start_matches(' ').split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}
