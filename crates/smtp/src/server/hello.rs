//! The greeting, EHLO and HELO (RFC 5321 §3.1, §3.2, §4.1.1.1). Not responsible for the extensions it announces.

use mailtier_types::{Domain, reply};

use super::session::{Asked, Hello, Phase};
use super::{Question, ServerSession, Verdict};

impl ServerSession {
    /// What the driver says to a new connection.
    pub(super) fn connect_answered(&mut self, verdict: Verdict) {
        self.phase = Phase::Commands;
        // RFC 5321 §4.3.1: the host name is the first word.
        let words = reply::GREETING.with_text(format!("{} {}", self.config.hostname, reply::GREETING.text));
        match verdict {
            // RFC 5321 §3.1: a 554 greeting, and the client still says QUIT.
            Verdict::Reject(reply) if reply.is_permanent() => {
                self.refused = true;
                self.refuse(reply);
            }
            Verdict::Reject(reply) | Verdict::RejectAndClose(reply) => self.close_with(reply),
            Verdict::Accept | Verdict::AcceptWith(_) => self.say(&words),
        }
    }

    /// EHLO (`extended`) or HELO.
    pub(super) fn hello(&mut self, arguments: &str, extended: bool) {
        let name = arguments.trim_start_matches(' ');
        if !is_host_name(name) {
            return self.refuse(reply::BAD_HELO);
        }
        self.ask(Question::Hello { name: name.to_owned(), extended }, Asked::Hello { extended });
    }

    pub(super) fn hello_answered(&mut self, extended: bool, verdict: Verdict) {
        let text = if extended { self.ehlo_text() } else { self.config.hostname.clone() };
        let verdict = if matches!(verdict, Verdict::AcceptWith(_)) { Verdict::Accept } else { verdict };
        if self.heed(verdict, &reply::HELLO.with_text(text)) {
            // RFC 5321 §4.1.4: EHLO clears all buffers as RSET does.
            self.abandon();
            self.hello = Some(Hello { extended });
        }
    }

    /// RFC 5321 §4.1.1.1 `ehlo-ok-rsp`.
    fn ehlo_text(&self) -> String {
        let mut text = self.config.hostname.clone();
        for keyword in ["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"] {
            text.push('\n');
            text.push_str(keyword);
        }
        text.push_str(&format!("\nSIZE {}", self.config.max_message_bytes));
        if self.offers_tls() {
            text.push_str("\nSTARTTLS");
        }
        text
    }
}

/// A domain or an address literal (RFC 5321 §4.1.1.1). A dot at the end is tolerated.
fn is_host_name(name: &str) -> bool {
    Domain::parse(name.strip_suffix('.').unwrap_or(name)).is_ok()
}
