//! The connection, EHLO, and who a trusted proxy or filter says the client is. Not responsible for who is greeted, which
//! is policy, nor for logins.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mailtier_api::accounts::Login;
use mailtier_smtp::{ClientAttribute, Verdict};
use mailtier_telemetry::Meters;
use mailtier_types::reply;

use super::Session;
use crate::limits::ClientKey;
use crate::peer::Origin;
use crate::policy::{Refusal, connect, helo};
use crate::record;

impl Session {
    pub(super) async fn connect(&mut self) -> Verdict {
        let load = connect::Load {
            queue_down_for: self.shared.submitter.endpoints.down_for(Instant::now()),
            patience: self.shared.patience,
            memory_is_short: self.shared.pressure.is_high(),
        };
        if let Err(refusal) = connect::shed(&load) {
            record::session_shed(&self.shared, &self.peer, refusal.reason);
            return Verdict::RejectAndClose(refusal.reply);
        }
        match self.admit(self.peer.settings.greeting_delay) {
            Ok(delay) => {
                self.shared.meters.inbound_sessions.add(1, &Meters::attribute("result", "accepted"));
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                Verdict::Accept
            }
            Err(refusal) => Verdict::Reject(refusal.reply),
        }
    }

    /// Whether this client is served, and the wait before it is greeted. What counts against limits is held from here on.
    fn admit(&mut self, greeting_delay: Duration) -> Result<Duration, Refusal> {
        let (limits, settings) = (&self.shared.limits, &self.peer.settings);
        let user_slot = self.peer.user.as_ref().map(|user| limits.user_session(&user.name));
        let mut facts = connect::Facts {
            refuse: settings.refuse.as_deref(),
            trusted: self.peer.trusted,
            greeting_delay,
            user_has_room: user_slot.as_ref().map(Option::is_some),
            tenant_has_room: None,
            client_has_room: None,
        };
        let (mut tenant_slot, mut client_slot) = (None, None);
        loop {
            match connect::decide(&facts) {
                Ok(connect::Admission::AskTenant) => {
                    tenant_slot = limits.tenant_session(self.peer.tenant());
                    facts.tenant_has_room = Some(tenant_slot.is_some());
                }
                Ok(connect::Admission::AskClient) => {
                    client_slot = limits.session(ClientKey::of(self.peer.address.ip()), settings.limits);
                    facts.client_has_room = Some(client_slot.is_some());
                }
                Ok(connect::Admission::Greet { after }) => {
                    (self.tenant_slot, self.client_slot, self.user_slot) =
                        (tenant_slot, client_slot, user_slot.flatten());
                    return Ok(after);
                }
                Err(refusal) => {
                    record::session_refused(&self.shared, &self.peer, &refusal);
                    return Err(refusal);
                }
            }
        }
    }

    pub(super) fn hello(&mut self, name: String, extended: bool) -> Verdict {
        let may_log_in = self.peer.settings.smtp.sasl.is_some();
        match self.judge_name(&name, may_log_in) {
            Ok(_) => {
                self.peer.helo = name;
                self.peer.extended = extended;
                Verdict::Accept
            }
            Err(refusal) => self.refuse_name(&name, refusal),
        }
    }

    /// What is decided about a name, while the client `may_log_in` and when it did not.
    pub(super) fn judge_name(&self, name: &str, may_log_in: bool) -> Result<helo::Admission, Refusal> {
        helo::decide(&helo::Facts {
            name,
            hostname: &self.shared.hostname,
            server: self.peer.server,
            own_name: self.shared.helo_own_name,
            protocol: self.peer.listener.protocol,
            is_of_ours: self.peer.is_ours(),
            may_log_in,
        })
    }

    pub(super) fn refuse_name(&mut self, name: &str, refusal: Refusal) -> Verdict {
        self.tally.count(&refusal.reply);
        record::hello_refused(&self.shared, &self.peer, name, &refusal);
        Verdict::Reject(refusal.reply)
    }

    /// XCLIENT: everything that was decided for the proxy is decided anew for who is behind it.
    pub(super) async fn impersonate(&mut self, attributes: &[ClientAttribute]) -> Verdict {
        self.peer = self.peer.impersonated(attributes);
        (self.client_slot, self.user_slot, self.tenant_slot) = (None, None, None);
        let login = attributes.iter().find_map(|attribute| match attribute {
            ClientAttribute::Login(name) => name.as_deref(),
            _ => None,
        });
        if let Some(name) = login {
            // The proxy has seen the password; who that is, and may do, is ours to say.
            match self.find(name).await {
                Ok(Login::User(account)) => self.know(Arc::new(super::login::user(account))),
                Ok(_) => return Verdict::Reject(reply::NOT_AUTHORISED),
                Err(reply) => return Verdict::Reject(reply),
            }
        }
        match self.admit(Duration::ZERO) {
            Ok(_) => Verdict::Become {
                config: Arc::clone(&self.peer.settings.smtp),
                permitted: self.shared.permitted(&self.peer),
            },
            Err(refusal) => Verdict::Reject(refusal.reply),
        }
    }

    /// XFORWARD.
    pub(super) fn forward(&mut self, attributes: Vec<ClientAttribute>) -> Verdict {
        let before = self.peer.origin.take().map(|origin| Origin::clone(&origin)).unwrap_or_default();
        self.peer.origin = Some(Arc::new(before.with(attributes)));
        Verdict::Accept
    }
}
