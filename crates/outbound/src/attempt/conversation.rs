//! The transactions of one delivery on one connection, and what each recipient's report leads to within the attempt.
//! Not responsible for the connection's beginning or end.

use std::collections::HashMap;
use std::time::Instant;

use bytes::Bytes;
use mailtier_api::work::Dispatch;
use mailtier_smtp::{ClientAttribute, Limits, RecipientReport, RemainingTime, Transaction, TransactionReport, Wishes};
use mailtier_transport::client::Connection;
use mailtier_types::{Cause, DeliverBy, Domain, Mailbox, Options, ReversePath, Stage, Timestamp, TroubleKind};

/// MAIL FROM.
pub(crate) enum Senders<'a> {
    /// All recipients have the same.
    Shared(&'a ReversePath),
    /// Each recipient has its own, and so a transaction of its own.
    Own(HashMap<&'a Mailbox, &'a ReversePath>, &'a ReversePath),
}

impl<'a> Senders<'a> {
    /// As a delivery has them.
    pub(crate) fn of(dispatch: &'a Dispatch) -> Self {
        let shared = dispatch.return_path.as_ref().unwrap_or(&dispatch.sender);
        match dispatch.return_paths.as_slice() {
            [] => Self::Shared(shared),
            own => Self::Own(dispatch.recipients.iter().zip(own).collect(), shared),
        }
    }

    /// That of a transaction for these.
    fn towards(&self, recipients: &[Mailbox]) -> &'a ReversePath {
        match self {
            Self::Shared(sender) => sender,
            Self::Own(own, shared) => recipients.first().and_then(|one| own.get(one)).unwrap_or(shared),
        }
    }

    /// Takes out the recipients that do not go together with the first.
    fn apart(&self, recipients: &mut Vec<Mailbox>) -> Vec<Mailbox> {
        match self {
            Self::Own(..) if recipients.len() > 1 => recipients.split_off(1),
            Self::Own(..) | Self::Shared(_) => Vec::new(),
        }
    }
}

/// What is sent.
pub(crate) struct Letter<'a> {
    /// MAIL FROM.
    pub(crate) senders: Senders<'a>,
    /// No transaction begins after this.
    pub(crate) deadline: Instant,
    /// What came with it.
    pub(crate) options: &'a Options,
    /// MT-PRIORITY.
    pub(crate) priority: i16,
    /// The time at which the attempt is made.
    pub(crate) now: Timestamp,
    /// The octets.
    pub(crate) content: &'a [Bytes],
    /// They are declared binary (RFC 3030 §3).
    pub(crate) binary: bool,
    /// The remote may know where they came from.
    pub(crate) tells_origin: bool,
}

/// What a connection meant for the recipients it was tried with.
pub(crate) struct Conversation {
    /// In the order of the recipients, as far as they got.
    pub(crate) reports: Vec<(Mailbox, RecipientReport)>,
    /// Whose turn has not come: the remote wants them over another connection.
    pub(crate) left: Vec<Mailbox>,
    /// Whether the connection stands, for another transaction or for QUIT.
    pub(crate) reusable: bool,
    /// The remote let go of the connection between two transactions, or after the content of one: who is left may have
    /// another to it.
    pub(crate) let_go: bool,
}

/// Carries out transactions until every recipient has a report, or the connection ends, or the time is over. A remote that
/// takes only so many recipients at a time, and says so before (RFC 9422) or then (RFC 5321 §4.5.3.1.10), gets the rest in
/// further ones; in the second case as long as each takes some.
pub(crate) async fn converse(
    connection: &mut Connection,
    letter: &Letter<'_>,
    mut recipients: Vec<Mailbox>,
) -> Conversation {
    let mut reports = Vec::with_capacity(recipients.len());
    loop {
        let mut left = beyond(connection.capabilities().limits, &mut recipients);
        left.splice(..0, letter.senders.apart(&mut recipients));
        let report = one_transaction(connection, letter, &recipients).await;
        if !reports.is_empty() && has_let_go(&report.recipients) {
            recipients.extend(left);
            return Conversation { reports, left: recipients, reusable: false, let_go: true };
        }
        let progress = report.recipients.iter().any(RecipientReport::is_delivered);
        let again = progress && report.reusable;
        let told = recipients.into_iter().zip(report.recipients);
        let (rest, done): (Vec<_>, Vec<_>) = told.partition(|(_, report)| again && is_one_too_many(report));
        reports.extend(done);
        left.splice(..0, rest.into_iter().map(|(recipient, _)| recipient));
        if left.is_empty() || !report.reusable || connection.is_spent() || letter.deadline <= Instant::now() {
            // What the remote has not answered for, it may have: who is left must not wait until it has answered.
            let let_go = !report.reusable && reports.last().is_some_and(|(_, report)| is_unanswered(report));
            return Conversation { reports, left, reusable: report.reusable, let_go };
        }
        recipients = left;
    }
}

