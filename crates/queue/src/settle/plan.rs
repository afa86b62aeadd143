//! What a settlement writes: a pure function of what was reported and what is stored.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use mailtier_message::dsn::DsnFailure;
use mailtier_schedule::{Next, RetryPolicy, classify};
use mailtier_store::{Finished, NewEvent, Retry, SettlePlan, StoredDelivery};
use mailtier_types::id::MAX_FANOUT;
use mailtier_types::{EventDetail, EventKind, Mailbox, MessageId, Options, Outcome, ReversePath, Timestamp};

use super::bounce::{BounceFacts, BounceWriter};
use super::line::Line;
use super::{After, Disposition, Report, What};
use crate::accept::AcceptLimits;
use crate::conductor::Committed;

/// What settlement is set to.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// Back-off.
    pub(crate) retry: RetryPolicy,
    /// Notifications.
    pub(crate) bounces: BounceWriter,
}

impl Policy {
    /// With this back-off, and notifications of this host.
    pub(crate) const fn new(retry: RetryPolicy, hostname: String, limits: AcceptLimits) -> Self {
        Self { retry, bounces: BounceWriter::new(hostname, limits) }
    }
}

/// One report with the row it is about, locked.
#[derive(Debug)]
pub(super) struct Case<'a> {
    /// What was reported.
    pub(super) report: &'a Report,
    /// As it is stored now.
    pub(super) stored: &'a StoredDelivery,
    /// A random number from 0 to 1, for the jitter of its retry.
    pub(super) chance: f32,
}

impl Case<'_> {
    /// What follows from an outcome.
    fn next(&self, outcome: &Outcome, policy: &Policy, now: Timestamp) -> Next {
        classify(outcome, self.report.attempt, &policy.retry, self.stored.expires_at, now, self.chance)
    }

    /// Whether it ends for some recipient without delivery and the sender is to be told: not the null sender
    /// (RFC 5321 §4.5.5), and not what an operator takes out.
    pub(super) fn is_returned(&self, policy: &Policy, now: Timestamp) -> bool {
        let fails = |outcome: &Outcome| matches!(self.next(outcome, policy, now), Next::Fail | Next::Expire);
        !self.stored.sender.is_empty()
            && match &self.report.what {
                What::Expired => true,
                What::Removed { .. } => false,
                What::Outcomes(outcomes) => outcomes.iter().any(|(_, outcome)| fails(outcome)),
            }
    }
}

/// What a settlement comes to.
#[derive(Debug, Default)]
pub(super) struct Planned {
    /// What is written.
    pub(super) plan: SettlePlan,
    /// What follows for the schedule.
    pub(super) dispositions: Vec<Disposition>,
    /// The notifications, to be scheduled.
    pub(super) committed: Vec<Committed>,
    /// For the log, once it is durable.
    pub(super) lines: Vec<Line>,
}

/// What the plan needs besides the cases.
pub(super) struct Surroundings<'a> {
    /// Settings.
    pub(super) policy: &'a Policy,
    /// The time.
    pub(super) now: Timestamp,
    /// Header sections of messages that may be returned.
    pub(super) headers: &'a HashMap<MessageId, Bytes>,
    /// Ids for notifications, as many as there are cases that are returned.
    pub(super) ids: Vec<MessageId>,
}

