//! What comes back about messages that were sent: delivery status notifications (RFC 3464, RFC 6533), complaints
//! (RFC 5965), reports of TLS (RFC 8460), and what servers write that keep to none. Not responsible for which message a report is about: whoever
//! wants to know that looks for a signed return path ([`crate::ReturnPaths`]), because nothing that a report says of
//! itself can be trusted.
//!
//! Whatever stands in a report was written by a stranger. Work and memory are bounded by the length of the content: parts
//! are split once ([`mime`]), to a fixed depth and number, and every list and text that is taken out of them has a limit.
//!
//! | module | reads |
//! |---|---|
//! | `mime` | the parts of a message, and what they are when decoded |
//! | `fields` | groups of fields, as in a part for programs |
//! | `status` | delivery status |
//! | `complaint` | feedback reports |
//! | `forms` | texts for people, by a table of their forms |

mod complaint;
mod fields;
mod forms;
mod mime;
mod status;

use mailtier_types::EnhancedCode;
use mailtier_types::text::Chain;

use crate::header;
use crate::text::{self, Charset};
use crate::tls_report::TlsReport;
use mime::Kind;

/// The most of a content that is looked at, in octets. What programs read of a report stands at its beginning; the rest
/// is the message that it returns.
pub const MAX_REPORT_OCTETS: usize = 1 << 20;
/// The most recipients that are taken out of one report.
pub const MAX_REPORTED: usize = 100;
/// The longest text that is kept of what a server said, in octets.
const MAX_DIAGNOSTIC_OCTETS: usize = 500;
/// The longest address, in octets: RFC 5321 §4.5.3.1.3, with room for what is beyond ASCII.
const MAX_ADDRESS_OCTETS: usize = 320;
/// The longest name of a host or a program, in octets.
const MAX_NAME_OCTETS: usize = 255;

/// What a report says has happened to a recipient (RFC 3464 §2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It did not get the message, and nobody tries any more.
    Failed,
    /// It did not get it yet.
    Delayed,
    /// It has it.
    Delivered,
    /// A server that notifies nobody has it, or several others.
    Relayed,
}

impl Fate {
    /// The word of RFC 3464.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
        }
    }
}

/// What is said of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// What has happened.
    pub fate: Fate,
    /// Whom it is about, as the reporter knows it; empty where that is not said.
    pub recipient: String,
    /// Whom the sender knows it as, where that is said.
    pub original: String,
    /// Its status (RFC 3463), where there is one.
    pub status: Option<EnhancedCode>,
    /// The code of the reply that decided, where there is one.
    pub code: Option<u16>,
    /// What was said, in one line.
    pub diagnostic: String,
    /// Which host said it, where that is told.
    pub host: String,
}

/// Notice of what became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusReport {
    /// By which form it was read: `rfc3464`, or the name of another.
    pub form: &'static str,
    /// Who reports, where that is told.
    pub reporter: String,
    /// At least one, at most [`MAX_REPORTED`].
    pub recipients: Vec<Reported>,
}

/// Somebody's word that a message was not wanted, or whatever else a feedback report says (RFC 5965).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// `abuse`, `fraud`, `virus`, `not-spam`, … in lower case.
    pub kind: String,
    /// The program that reports, where that is told.
    pub agent: String,
    /// Whose complaint it is, as far as that is told; at most [`MAX_REPORTED`].
    pub recipients: Vec<String>,
}

impl Complaint {
    /// Whether somebody did not want the message: reports of mail that is no spam (RFC 6430), of failed authentication
    /// (RFC 6591) and of what is not known say nothing of the kind.
    #[must_use]
    pub fn is_against(&self) -> bool {
        matches!(self.kind.as_str(), "abuse" | "fraud" | "virus" | "opt-out" | "opt-out-list")
    }
}

/// What a content is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feedback {
    /// Notice of what became of a message.
    Status(StatusReport),
    /// A feedback report.
    Complaint(Complaint),
    /// What somebody's sessions with our hosts came to.
    TlsReport(TlsReport),
    /// A report of TLS that cannot be read, and why.
    BadTlsReport(String),
    /// The answer of a program, such as that somebody is away (RFC 3834).
    AutoReply,
    /// None of these.
    Unknown,
}