/// Takes out the recipients that one transaction does not carry (RFC 9422 §4.2, §4.3).
fn beyond(limits: Limits, recipients: &mut Vec<Mailbox>) -> Vec<Mailbox> {
    let most = limits.recipients.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    let mut left = if most < recipients.len() { recipients.split_off(most) } else { Vec::new() };
    if let Some(most) = limits.recipient_domains {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let mut domains: Vec<Domain> = Vec::new();
        let (kept, others) = std::mem::take(recipients).into_iter().partition(|recipient| {
            let domain = recipient.domain();
            let is_known = domains.contains(&domain);
            if !is_known && domains.len() < most {
                domains.push(domain);
                return true;
            }
            is_known
        });
        *recipients = kept;
        left.splice(..0, others);
    }
    left
}

async fn one_transaction(
    connection: &mut Connection,
    letter: &Letter<'_>,
    recipients: &[Mailbox],
) -> TransactionReport {
    let transaction = Transaction {
        sender: letter.senders.towards(recipients).clone(),
        recipients: recipients.to_vec(),
        eight_bit: letter.options.eight_bit,
        smtputf8: letter.options.smtputf8,
        proper_lines: false,
        size_bytes: letter.options.size_bytes,
        wishes: wishes(letter),
    };
    connection.deliver(transaction, letter.content).await
}

/// What the sender asked for beside delivery.
fn wishes(letter: &Letter<'_>) -> Wishes {
    let Letter { options, now, .. } = letter;
    let left = |by: DeliverBy| RemainingTime {
        seconds: (by.at.as_micros() - now.as_micros()).div_euclid(1_000_000),
        mode: by.mode,
        trace: by.trace,
    };
    Wishes {
        binary: letter.binary,
        require_tls: options.require_tls,
        ret: options.ret,
        envelope_id: options.envelope_id.clone(),
        requests: options.requests.clone(),
        deliver_by: options.deliver_by.map(left),
        priority: i8::try_from(letter.priority.clamp(-9, 9)).unwrap_or(0),
        origin: if letter.tells_origin { origin(options) } else { Vec::new() },
        probe: false,
    }
}

/// Where a message came from, as far as it is known.
fn origin(options: &Options) -> Vec<ClientAttribute> {
    let known = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    vec![
        // Names are looked up by nobody at reception.
        ClientAttribute::Name(None),
        ClientAttribute::Address(options.client_address.parse().ok()),
        ClientAttribute::Extended(!options.protocol.eq_ignore_ascii_case("SMTP")),
        ClientAttribute::Hello(known(&options.client_helo)),
        ClientAttribute::Local(options.client_address.is_empty()),
    ]
}

/// 452 to RCPT, not about this one mailbox: RFC 5321 §4.5.3.1.10, and RFC 3463 §3.6 for its enhanced code. A 552 there
/// is treated as 452.
fn is_one_too_many(report: &RecipientReport) -> bool {
    match &report.cause {
        Cause::Reply(reply) if report.stage == Stage::Rcpt && matches!(reply.code, 452 | 552) => {
            reply.enhanced.is_none_or(|enhanced| (enhanced.subject(), enhanced.detail()) == (5, 3))
        }
        _ => false,
    }
}

/// Whether a connection that was reused had died before: nothing was begun, so nothing counts.
pub(crate) fn was_dead(told: &Conversation) -> bool {
    has_let_go(told.reports.iter().map(|(_, report)| report))
}

fn has_let_go<'a>(reports: impl IntoIterator<Item = &'a RecipientReport>) -> bool {
    let mut reports = reports.into_iter().peekable();
    reports.peek().is_some() && reports.all(is_farewell)
}

fn is_unanswered(report: &RecipientReport) -> bool {
    matches!(&report.cause, Cause::Trouble(trouble) if trouble.kind == TroubleKind::Unanswered)
}

/// The remote closed the connection without a word to MAIL, or with a word about its own end (RFC 5321 §3.8).
fn is_farewell(report: &RecipientReport) -> bool {
    report.stage == Stage::Mail
        && match &report.cause {
            Cause::Reply(reply) => reply.code == 421,
            Cause::Trouble(trouble) => trouble.kind == TroubleKind::Closed,
        }
}

