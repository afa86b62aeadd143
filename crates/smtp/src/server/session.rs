//! The state of one server session.

use std::sync::Arc;
use std::time::Instant;

use super::{ServerAction, ServerConfig, Verdict};
use crate::TlsInfo;

/// One SMTP connection, seen from the server.
#[derive(Debug)]
pub struct ServerSession {
    config: Arc<ServerConfig>,
    output: Vec<u8>,
    deadline: Instant,
}

impl ServerSession {
    /// A session on a connection that was just opened. Its first action is to ask [`super::Question::Connect`].
    #[must_use]
    pub fn new(config: Arc<ServerConfig>, now: Instant) -> Self {
        let deadline = now + config.timeouts.command;
        Self { config, output: Vec::new(), deadline }
    }
    /// Octets from the client.
    pub fn handle_input(&mut self, data: &[u8], now: Instant) {
        let _ = (data, now, &self.config);
    }
    /// The client closed its side, or the connection broke.
    pub fn handle_eof(&mut self) {}
    /// [`Self::next_timeout`] may have passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }
    /// When [`Self::handle_timeout`] wants to be called.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        Some(self.deadline)
    }
    /// The verdict on the open question.
    pub fn answer(&mut self, verdict: Verdict) {
        let _ = verdict;
    }
    /// The handshake is done: everything said before is forgotten (RFC 3207 §4.2).
    pub fn handle_tls(&mut self, info: TlsInfo) {
        let _ = info;
    }
    /// Drain: the session ends with 421 as soon as no transaction is open.
    pub fn shut_down(&mut self) {}
    /// What to do next.
    pub fn poll(&mut self) -> ServerAction {
        ServerAction::NeedInput
    }
    /// What is to be written.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        &self.output
    }
    /// So many octets of the output were written.
    pub fn sent(&mut self, octets: usize) {
        self.output.drain(..octets);
    }
    /// Whether the driver may read from the connection now.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        true
    }
}
