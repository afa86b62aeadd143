//! What follows from a report: a pure function of what it says and of the message it is about.
//!
//! The report itself is a message that was accepted, and it has arrived: so each accepted recipient is in one state here as
//! anywhere. What it says is written under the message that it is about, for the tenant whose mail that was. What names no
//! message, or cannot be read, is written too, with the reason, under the report. Where it is passed on to the sender of the
//! message, that is a delivery of the report.

use std::collections::HashSet;

use mailtier_message::feedback::{Complaint, Fate, Feedback as Reading, Reported, StatusReport};
use mailtier_message::{RecipientMark, Returned};
use mailtier_schedule::Classification;
use mailtier_store::{AsidePlan, NewEvent, NewMessage, Original, SuppressionSource};
use mailtier_types::{
    BounceClass, Cause, EnhancedCode, EventDetail, EventKind, Mailbox, MessageId, Outcome, RemoteHost, Reply, ShardId,
    Stage, Timestamp,
};

use super::{About, tls_report};
use crate::accept::group;
use crate::suppression::Rules;

/// What is kept of a reason, in octets.
const MAX_REASON_OCTETS: usize = 500;

/// A report, as it was taken.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    /// Its rows, as if it were to be delivered.
    pub(crate) message: &'a NewMessage,
    /// What it says.
    pub(crate) reading: Reading,
    /// Which message it is about.
    pub(crate) about: About,
    /// That message, as far as the history still has it.
    pub(crate) original: Option<Original>,
    /// Its sender gets the report as well.
    pub(crate) forwards: bool,
}

/// What a plan goes by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    /// What replies mean.
    pub(crate) classification: &'a Classification,
    /// Who is put on suppression lists.
    pub(crate) rules: &'a Rules,
    /// The time.
    pub(crate) now: Timestamp,
}

/// What is written.
pub(crate) fn plan(report: Report<'_>, context: Context<'_>) -> AsidePlan {
    let sender = report.original.as_ref().filter(|_| report.forwards);
    let sender = sender.and_then(|original| Mailbox::parse(&original.sender).ok());
    let mut plan = AsidePlan { messages: vec![arrived(report.message, sender.as_ref())], ..AsidePlan::default() };
    plan.events.push(delivered(report.message, context.now));
    if let Reading::TlsReport(tls) = &report.reading {
        plan.events.extend(tls_report::events(tls, report.message, context.now));
        return plan;
    }
    let returned = match report.about {
        About::Delivery(returned) => returned,
        About::Nothing(why) => {
            plan.events.push(unmatched(report.message, &report.reading, why, context.now));
            return plan;
        }
    };
    let recipients = recipients_of(returned, report.original.as_ref());
    let subject = Subject { report: report.message.id, returned, original: report.original.as_ref(), recipients };
    match &report.reading {
        Reading::Status(status) => subject.status(status, context, &mut plan),
        Reading::Complaint(complaint) => subject.complaint(complaint, context, &mut plan),
        Reading::AutoReply => {
            plan.events.push(subject.answer(Vec::new(), "an automatic reply".to_owned(), context.now))
        }
        Reading::BadTlsReport(_) | Reading::TlsReport(_) => {
            plan.events.push(subject.answer(Vec::new(), what(&report.reading), context.now));
        }
        Reading::Unknown => {
            let reason = "neither a bounce nor a complaint that is understood".to_owned();
            plan.events.push(subject.answer(Vec::new(), reason, context.now));
        }
    }
    plan
}

/// The report as a message that goes nowhere further, or to the sender of what it is about. It has a null reverse-path
/// then, whatever it came with: nothing is to be said about a report (RFC 5321 §4.5.5).
fn arrived(message: &NewMessage, sender: Option<&Mailbox>) -> NewMessage {
    let mut arrived = message.clone();
    arrived.hold_until = None;
    match sender {
        None => (arrived.deliveries, arrived.body) = (Vec::new(), None),
        Some(sender) => {
            for delivery in &mut arrived.deliveries {
                delivery.sender = String::new();
                delivery.destination = sender.domain_str().to_owned();
                delivery.shard = ShardId::of(sender.domain_str());
                delivery.recipients = vec![sender.as_str().to_owned()];
            }
        }
    }
    arrived
}

