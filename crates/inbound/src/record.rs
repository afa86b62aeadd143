//! What is logged and counted: one line for each accepted message, each refusal and each session's end, with the
//! fields Postfix's users know. Not responsible for where lines and counts go.

use std::time::Duration;

use mailtier_telemetry::Meters;
use mailtier_transport::server::SessionEnd;
use mailtier_types::{Mailbox, MessageId, Reply, ReversePath, SaslMechanism};

use crate::peer::Peer;
use crate::policy::Refusal;
use crate::shared::Shared;
use crate::submit::Message;

/// What a session came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Messages answered with 250.
    pub(crate) accepted: u32,
    /// Messages answered with 4xx.
    pub(crate) deferred: u32,
    /// Messages and recipients answered with 5xx.
    pub(crate) rejected: u32,
}

impl Tally {
    /// Counts a refusal.
    pub(crate) const fn count(&mut self, reply: &Reply) {
        if reply.is_permanent() {
            self.rejected += 1;
        } else {
            self.deferred += 1;
        }
    }
}

/// What is said of an accepted message.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) id: MessageId,
    pub(crate) recipients: usize,
    pub(crate) size_bytes: u64,
    stored_bytes: usize,
    header_message_id: String,
    protocol: String,
}

impl Accepted {
    pub(crate) fn new(message: &Message, stored_bytes: usize) -> Self {
        let options = &message.envelope.options;
        Self {
            id: message.id,
            recipients: message.envelope.recipients.len(),
            size_bytes: options.size_bytes,
            stored_bytes,
            header_message_id: options.header_message_id.clone(),
            protocol: options.protocol.clone(),
        }
    }
}

/// A message was committed.
pub(crate) fn message_accepted(
    shared: &Shared,
    peer: &Peer,
    sender: &ReversePath,
    facts: &Accepted,
    submitting: Duration,
) {
    shared.meters.inbound_messages.add(1, &Meters::attribute("result", "accepted"));
    shared.meters.inbound_recipients.add(facts.recipients as u64, &[]);
    #[expect(clippy::cast_precision_loss, reason = "a histogram's border is no sharper")]
    shared.meters.inbound_message_size.record(facts.size_bytes as f64, &[]);
    shared.meters.inbound_submit_duration.record(submitting.as_secs_f64(), &[]);
    tracing::info!(
        message = %facts.id,
        client = %peer.address.ip(),
        helo = %peer.helo,
        from = %sender,
        nrcpt = facts.recipients,
        size = facts.size_bytes,
        stored = facts.stored_bytes,
        message_id = %facts.header_message_id,
        proto = %facts.protocol,
        tls = peer.tls_text(),
        user = peer.user.as_ref().map(|user| &*user.name),
        orig_client = peer.origin.as_ref().and_then(|origin| origin.address).map(tracing::field::display),
        orig_id = peer.origin.as_ref().and_then(|origin| origin.ident.as_deref()),
        delay_ms = u64::try_from(submitting.as_millis()).unwrap_or(u64::MAX),
        status = "accepted",
    );
}

/// A message was not taken.
pub(crate) fn message_refused(shared: &Shared, peer: &Peer, sender: &ReversePath, reply: &Reply) {
    let result = if reply.is_permanent() { "rejected" } else { "deferred" };
    shared.meters.inbound_messages.add(1, &Meters::attribute("result", result));
    let status = reply.enhanced.map_or_else(|| "none".to_owned(), |status| status.to_string());
    shared.meters.inbound_messages_refused.add(1, &Meters::attribute("status", status));
    tracing::info!(
        client = %peer.address.ip(),
        helo = %peer.helo,
        from = %sender,
        %reply,
        status = result,
    );
}

/// Counts a client that is not served: what becomes of it, and why, in one of few words.
pub(crate) fn not_served(meters: &Meters, result: &'static str, reason: &'static str) {
    meters.inbound_sessions.add(1, &Meters::attribute("result", result));
    meters.inbound_sessions_refused.add(1, &Meters::attribute("reason", reason));
}

/// Nobody is served just now. Sending clients elsewhere must cost less than serving them.
pub(crate) fn session_shed(shared: &Shared, peer: &Peer, reason: &'static str) {
    not_served(&shared.meters, "shed", reason);
    tracing::debug!(client = %peer.address.ip(), reason, status = "shed");
}

/// A client was not served.
pub(crate) fn session_refused(shared: &Shared, peer: &Peer, Refusal { reply, reason }: &Refusal) {
    not_served(&shared.meters, "refused", reason);
    tracing::info!(client = %peer.address.ip(), listener = %peer.listener.name, %reply, reason, status = "refused");
}

/// A login is over.
pub(crate) fn login(shared: &Shared, peer: &Peer, mechanism: SaslMechanism, name: &str, result: &'static str) {
    shared.meters.inbound_logins.add(1, &Meters::attribute("result", result));
    tracing::info!(client = %peer.address.ip(), sasl_method = %mechanism, sasl_username = name, result, "login");
}

/// A name that a client went by was not taken.
pub(crate) fn hello_refused(shared: &Shared, peer: &Peer, name: &str, Refusal { reply, reason }: &Refusal) {
    shared.meters.inbound_hellos_rejected.add(1, &Meters::attribute("reason", *reason));
    tracing::info!(client = %peer.address.ip(), helo = name, %reply, reason, status = "rejected");
}

/// A sender was not taken.
pub(crate) fn sender_refused(shared: &Shared, peer: &Peer, sender: &ReversePath, Refusal { reply, reason }: &Refusal) {
    shared.meters.inbound_senders_rejected.add(1, &Meters::attribute("reason", *reason));
    tracing::info!(
        client = %peer.address.ip(),
        helo = %peer.helo,
        user = peer.user.as_ref().map(|user| &*user.name),
        from = %sender,
        %reply,
        reason,
        status = "rejected",
    );
}

/// A recipient was not taken.
pub(crate) fn recipient_rejected(
    shared: &Shared,
    peer: &Peer,
    sender: &ReversePath,
    recipient: &Mailbox,
    Refusal { reply, reason }: &Refusal,
) {
    shared.meters.inbound_recipients_rejected.add(1, &Meters::attribute("reason", *reason));
    tracing::info!(
        client = %peer.address.ip(),
        helo = %peer.helo,
        from = %sender,
        to = %recipient,
        %reply,
        reason,
        status = "rejected",
    );
}

/// A session is over.
pub(crate) fn disconnected(shared: &Shared, peer: &Peer, tally: &Tally, end: &SessionEnd, lasted: Duration) {
    shared.meters.inbound_session_duration.record(lasted.as_secs_f64(), &[]);
    shared.meters.inbound_tls.add(1, &Meters::attribute("version", peer.tls_version()));
    let lost = match end {
        SessionEnd::Finished => None,
        SessionEnd::Lost(error) | SessionEnd::TlsFailed(error) => Some(error),
    };
    tracing::info!(
        client = %peer.address.ip(),
        helo = %peer.helo,
        accepted = tally.accepted,
        deferred = tally.deferred,
        rejected = tally.rejected,
        lasted_ms = u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX),
        lost = lost.map(tracing::field::display),
        status = "disconnected",
    );
}
