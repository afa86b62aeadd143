//! RCPT (RFC 5321 §4.1.1.3). Not responsible for whether mail to the recipient is taken.

use mailtier_types::{Domain, Mailbox, Reply, reply};

use super::mail::strip_prefix;
use super::session::Asked;
use super::{Question, ServerConfig, ServerSession, Verdict, smtputf8};
use crate::syntax::{parameter, path};

impl ServerSession {
    pub(super) fn rcpt(&mut self, arguments: &str) {
        let Some(transaction) = &self.transaction else { return self.refuse(reply::BAD_SEQUENCE) };
        let (accepted, smtputf8) = (transaction.recipients, transaction.smtputf8);
        match parse(arguments, smtputf8, &self.config) {
            // RFC 5321 §4.5.3.1.10: the client sends the rest in another transaction.
            Ok(_) if accepted >= self.config.max_recipients => self.refuse(reply::TOO_MANY_RECIPIENTS),
            Ok(mailbox) => self.ask(Question::Rcpt(mailbox), Asked::Rcpt),
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
}

/// `TO:<forward-path> [parameters]`; no extension offered here gives RCPT a parameter.
fn parse(arguments: &str, smtputf8: bool, config: &ServerConfig) -> Result<Mailbox, Reply> {
    let rest = strip_prefix(arguments, "TO:").ok_or(reply::SYNTAX)?;
    let path = path::split(rest).ok_or(reply::BAD_RECIPIENT)?;
    let mailbox = mailbox(path.mailbox, &config.hostname).ok_or(reply::BAD_RECIPIENT)?;
    match parameter::parse(path.parameters).next() {
        Some(Ok(_)) => return Err(reply::UNKNOWN_PARAMETER),
        Some(Err(_)) => return Err(reply::SYNTAX),
        None => {}
    }
    smtputf8::check(smtputf8, Some(&mailbox))?;
    Ok(mailbox)
}

/// A mailbox, or `Postmaster` alone, which is this host's (RFC 5321 §4.1.1.3, §4.5.1).
fn mailbox(text: &str, hostname: &str) -> Option<Mailbox> {
    if text.eq_ignore_ascii_case("postmaster") {
        let domain = Domain::parse(hostname).ok()?;
        return Mailbox::from_parts("postmaster", &domain).ok();
    }
    Mailbox::parse(text).ok()
}
