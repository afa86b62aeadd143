//! Shapes answers for people: times, ages, events as lines. Not responsible for asking, nor for what programs read, which
//! is `api::json`'s.

use std::time::Duration;

pub(crate) use mailtier_api::json::time;
use mailtier_types::{Event, EventKind, Options, Outcome, ReceivedTlsReport, Transcript};

use crate::tls_report::failure_text;

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
    let mut line = readable_part(event);
    for what in &event.unreadable {
        line.push_str(&format!(" cannot-be-read=({what})"));
    }
    line
}

/// What was said in the attempt, line by line: when, by whom, what.
pub(crate) fn transcript(event: &Event) -> impl Iterator<Item = String> {
    let said = event.detail.outcome.as_ref().and_then(|outcome| outcome.transcript.as_ref());
    said.into_iter()
        .flat_map(Transcript::lines)
        .map(|line| format!("  {:>10.3}  {} {}", line.at.as_secs_f64(), line.by.mark(), line.text))
}

fn readable_part(event: &Event) -> String {
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
    if let Some(class) = event.detail.class {
        line.push_str(&format!(" class={class}"));
    }
    if let Some(outcome) = event.detail.outcome.as_ref().filter(|_| event.kind == EventKind::BounceReceived) {
        // No attempt of ours: there is neither a way nor a time that it took.
        let host = outcome.remote.as_ref().map_or("unknown", |remote| remote.name.as_str());
        line.push_str(&format!(" host={host} dsn={} ({})", outcome.status(), outcome.cause));
    } else if let Some(outcome) = &event.detail.outcome {
        line.push_str(&format!(" {}", outcome_text(outcome)));
        if let Some(tls) = &outcome.tls {
            line.push_str(&format!(" tls=\"{tls}\""));
        }
        let [waiting, connecting, sending] = delays(outcome);
        line.push_str(&format!(" delays={waiting:.3}/{connecting:.3}/{sending:.3}"));
    }
    if let Some(next) = event.detail.next_attempt_at {
        line.push_str(&format!(" next={}", time(next)));
    }
    if let Some(until) = event.detail.source_avoided_until {
        line.push_str(&format!(" blocked_until={}", time(until)));
    }
    if let Some(dsn) = event.detail.dsn {
        line.push_str(&format!(" notification={dsn}"));
    }
    if let Some(report) = event.detail.report {
        line.push_str(&format!(" report={report}"));
    }
    if let Some(report) = &event.detail.tls_report {
        line.push_str(&tls_text(report));
    }
    if let Some(operator) = &event.detail.operator {
        line.push_str(&format!(" by={operator}"));
    }
    if event.kind == EventKind::DeliveryRerouted {
        line.push_str(&format!(" way={}", way(&event.detail.hosts)));
    }
    // An outcome has it in its text, unless it is somebody else's.
    let is_of_outcome = event.detail.outcome.is_some() && event.kind != EventKind::BounceReceived;
    if let Some(reason) = event.detail.reason.as_ref().filter(|_| !is_of_outcome) {
        line.push_str(&format!(" ({reason})"));
    }
    line
}

/// What somebody has counted.
fn tls_text(report: &ReceivedTlsReport) -> String {
    let counts = &report.counts;
    let failures: String = counts.failures.iter().map(|failure| format!("; {}", failure_text(failure))).collect();
    let (successes, failed, policy) = (counts.successes, counts.failed(), counts.policy.kind.word());
    let organization = &report.organization;
    let domain = &report.domain;
    format!(" domain={domain} policy={policy} successes={successes} failures={failed} by=\"{organization}\"{failures}")
}

/// Where the next attempts of a delivery go.
pub(crate) fn way(hosts: &[impl ToString]) -> String {
    if hosts.is_empty() {
        return "its own".to_owned();
    }
    hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
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

/// `relay=… dsn=… (what was said)`, with the egress pool where there are some.
pub(crate) fn outcome_text(outcome: &Outcome) -> String {
    let relay = outcome.remote.as_ref().map_or_else(
        || "none".to_owned(),
        |remote| match remote.address {
            Some(address) => format!("{}[{address}]", remote.name),
            None => remote.name.clone(),
        },
    );
    let egress = outcome.egress.as_ref().map_or_else(String::new, |egress| match egress.source {
        Some(source) => format!(" pool={} source={source}", egress.pool),
        None => format!(" pool={}", egress.pool),
    });
    format!("relay={relay}{egress} dsn={} ({outcome})", outcome.status())
}

/// In seconds: in a worker's hands, finding and opening the connection, the transaction; Postfix's delays b, c and d.
fn delays(outcome: &Outcome) -> [f64; 3] {
    [outcome.waiting, outcome.connecting, outcome.sending].map(|delay| delay.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_for_people() {
        for (seconds, text) in [(5, "5s"), (65, "1m5s"), (3 * 3600 + 120, "3h2m"), (2 * 86_400 + 7200, "2d2h")] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }
}
