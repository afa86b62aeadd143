//! What follows from somebody's report of TLS (RFC 8460): an event for each policy that it is about, under the report itself,
//! for it belongs to no message. Pure.

use mailtier_message::tls_report::TlsReport;
use mailtier_store::{NewEvent, NewMessage};
use mailtier_types::{EventDetail, EventKind, Timestamp};

/// Events of one report: a provider reports on one domain, with one policy or two.
const MAX_EVENTS: usize = 20;

/// The events of a report.
pub(super) fn events(report: &TlsReport, message: &NewMessage, now: Timestamp) -> Vec<NewEvent> {
    let of_policy = |received| {
        let tls_report = Some(Box::new(received));
        let detail = EventDetail { report: Some(message.id), tls_report, ..EventDetail::default() };
        NewEvent {
            at: now,
            kind: EventKind::TlsReportReceived,
            recipients: Vec::new(),
            detail: mailtier_api::encode_detail(detail),
            ..message.accepted.clone()
        }
    };
    report.received().into_iter().take(MAX_EVENTS).map(of_policy).collect()
}
