//! The commands that are one reply or one question: RSET, NOOP, QUIT, HELP (RFC 5321 §4.1.1.5 to §4.1.1.10) and ETRN
//! (RFC 1985). Each would be a file of ten lines.

use mailtier_types::reply;

use super::extension::Extension;
use super::session::Asked;
use super::{Question, ServerSession, Verdict};

impl ServerSession {
    /// RFC 5321 §4.1.1.5.
    pub(super) fn rset(&mut self, arguments: &str) {
        if !arguments.is_empty() {
            return self.refuse(reply::SYNTAX);
        }
        self.abandon();
        self.say(&reply::OK);
    }

    /// RFC 5321 §4.1.1.9: its argument is ignored.
    pub(super) fn noop(&mut self) {
        self.say(&reply::OK);
    }

    /// RFC 5321 §4.1.1.10.
    pub(super) fn quit(&mut self, arguments: &str) {
        if arguments.is_empty() {
            self.close_with(reply::CLOSING);
        } else {
            self.refuse(reply::SYNTAX);
        }
    }

    /// RFC 1985 §5.1. What a client is told that may not say it, the driver knows.
    pub(super) fn etrn(&mut self, arguments: &str) {
        if !self.config.extensions.contains(Extension::Etrn) {
            self.refuse(reply::NOT_IMPLEMENTED);
        } else if arguments.is_empty() || arguments.contains(' ') {
            self.refuse(reply::SYNTAX);
        } else {
            self.ask(Question::StartQueue(arguments.to_owned()), Asked::Plain);
        }
    }

    /// A question whose verdict is its reply.
    pub(super) fn plainly_answered(&mut self, verdict: Verdict) {
        self.heed(verdict, &reply::OK);
    }

    /// RFC 5321 §4.1.1.8.
    pub(super) fn help(&mut self) {
        self.say(&reply::HELP);
    }
}
