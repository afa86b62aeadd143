//! Rows as operators see them: as far as they can be read, with what is wrong with the rest, which is logged. So one
//! damaged row hides no other, and can be found and removed.

use std::fmt::Display;

use mailtier_api::admin::{DeliveryView, HeldView};
use mailtier_store::{Held, StoredDelivery, StoredEvent};
use mailtier_types::{Event, Mailbox, ReversePath};

/// So much is told of what is wrong with one row.
const TOLD_FAULTS: usize = 8;
/// So much of a text that cannot be read is shown, in characters.
const SHOWN_CHARS: usize = 80;

/// What is wrong with a row.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    /// What was read, if it was.
    fn read<T>(&mut self, what: &str, read: Result<T, impl Display>) -> Option<T> {
        read.map_err(|error| {
            if self.0.len() < TOLD_FAULTS {
                self.0.push(format!("{what}: {error}"));
            }
        })
        .ok()
    }

    fn text<T, E: Display>(&mut self, what: &str, text: &str, parse: impl Fn(&str) -> Result<T, E>) -> Option<T> {
        let shown = || text.chars().take(SHOWN_CHARS).collect::<String>();
        self.read(what, parse(text).map_err(|error| format!("{:?}: {error}", shown())))
    }

    fn sender(&mut self, text: &str) -> ReversePath {
        self.text("sender", text, ReversePath::parse).unwrap_or(ReversePath::Null)
    }

    fn recipients(&mut self, texts: &[String]) -> Vec<Mailbox> {
        texts.iter().filter_map(|text| self.text("recipient", text, Mailbox::parse)).collect()
    }
}

/// A delivery.
pub(super) fn delivery(row: &StoredDelivery) -> DeliveryView {
    let mut faults = Faults::default();
    let last = Some(&row.last_outcome).filter(|last| !last.is_empty());
    let view = DeliveryView {
        delivery: row.id,
        message: row.message,
        shard: row.shard,
        tenant: row.tenant,
        priority: row.priority,
        destination: row.destination.clone(),
        sender: faults.sender(&row.sender),
        recipients: faults.recipients(&row.recipients),
        accepted_at: row.message.made_at(),
        expires_at: row.expires_at,
        attempts: row.attempts,
        next_attempt_at: row.next_attempt_at,
        last_outcome: last.and_then(|last| faults.read("last outcome", mailtier_api::decode_outcome(last))),
        size_bytes: faults.read("options", mailtier_api::decode_options(&row.options)).unwrap_or_default().size_bytes,
        held: row.held.clone().map(|Held { since, operator, reason }| HeldView { since, operator, reason }),
        hosts: row.hosts.iter().filter_map(|text| faults.text("host", text, str::parse)).collect(),
        unreadable: Vec::new(),
    };
    if !faults.0.is_empty() {
        tracing::error!(delivery = %row.id, message = %row.message, faults = faults.0.join("; "),
            "a stored delivery cannot be read in full");
    }
    DeliveryView { unreadable: faults.0, ..view }
}

/// An event.
pub(super) fn event(row: &StoredEvent) -> Event {
    let mut faults = Faults::default();
    let event = Event {
        at: row.at,
        kind: row.kind,
        message: row.message,
        delivery: row.delivery,
        tenant: row.tenant,
        attempt: row.attempt,
        sender: faults.sender(&row.sender),
        recipients: faults.recipients(&row.recipients),
        detail: faults.read("detail", mailtier_api::decode_detail(&row.detail)).unwrap_or_default(),
        unreadable: Vec::new(),
    };
    if !faults.0.is_empty() {
        tracing::error!(message = %row.message, kind = row.kind.name(), faults = faults.0.join("; "),
            "a stored event cannot be read in full");
    }
    Event { unreadable: faults.0, ..event }
}
