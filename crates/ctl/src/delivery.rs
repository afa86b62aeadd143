//! A delivery in lines for people: what it is, what stood in its way, and what it waits for.

use mailtier_api::admin::DeliveryView;
use mailtier_types::Timestamp;

use crate::counts::size;
use crate::show;
use crate::suspensions::Beside;

/// Before what more there is to say of a delivery: as wide as the name of its message.
const INDENT: &str = "               ";

/// Above a list.
pub(crate) fn head() -> String {
    format!("{:<13}  {:>7}  {:>10}", "message", "age", "size")
}

/// Below a list.
pub(crate) fn sum(deliveries: usize, octets: u64) -> String {
    let noun = if deliveries == 1 { "delivery" } else { "deliveries" };
    format!("{deliveries} {noun}, {}", size(octets))
}

/// A delivery of a list.
pub(crate) fn lines(view: &DeliveryView, suspended: &Beside, now: Timestamp) -> Vec<String> {
    let mut lines = vec![format!(
        "{}  {:>7}  {:>10}  from={} to={}",
        view.message,
        show::span(now.since(view.accepted_at)),
        size(view.size_bytes),
        view.sender,
        recipients(view)
    )];
    let mut more = |text: String| lines.push(format!("{INDENT}{text}"));
    more(progress(view, now));
    if let Some(held) = &view.held {
        let why = if held.reason.is_empty() { String::new() } else { format!(": {}", held.reason) };
        more(format!("held for {} by {}{why}", show::span(now.since(held.since)), held.operator));
    }
    if !view.hosts.is_empty() {
        more(format!("goes to {}", show::way(&view.hosts)));
    }
    for what in &view.unreadable {
        more(format!("cannot be read: {what}"));
    }
    if let Some(scope) = suspended.of(view) {
        more(format!("waits: {scope} is suspended"));
    }
    lines
}

/// What is of use where there is one message only.
pub(crate) fn facts(view: &DeliveryView, now: Timestamp) -> String {
    let expiry = match view.held {
        Some(_) => "not given up while it is held".to_owned(),
        None => format!("given up {}", when(view.expires_at, now)),
    };
    let DeliveryView { destination, tenant, priority, shard, .. } = view;
    format!(
        "{INDENT}{expiry}; destination {destination}, tenant {}, priority {priority}, shard {}",
        tenant.0,
        shard.number()
    )
}

fn recipients(view: &DeliveryView) -> String {
    view.recipients.iter().map(|recipient| format!("<{recipient}>")).collect::<Vec<_>>().join(",")
}

/// What was attempted, and when something is again: of what is held, nothing is.
fn progress(view: &DeliveryView, now: Timestamp) -> String {
    let next = view.next_attempt_at.map_or_else(|| "now".to_owned(), |at| when(at, now));
    let said = match &view.last_outcome {
        Some(outcome) => format!("attempt {} {}", view.attempts, show::outcome_text(outcome)),
        None if view.attempts == 0 => "not attempted yet".to_owned(),
        None => format!("attempt {}", view.attempts),
    };
    match view.held {
        Some(_) => said,
        None if view.attempts == 0 => format!("{said}; due {next}"),
        None => format!("{said}; next {next}"),
    }
}

fn when(at: Timestamp, now: Timestamp) -> String {
    match at.since(now) {
        wait if wait.is_zero() => "now".to_owned(),
        wait => format!("in {}", show::span(wait)),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use mailtier_api::admin::HeldView;
    use mailtier_api::suspensions::{Scope, Suspension};
    use mailtier_types::{
        Cause, DeliveryId, Mailbox, MessageId, Outcome, RemoteHost, Reply, ReversePath, ShardId, Stage, TenantId,
    };

    use super::*;

    /// One that was never attempted.
    pub(crate) fn queued(recipients: &[&str]) -> DeliveryView {
        let message: MessageId = "0003g9230vqvs".parse().unwrap();
        DeliveryView {
            delivery: DeliveryId::from_i64(message.as_i64()).unwrap(),
            message,
            shard: ShardId::new(1),
            tenant: TenantId(0),
            priority: 0,
            destination: "b.example".into(),
            sender: ReversePath::parse("s@a.example").unwrap(),
            recipients: recipients.iter().map(|text| Mailbox::parse(text).unwrap()).collect(),
            accepted_at: message.made_at(),
            expires_at: message.made_at().after(Duration::from_secs(5 * 86_400)),
            attempts: 0,
            next_attempt_at: None,
            last_outcome: None,
            size_bytes: 2048,
            held: None,
            hosts: Vec::new(),
            unreadable: Vec::new(),
        }
    }

    #[test]
    fn a_delivery_says_how_far_it_has_come_and_what_it_waits_for() {
        let fresh = queued(&["x@b.example", "y@b.example"]);
        let now = fresh.accepted_at.after(Duration::from_secs(65));
        let nothing = Beside::default();
        assert_eq!(head(), "message            age        size");
        let first = "0003g9230vqvs     1m5s     2.0 KiB  from=<s@a.example> to=<x@b.example>,<y@b.example>";
        assert_eq!(lines(&fresh, &nothing, now), [first, "               not attempted yet; due now"]);
        let reply = Cause::Reply(Reply::received(450, None, "later".into()));
        let outcome = Outcome {
            remote: Some(RemoteHost { name: "mx.b.example".into(), address: None }),
            ..Outcome::new(Stage::Rcpt, reply, now)
        };
        let next_attempt_at = Some(now.after(Duration::from_secs(300)));
        let deferred = DeliveryView { attempts: 2, last_outcome: Some(outcome), next_attempt_at, ..fresh.clone() };
        let [_, said] = &lines(&deferred, &nothing, now)[..] else { panic!("{deferred:?}") };
        assert!(
            said.contains("attempt 2 relay=mx.b.example dsn=4.0.0 (") && said.ends_with("; next in 5m0s"),
            "{said}"
        );
        let held = Some(HeldView { since: now, operator: "alice".into(), reason: "they asked".into() });
        let held = DeliveryView { held, unreadable: vec!["sender: none".into()], ..deferred.clone() };
        let told = lines(&held, &nothing, now);
        assert!(!told[1].contains("next"), "nothing is attempted of what is held: {told:?}");
        assert_eq!(
            told[2..],
            ["held for 0s by alice: they asked", "cannot be read: sender: none"].map(|text| format!("{INDENT}{text}"))
        );
        let suspension = Suspension {
            scope: Scope::destination("b.example").unwrap(),
            reason: String::new(),
            operator: "alice".into(),
            since: now,
            until: None,
        };
        let told = lines(&deferred, &Beside(vec![suspension]), now);
        assert_eq!(told[2], "               waits: destination b.example is suspended");
        let place = "destination b.example, tenant 0, priority 0, shard 1";
        assert_eq!(facts(&fresh, now), format!("{INDENT}given up in 4d23h; {place}"));
        assert_eq!(facts(&held, now), format!("{INDENT}not given up while it is held; {place}"));
        assert_eq!([sum(1, 10), sum(2, 4096)], ["1 delivery, 10 B", "2 deliveries, 4.0 KiB"]);
    }
}
