//! DATA and the end of data (RFC 5321 §4.1.1.4). Not responsible for the content in between.

use mailtier_types::{Reply, reply};

use super::action::BodyType;
use super::config::Protocol;
use super::content::{Content, Fault};
use super::session::{Asked, Phase};
use super::{Question, ServerSession, Verdict};

impl ServerSession {
    pub(super) fn data(&mut self, arguments: &str) {
        if !arguments.is_empty() {
            return self.refuse(reply::SYNTAX);
        }
        // RFC 3030 §3: lines mean nothing in such content, so no line can end it.
        if self.transaction.as_ref().is_some_and(|transaction| transaction.body == BodyType::Binary) {
            return self.refuse(reply::BINARY_NEEDS_BDAT);
        }
        self.ask(Question::Data, Asked::Data);
    }

    pub(super) fn data_answered(&mut self, verdict: Verdict) {
        let verdict = if matches!(verdict, Verdict::AcceptWith(_)) { Verdict::Accept } else { verdict };
        if self.heed(verdict, &reply::START_DATA) {
            let config = &self.config;
            let content = Content::dotted(config.lines, config.max_message_bytes, config.limits.content_line_octets);
            self.phase = Phase::Content(content);
            self.renew_deadline();
        }
    }

    /// The end of data was taken off the input.
    pub(super) fn end_of_data(&mut self, fault: Option<Fault>, size_bytes: u64) {
        self.phase = Phase::Commands;
        self.renew_deadline();
        // The reply is what a client's responsibility for a message hangs on (RFC 1047): it does not wait.
        self.at_once = true;
        match fault {
            Some(fault) => {
                self.heed_for_recipients(Verdict::Reject(fault.reply()));
                self.transaction = None;
            }
            None => self.ask(Question::EndOfData { size_bytes }, Asked::EndOfData),
        }
    }

    pub(super) fn end_of_data_answered(&mut self, verdict: Verdict) {
        if self.heed_for_recipients(verdict) {
            (self.errors, self.junk) = (0, 0);
        }
        // RFC 5321 §4.1.1.4: whatever the reply, the transaction is over. The driver knows, it has just decided.
        self.transaction = None;
    }

    /// One reply, or in LMTP one for each recipient, which here all mean the same (RFC 2033 §4.2).
    fn heed_for_recipients(&mut self, verdict: Verdict) -> bool {
        if self.config.protocol == Protocol::Lmtp {
            let recipients = self.transaction.as_ref().map_or(1, |transaction| transaction.recipients);
            let each = match &verdict {
                Verdict::AcceptWith(reply) if reply.is_positive() => reply.clone(),
                Verdict::Accept | Verdict::AcceptWith(_) | Verdict::Become { .. } | Verdict::Challenge(_) => {
                    reply::QUEUED
                }
                Verdict::Reject(reply) | Verdict::RejectAndClose(reply) => reply.clone(),
            };
            self.say_for_others(&each, recipients);
        }
        // The driver has decided what becomes of the message: nothing is left for it to forget.
        self.transaction = None;
        self.heed(verdict, &reply::QUEUED)
    }

    /// What the recipients but one are told in LMTP, where each has a reply of its own.
    pub(super) fn say_for_others(&mut self, reply: &Reply, recipients: usize) {
        (1..recipients).for_each(|_| self.say(reply));
    }
}
