//! Events and their details.

use mailtier_types::{BounceClass, Event, EventDetail, EventKind, MessageId, TenantId, Timestamp};

use super::{attempt, delivery_id, mailboxes, message_id, sender, strings};
use crate::error::ApiError;
use crate::wire;

impl From<EventDetail> for wire::EventDetail {
    fn from(detail: EventDetail) -> Self {
        Self {
            outcome: detail.outcome.map(Into::into),
            next_attempt_at_us: detail.next_attempt_at.map(Timestamp::as_micros).unwrap_or_default(),
            options: detail.options.map(Into::into),
            dsn_about: detail.dsn_about.map(MessageId::as_i64).unwrap_or_default(),
            dsn_message_id: detail.dsn.map(MessageId::as_i64).unwrap_or_default(),
            operator: detail.operator.unwrap_or_default(),
            reason: detail.reason.unwrap_or_default(),
            hosts: detail.hosts,
            bounce_class: detail.class.map_or_else(String::new, |class| class.name().to_owned()),
            source_avoided_until_us: detail.source_avoided_until.map(Timestamp::as_micros).unwrap_or_default(),
            report_message_id: detail.report.map(MessageId::as_i64).unwrap_or_default(),
            tls_report: detail.tls_report.as_deref().map(Into::into),
        }
    }
}

impl TryFrom<wire::EventDetail> for EventDetail {
    type Error = ApiError;

    fn try_from(detail: wire::EventDetail) -> Result<Self, ApiError> {
        let present = |value: i64| Some(value).filter(|value| *value != 0);
        Ok(Self {
            outcome: detail.outcome.map(TryInto::try_into).transpose()?,
            next_attempt_at: present(detail.next_attempt_at_us).map(Timestamp::from_micros),
            options: detail.options.map(TryInto::try_into).transpose()?,
            dsn_about: present(detail.dsn_about).map(message_id).transpose()?,
            dsn: present(detail.dsn_message_id).map(message_id).transpose()?,
            operator: Some(detail.operator).filter(|name| !name.is_empty()),
            reason: Some(detail.reason).filter(|reason| !reason.is_empty()),
            hosts: detail.hosts,
            class: bounce_class(&detail.bounce_class),
            source_avoided_until: present(detail.source_avoided_until_us).map(Timestamp::from_micros),
            report: present(detail.report_message_id).map(message_id).transpose()?,
            tls_report: detail.tls_report.map(|report| report.try_into().map(Box::new)).transpose()?,
        })
    }
}

/// One that a later version knows is some other here.
fn bounce_class(name: &str) -> Option<BounceClass> {
    (!name.is_empty()).then(|| name.parse().unwrap_or(BounceClass::Other))
}

impl From<Event> for wire::Event {
    fn from(event: Event) -> Self {
        Self {
            at_us: event.at.as_micros(),
            kind: i32::from(event.kind.number()),
            message_id: event.message.as_i64(),
            delivery_id: event.delivery.map(|id| id.as_i64()).unwrap_or_default(),
            tenant: event.tenant.0,
            attempt: u32::from(event.attempt),
            sender: event.sender.into_string(),
            recipients: strings(event.recipients),
            detail: Some(event.detail.into()),
            unreadable: event.unreadable,
        }
    }
}

impl TryFrom<wire::Event> for Event {
    type Error = ApiError;

    fn try_from(event: wire::Event) -> Result<Self, ApiError> {
        let kind = i16::try_from(event.kind).ok().and_then(EventKind::from_number);
        Ok(Self {
            at: Timestamp::from_micros(event.at_us),
            kind: kind.ok_or_else(|| ApiError::invalid("kind", format!("{} is unknown", event.kind)))?,
            message: message_id(event.message_id)?,
            delivery: Some(event.delivery_id).filter(|id| *id != 0).map(delivery_id).transpose()?,
            tenant: TenantId(event.tenant),
            attempt: attempt(event.attempt)?,
            sender: sender(&event.sender)?,
            recipients: mailboxes(&event.recipients)?,
            detail: event.detail.unwrap_or_default().try_into()?,
            unreadable: event.unreadable,
        })
    }
}