fn delivered(message: &NewMessage, now: Timestamp) -> NewEvent {
    let reason = Some("read as what came back about another message".to_owned());
    NewEvent {
        at: now,
        kind: EventKind::RecipientDelivered,
        // Of no delivery: the one that there may be goes to somebody else.
        delivery: None,
        detail: mailtier_api::encode_detail(EventDetail { reason, ..EventDetail::default() }),
        ..message.accepted.clone()
    }
}

fn unmatched(message: &NewMessage, reading: &Reading, why: &str, now: Timestamp) -> NewEvent {
    let reason = Some(cut(format!("belongs to no message: {why} ({})", what(reading))));
    let detail = EventDetail { reason, report: Some(message.id), ..EventDetail::default() };
    NewEvent {
        at: now,
        kind: EventKind::AnswerReceived,
        recipients: Vec::new(),
        detail: mailtier_api::encode_detail(detail),
        ..message.accepted.clone()
    }
}

/// For people.
fn what(reading: &Reading) -> String {
    match reading {
        Reading::Status(report) => {
            let named: Vec<&str> = report.recipients.iter().map(|one| one.recipient.as_str()).collect();
            format!("a bounce about {}", named.join(", "))
        }
        Reading::Complaint(complaint) => {
            format!("a report of {} about {}", complaint.kind, complaint.recipients.join(", "))
        }
        Reading::TlsReport(report) => format!("a report of TLS by {}", report.organization),
        Reading::BadTlsReport(why) => format!("a report of TLS that cannot be read: {why}"),
        Reading::AutoReply => "an automatic reply".to_owned(),
        Reading::Unknown => "mail that is not understood".to_owned(),
    }
}

/// Whom a return path was for: those of its message whose domain is the so-many-th, or of these the one that it is of.
fn recipients_of(returned: Returned, original: Option<&Original>) -> Vec<Mailbox> {
    let Some(original) = original else { return Vec::new() };
    let all: Vec<Mailbox> = original.recipients.iter().filter_map(|text| Mailbox::parse(text).ok()).collect();
    let ordinal = returned.delivery.as_i64() - returned.message.as_i64();
    let ordinal = usize::try_from(ordinal).unwrap_or(usize::MAX);
    let members = group(&all).into_iter().nth(ordinal).map(|(_, members)| members).unwrap_or_default();
    let Some(mark) = returned.recipient else { return members };
    members.into_iter().find(|one| RecipientMark::of(returned.message, one) == mark).into_iter().collect()
}

/// What a report is about.
struct Subject<'a> {
    report: MessageId,
    returned: Returned,
    original: Option<&'a Original>,
    recipients: Vec<Mailbox>,
}

