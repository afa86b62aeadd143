//! MAIL (RFC 5321 §4.1.1.2). Not responsible for whether the sender is welcome.

use mailtier_types::{DeliverBy, EnvelopeId, Reply, Return, ReversePath, Timestamp, reply, request};

use super::action::BodyType;
use super::extension::Extension;
use super::session::{Asked, Transaction};
use super::{
    MailParameters, Question, ServerSession, Verdict, deliver_by, dsn, eight_bit, future_release, priority, size,
    smtputf8,
};
use crate::syntax::{parameter, path};

impl ServerSession {
    pub(super) fn mail(&mut self, arguments: &str) {
        // RFC 9422 §4.1.
        if self.config.max_transactions > 0 && self.transactions >= self.config.max_transactions {
            return self.close_with(reply::TOO_MANY_TRANSACTIONS);
        }
        match self.parse_mail(arguments) {
            Ok(parameters) => {
                let transaction = Transaction::new(parameters.smtputf8, parameters.body);
                self.ask(Question::Mail(Box::new(parameters)), Asked::Mail(transaction));
            }
            Err(reply) => {
                self.refuse(reply);
                self.excuse_what_follows();
            }
        }
    }

    pub(super) fn mail_answered(&mut self, transaction: Transaction, verdict: Verdict) {
        if self.heed(verdict, &reply::SENDER_OK) {
            self.transaction = Some(transaction);
            self.transactions = self.transactions.saturating_add(1);
        } else {
            self.excuse_what_follows();
        }
    }

    /// A client that pipelines has sent RCPT and DATA before it could know that MAIL is refused (RFC 2920 §3.1).
    pub(super) fn excuse_what_follows(&mut self) {
        self.excused = self.config.max_recipients.saturating_add(1);
    }

    /// `FROM:<reverse-path> [parameters]`.
    fn parse_mail(&self, arguments: &str) -> Result<MailParameters, Reply> {
        let rest = strip_prefix(arguments, "FROM:").ok_or(reply::SYNTAX)?;
        let path = path::split(rest).ok_or(reply::BAD_SENDER)?;
        let sender = ReversePath::parse(path.mailbox).map_err(|_| reply::BAD_SENDER)?;
        let mut parsed = Parsed::default();
        for parameter in parameter::parse(path.parameters) {
            // RFC 5321 §4.1.1.11: parameters belong to the extensions, and those to EHLO.
            if !self.hello.is_some_and(|hello| hello.extended) {
                return Err(reply::UNKNOWN_PARAMETER);
            }
            self.add_parameter(&mut parsed, parameter.map_err(|_| reply::SYNTAX)?)?;
        }
        smtputf8::check(parsed.smtputf8.is_some(), path.mailbox)?;
        // RFC 4865 §4: what is still held cannot be delivered.
        if let (Some(release), Some(by)) = (parsed.release_at, parsed.deliver_by)
            && release >= by.at
        {
            return Err(reply::TIME_OUT_OF_RANGE);
        }
        Ok(MailParameters {
            sender,
            size: parsed.size,
            body: parsed.body.unwrap_or_default(),
            smtputf8: parsed.smtputf8.is_some(),
            ret: parsed.ret,
            envelope_id: parsed.envelope_id,
            require_tls: parsed.require_tls.is_some(),
            deliver_by: parsed.deliver_by,
            release_at: parsed.release_at,
            priority: parsed.priority,
            submitter: parsed.submitter,
        })
    }

