//! Shapes answers for people and for programs: times, ages, events as lines or as JSON. Not responsible for asking.

use std::time::Duration;

use mailtier_types::{Cause, Event, EventKind, Options, Outcome, Timestamp};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// RFC 3339 in UTC, with three digits of a second always: as text they sort as they are.
pub(crate) fn time(at: Timestamp) -> String {
    OffsetDateTime::from_unix_timestamp(at.as_millis().div_euclid(1000))
        .ok()
        .and_then(|moment| moment.format(&Rfc3339).ok())
        .and_then(|text| Some(format!("{}.{:03}Z", text.strip_suffix('Z')?, at.as_millis().rem_euclid(1000))))
        .unwrap_or_else(|| at.as_micros().to_string())
}

/// The two largest units of a duration.
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, s) => format!("{m}m{s}s"),
        (0, h, m, _) => format!("{h}h{m}m"),
        (d, h, _, _) => format!("{d}d{h}h"),
    }
}

/// One event as a line.
pub(crate) fn event_line(event: &Event) -> String {
    let mut line = format!("{}  {}  {:<9}", time(event.at), event.message, event.kind.name());
    let recipients: Vec<String> = event.recipients.iter().map(|recipient| format!("<{recipient}>")).collect();
    if event.kind == EventKind::MessageAccepted {
        line.push_str(&format!("  from={} to={}", event.sender, recipients.join(",")));
        if let Some(options) = &event.detail.options {
            line.push_str(&format!(" size={} client={}", options.size_bytes, client(&options.client_address)));
            for (name, fact) in session_facts(options) {
                line.push_str(&format!(" {name}={fact}"));
            }
        }
        if let Some(about) = event.detail.dsn_about {
            line.push_str(&format!(" notification-about={about}"));
        }
        return line;
    }
    line.push_str(&format!("  to={}", recipients.join(",")));
    if event.attempt > 0 {
        line.push_str(&format!(" attempt={}", event.attempt));
    }
    if let Some(outcome) = &event.detail.outcome {
        line.push_str(&format!(" {}", outcome_text(outcome)));
    }
    if let Some(next) = event.detail.next_attempt_at {
        line.push_str(&format!(" next={}", time(next)));
    }
    if let Some(dsn) = event.detail.dsn {
        line.push_str(&format!(" notification={dsn}"));
    }
    if let Some(operator) = &event.detail.operator {
        line.push_str(&format!(" by={operator}"));
    }
    line
}

/// What is known of the session that a message came in.
fn session_facts(options: &Options) -> impl Iterator<Item = (&'static str, &str)> {
    [("proto", &options.protocol), ("tls", &options.tls), ("user", &options.user)]
        .into_iter()
        .filter(|(_, fact)| !fact.is_empty())
        .map(|(name, fact)| (name, fact.as_str()))
}

fn client(address: &str) -> &str {
    if address.is_empty() { "local" } else { address }
}

/// `relay=… dsn=… (what was said)`.
pub(crate) fn outcome_text(outcome: &Outcome) -> String {
    let relay = outcome.remote.as_ref().map_or_else(
        || "none".to_owned(),
        |remote| match remote.address {
            Some(address) => format!("{}[{address}]", remote.name),
            None => remote.name.clone(),
        },
    );
    format!("relay={relay} dsn={} ({outcome})", outcome.status())
}

/// One event as JSON.
pub(crate) fn event_json(event: &Event) -> Value {
    let recipients: Vec<&str> = event.recipients.iter().map(mailtier_types::Mailbox::as_str).collect();
    let mut value = json!({
        "at": time(event.at),
        "kind": event.kind.name(),
        "message": event.message.to_string(),
        "sender": event.sender.as_str(),
        "recipients": recipients,
    });
    let mut set = |key: &str, entry: Option<Value>| {
        if let (Value::Object(fields), Some(entry)) = (&mut value, entry) {
            fields.insert(key.to_owned(), entry);
        }
    };
    let detail = &event.detail;
    set("delivery", event.delivery.map(|id| json!(id.to_string())));
    set("attempt", (event.attempt > 0).then(|| json!(event.attempt)));
    set("outcome", detail.outcome.as_ref().map(outcome_json));
    set("next_attempt_at", detail.next_attempt_at.map(|at| json!(time(at))));
    set("notification", detail.dsn.map(|id| json!(id.to_string())));
    set("notification_about", detail.dsn_about.map(|id| json!(id.to_string())));
    set("operator", detail.operator.as_ref().map(|name| json!(name)));
    set("size_bytes", detail.options.as_ref().map(|options| json!(options.size_bytes)));
    set("client", detail.options.as_ref().map(|options| json!(options.client_address)));
    for (name, fact) in detail.options.iter().flat_map(session_facts) {
        set(name, Some(json!(fact)));
    }
    set("message_id_field", detail.options.as_ref().map(|options| json!(options.header_message_id)));
    value
}

/// An outcome as JSON.
pub(crate) fn outcome_json(outcome: &Outcome) -> Value {
    json!({
        "at": time(outcome.at),
        "stage": outcome.stage.name(),
        "host": outcome.remote.as_ref().map(|remote| remote.name.clone()),
        "address": outcome.remote.as_ref().and_then(|remote| remote.address).map(|address| address.to_string()),
        "tls": outcome.tls,
        "status": outcome.status().to_string(),
        "reply": match &outcome.cause {
            Cause::Reply(reply) => json!(reply.to_string()),
            Cause::Trouble(_) => Value::Null,
        },
        "trouble": match &outcome.cause {
            Cause::Reply(_) => Value::Null,
            Cause::Trouble(trouble) => json!(trouble.text),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_spans_are_for_people() {
        assert_eq!(time(Timestamp::from_millis(1_800_000_000_123)), "2027-01-15T08:00:00.123Z");
        assert_eq!(time(Timestamp::from_millis(1_800_000_000_100)), "2027-01-15T08:00:00.100Z");
        for (seconds, text) in [(5, "5s"), (65, "1m5s"), (3 * 3600 + 120, "3h2m"), (2 * 86_400 + 7200, "2d2h")] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }
}