/// Reads a content, of which at most [`MAX_REPORT_OCTETS`] are looked at.
#[must_use]
pub fn read(content: &[u8]) -> Feedback {
    let content = content.get(..MAX_REPORT_OCTETS).unwrap_or(content);
    let parts = mime::parts(content);
    let of_kind = |kind: Kind| parts.iter().find(move |part| part.kind == kind);
    // A feedback report may return a notification: what its own part says counts.
    if let Some(part) = of_kind(Kind::Feedback) {
        return Feedback::Complaint(complaint::read(part, of_kind(Kind::Original)));
    }
    if let Some(report) = of_kind(Kind::Status).and_then(status::read) {
        return Feedback::Status(report);
    }
    if let Some(part) = of_kind(Kind::TlsReport) {
        // What is wrong may quote what the stranger wrote.
        let told = |error| kept(&Chain(&error).to_string(), MAX_DIAGNOSTIC_OCTETS);
        return TlsReport::read(&part.body)
            .map_or_else(|error| Feedback::BadTlsReport(told(error)), Feedback::TlsReport);
    }
    let header = header::original_headers(content, content.len());
    if let Some(report) = forms::read(header, &parts) {
        return Feedback::Status(report);
    }
    // RFC 3834 §5; what people send has no such field, or says `no`.
    match header::value_of(header, "auto-submitted") {
        Some(value) if !value.to_ascii_lowercase().starts_with("no") => Feedback::AutoReply,
        _ => Feedback::Unknown,
    }
}

/// The addresses at a domain that stand anywhere in a content, at most so many: where a report has lost its form, or
/// hides what it is about, a signed return path still says it.
pub fn addresses_at<'a>(content: &'a [u8], domain: &'a str, most: usize) -> impl Iterator<Item = &'a str> {
    let content = content.get(..MAX_REPORT_OCTETS).unwrap_or(content);
    memchr::memchr_iter(b'@', content)
        .filter_map(move |at| {
            let (before, after) = content.split_at_checked(at)?;
            let named = after.get(1..=domain.len())?;
            if !named.eq_ignore_ascii_case(domain.as_bytes()) {
                return None;
            }
            let is_local = |octet: &u8| octet.is_ascii_alphanumeric() || b"+-_.=".contains(octet);
            let local = before.iter().rev().take(MAX_LOCAL_OCTETS).take_while(|octet| is_local(octet)).count();
            std::str::from_utf8(content.get(at.checked_sub(local)?..=at + domain.len())?).ok()
        })
        .take(most)
}

/// RFC 5321 §4.5.3.1.1.
const MAX_LOCAL_OCTETS: usize = 64;

/// A text as it is kept: one harmless line.
fn kept(text: &str, max_octets: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text::one_line(&line, Charset::Utf8, max_octets)
}

/// The first status code in a text (RFC 3463), as in `550 5.1.1 no such user` or `#5.1.1`.
fn status_in(text: &str) -> Option<EnhancedCode> {
    words(text).find_map(|word| word.parse::<EnhancedCode>().ok().filter(|code| matches!(code.class(), 2 | 4 | 5)))
}

/// The first code of a reply in a text: three digits on their own, of a failure.
fn code_in(text: &str) -> Option<u16> {
    words(text)
        .filter(|word| word.len() == 3)
        .find_map(|word| word.parse().ok().filter(|code| (400..600).contains(code)))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_border = |one: char| !(one.is_ascii_alphanumeric() || one == '.');
    text.split(is_border).map(|word| word.trim_end_matches('.')).filter(|word| !word.is_empty())
}

/// The first thing in a text that looks like an address.
fn address_in(text: &str) -> Option<&str> {
    let is_border = |one: char| one.is_whitespace() || "<>()[]\"',;:".contains(one);
    text.split(is_border)
        .map(|word| word.trim_end_matches('.'))
        .find(|word| word.len() <= MAX_ADDRESS_OCTETS && looks_like_address(word))
}

fn looks_like_address(text: &str) -> bool {
    text.rsplit_once('@')
        .is_some_and(|(local, domain)| !local.is_empty() && domain.contains('.') && !domain.starts_with('.'))
}
