//! Delivery status notifications: what a sender is told about recipients (RFC 3461 §6, RFC 3464).
//!
//! A notification has three parts (RFC 6522): one for people, one for programs, and the header section or all of the
//! message it is about. With addresses beyond ASCII the second and third have the forms of RFC 6533. Not responsible for who
//! gets one: nobody does for a message with a null reverse-path (RFC 5321 §4.5.5).

mod advice;
mod original;
mod people;
mod programs;

use mailtier_types::{EnhancedCode, Mailbox, MessageId, Outcome, RecipientRequest, Timestamp};

use crate::text::{self, Charset};
use crate::{date, header};

/// What has happened (RFC 3464 §2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It was given up.
    Failed,
    /// It is still tried, until then.
    Delayed {
        /// When it is given up.
        until: Timestamp,
    },
    /// It was handed to a server that does not notify.
    Relayed,
}

/// What a notification says.
#[derive(Clone, Copy, Debug)]
pub struct DsnFacts<'a> {
    /// What has happened to all it names.
    pub action: Action,
    /// The name of the system that reports.
    pub reporting_mta: &'a str,
    /// The domain of the notification's From field, and of the postmaster it points to.
    pub from_domain: &'a str,
    /// The notification's own id.
    pub message: MessageId,
    /// Its date.
    pub now: Timestamp,
    /// The reverse-path of the message it is about: who is told.
    pub to: &'a Mailbox,
    /// The message it is about.
    pub about: MessageId,
    /// When that one was received.
    pub arrival: Timestamp,
    /// The beginning of that one's content, at least as much of its header section as is to be returned. What follows
    /// the header section is passed over.
    pub original_headers: &'a [u8],
    /// `original_headers` is all of that one's content, and all of it is returned (RFC 3461 §4.3).
    pub is_whole: bool,
    /// What the sender called it (RFC 3461 §4.4).
    pub envelope_id: Option<&'a str>,
    /// What was asked for its recipients: who they were originally (RFC 3461 §4.2).
    pub requests: &'a [RecipientRequest],
    /// Whom it is about, and why. At least one.
    pub failures: &'a [DsnGroup],
}

/// Recipients to whom the same has happened, for the same reason.
#[derive(Clone, Debug)]
pub struct DsnGroup {
    /// At least one.
    pub recipients: Vec<Mailbox>,
    /// The last attempt's; absent where none was made.
    pub outcome: Option<Outcome>,
    /// Given up for the message's age, not for a permanent failure.
    pub expired: bool,
    /// That age was limited by the sender (RFC 2852).
    pub deadline: bool,
}

/// A notification, ready to be queued with a null reverse-path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DsnMessage {
    /// Header section and body, CRLF line ends.
    pub content: Vec<u8>,
    /// It must be sent with BODY=8BITMIME (RFC 6152).
    pub eight_bit: bool,
    /// Its header section has an address beyond ASCII: it must be sent with SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
}

impl DsnGroup {
    /// The status of the report: the outcome's, in the class that fits what was decided. What expired failed for a
    /// temporary reason (RFC 3463 §2), and where there is none, for its age: 4.4.7, delivery time expired (§3.5).
    fn status(&self, action: Action) -> EnhancedCode {
        match action {
            Action::Failed if self.deadline => return EnhancedCode::new(5, 4, 7),
            Action::Failed => {}
            Action::Delayed { .. } => {
                let delayed = EnhancedCode::new(4, 4, 7);
                return self.outcome.as_ref().map_or(delayed, |outcome| outcome.status().with_class(4));
            }
            Action::Relayed => return EnhancedCode::new(2, 0, 0),
        }
        match (&self.outcome, self.expired) {
            (None, true) => EnhancedCode::new(4, 4, 7),
            (None, false) => EnhancedCode::new(5, 0, 0),
            (Some(outcome), true) => outcome.status().with_class(4),
            (Some(outcome), false) => outcome.status().with_class(5),
        }
    }
}

