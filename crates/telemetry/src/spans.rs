//! All spans and their attributes: the three stations of a message, from reception over schedule to each attempt, are
//! one trace. Names follow OpenTelemetry's semantic conventions where they have one; what is particular to SMTP is
//! `smtp.*`, and what is ours is `mail.*`. Not responsible for how the trace travels with the message.
//!
//! Where nothing is exported the spans are disabled: nothing is allocated, formatted or parsed then.

use std::net::IpAddr;

use mailtier_types::{Cause, DeliveryId, MessageId, Outcome, Reply, TroubleKind};
use tracing::Span;
use tracing::field::{Empty, display};

use crate::context;

/// From 354 to the verdict on the message.
pub const RECEIVE: &str = "receive";
/// A delivery's turn: it is handed to a worker.
pub const SCHEDULE: &str = "schedule";
/// One try of a delivery.
pub const ATTEMPT: &str = "attempt";

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
    HELO = "smtp.helo", "What the client called itself";
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
        { MESSAGE } = Empty,
        { SIZE } = Empty,
        { RECIPIENTS } = Empty,
        { REPLY_CODE } = Empty,
        { REPLY_STATUS } = Empty,
        { ERROR } = Empty,
    )
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

/// A delivery's turn, in the trace of its message.
#[must_use]
pub fn schedule(traceparent: &str, message: MessageId, delivery: DeliveryId, attempt: u16, worker: &str) -> Span {
    let span = tracing::info_span!(
        SCHEDULE,
        otel.kind = "producer",
        { MESSAGE } = %message,
        { DELIVERY } = %delivery,
        { ATTEMPT_NUMBER } = attempt,
        { WORKER } = worker,
    );
    context::set_parent(&span, traceparent);
    span
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

/// One try of a delivery, in the trace of its message, where there is one; `traceparent` is asked for only where spans
/// are recorded.
#[must_use]
pub fn attempt(facts: AttemptFacts<'_>, traceparent: impl FnOnce() -> Option<String>) -> Span {
    if !tracing::span_enabled!(tracing::Level::INFO) {
        return Span::none();
    }
    let Some(traceparent) = traceparent() else { return Span::none() };
    let span = tracing::info_span!(
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
    context::set_parent(&span, &traceparent);
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
        for name in [RECEIVE, SCHEDULE, ATTEMPT] {
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
