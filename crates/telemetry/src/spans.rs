//! All spans and their attributes: the stations of a message, from its reception over its commit and its turns to each
//! attempt, are one trace. Attempts long after the reception begin a trace of their own, which is linked to it: so a trace
//! ends, and can be looked at as a whole. Names follow OpenTelemetry's semantic conventions where they have one; what is particular to SMTP is
//! `smtp.*`, and what is ours is `mail.*`. Not responsible for how the trace travels with the message.
//!
//! Where nothing is exported the spans are disabled: nothing is allocated, formatted or parsed then.

use std::net::IpAddr;
use std::time::Duration;

use mailtier_types::{Cause, DeliveryId, MessageId, Outcome, Reply, Timestamp, TroubleKind};
use tracing::Span;
use tracing::field::{Empty, display};

use crate::context;

/// From MAIL to the verdict on the message.
pub const RECEIVE: &str = "receive";
/// From the arrival of a message at the queue until it is durable.
pub const COMMIT: &str = "commit";
/// A delivery's turn: it is handed to a worker.
pub const SCHEDULE: &str = "schedule";
/// One try of a delivery.
pub const ATTEMPT: &str = "attempt";

/// Attempts that begin later than this after the reception have a trace of their own.
const TRACE_ENDS_AFTER: Duration = Duration::from_secs(3600);

macro_rules! attributes {
    ($($attribute:ident = $name:literal, $help:literal;)*) => {
        $(#[doc = $help] const $attribute: &str = $name;)*

        /// Every attribute of our spans, and what it means.
        #[cfg(test)]
        const ATTRIBUTES: &[(&str, &str)] = &[$(($name, $help)),*];
    };
}

attributes! {
    PROTOCOL = "network.protocol.name", "Always `smtp`";
    CLIENT = "client.address", "Who sent the message to us";
    SERVER = "server.address", "Host that an attempt talked to, as its MX record or the route names it";
    PEER = "network.peer.address", "Address of that host";
    ERROR = "error.type", "Why a span is an error: the enhanced status code (RFC 3463), or the kind of trouble";
    DATABASE = "db.system.name", "Always `postgresql`";
    BATCH = "db.operation.batch.size", "Messages that were committed together";
    HELO = "smtp.helo", "What the client called itself";
    REFUSED = "smtp.recipient.refused", "Why the first recipient that was refused was refused, in the words of metrics";
    REPLY_CODE = "smtp.reply.code", "Code of the reply that decided: ours to the client, or the remote host's";
    REPLY_STATUS = "smtp.reply.enhanced_code", "Enhanced status code that goes with it (RFC 3463)";
    STAGE = "smtp.stage", "How far the conversation had come";
    TLS = "smtp.tls", "TLS version and cipher of the connection to the remote host";
    MESSAGE = "mail.message.id", "Id of the message, as in the reply to the client and in the log";
    SIZE = "mail.message.size", "Octets of the content";
    RECIPIENTS = "mail.recipients", "Number of recipients";
    DELIVERY = "mail.delivery.id", "Id of the delivery: one message to one destination";
    DESTINATION = "mail.destination", "What the limits of the delivery apply to";
    ATTEMPT_NUMBER = "mail.attempt", "Number of the attempt, from 1";
    WORKER = "mail.worker", "Program that was given the delivery";
    RESULT = "mail.result", "What the attempt came to: delivered, partial, deferred or failed";
}

/// The root of a message's trace.
#[must_use]
pub fn receive(client: IpAddr, helo: &str) -> Span {
    tracing::info_span!(
        RECEIVE,
        otel.kind = "server",
        otel.status_code = Empty,
        { PROTOCOL } = "smtp",
        { CLIENT } = %client.to_canonical(),
        { HELO } = helo,
        { REFUSED } = Empty,
        { MESSAGE } = Empty,
        { SIZE } = Empty,
        { RECIPIENTS } = Empty,
        { REPLY_CODE } = Empty,
        { REPLY_STATUS } = Empty,
        { ERROR } = Empty,
    )
}

/// Why the first of the recipients was refused that were.
pub fn record_refusal(receive: &Span, reason: &'static str) {
    receive.record(REFUSED, reason);
}

/// What was received.
pub fn record_message(receive: &Span, message: MessageId, size_bytes: u64, recipients: usize) {
    if !receive.is_disabled() {
        receive.record(MESSAGE, display(message)).record(SIZE, size_bytes).record(RECIPIENTS, recipients);
    }
}

/// How the client was answered. That we could not take a message is an error; that we would not is none.
pub fn record_verdict(receive: &Span, reply: &Reply) {
    if receive.is_disabled() {
        return;
    }
    record_reply(receive, reply);
    if reply.is_transient() {
        fail(receive, &reply.enhanced.map_or_else(|| reply.code.to_string(), |status| status.to_string()));
    }
}

/// What a message waits for that has come to the queue. Disabled where its reception has no trace.
#[must_use]
pub fn commit(traceparent: Option<&str>, message: MessageId) -> Span {
    let Some(traceparent) = traceparent else { return Span::none() };
    let span = tracing::info_span!(
        parent: None,
        COMMIT,
        otel.kind = "internal",
        { DATABASE } = "postgresql",
        { MESSAGE } = %message,
        { BATCH } = Empty,
    );
    context::set_parent(&span, traceparent);
    span
}

/// It is durable, together with others.
pub fn record_commit(commit: &Span, batch: usize) {
    commit.record(BATCH, batch);
}

/// A delivery's turn at this time, in the trace of its message or, long after its reception, in one that is linked to it.
#[must_use]
pub fn schedule(
    traceparent: &str,
    (message, delivery): (MessageId, DeliveryId),
    attempt: u16,
    worker: &str,
    now: Timestamp,
) -> Span {
    let span = tracing::info_span!(
        parent: None,
        SCHEDULE,
        otel.kind = "producer",
        { MESSAGE } = %message,
        { DELIVERY } = %delivery,
        { ATTEMPT_NUMBER } = attempt,
        { WORKER } = worker,
    );
    follow(&span, traceparent, message, now);
    span
}

fn follow(span: &Span, reception: &str, message: MessageId, now: Timestamp) {
    if now.since(message.made_at()) > TRACE_ENDS_AFTER {
        context::link(span, reception);
    } else {
        context::set_parent(span, reception);
    }
}

/// What is known of an attempt before it begins.
#[derive(Clone, Copy, Debug)]
pub struct AttemptFacts<'a> {
    /// Of which message.
    pub message: MessageId,
    /// Of which delivery.
    pub delivery: DeliveryId,
    /// What its limits apply to.
    pub destination: &'a str,
    /// From 1.
    pub number: u16,
    /// Still to be delivered to.
    pub recipients: usize,
}

