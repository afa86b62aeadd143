//! The part of a notification for people: who did not get what, why, and what to do. Not responsible for what programs
//! need.

use mailtier_types::{Cause, Outcome, Stage};

use crate::date;
use crate::dsn::advice::{self, Advice};
use crate::dsn::{Action, DsnFacts, DsnGroup};
use crate::header;
use crate::text::{self, Charset};

/// Characters in a line.
const WIDTH: usize = 72;
/// What is quoted of a reply, in octets.
const MAX_QUOTED_OCTETS: usize = 1_000;
/// What is quoted of the subject, in octets: what fits into a line.
const MAX_SUBJECT_OCTETS: usize = 56;

/// The part with its own header section (RFC 6522 §3: the first part is for people).
pub(super) fn part(facts: &DsnFacts<'_>, charset: Charset) -> Vec<u8> {
    let mut out = String::with_capacity(2048);
    out.push_str("Content-Description: Notification\r\n");
    out.push_str(match charset {
        Charset::Ascii => "Content-Type: text/plain; charset=us-ascii\r\n",
        Charset::Utf8 => "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n",
    });
    out.push_str("\r\n");
    opening(&mut out, facts);
    for failure in facts.failures {
        out.push_str("\r\n");
        explain(&mut out, facts, failure, charset);
    }
    closing(&mut out, facts);
    out.into_bytes()
}

fn opening(out: &mut String, facts: &DsnFacts<'_>) {
    let host = text::host(facts.reporting_mta);
    text::paragraph(out, 0, WIDTH, &format!("This is the mail system at {host}."));
    out.push_str("\r\n");
    let count: usize = facts.failures.iter().map(|failure| failure.recipients.len()).sum();
    let whom = if count == 1 { "the recipient below".to_owned() } else { format!("the {count} recipients below") };
    let sentence = match facts.action {
        Action::Failed => {
            format!("I am sorry: your message could not be delivered to {whom}. It will not be tried again.")
        }
        Action::Delayed { until } => format!(
            "Your message could not be delivered yet to {whom}. It will be tried until {}; you need not send it again.",
            date::rfc5322(until)
        ),
        Action::Relayed if facts.failures.iter().any(notifies) => {
            format!("Your message to {whom} was passed on to the next server, which sends notifications of its own.")
        }
        Action::Relayed => format!(
            "Your message to {whom} was passed on to a server that sends no notifications of delivery. If nothing else \
             is heard of it, it has most likely arrived."
        ),
    };
    text::paragraph(out, 0, WIDTH, &sentence);
    out.push_str("\r\n");
    if let Some(subject) = plain_subject(facts) {
        out.push_str(&format!("    Subject:  {subject}\r\n"));
    }
    out.push_str(&format!("    Received: {}\r\n", date::rfc5322(facts.arrival)));
    out.push_str(&format!("    Id:       {}\r\n", facts.about));
}

/// The next server promised to notify (RFC 3461 §5.3): this report is of the way it took.
fn notifies(group: &DsnGroup) -> bool {
    group.outcome.as_ref().is_some_and(|outcome| outcome.notifies)
}

/// The subject, where it needs no decoding.
fn plain_subject(facts: &DsnFacts<'_>) -> Option<String> {
    let section = header::original_headers(facts.original_headers, usize::MAX);
    let subject = header::value_of(section, "subject")?;
    let is_plain = !subject.is_empty() && !subject.contains("=?");
    is_plain.then(|| text::one_line(&subject, Charset::Ascii, MAX_SUBJECT_OCTETS))
}

fn explain(out: &mut String, facts: &DsnFacts<'_>, failure: &DsnGroup, charset: Charset) {
    for recipient in &failure.recipients {
        out.push_str(&format!("<{recipient}>\r\n"));
    }
    if failure.expired {
        let tried = date::in_words(facts.now.since(facts.arrival));
        text::paragraph(out, 4, WIDTH, &format!("It could not be delivered for {tried}, and its time is up."));
    }
    if facts.action == Action::Relayed {
        return;
    }
    let outcome = failure.outcome.as_ref();
    let Advice { what_happened, what_to_do } = advice::on(outcome);
    if outcome.is_some() || !failure.expired {
        text::paragraph(out, 4, WIDTH, what_happened);
    }
    if !what_to_do.is_empty() {
        text::paragraph(out, 4, WIDTH, what_to_do);
    }
    let Some(outcome) = outcome else { return };
    out.push_str("\r\n");
    text::paragraph(out, 4, WIDTH, &introduction(outcome, failure.expired));
    out.push_str("\r\n");
    let quoted = text::one_line(&outcome.cause.to_string(), charset, MAX_QUOTED_OCTETS);
    text::paragraph(out, 8, WIDTH, &quoted);
}

/// Who said what follows, and when in the conversation.
fn introduction(outcome: &Outcome, is_last: bool) -> String {
    let host = outcome.remote.as_ref().filter(|remote| !remote.is_socket()).map(|remote| {
        let name = text::host(&remote.name);
        match remote.address {
            Some(address) if !name.contains(&address.to_string()) => format!("{name} [{address}]").into(),
            _ => name,
        }
    });
    let when = if is_last { format!("At the last attempt, on {}, ", date::rfc5322(outcome.at)) } else { String::new() };
    let sentence = match (&outcome.cause, host) {
        (Cause::Reply(_), Some(host)) => format!("{when}{host} answered {} with:", step(outcome.stage)),
        (Cause::Reply(_), None) => format!("{when}the server answered {} with:", step(outcome.stage)),
        (Cause::Trouble(_), Some(host)) => format!("{when}there was trouble with {host}:"),
        (Cause::Trouble(_), None) => format!("{when}the trouble was:"),
    };
    let mut characters = sentence.chars();
    // A host's name keeps its case; only our own words begin a sentence.
    match characters.next() {
        Some(first) if sentence.starts_with("th") => first.to_uppercase().chain(characters).collect(),
        _ => sentence,
    }
}

/// What a reply was in reply to.
const fn step(stage: Stage) -> &'static str {
    match stage {
        Stage::Resolve | Stage::Connect | Stage::Banner => "the connection",
        Stage::Ehlo => "the EHLO command",
        Stage::StartTls => "the STARTTLS command",
        Stage::Mail => "the MAIL FROM command",
        Stage::Rcpt => "the RCPT TO command",
        Stage::Data => "the DATA command",
        Stage::Final => "the content of the message",
    }
}

fn closing(out: &mut String, facts: &DsnFacts<'_>) {
    out.push_str("\r\n");
    let postmaster = format!("<postmaster@{}>", text::host(facts.from_domain));
    let returned = if facts.is_whole { "your message" } else { "the header of your message" };
    let sentence = format!(
        "If you need help, write to {postmaster} and quote the id above. What follows is a report for programs, and \
         {returned}."
    );
    text::paragraph(out, 0, WIDTH, &sentence);
}
