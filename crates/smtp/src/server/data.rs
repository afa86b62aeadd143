//! DATA and the end of data (RFC 5321 §4.1.1.4). Not responsible for the content in between.

use mailtier_types::reply;

use super::content::{Content, Fault};
use super::session::{Asked, Phase};
use super::{Question, ServerSession, Verdict};

impl ServerSession {
    pub(super) fn data(&mut self, arguments: &str) {
        if arguments.is_empty() {
            self.ask(Question::Data, Asked::Data);
        } else {
            self.refuse(reply::SYNTAX);
        }
    }

    pub(super) fn data_answered(&mut self, verdict: Verdict) {
        let verdict = if matches!(verdict, Verdict::AcceptWith(_)) { Verdict::Accept } else { verdict };
        if self.heed(verdict, &reply::START_DATA) {
            let limits = &self.config.limits;
            self.phase = Phase::Content(Content::new(self.config.max_message_bytes, limits.content_line_octets));
        }
    }

    /// The end of data was taken off the input.
    pub(super) fn end_of_data(&mut self, fault: Option<Fault>, size_bytes: u64) {
        self.phase = Phase::Commands;
        // The reply is what a client's responsibility for a message hangs on (RFC 1047): it does not wait.
        self.at_once = true;
        match fault {
            Some(fault) => {
                self.transaction = None;
                self.refuse(fault.reply());
            }
            None => self.ask(Question::EndOfData { size_bytes }, Asked::EndOfData),
        }
    }

    pub(super) fn end_of_data_answered(&mut self, verdict: Verdict) {
        // RFC 5321 §4.1.1.4: whatever the reply, the transaction is over. The driver knows, it has just decided.
        self.transaction = None;
        if self.heed(verdict, &reply::QUEUED) {
            self.errors = 0;
        }
    }
}