/// Whether a recipient is worth another host within the same attempt: the session ended under it, not by a word about
/// it, and before the content was out of our hands (then the remote may have taken it, and another host would be a
/// second copy).
pub(crate) fn deserves_another_host(report: &RecipientReport) -> bool {
    report.stage < Stage::Final
        && match &report.cause {
            Cause::Reply(reply) => reply.code == 421,
            Cause::Trouble(trouble) => {
                matches!(trouble.kind, TroubleKind::Closed | TroubleKind::Timeout | TroubleKind::Protocol)
            }
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailtier_types::{EnhancedCode, Reply, Trouble};

    fn said(stage: Stage, code: u16, enhanced: Option<EnhancedCode>) -> RecipientReport {
        RecipientReport { stage, cause: Cause::Reply(Reply::received(code, enhanced, "text".to_owned())) }
    }

    fn trouble(stage: Stage, kind: TroubleKind) -> RecipientReport {
        RecipientReport { stage, cause: Cause::Trouble(Trouble { kind, text: "text".to_owned() }) }
    }

    #[test]
    fn another_host_is_tried_when_a_session_ends_and_not_when_a_recipient_is_refused() {
        for (report, expected) in [
            (said(Stage::Mail, 421, None), true),
            (said(Stage::Rcpt, 421, None), true),
            (said(Stage::Data, 421, None), true),
            (trouble(Stage::Mail, TroubleKind::Closed), true),
            (trouble(Stage::Data, TroubleKind::Timeout), true),
            (said(Stage::Mail, 451, None), false),
            (said(Stage::Rcpt, 450, None), false),
            (said(Stage::Rcpt, 550, None), false),
            (said(Stage::Final, 421, None), false),
            (trouble(Stage::Final, TroubleKind::Closed), false),
            (trouble(Stage::Mail, TroubleKind::Smtputf8), false),
        ] {
            assert_eq!(deserves_another_host(&report), expected, "{report:?}");
        }
    }

    #[test]
    fn too_many_recipients_is_told_from_a_full_mailbox() {
        for (report, expected) in [
            (said(Stage::Rcpt, 452, None), true),
            (said(Stage::Rcpt, 452, Some(EnhancedCode::new(4, 5, 3))), true),
            (said(Stage::Rcpt, 552, Some(EnhancedCode::new(5, 5, 3))), true),
            (said(Stage::Rcpt, 452, Some(EnhancedCode::new(4, 2, 2))), false),
            (said(Stage::Rcpt, 450, None), false),
            (said(Stage::Final, 452, None), false),
        ] {
            assert_eq!(is_one_too_many(&report), expected, "{report:?}");
        }
    }

    #[test]
    fn what_a_remote_takes_at_a_time_it_gets() {
        let split = |recipients, recipient_domains| {
            let limits = Limits { transactions: None, recipients, recipient_domains };
            let mut now: Vec<_> = ["1@a.example", "2@b.example", "3@a.example", "4@c.example", "5@b.example"]
                .map(|text| Mailbox::parse(text).unwrap())
                .into();
            let left = beyond(limits, &mut now);
            let names = |list: &[Mailbox]| list.iter().map(Mailbox::local_part).collect::<String>();
            (names(&now), names(&left))
        };
        let expect = |now: &str, left: &str| (now.to_owned(), left.to_owned());
        assert_eq!(split(None, None), expect("12345", ""));
        assert_eq!(split(Some(5), None), expect("12345", ""));
        assert_eq!(split(Some(2), None), expect("12", "345"));
        assert_eq!(split(None, Some(1)), expect("13", "245"));
        assert_eq!(split(None, Some(2)), expect("1235", "4"));
        assert_eq!(split(Some(4), Some(1)), expect("13", "245"));
    }

    #[test]
    fn a_dead_connection_is_one_that_says_nothing_or_only_that_it_ends() {
        for (report, expected) in [
            (trouble(Stage::Mail, TroubleKind::Closed), true),
            (said(Stage::Mail, 421, None), true),
            (said(Stage::Mail, 451, None), false),
            (trouble(Stage::Mail, TroubleKind::Timeout), false),
            (trouble(Stage::Rcpt, TroubleKind::Closed), false),
        ] {
            assert_eq!(has_let_go(std::slice::from_ref(&report)), expected, "{report:?}");
        }
        let mixed = [trouble(Stage::Mail, TroubleKind::Closed), said(Stage::Rcpt, 550, None)];
        assert!(!has_let_go(&mixed) && !has_let_go(&[]));
    }
}
