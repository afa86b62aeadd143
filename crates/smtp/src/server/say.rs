//! Replies, refusals and the ways a session ends. Not responsible for which reply is given.

use mailtier_types::{Reply, reply};

use super::session::Phase;
use super::{ServerSession, Verdict};

/// Replies gather up to this many octets while pipelined commands are worked off (RFC 2920 §3.2).
const GATHERED_OUTPUT_OCTETS: usize = 4096;

impl ServerSession {
    /// A reply.
    pub(super) fn say(&mut self, reply: &Reply) {
        reply.write_to(&mut self.output);
        self.flush |= self.at_once || self.output.len() >= GATHERED_OUTPUT_OCTETS;
    }

    /// A refusal. Permanent ones are counted.
    pub(super) fn refuse(&mut self, reply: Reply) {
        self.say(&reply);
        if reply.is_permanent() {
            self.count_error();
        }
    }

    /// An error more. Too many of them end the session.
    pub(super) fn count_error(&mut self) {
        self.errors = self.errors.saturating_add(1);
        if self.errors >= self.config.limits.errors {
            self.close_with(reply::TOO_MANY_ERRORS);
        }
    }

    /// One more command that leads to nothing: beyond their limit they are errors. Where it is one too many the session
    /// ends, and its 421 is the command's reply.
    pub(super) fn junk_ends_session(&mut self) -> bool {
        self.junk = self.junk.saturating_add(1);
        if self.junk > self.config.limits.junk_commands {
            self.count_error();
        }
        matches!(self.phase, Phase::Closing)
    }

    /// The last reply of the session. Whatever the client has sent beyond it is not looked at.
    pub(super) fn close_with(&mut self, reply: Reply) {
        self.say(&reply);
        self.abandon();
        self.input.clear();
        self.phase = Phase::Closing;
        self.deadline = self.now + self.config.timeouts.closing;
    }

    /// A refusal of a command that was sent before the client could know that it is in vain (RFC 2920 §3.1).
    pub(super) fn refuse_or_excuse(&mut self, reply: Reply) {
        if self.excused > 0 {
            self.excused -= 1;
            self.say(&reply);
        } else {
            self.refuse(reply);
        }
    }

    /// Forgets the transaction, and has the driver told where there was one. Content with a fault was already reported.
    pub(super) fn abandon(&mut self) {
        let Some(transaction) = self.transaction.take() else { return };
        let of_phase = if let Phase::Content(content) = &self.phase { Some(content) } else { None };
        if of_phase.or(transaction.content.as_ref()).is_none_or(|content| content.fault().is_none()) {
            self.reset = true;
        }
    }

    /// Says what a verdict means and whether it is positive. `words` are the engine's own for yes.
    pub(super) fn heed(&mut self, verdict: Verdict, words: &Reply) -> bool {
        match verdict {
            Verdict::Accept => self.say(words),
            Verdict::AcceptWith(reply) if reply.is_positive() => self.say(&reply),
            Verdict::AcceptWith(_) | Verdict::Become { .. } | Verdict::Challenge(_) => self.say(words),
            Verdict::Reject(reply) => {
                self.refuse(reply);
                return false;
            }
            Verdict::RejectAndClose(reply) => {
                self.close_with(reply);
                return false;
            }
        }
        true
    }
}
