//! Rows as operators see them. Pure.

use mailtier_api::ApiError;
use mailtier_api::admin::{DeliveryView, HeldView};
use mailtier_store::{Held, StoredDelivery, StoredEvent};
use mailtier_types::{Event, Mailbox, NotAHost, ReversePath, RouteHost};

fn unreadable(what: &str, error: impl std::fmt::Display) -> ApiError {
    ApiError::Internal(format!("a stored {what} cannot be read: {error}"))
}

fn mailboxes(texts: &[String]) -> Result<Vec<Mailbox>, ApiError> {
    texts.iter().map(|text| Mailbox::parse(text).map_err(|error| unreadable("recipient", error))).collect()
}

/// A delivery.
pub(super) fn delivery(row: &StoredDelivery) -> Result<DeliveryView, ApiError> {
    let last = Some(&row.last_outcome).filter(|last| !last.is_empty());
    let hosts: Result<Vec<RouteHost>, NotAHost> = row.hosts.iter().map(|text| text.parse()).collect();
    Ok(DeliveryView {
        delivery: row.id,
        message: row.message,
        shard: row.shard,
        tenant: row.tenant,
        priority: row.priority,
        destination: row.destination.clone(),
        sender: ReversePath::parse(&row.sender).map_err(|error| unreadable("sender", error))?,
        recipients: mailboxes(&row.recipients)?,
        accepted_at: row.message.made_at(),
        expires_at: row.expires_at,
        attempts: row.attempts,
        next_attempt_at: row.next_attempt_at,
        last_outcome: last.map(|last| mailtier_api::decode_outcome(last)).transpose()?,
        size_bytes: mailtier_api::decode_options(&row.options)?.size_bytes,
        held: row.held.clone().map(|Held { since, operator, reason }| HeldView { since, operator, reason }),
        hosts: hosts.map_err(|error| unreadable("host", error))?,
    })
}

/// An event.
pub(super) fn event(row: &StoredEvent) -> Result<Event, ApiError> {
    Ok(Event {
        at: row.at,
        kind: row.kind,
        message: row.message,
        delivery: row.delivery,
        tenant: row.tenant,
        attempt: row.attempt,
        sender: ReversePath::parse(&row.sender).map_err(|error| unreadable("sender", error))?,
        recipients: mailboxes(&row.recipients)?,
        detail: mailtier_api::decode_detail(&row.detail)?,
    })
}
