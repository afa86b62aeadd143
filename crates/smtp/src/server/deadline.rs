//! How long a client may take (RFC 5321 §4.5.3.2.7). Not responsible for the driver's clock.

use std::time::{Duration, Instant};

use mailtier_types::reply;

use super::ServerSession;
use super::session::Phase;

/// The slowest client that is served: below any line in use, and enough that sessions cannot be held for nothing.
const LEAST_CONTENT_OCTETS_PER_SECOND: f64 = 500.0;

impl ServerSession {
    /// [`Self::next_timeout`] may have passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        if self.asked.is_some() || now < self.deadline {
            return;
        }
        if self.output.is_empty() && self.takes_input() {
            // RFC 5321 §4.5.3.2.7, §3.8.
            self.close_with(reply::IDLE_TIMEOUT);
        } else {
            // The client does not even take its replies, or the handshake does not end.
            self.abandon();
            self.output.clear();
            self.phase = Phase::Closed;
        }
    }

    /// When [`Self::handle_timeout`] wants to be called; never while a question is open.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        (self.asked.is_none() && !matches!(self.phase, Phase::Closed)).then_some(self.deadline)
    }

    /// Something is over, and what comes next has the whole time. Commands renew the deadline only as a whole: a line
    /// that never ends must not keep a session open.
    pub(super) fn renew_deadline(&mut self) {
        self.deadline = self.now + self.waits();
    }

    /// How long the client may be silent.
    fn waits(&self) -> Duration {
        match self.phase {
            Phase::Content(_) | Phase::Chunk(_) => self.config.timeouts.content,
            _ => self.config.timeouts.command,
        }
    }

    /// Content renews the deadline by what the slowest client needs for so many octets, and no more: whoever sends one
    /// octet now and then does not keep a session open.
    pub(super) fn credit(&mut self, octets: usize) {
        if matches!(self.phase, Phase::Content(_) | Phase::Chunk(_)) {
            let needed = Duration::from_secs(1).mul_f64(octets as f64 / LEAST_CONTENT_OCTETS_PER_SECOND);
            self.deadline = (self.deadline + needed).min(self.now + self.waits());
        }
    }
}