    /// One parameter. Each may occur once, and only where its extension is offered (RFC 5321 §4.1.1.11).
    fn add_parameter(&self, parsed: &mut Parsed, parameter: parameter::Parameter<'_>) -> Result<(), Reply> {
        let parameter::Parameter { keyword, value } = parameter;
        let (now, config) = (self.wall_clock(), &self.config);
        let known = KEYWORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(keyword));
        let Some((keyword, _)) = known.filter(|(_, extension)| self.offers_parameter(*extension)) else {
            return Err(reply::UNKNOWN_PARAMETER);
        };
        let again = match *keyword {
            "SIZE" => parsed.size.replace(size::parse(value, config.max_message_bytes)?).is_some(),
            "BODY" => parsed.body.replace(eight_bit::parse(value, self.offers(Extension::BinaryMime))?).is_some(),
            "SMTPUTF8" => parsed.smtputf8.replace(without_value(value)?).is_some(),
            "RET" => parsed.ret.replace(dsn::ret(value)?).is_some(),
            "ENVID" => parsed.envelope_id.replace(dsn::envelope_id(value)?).is_some(),
            "REQUIRETLS" => parsed.require_tls.replace(without_value(value)?).is_some(),
            "BY" => {
                let by = deliver_by::parse(value, now, config.least_deliver_by_seconds)?;
                parsed.deliver_by.replace(by).is_some()
            }
            "HOLDFOR" => {
                let until = future_release::hold_for(value, now, config.max_hold_seconds)?;
                parsed.release_at.replace(until).is_some()
            }
            "HOLDUNTIL" => {
                let until = future_release::hold_until(value, now, config.max_hold_seconds)?;
                parsed.release_at.replace(until).is_some()
            }
            "MT-PRIORITY" => parsed.priority.replace(priority::parse(value)?).is_some(),
            "AUTH" => parsed.submitter.replace(submitter(value)?).is_some(),
            _ => return Err(reply::UNKNOWN_PARAMETER),
        };
        if again { Err(reply::BAD_PARAMETER) } else { Ok(()) }
    }

    /// A parameter of AUTH stays after the login, when AUTH itself is not offered any more (RFC 4954 §5).
    fn offers_parameter(&self, extension: Extension) -> bool {
        match extension {
            Extension::Auth => self.config.sasl.is_some() && self.config.extensions.contains(extension),
            extension => self.offers(extension),
        }
    }
}

/// The parameters of MAIL, and which extension each belongs to.
const KEYWORDS: [(&str, Extension); 11] = [
    ("SIZE", Extension::Size),
    ("BODY", Extension::EightBitMime),
    ("SMTPUTF8", Extension::SmtpUtf8),
    ("RET", Extension::Dsn),
    ("ENVID", Extension::Dsn),
    ("REQUIRETLS", Extension::RequireTls),
    ("BY", Extension::DeliverBy),
    ("HOLDFOR", Extension::FutureRelease),
    ("HOLDUNTIL", Extension::FutureRelease),
    ("MT-PRIORITY", Extension::MtPriority),
    ("AUTH", Extension::Auth),
];

/// What the parameters said so far.
#[derive(Default)]
struct Parsed {
    size: Option<u64>,
    body: Option<BodyType>,
    smtputf8: Option<()>,
    ret: Option<Return>,
    envelope_id: Option<EnvelopeId>,
    require_tls: Option<()>,
    deliver_by: Option<DeliverBy>,
    release_at: Option<Timestamp>,
    priority: Option<i8>,
    submitter: Option<ReversePath>,
}

/// A parameter that is only a keyword (RFC 6531 §3.4, RFC 8689 §2).
fn without_value(value: Option<&str>) -> Result<(), Reply> {
    if value.is_some() { Err(reply::BAD_PARAMETER) } else { Ok(()) }
}

/// AUTH= (RFC 4954 §5): a mailbox as xtext, or `<>`.
fn submitter(value: Option<&str>) -> Result<ReversePath, Reply> {
    let decoded = value.and_then(|value| request::from_xtext(value).ok()).ok_or(reply::BAD_PARAMETER)?;
    match decoded.as_str() {
        "<>" => Ok(ReversePath::Null),
        "" => Err(reply::BAD_PARAMETER),
        address => ReversePath::parse(address).map_err(|_| reply::BAD_PARAMETER),
    }
}

/// What follows a prefix in any case.
pub(super) fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.trim_start_matches(' ').split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}