/// One try of a delivery at this time: a child of its turn, where that is recorded; else in the trace of its message, or
/// linked to it. The trace of the message is asked for only where spans are recorded and the turn has none.
#[must_use]
pub fn attempt(
    facts: AttemptFacts<'_>,
    turn: Option<&str>,
    reception: impl FnOnce() -> Option<String>,
    now: Timestamp,
) -> Span {
    if !tracing::span_enabled!(tracing::Level::INFO) {
        return Span::none();
    }
    let reception = if turn.is_some() { None } else { reception() };
    if turn.is_none() && reception.is_none() {
        return Span::none();
    }
    let span = tracing::info_span!(
        parent: None,
        ATTEMPT,
        otel.kind = "client",
        otel.status_code = Empty,
        { PROTOCOL } = "smtp",
        { MESSAGE } = %facts.message,
        { DELIVERY } = %facts.delivery,
        { DESTINATION } = facts.destination,
        { ATTEMPT_NUMBER } = facts.number,
        { RECIPIENTS } = facts.recipients,
        { SERVER } = Empty,
        { PEER } = Empty,
        { TLS } = Empty,
        { STAGE } = Empty,
        { REPLY_CODE } = Empty,
        { REPLY_STATUS } = Empty,
        { RESULT } = Empty,
        { ERROR } = Empty,
    );
    match (turn, reception) {
        (Some(turn), _) => context::set_parent(&span, turn),
        (None, Some(reception)) => follow(&span, &reception, facts.message, now),
        (None, None) => {}
    }
    span
}

/// What the attempt came to. Where its recipients fared differently, the first that was not delivered is told of.
pub fn record_attempt(attempt: &Span, result: &'static str, outcomes: &[&Outcome]) {
    if attempt.is_disabled() {
        return;
    }
    attempt.record(RESULT, result);
    let Some(outcome) = outcomes.iter().find(|outcome| !outcome.is_delivered()).or(outcomes.first()) else { return };
    attempt.record(STAGE, outcome.stage.name());
    if let Some(remote) = &outcome.remote {
        attempt.record(SERVER, remote.name.as_str());
        if let Some(address) = remote.address {
            attempt.record(PEER, display(address));
        }
    }
    if let Some(tls) = &outcome.tls {
        attempt.record(TLS, tls.as_str());
    }
    match &outcome.cause {
        Cause::Reply(reply) => {
            record_reply(attempt, reply);
            if !outcome.is_delivered() {
                fail(attempt, &outcome.status().to_string());
            }
        }
        Cause::Trouble(trouble) => fail(attempt, trouble_name(trouble.kind)),
    }
}

fn record_reply(span: &Span, reply: &Reply) {
    span.record(REPLY_CODE, reply.code);
    if let Some(status) = reply.enhanced {
        span.record(REPLY_STATUS, display(status));
    }
}

fn fail(span: &Span, reason: &str) {
    span.record("otel.status_code", "ERROR").record(ERROR, reason);
}

const fn trouble_name(kind: TroubleKind) -> &'static str {
    match kind {
        TroubleKind::DnsTemporary => "dns",
        TroubleKind::NoSuchDomain => "no_such_domain",
        TroubleKind::NullMx => "null_mx",
        TroubleKind::Connect => "connect",
        TroubleKind::Timeout => "timeout",
        TroubleKind::Closed => "closed",
        TroubleKind::Unanswered => "unanswered",
        TroubleKind::Tls => "tls",
        TroubleKind::Protocol => "protocol",
        TroubleKind::Conversion => "conversion",
        TroubleKind::Smtputf8 => "smtputf8",
        TroubleKind::NotCapable => "not_capable",
        TroubleKind::RequireTls => "require_tls",
        TroubleKind::Loop => "loop",
        TroubleKind::Login => "login",
        TroubleKind::Held => "held",
        TroubleKind::Administrative => "administrative",
        TroubleKind::Local => "local",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_every_span_and_attribute() {
        let text = include_str!("../../../docs/telemetry.md");
        for name in [RECEIVE, COMMIT, SCHEDULE, ATTEMPT] {
            assert!(text.contains(&format!("`{name}`")), "{name}");
        }
        for (name, help) in ATTRIBUTES {
            assert!(
                text.lines().any(|line| line.starts_with(&format!("| `{name}` |")) && line.contains(help)),
                "{name}"
            );
        }
    }
}
