//! RCPT (RFC 5321 §4.1.1.3). Not responsible for whether mail to the recipient is taken.

use mailtier_types::{Domain, Mailbox, Reply, reply};

use super::extension::Extension;
use super::mail::strip_prefix;
use super::session::Asked;
use super::{Question, RcptParameters, ServerSession, Verdict, dsn, smtputf8};
use crate::syntax::{parameter, path};

impl ServerSession {
    pub(super) fn rcpt(&mut self, arguments: &str) {
        let Some(transaction) = &self.transaction else { return self.refuse(reply::BAD_SEQUENCE) };
        let (accepted, smtputf8) = (transaction.recipients, transaction.smtputf8);
        match self.parse_rcpt(arguments, smtputf8) {
            // RFC 5321 §4.5.3.1.10: the client sends the rest in another transaction.
            Ok(_) if accepted >= self.config.max_recipients => self.refuse(reply::TOO_MANY_RECIPIENTS),
            Ok(parameters) => self.ask(Question::Rcpt(parameters), Asked::Rcpt),
            Err(reply) => self.refuse(reply),
        }
    }

    pub(super) fn rcpt_answered(&mut self, verdict: Verdict) {
        if self.heed(verdict, &reply::RECIPIENT_OK)
            && let Some(transaction) = &mut self.transaction
        {
            transaction.recipients += 1;
        }
    }

    /// `TO:<forward-path> [parameters]`.
    fn parse_rcpt(&self, arguments: &str, smtputf8: bool) -> Result<RcptParameters, Reply> {
        let rest = strip_prefix(arguments, "TO:").ok_or(reply::SYNTAX)?;
        let path = path::split(rest).ok_or(reply::BAD_RECIPIENT)?;
        smtputf8::check(smtputf8, path.mailbox)?;
        let mailbox = mailbox(path.mailbox, &self.config.hostname).ok_or(reply::BAD_RECIPIENT)?;
        let (mut notify, mut original) = (None, None);
        let has_dsn = self.offers(Extension::Dsn) && self.hello.is_some_and(|hello| hello.extended);
        for parameter in parameter::parse(path.parameters) {
            let parameter::Parameter { keyword, value } = parameter.map_err(|_| reply::SYNTAX)?;
            let again = if has_dsn && keyword.eq_ignore_ascii_case("NOTIFY") {
                notify.replace(dsn::notify(value)?).is_some()
            } else if has_dsn && keyword.eq_ignore_ascii_case("ORCPT") {
                original.replace(dsn::original_recipient(value, smtputf8)?).is_some()
            } else {
                // RFC 5321 §4.1.1.11.
                return Err(reply::UNKNOWN_PARAMETER);
            };
            if again {
                return Err(reply::BAD_PARAMETER);
            }
        }
        Ok(RcptParameters { mailbox, notify, original })
    }
}

/// A mailbox, or `Postmaster` alone, which is this host's (RFC 5321 §4.1.1.3, §4.5.1).
fn mailbox(text: &str, hostname: &str) -> Option<Mailbox> {
    if text.eq_ignore_ascii_case("postmaster") {
        let domain = Domain::parse(hostname).ok()?;
        return Mailbox::from_parts("postmaster", &domain).ok();
    }
    Mailbox::parse(text).ok()
}