/// Plans a settlement.
pub(super) fn plan(cases: &[Case<'_>], mut surroundings: Surroundings<'_>) -> Planned {
    let mut planned = Planned::default();
    for case in cases {
        plan_one(case, &mut surroundings, &mut planned);
    }
    planned
}

/// What one delivery comes to, recipient by recipient.
struct Verdicts {
    events: Vec<(EventKind, Vec<String>, Option<Outcome>)>,
    failures: Vec<DsnFailure>,
    /// Recipients that are over.
    resolved: Vec<String>,
    /// The last outcome that asks for another attempt, and when.
    deferral: Option<(Outcome, Timestamp)>,
}

fn plan_one(case: &Case<'_>, surroundings: &mut Surroundings<'_>, planned: &mut Planned) {
    let Case { report, stored, .. } = case;
    let verdicts = verdicts(case, surroundings);
    // Of options that cannot be read nothing is believed, least of all that the body has no other delivery.
    let options = mailtier_api::decode_options(&stored.options)
        .unwrap_or_else(|_| Options { fanout: MAX_FANOUT, ..Options::default() });
    let remaining: Vec<String> =
        stored.recipients.iter().filter(|recipient| !verdicts.resolved.contains(recipient)).cloned().collect();
    let after = after(case, &verdicts, &remaining, surroundings, &options, planned);
    let dsn = write_bounce(case, &verdicts, &options, surroundings, planned);
    for (kind, recipients, outcome) in verdicts.events {
        let next_attempt_at = match (kind, after) {
            (EventKind::AttemptDeferred, After::Later { due, .. }) => Some(due),
            _ => None,
        };
        let is_failure = matches!(kind, EventKind::RecipientFailed | EventKind::RecipientExpired);
        let operator = match &report.what {
            What::Removed { operator } => Some(operator.clone()),
            _ => None,
        };
        planned.lines.push(Line {
            message: stored.message,
            attempt: report.attempt,
            sender: stored.sender.clone(),
            kind,
            recipients: recipients.clone(),
            outcome: outcome.clone(),
            received_at: options.received_at,
        });
        let detail = EventDetail {
            outcome,
            next_attempt_at,
            dsn: dsn.filter(|_| is_failure),
            operator,
            ..EventDetail::default()
        };
        planned.plan.events.push(NewEvent {
            at: surroundings.now,
            kind,
            message: stored.message,
            delivery: Some(stored.id),
            tenant: stored.tenant,
            attempt: report.attempt,
            sender: stored.sender.clone(),
            recipients,
            detail: mailtier_api::encode_detail(&detail),
        });
    }
    planned.dispositions.push(disposition(report, after));
}

/// The disposition of a report.
pub(super) fn disposition(report: &Report, after: After) -> Disposition {
    Disposition {
        delivery: report.delivery,
        attempt: report.attempt,
        worker: report.worker,
        was_reported: !matches!(report.what, What::Removed { .. }),
        after,
    }
}

fn verdicts(case: &Case<'_>, surroundings: &Surroundings<'_>) -> Verdicts {
    let stored = case.stored;
    let mut verdicts = Verdicts { events: Vec::new(), failures: Vec::new(), resolved: Vec::new(), deferral: None };
    match &case.report.what {
        What::Removed { .. } => {
            verdicts.resolved = stored.recipients.clone();
            verdicts.events.push((EventKind::RecipientRemoved, stored.recipients.clone(), None));
        }
        What::Expired => {
            let last = Some(&stored.last_outcome).filter(|last| !last.is_empty());
            let outcome = last.and_then(|last| mailtier_api::decode_outcome(last).ok());
            verdicts.give_up(EventKind::RecipientExpired, stored.recipients.clone(), outcome);
        }
        What::Outcomes(outcomes) => {
            // A recipient that is over already takes no further change (invariant 2), and each is named once.
            let mut open: HashSet<&str> = stored.recipients.iter().map(String::as_str).collect();
            for (recipients, outcome) in outcomes {
                let named: Vec<String> = recipients
                    .iter()
                    .map(Mailbox::as_str)
                    .filter(|recipient| open.remove(recipient))
                    .map(str::to_owned)
                    .collect();
                if !named.is_empty() {
                    verdicts.classify(case, surroundings, named, outcome);
                }
            }
        }
    }
    verdicts
}

impl Verdicts {
    fn classify(&mut self, case: &Case<'_>, surroundings: &Surroundings<'_>, named: Vec<String>, outcome: &Outcome) {
        match case.next(outcome, surroundings.policy, surroundings.now) {
            Next::Delivered => {
                self.resolved.extend(named.iter().cloned());
                self.events.push((EventKind::RecipientDelivered, named, Some(outcome.clone())));
            }
            Next::Fail => self.give_up(EventKind::RecipientFailed, named, Some(outcome.clone())),
            Next::Expire => self.give_up(EventKind::RecipientExpired, named, Some(outcome.clone())),
            // An opinion loses to a newer attempt (invariant 4), and is recorded once.
            Next::Retry(_) if case.report.attempt <= case.stored.attempts => {}
            Next::Retry(due) => {
                self.deferral = Some((outcome.clone(), due));
                self.events.push((EventKind::AttemptDeferred, named, Some(outcome.clone())));
            }
        }
    }

    fn give_up(&mut self, kind: EventKind, named: Vec<String>, outcome: Option<Outcome>) {
        let recipients = named.iter().filter_map(|recipient| Mailbox::parse(recipient).ok()).collect();
        let expired = kind == EventKind::RecipientExpired;
        self.failures.push(DsnFailure { recipients, outcome: outcome.clone(), expired });
        self.resolved.extend(named.iter().cloned());
        self.events.push((kind, named, outcome));
    }
}

/// Ends the delivery or keeps it, and says what follows.
fn after(
    case: &Case<'_>,
    verdicts: &Verdicts,
    remaining: &[String],
    surroundings: &Surroundings<'_>,
    options: &Options,
    planned: &mut Planned,
) -> After {
    let Case { report, stored, .. } = case;
    if remaining.is_empty() {
        let fanout = options.fanout.max(1);
        planned.plan.finished.push(Finished { delivery: stored.id, message: stored.message, fanout });
        return After::Over;
    }
    let (attempts, due, last_outcome) = match &verdicts.deferral {
        Some((outcome, due)) => (report.attempt, *due, mailtier_api::encode_outcome(outcome)),
        None => {
            let said_nothing = verdicts.resolved.is_empty() && report.attempt > stored.attempts;
            let rest = if said_nothing { surroundings.policy.retry.first } else { Duration::ZERO };
            let due = stored.next_attempt_at.unwrap_or(surroundings.now).max(surroundings.now.after(rest));
            (stored.attempts, due, stored.last_outcome.clone())
        }
    };
    if verdicts.deferral.is_some() || !verdicts.resolved.is_empty() {
        let recipients = remaining.to_vec();
        planned.plan.retries.push(Retry {
            delivery: stored.id,
            attempts,
            next_attempt_at: due,
            recipients,
            last_outcome,
        });
    }
    After::Later { attempts, due }
}

/// One notification for all that this settlement gives up of a delivery; none for the null sender (RFC 5321 §4.5.5).
fn write_bounce(
    case: &Case<'_>,
    verdicts: &Verdicts,
    options: &Options,
    surroundings: &mut Surroundings<'_>,
    planned: &mut Planned,
) -> Option<MessageId> {
    let ReversePath::Mailbox(to) = ReversePath::parse(&case.stored.sender).ok()? else { return None };
    if verdicts.failures.is_empty() {
        return None;
    }
    let id = surroundings.ids.pop()?;
    let facts = BounceFacts {
        id,
        to,
        about: case.stored.message,
        tenant: case.stored.tenant,
        options,
        headers: surroundings.headers.get(&case.stored.message).cloned().unwrap_or_default(),
        failures: &verdicts.failures,
        now: surroundings.now,
    };
    let (message, committed) = surroundings.policy.bounces.write(facts);
    planned.plan.dsns.push(message);
    planned.committed.extend(committed);
    Some(id)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mailtier_types::{Cause, DeliveryId, EnhancedCode, IdSource, NodeNumber, Reply, ShardId, Stage, TenantId};

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn policy() -> Policy {
        let hour = Duration::from_secs(3600);
        let limits = AcceptLimits { lifetime: hour, bounce_lifetime: hour };
        Policy::new(RetryPolicy::default(), "mx.example.com".to_owned(), limits)
    }

    fn stored(sender: &str, recipients: &[&str], attempts: u16) -> StoredDelivery {
        let options = Options { fanout: 1, received_at: NOW, ..Options::default() };
        StoredDelivery {
            id: DeliveryId::from_i64(1000).unwrap(),
            message: MessageId::from_i64(1000).unwrap(),
            shard: ShardId::of("b.example"),
            tenant: TenantId(0),
            priority: 0,
            expires_at: NOW.after(Duration::from_secs(3600)),
            destination: "b.example".to_owned(),
            sender: sender.to_owned(),
            recipients: recipients.iter().map(|text| (*text).to_owned()).collect(),
            options: mailtier_api::encode_options(&options),
            attempts,
            next_attempt_at: (attempts > 0).then_some(NOW),
            last_outcome: Bytes::new(),
        }
    }

    fn outcome(stage: Stage, code: u16) -> Outcome {
        let enhanced = Some(EnhancedCode::new(u8::try_from(code / 100).unwrap(), 1, 1));
        Outcome {
            stage,
            cause: Cause::Reply(Reply::received(code, enhanced, "said".to_owned())),
            remote: None,
            tls: None,
            waiting: Duration::ZERO,
            connecting: Duration::ZERO,
            sending: Duration::ZERO,
            at: NOW,
        }
    }

    fn report(attempt: u16, what: What) -> Report {
        let delivery = DeliveryId::from_i64(1000).unwrap();
        Report { delivery, attempt, tenant: TenantId(0), what, worker: None, content: None }
    }

    fn outcomes(list: &[(&str, u16)]) -> What {
        let one = |(recipient, code): &(&str, u16)| {
            let stage = if *code == 250 { Stage::Final } else { Stage::Rcpt };
            (vec![Mailbox::parse(recipient).unwrap()], outcome(stage, *code))
        };
        What::Outcomes(list.iter().map(one).collect())
    }

    fn planned(stored: &StoredDelivery, report: &Report) -> Planned {
        let ids = vec![IdSource::new(NodeNumber::new(1).unwrap()).take(1, NOW)];
        let case = Case { report, stored, chance: 0.5 };
        let headers = HashMap::new();
        plan(&[case], Surroundings { policy: &policy(), now: NOW, headers: &headers, ids })
    }

    #[test]
    fn a_delivery_to_all_is_over() {
        let result = planned(
            &stored("s@a.example", &["x@b.example", "y@b.example"], 0),
            &report(1, outcomes(&[("x@b.example", 250), ("y@b.example", 250)])),
        );
        assert_eq!(result.plan.finished.len(), 1);
        assert_eq!(result.plan.events.len(), 2);
        assert!(result.plan.retries.is_empty() && result.plan.dsns.is_empty());
        assert_eq!(result.dispositions[0].after, After::Over);
    }

    #[test]
    fn each_recipient_goes_its_own_way() {
        let result = planned(
            &stored("s@a.example", &["x@b.example", "y@b.example", "z@b.example"], 0),
            &report(1, outcomes(&[("x@b.example", 250), ("y@b.example", 550), ("z@b.example", 451)])),
        );
        assert!(result.plan.finished.is_empty());
        assert_eq!(result.plan.retries[0].recipients, ["z@b.example"]);
        assert_eq!(result.plan.retries[0].attempts, 1);
        assert_eq!(result.plan.dsns.len(), 1, "one for y");
        assert_eq!(result.plan.dsns[0].deliveries[0].recipients, ["s@a.example"]);
        assert_eq!(result.plan.dsns[0].deliveries[0].sender, "");
        assert!(matches!(result.dispositions[0].after, After::Later { attempts: 1, due } if due > NOW));
    }

    #[test]
    fn the_null_sender_is_never_answered() {
        let result = planned(&stored("", &["x@b.example"], 0), &report(1, outcomes(&[("x@b.example", 550)])));
        assert!(result.plan.dsns.is_empty());
        assert_eq!(result.plan.finished.len(), 1);
        assert_eq!(result.plan.events[0].kind, EventKind::RecipientFailed);
    }

    #[test]
    fn a_stale_deferral_changes_nothing() {
        let result =
            planned(&stored("s@a.example", &["x@b.example"], 2), &report(2, outcomes(&[("x@b.example", 451)])));
        assert_eq!(result.plan, SettlePlan::default());
        assert_eq!(result.dispositions[0].after, After::Later { attempts: 2, due: NOW });
    }

    #[test]
    fn a_late_delivery_is_still_a_fact() {
        let result = planned(
            &stored("s@a.example", &["x@b.example", "y@b.example"], 3),
            &report(1, outcomes(&[("x@b.example", 250), ("y@b.example", 451)])),
        );
        assert_eq!(result.plan.retries[0].recipients, ["y@b.example"]);
        assert_eq!(result.plan.retries[0].attempts, 3, "the newer attempt's count stays");
        assert_eq!(result.plan.events.len(), 1);
    }

    #[test]
    fn who_is_over_takes_no_further_change() {
        let result =
            planned(&stored("s@a.example", &["x@b.example"], 1), &report(2, outcomes(&[("gone@b.example", 550)])));
        assert!(result.plan.dsns.is_empty() && result.plan.events.is_empty() && result.plan.finished.is_empty());
    }

    #[test]
    fn a_recipient_named_twice_is_settled_once() {
        let twice = outcomes(&[("x@b.example", 250), ("x@b.example", 550)]);
        let result = planned(&stored("s@a.example", &["x@b.example"], 0), &report(1, twice));
        assert!(result.plan.dsns.is_empty());
        let kinds: Vec<_> = result.plan.events.iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [EventKind::RecipientDelivered]);
    }

    #[test]
    fn a_result_about_nobody_rests_before_the_next_attempt() {
        let result =
            planned(&stored("s@a.example", &["x@b.example"], 0), &report(1, outcomes(&[("gone@b.example", 250)])));
        assert_eq!(result.plan, SettlePlan::default());
        let due = NOW.after(RetryPolicy::default().first);
        assert_eq!(result.dispositions[0].after, After::Later { attempts: 0, due });
    }

    #[test]
    fn only_what_is_given_up_is_returned() {
        let returned = |sender, what| {
            let (stored, report) = (stored(sender, &["x@b.example"], 0), report(1, what));
            Case { report: &report, stored: &stored, chance: 0.5 }.is_returned(&policy(), NOW)
        };
        assert!(returned("s@a.example", What::Expired) && returned("s@a.example", outcomes(&[("x@b.example", 550)])));
        assert!(!returned("s@a.example", outcomes(&[("x@b.example", 450)])));
        assert!(!returned("", What::Expired));
        assert!(!returned("s@a.example", What::Removed { operator: String::new() }));
    }

    #[test]
    fn expiry_returns_what_is_left() {
        let result = planned(&stored("s@a.example", &["x@b.example", "y@b.example"], 4), &report(4, What::Expired));
        assert_eq!(result.plan.events[0].kind, EventKind::RecipientExpired);
        assert_eq!((result.plan.dsns.len(), result.plan.finished.len()), (1, 1));
    }

    #[test]
    fn an_operator_is_named_and_nobody_is_told() {
        let removed = What::Removed { operator: "root".to_owned() };
        let result = planned(&stored("s@a.example", &["x@b.example"], 4), &report(4, removed));
        let detail = mailtier_api::decode_detail(&result.plan.events[0].detail).unwrap();
        assert_eq!(detail.operator.as_deref(), Some("root"));
        assert!(result.plan.dsns.is_empty());
        assert!(!result.dispositions[0].was_reported);
    }
}
