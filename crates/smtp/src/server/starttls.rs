//! STARTTLS (RFC 3207). Not responsible for the handshake.

use bytes::BytesMut;
use mailtier_types::reply;

use super::ServerSession;
use super::extension::Extension;
use super::session::{Phase, TlsMeans};
use crate::TlsInfo;

impl ServerSession {
    /// Whether EHLO offers it: it is configured, and TLS is not active yet (RFC 3207 §4.2).
    pub(super) fn offers_tls(&self) -> bool {
        self.config.starttls && self.tls.is_none()
    }

    pub(super) fn starttls(&mut self, arguments: &str) {
        if self.tls.is_some() {
            return self.refuse(reply::TLS_ACTIVE);
        }
        if !self.config.starttls || !self.config.extensions.contains(Extension::StartTls) {
            return self.refuse(reply::NOT_IMPLEMENTED);
        }
        if !arguments.is_empty() {
            return self.refuse(reply::SYNTAX);
        }
        // RFC 3207 §4: the client waits for the reply. What it sent before that was put there by somebody in the middle,
        // to be taken for commands under TLS (CVE-2011-0411).
        if !self.input.is_empty() {
            return self.close_with(reply::STARTTLS_INJECTION);
        }
        self.abandon();
        self.say(&reply::READY_FOR_TLS);
        self.phase = Phase::Upgrading { told: false };
        self.deadline = self.now + self.config.timeouts.handshake;
    }

    /// RFC 3207 §4.2: the server discards any knowledge obtained from the client.
    pub(super) fn upgraded(&mut self, info: &TlsInfo) {
        self.abandon();
        self.input = BytesMut::new();
        self.output.clear();
        self.hello = None;
        self.authenticated = false;
        self.tls = Some(TlsMeans::of(info));
        self.phase = Phase::Commands;
        self.adjust_line_limit();
    }
}