impl Subject<'_> {
    fn status(&self, status: &StatusReport, context: Context<'_>, plan: &mut AsidePlan) {
        // A report that names a recipient of ours means by another name somebody else.
        let is_named = status.recipients.iter().any(|one| self.known(&[&one.original, &one.recipient]).is_some());
        // One report, whoever names a recipient in it how often.
        let mut told = HashSet::new();
        for one in &status.recipients {
            let (recipient, unknown) = self.named(&[&one.original, &one.recipient], !is_named);
            if !told.insert((one.fate, recipient.cloned(), unknown.clone())) {
                continue;
            }
            if one.fate != Fate::Failed {
                let reason = format!("{}: {}", one.fate.word(), one.diagnostic);
                plan.events.push(self.answer(recipient.cloned().into_iter().collect(), cut(reason), context.now));
                continue;
            }
            let outcome = outcome(one, &status.reporter, context.now);
            let class = context.classification.judge(&outcome).map(|judgement| judgement.class);
            let detail = EventDetail {
                reason: unknown.map(|address| format!("about {address}, whom the delivery did not name")),
                class,
                report: Some(self.report),
                ..EventDetail::default()
            };
            self.suppress(recipient, class, &outcome, context, plan);
            let detail = EventDetail { outcome: Some(outcome), ..detail };
            plan.events.push(self.event(
                EventKind::BounceReceived,
                recipient.cloned().into_iter().collect(),
                &detail,
                context.now,
            ));
        }
    }

    fn suppress(
        &self,
        recipient: Option<&Mailbox>,
        class: Option<BounceClass>,
        outcome: &Outcome,
        context: Context<'_>,
        plan: &mut AsidePlan,
    ) {
        let (Some(recipient), Some(class)) = (recipient, class) else { return };
        let why = (SuppressionSource::Bounce, outcome.cause.to_string());
        let found =
            context.rules.of_failure(self.returned.tenant, class, recipient, why, self.returned.message, context.now);
        plan.suppressions.extend(found);
    }

    fn complaint(&self, complaint: &Complaint, context: Context<'_>, plan: &mut AsidePlan) {
        let named = complaint.recipients.iter().filter_map(|address| self.known(&[address]));
        let mut recipients: Vec<Mailbox> = named.cloned().collect();
        // Where nobody is named whom we know, it is the only one there is.
        if recipients.is_empty() {
            recipients.extend(self.named(&[], true).0.cloned());
        }
        recipients.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        recipients.dedup();
        let reason = match complaint.agent.as_str() {
            "" => complaint.kind.clone(),
            agent => format!("{}, by {agent}", complaint.kind),
        };
        if !complaint.is_against() {
            plan.events.push(self.answer(recipients, cut(format!("a report of {reason}")), context.now));
            return;
        }
        for recipient in &recipients {
            let of = self.returned;
            plan.suppressions.extend(context.rules.of_complaint(
                of.tenant,
                recipient,
                &reason,
                of.message,
                context.now,
            ));
        }
        let detail = EventDetail { reason: Some(cut(reason)), report: Some(self.report), ..EventDetail::default() };
        plan.events.push(self.event(EventKind::ComplaintReceived, recipients, &detail, context.now));
    }

    /// The recipient of the delivery that one of these addresses is.
    fn known(&self, addresses: &[&String]) -> Option<&Mailbox> {
        let is = |recipient: &&Mailbox, address: &str| recipient.as_str().to_lowercase() == address.to_lowercase();
        addresses.iter().find_map(|address| self.recipients.iter().find(|recipient| is(recipient, address)))
    }

    /// The recipient of the delivery that is meant by these addresses, and who else they name. Where a message was sent on,
    /// a report names somebody whom we do not know: if it names nobody else, then of a delivery to one recipient it is about
    /// that one all the same. Of several nobody can say which, and no one is taken for another.
    fn named(&self, addresses: &[&String], may_be_another: bool) -> (Option<&Mailbox>, Option<String>) {
        let other = || addresses.iter().rev().find(|address| !address.is_empty()).map(|address| (*address).clone());
        match (self.known(addresses), self.recipients.as_slice()) {
            (Some(found), _) => (Some(found), None),
            (None, [only]) if may_be_another => (Some(only), other()),
            (None, _) => (None, other()),
        }
    }

    fn answer(&self, recipients: Vec<Mailbox>, reason: String, now: Timestamp) -> NewEvent {
        let detail = EventDetail { reason: Some(reason), report: Some(self.report), ..EventDetail::default() };
        self.event(EventKind::AnswerReceived, recipients, &detail, now)
    }

    fn event(&self, kind: EventKind, recipients: Vec<Mailbox>, detail: &EventDetail, now: Timestamp) -> NewEvent {
        NewEvent {
            at: now,
            kind,
            message: self.returned.message,
            delivery: Some(self.returned.delivery),
            tenant: self.returned.tenant,
            attempt: 0,
            sender: self.original.map(|original| original.sender.clone()).unwrap_or_default(),
            recipients: recipients.iter().map(|recipient| recipient.as_str().to_owned()).collect(),
            detail: mailtier_api::encode_detail(detail.clone()),
        }
    }
}

/// What is said to have decided elsewhere, in the form of a decision of ours, so that the same rules say what it means.
fn outcome(one: &Reported, reporter: &str, now: Timestamp) -> Outcome {
    let class = one.status.map_or(5, EnhancedCode::class);
    let code = one.code.unwrap_or(if class == 4 { 450 } else { 550 });
    let cause = Cause::Reply(Reply::received(code, one.status, said(&one.diagnostic).to_owned()));
    let host = [one.host.as_str(), reporter].into_iter().find(|name| !name.is_empty());
    let remote = host.map(|name| RemoteHost { name: name.to_owned(), address: None });
    Outcome { remote, ..Outcome::new(Stage::Final, cause, now) }
}

