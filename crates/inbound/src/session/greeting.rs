//! The connection, EHLO, and who a trusted proxy or filter says the client is. Not responsible for logins.

use std::sync::Arc;
use std::time::Instant;

use mailtier_api::accounts::Login;
use mailtier_smtp::{ClientAttribute, Verdict};
use mailtier_telemetry::Meters;
use mailtier_types::reply;

use super::Session;
use crate::limits::ClientKey;
use crate::peer::Origin;
use crate::record;

impl Session {
    /// Whether to greet the client. While the queue has been away for long, clients are sent elsewhere before they begin.
    pub(super) async fn connect(&mut self) -> Verdict {
        let down_for = self.shared.submitter.endpoints.down_for(Instant::now());
        if down_for.is_some_and(|down_for| down_for > self.shared.patience) {
            return self.shed(reply::SHUTTING_DOWN.with_text("Queue not available, try again later"));
        }
        if self.shared.pressure.is_high() {
            return self.shed(reply::TOO_MANY_SESSIONS.with_text("Too busy, try again later"));
        }
        let verdict = self.admit();
        if verdict == Verdict::Accept {
            self.shared.meters.inbound_sessions.add(1, &Meters::attribute("result", "accepted"));
            if !self.peer.trusted && !self.peer.settings.greeting_delay.is_zero() {
                // Who does not wait for the greeting is turned away by the engine (RFC 5321 §4.3.1).
                tokio::time::sleep(self.peer.settings.greeting_delay).await;
            }
        }
        verdict
    }

    /// Whether this client is served at all.
    fn admit(&mut self) -> Verdict {
        let settings = Arc::clone(&self.peer.settings);
        if let Some(text) = &settings.refuse {
            record::session_refused(&self.shared, &self.peer, "network_refused");
            return Verdict::Reject(reply::NO_SERVICE.with_text(text.clone()));
        }
        if self.peer.trusted {
            return Verdict::Accept;
        }
        self.client_slot = self.shared.limits.session(ClientKey::of(self.peer.address.ip()), settings.limits);
        if self.client_slot.is_some() {
            return Verdict::Accept;
        }
        record::session_refused(&self.shared, &self.peer, "client_limit");
        Verdict::RejectAndClose(reply::TOO_MANY_SESSIONS.with_text("Too many connections from your address"))
    }

    fn shed(&self, reply: mailtier_types::Reply) -> Verdict {
        self.shared.meters.inbound_sessions.add(1, &Meters::attribute("result", "shed"));
        Verdict::RejectAndClose(reply)
    }

    pub(super) fn hello(&mut self, name: String, extended: bool) -> Verdict {
        self.peer.helo = name;
        self.peer.extended = extended;
        Verdict::Accept
    }

    /// XCLIENT: everything that was decided for the proxy is decided anew for who is behind it.
    pub(super) async fn impersonate(&mut self, attributes: &[ClientAttribute]) -> Verdict {
        self.peer = self.peer.impersonated(attributes);
        (self.client_slot, self.user_slot) = (None, None);
        let login = attributes.iter().find_map(|attribute| match attribute {
            ClientAttribute::Login(name) => name.as_deref(),
            _ => None,
        });
        if let Some(name) = login {
            // The proxy has seen the password; who that is, and may do, is ours to say.
            match self.find(name).await {
                Ok(Login::User(account)) => self.peer.user = Some(Arc::new(super::login::user(account))),
                Ok(_) => return Verdict::Reject(reply::NOT_AUTHORISED),
                Err(reply) => return Verdict::Reject(reply),
            }
        }
        self.admit()
    }

    /// XFORWARD.
    pub(super) fn forward(&mut self, attributes: Vec<ClientAttribute>) -> Verdict {
        let before = self.peer.origin.take().map(|origin| Origin::clone(&origin)).unwrap_or_default();
        self.peer.origin = Some(Arc::new(before.with(attributes)));
        Verdict::Accept
    }
}
