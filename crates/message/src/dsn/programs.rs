//! The part of a notification for programs: the status of each recipient (RFC 3464; RFC 6533 §4 with addresses beyond
//! ASCII). Not responsible for what people read.

use mailtier_types::request::utf8_addr_xtext;
use mailtier_types::{Cause, Mailbox, TroubleKind};

use crate::date;
use crate::dsn::{Action, DsnFacts, DsnGroup};
use crate::text::{self, Charset};

/// What is quoted of a reply or of trouble, in octets.
const MAX_DIAGNOSTIC_OCTETS: usize = 2_000;

/// The part with its own header section.
pub(super) fn part(facts: &DsnFacts<'_>, charset: Charset) -> Vec<u8> {
    let mut out = String::with_capacity(1024);
    out.push_str("Content-Description: Delivery report\r\n");
    out.push_str(match charset {
        Charset::Ascii => "Content-Type: message/delivery-status\r\n",
        Charset::Utf8 => "Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n",
    });
    out.push_str("\r\n");
    // RFC 3464 §2.2: fields about the message.
    if let Some(id) = facts.envelope_id {
        text::field(&mut out, "Original-Envelope-Id", &text::one_line(id, charset, MAX_DIAGNOSTIC_OCTETS));
    }
    text::field(&mut out, "Reporting-MTA", &format!("dns; {}", text::host(facts.reporting_mta)));
    text::field(&mut out, "X-Mailtier-Queue-Id", &facts.about.to_string());
    address(&mut out, "X-Mailtier-Sender", facts.to);
    text::field(&mut out, "Arrival-Date", &date::rfc5322(facts.arrival));
    for failure in facts.failures {
        for recipient in &failure.recipients {
            out.push_str("\r\n");
            status(&mut out, facts, failure, recipient, charset);
        }
    }
    out.into_bytes()
}

/// RFC 3464 §2.3: fields about one recipient.
fn status(out: &mut String, facts: &DsnFacts<'_>, failure: &DsnGroup, recipient: &Mailbox, charset: Charset) {
    let request = facts.requests.iter().find(|request| request.recipient == *recipient);
    if let Some(original) = request.and_then(|request| request.original.as_ref()) {
        // RFC 3464 §2.3.1, as it was said; beyond ASCII in one of the forms of RFC 6533 §3.
        let address = original.address();
        let (kind, address) = match (address.is_ascii(), charset) {
            (true, _) => (original.kind(), text::one_line(address, charset, MAX_DIAGNOSTIC_OCTETS)),
            (false, Charset::Utf8) => ("utf-8", text::one_line(address, charset, MAX_DIAGNOSTIC_OCTETS)),
            (false, Charset::Ascii) => ("utf-8", utf8_addr_xtext(address)),
        };
        out.push_str(&format!("Original-Recipient: {kind}; {address}\r\n"));
    }
    address(out, "Final-Recipient", recipient);
    let action = match facts.action {
        Action::Failed => "failed",
        Action::Delayed { .. } => "delayed",
        Action::Relayed => "relayed",
    };
    text::field(out, "Action", action);
    text::field(out, "Status", &failure.status(facts.action).to_string());
    if let Action::Delayed { until } = facts.action {
        text::field(out, "Will-Retry-Until", &date::rfc5322(until));
    }
    let Some(outcome) = &failure.outcome else { return };
    if let Some(remote) = outcome.remote.as_ref().filter(|remote| !remote.is_socket()) {
        text::field(out, "Remote-MTA", &format!("dns; {}", text::host(&remote.name)));
    }
    let kind = match &outcome.cause {
        Cause::Reply(_) => "smtp",
        // RFC 3464 §2.1.1: types that are not registered begin with X-.
        Cause::Trouble(_) => "X-Mailtier",
    };
    let diagnostic = text::one_line(&outcome.cause.to_string(), charset, MAX_DIAGNOSTIC_OCTETS);
    text::field(out, "Diagnostic-Code", &format!("{kind}; {diagnostic}"));
    // RFC 3464 §2.3.7: of an attempt. One that an operator gave up may have had none.
    if !matches!(&outcome.cause, Cause::Trouble(trouble) if trouble.kind == TroubleKind::Administrative) {
        text::field(out, "Last-Attempt-Date", &date::rfc5322(outcome.at));
    }
}

/// An address with its type: `rfc822`, or `utf-8` beyond ASCII (RFC 6533 §3). It is never folded, since a quoted local
/// part may have spaces.
fn address(out: &mut String, name: &str, mailbox: &Mailbox) {
    let kind = if mailbox.needs_smtputf8() { "utf-8" } else { "rfc822" };
    out.push_str(&format!("{name}: {kind}; {mailbox}\r\n"));
}