/// What was said without the codes before it, which the reply has already.
fn said(diagnostic: &str) -> &str {
    let mut rest = diagnostic;
    while let Some((word, after)) = rest.split_once([' ', '-']) {
        let is_code = word.len() == 3 && word.bytes().all(|octet| octet.is_ascii_digit());
        if !is_code && word.parse::<EnhancedCode>().is_err() {
            break;
        }
        rest = after.trim_start();
    }
    rest
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_REASON_OCTETS));
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use mailtier_api::submit::Submission;
    use mailtier_config::{Config, SuppressionMode};
    use mailtier_types::{Envelope, IdSource, NodeNumber, Options, ReversePath, TenantId};

    use super::*;
    use crate::accept::{Lifetimes, new_message};

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    /// The rows of a report, as if it were to be delivered.
    fn report() -> NewMessage {
        let envelope = Envelope {
            sender: ReversePath::parse("robot@b.example").unwrap(),
            recipients: vec![Mailbox::parse("bounces+token@bounces.example.com").unwrap()],
            tenant: TenantId(0),
            priority: 0,
            options: Options { received_at: NOW, ..Options::default() },
        };
        let id = IdSource::new(NodeNumber::new(9).unwrap()).take(1, NOW);
        let submission = Submission {
            id,
            resubmission: false,
            envelope,
            body: Bytes::from_static(b"x"),
            parts: 0,
            screened: false,
            report: false,
        };
        new_message(submission, Lifetimes { ordinary: HOUR, notification: HOUR }).0
    }

    fn original(recipients: &[&str]) -> Original {
        let recipients = recipients.iter().map(|one| (*one).to_owned()).collect();
        Original { sender: "s@x.example".to_owned(), recipients }
    }

    fn reported(fate: Fate, recipient: &str, status: &str, diagnostic: &str) -> Reported {
        Reported {
            fate,
            recipient: recipient.to_owned(),
            original: String::new(),
            status: status.parse().ok(),
            code: None,
            diagnostic: diagnostic.to_owned(),
            host: "store.b.example".to_owned(),
        }
    }

    fn status(recipients: Vec<Reported>) -> Reading {
        Reading::Status(StatusReport { form: "rfc3464", reporter: "mx.b.example".to_owned(), recipients })
    }

    struct Told {
        plan: AsidePlan,
        events: Vec<(EventKind, Vec<String>, EventDetail)>,
    }

    /// What a report about a delivery of tenant 7 comes to.
    fn told(reading: Reading, original: Option<Original>, ordinal: u16, forwards: bool) -> Told {
        told_to(None, reading, original, ordinal, forwards)
    }

    /// What a report comes to that was sent to the return path of one recipient.
    fn told_to(own: Option<&str>, reading: Reading, original: Option<Original>, ordinal: u16, forwards: bool) -> Told {
        let mut config = Config::default();
        config.suppression.mode = SuppressionMode::Reject;
        let (rules, classification) = (Rules::new(&config).unwrap(), Classification::new(None).unwrap());
        let message = IdSource::new(NodeNumber::new(3).unwrap()).take(9, NOW);
        let recipient = own.map(|own| RecipientMark::of(message, &Mailbox::parse(own).unwrap()));
        let returned = Returned { message, delivery: message.delivery(ordinal), tenant: TenantId(7), recipient };
        let report = Report { message: &report(), reading, about: About::Delivery(returned), original, forwards };
        let plan = plan(report, Context { classification: &classification, rules: &rules, now: NOW });
        let events = plan.events.iter().skip(1).map(|event| {
            assert_eq!((event.message, event.tenant), (message, TenantId(7)), "it is of the message it is about");
            (event.kind, event.recipients.clone(), mailtier_api::decode_detail(&event.detail).unwrap())
        });
        Told { events: events.collect(), plan }
    }

    fn suppressed(told: &Told) -> Vec<&str> {
        told.plan.suppressions.iter().map(|one| one.address.as_str()).collect()
    }

    #[test]
    fn a_bounce_is_an_event_of_the_message_and_of_nothing_else() {
        let gone = reported(Fate::Failed, "User@B.example", "5.1.1", "550-5.1.1 no such user");
        let told = told(status(vec![gone]), Some(original(&["user@b.example"])), 0, false);
        let (kind, recipients, detail) = &told.events[0];
        assert_eq!(
            (*kind, recipients.as_slice()),
            (EventKind::BounceReceived, ["user@b.example".to_owned()].as_slice())
        );
        assert_eq!(detail.class, Some(BounceClass::InvalidMailbox));
        assert_eq!(detail.report, Some(told.plan.messages[0].id));
        let outcome = detail.outcome.as_ref().unwrap();
        assert_eq!(outcome.cause.to_string(), "550 5.1.1 no such user");
        assert_eq!(outcome.remote.as_ref().unwrap().name, "store.b.example");
        assert_eq!(suppressed(&told), ["user@b.example"]);
        // The report has arrived, and goes nowhere.
        let delivered = &told.plan.events[0];
        assert_eq!((delivered.kind, delivered.message), (EventKind::RecipientDelivered, told.plan.messages[0].id));
        assert_eq!(delivered.recipients, told.plan.messages[0].accepted.recipients, "each accepted recipient is over");
        assert!(told.plan.messages[0].deliveries.is_empty() && told.plan.messages[0].body.is_none());
    }

    #[test]
    fn only_failures_that_say_so_are_against_a_recipient() {
        let of = |fate, code: &str, text: &str| {
            let reading = status(vec![reported(fate, "user@b.example", code, text)]);
            let told = told(reading, Some(original(&["user@b.example"])), 0, false);
            (told.events[0].0, suppressed(&told).len())
        };
        assert_eq!(of(Fate::Failed, "5.7.1", "554 5.7.1 blocked by our list"), (EventKind::BounceReceived, 0));
        assert_eq!(of(Fate::Failed, "5.2.2", "552 5.2.2 mailbox full"), (EventKind::BounceReceived, 0));
        assert_eq!(of(Fate::Failed, "4.4.7", "delivery time expired"), (EventKind::BounceReceived, 0));
        assert_eq!(of(Fate::Delayed, "4.1.1", "no such user, yet"), (EventKind::AnswerReceived, 0));
        assert_eq!(of(Fate::Delivered, "2.0.0", ""), (EventKind::AnswerReceived, 0));
        assert_eq!(of(Fate::Failed, "5.1.1", "550 5.1.1 no such user"), (EventKind::BounceReceived, 1));
    }

    #[test]
    fn no_recipient_is_taken_for_another() {
        let gone = |recipient: &str| status(vec![reported(Fate::Failed, recipient, "5.1.1", "550 5.1.1 no such user")]);
        let all = ["a@b.example", "only@c.example", "d@b.example"];
        let found = |recipient: &str, ordinal| {
            let told = told(gone(recipient), Some(original(&all)), ordinal, false);
            (told.events[0].1.join(" "), told.events[0].2.reason.clone(), suppressed(&told).len())
        };
        assert_eq!(found("d@b.example", 0), ("d@b.example".to_owned(), None, 1));
        // Sent on to somebody else: of one recipient that is clear, of several it is not.
        let elsewhere = Some("about x@elsewhere.example, whom the delivery did not name".to_owned());
        assert_eq!(found("x@elsewhere.example", 1), ("only@c.example".to_owned(), elsewhere.clone(), 1));
        assert_eq!(found("x@elsewhere.example", 0), (String::new(), elsewhere, 0));
        // A recipient of another delivery of the same message.
        assert_eq!(found("only@c.example", 0).2, 0);
        // A report that names the recipient says nothing of it where it names others.
        let both = [
            reported(Fate::Failed, "only@c.example", "5.2.2", "552 5.2.2 mailbox full"),
            reported(Fate::Failed, "x@elsewhere.example", "5.1.1", "550 5.1.1 no such user"),
        ];
        let mixed = told(status(both.to_vec()), Some(original(&all)), 1, false);
        assert_eq!(
            (mixed.events[0].1.join(" "), mixed.events[1].1.join(" ")),
            ("only@c.example".into(), String::new())
        );
        assert_eq!(suppressed(&mixed).len(), 0);
        // The history has forgotten the message.
        let forgotten = told(gone("a@b.example"), None, 0, false);
        assert_eq!((forgotten.events[0].1.len(), suppressed(&forgotten).len()), (0, 0));
    }

    #[test]
    fn what_comes_to_a_recipients_own_return_path_is_about_that_one_whatever_it_says() {
        let all = ["a@b.example", "only@c.example", "D@b.example"];
        let found = |reading: Reading, own: &str| {
            let told = told_to(Some(own), reading, Some(original(&all)), 0, false);
            let suppressed: Vec<String> = suppressed(&told).into_iter().map(str::to_owned).collect();
            (told.events[0].1.clone(), told.events[0].2.reason.clone(), suppressed)
        };
        let about = |named: &str| format!("about {named}, whom the delivery did not name");
        for (named, reason) in [
            ("d@b.example", None),
            ("x@elsewhere.example", Some(about("x@elsewhere.example"))),
            // Nobody can speak for another recipient of the same message.
            ("a@b.example", Some(about("a@b.example"))),
        ] {
            let gone = status(vec![reported(Fate::Failed, named, "5.1.1", "550 5.1.1 no such user")]);
            let expected = (vec!["D@b.example".to_owned()], reason, vec!["d@b.example".to_owned()]);
            assert_eq!(found(gone, "d@b.example"), expected);
        }
        for named in [vec![], vec!["a@b.example".to_owned()]] {
            let complaint = Complaint { kind: "abuse".to_owned(), agent: String::new(), recipients: named };
            let (recipients, _, suppressed) = found(Reading::Complaint(complaint), "d@b.example");
            assert_eq!((recipients, suppressed), (vec!["D@b.example".to_owned()], vec!["d@b.example".to_owned()]));
        }
        // The history knows nobody of that name.
        let gone = status(vec![reported(Fate::Failed, "a@b.example", "5.1.1", "550 5.1.1 no such user")]);
        assert_eq!(found(gone, "z@b.example").2.len(), 0);
    }

    #[test]
    fn a_complaint_counts_and_praise_does_not() {
        let of = |kind: &str, recipients: &[&str]| {
            let recipients = recipients.iter().map(|one| (*one).to_owned()).collect();
            let complaint = Complaint { kind: kind.to_owned(), agent: "Provider/1.0".to_owned(), recipients };
            let told = told(Reading::Complaint(complaint), Some(original(&["user@b.example"])), 0, true);
            (told.events[0].0, told.events[0].2.reason.clone().unwrap(), suppressed(&told).len())
        };
        let against = (EventKind::ComplaintReceived, "abuse, by Provider/1.0".to_owned(), 1);
        assert_eq!(of("abuse", &["user@b.example"]), against);
        assert_eq!(of("abuse", &[]), against, "where it is redacted");
        assert_eq!(
            of("not-spam", &[]),
            (EventKind::AnswerReceived, "a report of not-spam, by Provider/1.0".to_owned(), 0)
        );
    }

    #[test]
    fn what_is_passed_on_goes_to_the_sender_with_a_null_reverse_path() {
        let told = told(Reading::AutoReply, Some(original(&["user@b.example"])), 0, true);
        let [message] = told.plan.messages.as_slice() else { panic!("one message") };
        let [delivery] = message.deliveries.as_slice() else { panic!("one delivery") };
        assert_eq!((delivery.sender.as_str(), delivery.destination.as_str()), ("", "x.example"));
        assert_eq!(delivery.recipients, ["s@x.example"]);
        assert_eq!(delivery.shard, ShardId::of("x.example"));
        assert!(message.body.is_some());
        assert_eq!(told.events[0].2.reason.as_deref(), Some("an automatic reply"));
    }

    #[test]
    fn what_belongs_to_no_message_is_kept_with_the_reason() {
        let (rules, classification) = (Rules::default(), Classification::new(None).unwrap());
        let message = report();
        let reading = status(vec![reported(Fate::Failed, "user@b.example", "5.1.1", "")]);
        let about = About::Nothing("no signed return path stands in it");
        let report = Report { message: &message, reading, about, original: None, forwards: true };
        let plan = plan(report, Context { classification: &classification, rules: &rules, now: NOW });
        assert_eq!((plan.events.len(), plan.suppressions.len()), (2, 0));
        let event = &plan.events[1];
        assert_eq!((event.kind, event.message), (EventKind::AnswerReceived, message.id));
        let reason = mailtier_api::decode_detail(&event.detail).unwrap().reason.unwrap();
        assert!(reason.contains("no signed return path stands in it (a bounce about user@b.example)"), "{reason}");
    }

    #[test]
    fn codes_before_what_was_said_are_not_said_twice() {
        for (diagnostic, expected) in [
            ("550 5.1.1 no such user", "no such user"),
            ("550-5.1.1 no such user", "no such user"),
            ("no 550 such user", "no 550 such user"),
            ("550", "550"),
            ("", ""),
        ] {
            assert_eq!(said(diagnostic), expected);
        }
    }
}