/// Writes a notification.
#[must_use]
pub fn write(facts: &DsnFacts<'_>) -> DsnMessage {
    let mut recipients = facts.failures.iter().flat_map(|failure| &failure.recipients);
    let is_international = facts.to.needs_smtputf8() || recipients.any(Mailbox::needs_smtputf8);
    let charset = if is_international { Charset::Utf8 } else { Charset::Ascii };
    let parts = [people::part(facts, charset), programs::part(facts, charset), original::part(facts, charset)];
    let boundary = boundary(facts.message, &parts);

    let mut content = header_section(facts, &boundary).into_bytes();
    for part in &parts {
        content.extend_from_slice(format!("\r\n--{boundary}\r\n").as_bytes());
        content.extend_from_slice(part);
    }
    content.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    DsnMessage { eight_bit: !content.is_ascii(), smtputf8: facts.to.needs_smtputf8(), content }
}

/// RFC 3464 §2 and RFC 6522 §3 for the fields a notification has, RFC 3834 §5 for Auto-Submitted.
fn header_section(facts: &DsnFacts<'_>, boundary: &str) -> String {
    let mut header = String::with_capacity(1024);
    let host = text::host(facts.reporting_mta);
    let from_domain = text::host(facts.from_domain);
    text::field(&mut header, "Date", &date::rfc5322(facts.now));
    text::field(&mut header, "From", &format!("Mail Delivery System <MAILER-DAEMON@{from_domain}>"));
    header.push_str(&format!("To: <{}>\r\n", facts.to));
    text::field(&mut header, "Subject", &subject(facts));
    text::field(&mut header, "Message-ID", &format!("<{}@{host}>", facts.message));
    if let Some(original) = original_message_id(facts) {
        text::field(&mut header, "In-Reply-To", &original);
        text::field(&mut header, "References", &original);
    }
    text::field(&mut header, "Auto-Submitted", "auto-replied");
    text::field(&mut header, "MIME-Version", "1.0");
    let content_type = format!("multipart/report; report-type=delivery-status; boundary=\"{boundary}\"");
    text::field(&mut header, "Content-Type", &content_type);
    header
}

/// Names the recipient where there is one and its name is short and ASCII.
fn subject(facts: &DsnFacts<'_>) -> String {
    let mut recipients = facts.failures.iter().flat_map(|failure| &failure.recipients);
    let what = match facts.action {
        Action::Failed => "Not delivered",
        Action::Delayed { .. } => "Not delivered yet",
        Action::Relayed => "Passed on",
    };
    match (recipients.next(), recipients.count()) {
        (Some(only), 0) if only.as_str().len() <= 60 && !only.needs_smtputf8() => {
            format!("{what}: your message to {only}")
        }
        (_, 0) => format!("{what}: your message to one recipient"),
        (_, others) => format!("{what}: your message to {} recipients", others + 1),
    }
}

/// RFC 5322 §3.6.4 `msg-id`, roughly; whatever else a sender wrote there is of no use in our header section.
fn original_message_id(facts: &DsnFacts<'_>) -> Option<String> {
    const MAX_OCTETS: usize = 250;
    let value = header::value_of(header::original_headers(facts.original_headers, usize::MAX), "message-id")?;
    let inner = value.strip_prefix('<')?.strip_suffix('>')?;
    let is_plain = |octet: u8| octet.is_ascii_graphic() && !b"<>()\"\\,;:".contains(&octet);
    (value.len() <= MAX_OCTETS && inner.contains('@') && inner.bytes().all(is_plain)).then_some(value)
}

/// A boundary that occurs in no part (RFC 2046 §5.1.1), whoever wrote what is in them.
fn boundary(message: MessageId, parts: &[Vec<u8>]) -> String {
    let mut number = 0_u32;
    loop {
        let boundary = format!("=_{message}_{number}");
        let finder = memchr::memmem::Finder::new(&boundary);
        if parts.iter().all(|part| finder.find(part).is_none()) {
            return boundary;
        }
        number += 1;
    }
}
