//! Notices that servers write for people only. Each form is a line of a table: by what it is known, and where in it the
//! recipients stand. What fits none is read for the reply that it quotes.
//!
//! The forms are those of their programs' documentation and sources: qmail's QSBMF
//! (<https://cr.yp.to/proto/qsbmf.txt>), Exim's bounce messages, sendmail before it knew RFC 3464, Microsoft Exchange 5.5
//! and its kind, and a few that outlive their programs.

use super::mime::{Kind, Part};
use super::{
    Fate, MAX_ADDRESS_OCTETS, MAX_DIAGNOSTIC_OCTETS, MAX_REPORTED, Reported, StatusReport, address_in, code_in, kept,
    looks_like_address, status_in,
};
use crate::header::value_of;

/// The most lines of a text that are looked at: what is told stands at the beginning.
const MAX_LINES: usize = 400;

/// One form.
struct Form {
    name: &'static str,
    /// Stands in the text, in lower case.
    sign: &'static str,
    /// Where the recipients stand.
    place: Place,
}

/// Where the recipients stand in a text. All in lower case.
enum Place {
    /// Below the line with the first of these; up to a line with one of the others. Each recipient begins a line or
    /// stands in it, and what was said of it follows, up to the next.
    Below { begin: &'static str, ends: &'static [&'static str] },
    /// In lines that begin so.
    Behind(&'static [&'static str]),
}

const FORMS: &[Form] = &[
    // QSBMF: the first paragraph begins `Hi. This is the`, a paragraph for each recipient begins with its address in angle
    // brackets and a colon, and `---` begins the end.
    Form { name: "qsbmf", sign: "hi. this is the", place: Place::Below { begin: "hi. this is the", ends: &["---"] } },
    Form {
        name: "exim",
        sign: "this message was created automatically by mail delivery software",
        place: Place::Below { begin: "address(es) failed", ends: &["------", "reporting-mta:"] },
    },
    Form {
        name: "sendmail",
        sign: "----- the following addresses had ",
        place: Place::Below {
            begin: "----- the following addresses had ",
            ends: &[
                "----- transcript of session",
                "----- original message",
                "----- message header",
                "----- unsent message",
            ],
        },
    },
    Form {
        name: "exchange",
        sign: "your message did not reach some or all of the intended recipients",
        place: Place::Below { begin: "could not be reached", ends: &["-----original message", "------ =_"] },
    },
    Form {
        name: "exchange",
        sign: "delivery has failed to these recipients",
        place: Place::Below {
            begin: "delivery has failed to these recipients",
            ends: &["diagnostic information for administrators", "original message headers"],
        },
    },
    Form {
        name: "postfix",
        sign: "this is the mail system at host",
        place: Place::Below { begin: "this is the mail system at host", ends: &["--"] },
    },
    Form {
        name: "groupwise",
        sign: "the message that you sent was undeliverable to the following",
        place: Place::Below { begin: "the message that you sent was undeliverable to the following", ends: &["---"] },
    },
    Form {
        name: "yahoo",
        sign: "unable to deliver your message to the following address",
        place: Place::Below {
            begin: "unable to deliver your message to the following address",
            ends: &["--- below this line", "--- original message"],
        },
    },
    Form {
        name: "imail",
        sign: "",
        place: Place::Behind(&[
            "unknown user:",
            "invalid final delivery userid:",
            "user mailbox exceeds allowed size:",
            "undeliverable to ",
        ]),
    },
    Form {
        name: "mdaemon",
        sign: "the following message had delivery errors",
        place: Place::Behind(&["failed address:", "- failed to deliver to "]),
    },
];

/// What programs that write notices call themselves, and them, in lower case: only of such mail a text is read for what it
/// quotes.
const WRITERS: [&str; 4] = ["mailer-daemon", "postmaster", "mail delivery", "mailerdaemon"];
const SUBJECTS: [&str; 8] = [
    "undeliver",
    "not delivered",
    "delivery fail",
    "returned mail",
    "failure notice",
    "delivery status",
    "delivery notification",
    "mail delivery",
];

/// Lines with which the returned message begins: what follows is the sender's own.
const RETURNED: [&str; 5] = [
    "-----original message",
    "--- below this line",
    "------ this is a copy",
    "----- original message",
    "received: from ",
];

/// A notice in one of the forms.
pub(super) fn read(header: &[u8], parts: &[Part<'_>]) -> Option<StatusReport> {
    let part = parts.iter().find(|part| part.kind == Kind::Text)?;
    let text = String::from_utf8_lossy(&part.body);
    let lines: Vec<Line<'_>> = text.lines().take(MAX_LINES).map(Line::new).collect();
    let is_notice = is_notice(header);
    let found = FORMS.iter().find_map(|form| {
        let is_known =
            if form.sign.is_empty() { is_notice } else { lines.iter().any(|line| line.lower.contains(form.sign)) };
        let recipients = if is_known { form.place.recipients(&lines) } else { Vec::new() };
        (!recipients.is_empty()).then_some((form.name, recipients))
    });
    let named = named_in_header(header);
    let (form, mut recipients) = match found {
        Some(found) => found,
        None if is_notice || !named.is_empty() => ("text", vec![quoted(&lines)?]),
        None => return None,
    };
    // Exim and others that say in the header section whom a notice is about.
    if let [only] = recipients.as_mut_slice()
        && let [named] = named.as_slice()
        && only.recipient.is_empty()
    {
        only.recipient.clone_from(named);
    }
    recipients.truncate(MAX_REPORTED);
    Some(StatusReport { form, reporter: String::new(), recipients })
}

/// A line, and the same in lower case.
struct Line<'a> {
    text: &'a str,
    lower: String,
}

impl<'a> Line<'a> {
    /// What is beyond the longest line of a message (RFC 5322 §2.1.1) is not looked at.
    fn new(text: &'a str) -> Self {
        let text = text.get(..text.floor_char_boundary(998)).unwrap_or_default();
        Self { text, lower: text.trim().to_lowercase() }
    }
}

impl Place {
    fn recipients(&self, lines: &[Line<'_>]) -> Vec<Reported> {
        match self {
            Self::Below { begin, ends } => {
                let below = lines.iter().skip_while(|line| !line.lower.contains(begin)).skip(1);
                below_it(below.take_while(|line| !ends.iter().any(|end| line.lower.starts_with(end))))
            }
            Self::Behind(words) => lines.iter().filter_map(|line| behind(line, words)).collect(),
        }
    }
}

fn below_it<'a>(lines: impl Iterator<Item = &'a Line<'a>>) -> Vec<Reported> {
    let mut found: Vec<(String, String)> = Vec::new();
    // What was said of a recipient may begin a line with its address again, further in.
    let mut indent = usize::MAX;
    for line in lines {
        let own_indent = line.text.len() - line.text.trim_start().len();
        match begins_with_address(line.text) {
            Some((address, said)) if own_indent <= indent && found.len() < MAX_REPORTED => {
                indent = own_indent;
                found.push((address, said.to_owned()));
            }
            _ => {
                if let Some((_, said)) = found.last_mut().filter(|(_, said)| said.len() < MAX_DIAGNOSTIC_OCTETS) {
                    said.push(' ');
                    said.push_str(line.text.trim());
                }
            }
        }
    }
    found.into_iter().map(|(address, said)| reported(address, &said)).collect()
}

/// A line that is about a recipient: its address is the first word, bare, quoted or in angle brackets.
fn begins_with_address(line: &str) -> Option<(String, &str)> {
    let trimmed = line.trim_start().trim_start_matches(['<', '"', '\'']);
    let end = trimmed.find(|one: char| one.is_whitespace() || "<>\"'(),;".contains(one)).unwrap_or(trimmed.len());
    let (word, rest) = trimmed.split_at_checked(end)?;
    let address = word.trim_end_matches([':', '.']);
    let fits = address.len() <= MAX_ADDRESS_OCTETS && looks_like_address(address);
    fits.then(|| (kept(address, MAX_ADDRESS_OCTETS), rest.trim_start_matches(['>', '"', '\'', ':', ' ', ')'])))
}

fn behind(line: &Line<'_>, words: &[&str]) -> Option<Reported> {
    words.iter().find(|word| line.lower.starts_with(*word))?;
    let address = address_in(line.text)?;
    Some(reported(kept(address, MAX_ADDRESS_OCTETS), line.text))
}

/// What was said of a recipient. Where it has a code or a status of a failure that may pass, it has passed: the notice is
/// written when everything is over, unless it says otherwise.
fn reported(recipient: String, said: &str) -> Reported {
    let lower = said.to_lowercase();
    let goes_on =
        ["will be retried", "will retry", "still being retried", "no action is required", "warning message only"];
    let fate = if goes_on.iter().any(|words| lower.contains(words)) { Fate::Delayed } else { Fate::Failed };
    Reported {
        fate,
        recipient,
        original: String::new(),
        status: status_in(said),
        code: code_in(said),
        diagnostic: kept(said, MAX_DIAGNOSTIC_OCTETS),
        host: String::new(),
    }
}

/// The first reply of a failure that a text quotes, before the message that it returns.
fn quoted(lines: &[Line<'_>]) -> Option<Reported> {
    let before = lines.iter().take_while(|line| !RETURNED.iter().any(|words| line.lower.starts_with(words)));
    let is_failure = |line: &&Line<'_>| {
        code_in(line.text).is_some_and(|code| code >= 500)
            || status_in(line.text).is_some_and(|status| status.class() == 5)
    };
    let line = before.clone().find(is_failure)?;
    let address = before.filter_map(|line| address_in(line.text)).find(|address| {
        let lower = address.to_lowercase();
        !WRITERS.iter().any(|writer| lower.starts_with(writer))
    });
    Some(reported(address.map(|address| kept(address, MAX_ADDRESS_OCTETS)).unwrap_or_default(), line.text))
}

fn is_notice(header: &[u8]) -> bool {
    let lower = |name: &str| value_of(header, name).unwrap_or_default().to_lowercase();
    let (from, subject) = (lower("from"), lower("subject"));
    WRITERS.iter().any(|writer| from.contains(writer)) || SUBJECTS.iter().any(|words| subject.contains(words))
}

fn named_in_header(header: &[u8]) -> Vec<String> {
    let value = value_of(header, "x-failed-recipients").unwrap_or_default();
    let addresses = value.split(',').filter_map(address_in).take(MAX_REPORTED);
    addresses.map(|address| kept(address, MAX_ADDRESS_OCTETS)).collect()
}
