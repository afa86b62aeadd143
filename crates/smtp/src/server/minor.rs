//! The commands that are one reply: RSET, NOOP, QUIT, VRFY and HELP (RFC 5321 §4.1.1.5 to §4.1.1.10). Each would be a
//! file of five lines.

use mailtier_types::reply;

use super::ServerSession;

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

    /// RFC 5321 §4.1.1.6, with §3.5.3's and §7.3's way not to give addresses away.
    pub(super) fn vrfy(&mut self, arguments: &str) {
        if arguments.is_empty() {
            self.refuse(reply::SYNTAX);
        } else {
            self.say(&reply::CANNOT_VRFY);
        }
    }

    /// RFC 5321 §4.1.1.8.
    pub(super) fn help(&mut self) {
        self.say(&reply::HELP);
    }
}
