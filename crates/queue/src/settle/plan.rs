//! What a settlement writes: a pure function of what was reported and what is stored.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mailtier_api::change::DeliveryChange;
use mailtier_api::peer::{Hint, News};
use mailtier_message::dsn::{Action, DsnGroup};
use mailtier_schedule::{Action as Decided, Judgement, Next, RetryRules, classify};
use mailtier_store::{Finished, NewEvent, NewSuppression, Retry, SettlePlan, StoredDelivery, SuppressionSource};
use mailtier_types::id::MAX_FANOUT;
use mailtier_types::{
    BounceClass, ByMode, Change, Class, DeliverBy, EventDetail, EventKind, Mailbox, MessageId, Options, Outcome,
    ReversePath, Timestamp,
};

use super::bounce::{BounceFacts, BounceWriter};
use super::line::Line;
use super::measures::Providers;
use super::orders::{Order, hint, plan_kept, state_of};
use super::{After, Disposition, Report, What, routed};
use crate::accept::AcceptLimits;
use crate::conductor::Committed;
use crate::meanings::Meanings;
use crate::stored::{due, last_outcome};
use crate::suppression::{Listed, Rules};

/// The longest wait that a remote may ask for: mail is not put off for days on a server's word.
const MOST_ASKED_WAIT: Duration = Duration::from_secs(24 * 3600);

/// What settlement is set to.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// What outcomes mean.
    pub(crate) meanings: Arc<Meanings>,
    /// Waits between attempts.
    pub(crate) retry: RetryRules,
    /// Notifications.
    pub(crate) bounces: BounceWriter,
    /// When a sender is told that a message is late.
    pub(crate) delay_warning: Duration,
    /// Who is put on suppression lists.
    pub(crate) suppression: Arc<Rules>,
    /// Which tenants have any.
    pub(crate) listed: Listed,
    /// By whom what became of recipients is counted.
    pub(crate) providers: Arc<Providers>,
}

impl Policy {
    /// With these meanings and this back-off, and notifications of this host.
    pub(crate) fn new(
        meanings: Arc<Meanings>,
        retry: RetryRules,
        hostname: String,
        limits: AcceptLimits,
        delay_warning: Duration,
    ) -> Self {
        let bounces = BounceWriter::new(hostname, limits);
        let (suppression, listed) = (Arc::default(), Listed::default());
        let providers = Arc::new(Providers::none());
        Self { meanings, retry, bounces, delay_warning, suppression, listed, providers }
    }

    /// What an outcome means at a destination.
    fn judge(&self, outcome: &Outcome, destination: &str) -> Option<Judgement<'static>> {
        let judgement = self.meaning(outcome)?;
        let verdict = self.retry.verdict(judgement.verdict, outcome, destination);
        Some(Judgement { verdict, ..judgement })
    }

    /// What an outcome means anywhere; which rule says so is left out.
    fn meaning(&self, outcome: &Outcome) -> Option<Judgement<'static>> {
        let Judgement { class, verdict, action, switches, rule: _ } = self.meanings.now().judge(outcome)?;
        Some(Judgement { class, verdict, action, switches, rule: None })
    }

    /// The same, putting recipients on suppression lists by these rules.
    pub(crate) fn with_suppression(self, suppression: Arc<Rules>, listed: Listed) -> Self {
        Self { suppression, listed, ..self }
    }

    /// The same, counting for these providers.
    pub(crate) fn with_providers(self, providers: Arc<Providers>) -> Self {
        Self { providers, ..self }
    }
}

/// One report with the row it is about, locked, and what it comes to.
#[derive(Debug)]
pub(super) struct Case<'a> {
    report: &'a Report,
    /// As it is stored now.
    stored: &'a StoredDelivery,
    options: Options,
    /// A random number from 0 to 1, for the jitter of its retry.
    chance: f32,
    verdicts: Verdicts,
}

impl<'a> Case<'a> {
    /// `chance` is a random number from 0 to 1, for the jitter of its retry.
    pub(super) fn new(
        report: &'a Report,
        stored: &'a StoredDelivery,
        chance: f32,
        policy: &Policy,
        now: Timestamp,
    ) -> Self {
        let mut case = Self { report, stored, options: options_of(stored), chance, verdicts: Verdicts::default() };
        case.verdicts = verdicts(&case, policy, now);
        case
    }

    /// What follows from an outcome that means this.
    fn next(&self, judgement: Option<Judgement<'_>>, policy: &Policy, now: Timestamp) -> Next {
        // While it is held its time does not run.
        let expires_at = if self.stored.held.is_some() { Timestamp::NEVER } else { self.stored.expires_at };
        let class = judgement.map_or(Class::Other, |judgement| judgement.class.class());
        let switches = judgement.is_some_and(|judgement| judgement.switches);
        let soon = policy.retry.after_switch();
        let waits = if switches { &soon } else { policy.retry.after(class, &self.stored.destination) };
        classify(judgement.map(|judgement| judgement.verdict), self.report.attempt, waits, expires_at, now, self.chance)
    }

    /// Whether an owner is right to give it up: it may have been held, or released later than its owner knows.
    fn is_over_age(&self, now: Timestamp) -> bool {
        state_of(self.stored).after(Change::Expire).is_ok() && self.stored.expires_at <= now
    }

    /// What the sender of its message has asked for.
    pub(super) const fn options(&self) -> &Options {
        &self.options
    }

    /// How many notifications it leads to: none for the null sender (RFC 5321 §4.5.5).
    pub(super) fn notifications(&self) -> usize {
        if self.stored.sender.is_empty() {
            return 0;
        }
        let Verdicts { failures, delays, successes, .. } = &self.verdicts;
        [failures, delays, successes].iter().filter(|groups| !groups.is_empty()).count()
    }
}

/// Of options that cannot be read nothing is believed, least of all that the body has no other delivery.
pub(super) fn options_of(stored: &StoredDelivery) -> Options {
    mailtier_api::decode_options(&stored.options)
        .unwrap_or_else(|_| Options { fanout: MAX_FANOUT, ..Options::default() })
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
    /// For the owners of what an operator has changed.
    pub(super) hints: Vec<Hint>,
}

/// What the plan needs besides the cases.
pub(super) struct Surroundings<'a> {
    /// Settings.
    pub(super) policy: &'a Policy,
    /// The time.
    pub(super) now: Timestamp,
    /// What may be returned of messages.
    pub(super) returned: &'a HashMap<MessageId, Returned>,
    /// Ids for notifications, as many as [`Case::notifications`] says.
    pub(super) ids: Vec<MessageId>,
}

/// What may be returned of a message.
#[derive(Debug, Clone, Default)]
pub(super) struct Returned {
    /// Its header section, or all of it.
    pub(super) octets: Bytes,
    /// All of it.
    pub(super) is_whole: bool,
}

/// Plans a settlement.
pub(super) fn plan(cases: Vec<Case<'_>>, mut surroundings: Surroundings<'_>) -> Planned {
    let mut planned = Planned::default();
    planned.plan.at = surroundings.now;
    for case in cases {
        plan_one(case, &mut surroundings, &mut planned);
    }
    planned
}

/// What one delivery comes to, recipient by recipient.
#[derive(Debug, Default)]
struct Verdicts {
    events: Vec<Happened>,
    /// Whom the sender is told of: given up, not delivered for long, handed to a host that tells nothing.
    failures: Vec<DsnGroup>,
    delays: Vec<DsnGroup>,
    successes: Vec<DsnGroup>,
    /// Recipients that are over.
    resolved: Vec<String>,
    /// The last outcome that asks for another attempt, and when.
    deferral: Option<(Outcome, Timestamp)>,
    /// It is late, and that is dealt with now.
    is_told: bool,
    /// A route holds all that is left, and which.
    hold: Option<String>,
}

/// What happened to some recipients.
#[derive(Debug)]
struct Happened {
    kind: EventKind,
    recipients: Vec<String>,
    outcome: Option<Outcome>,
    /// Why they did not get it, where they did not.
    class: Option<BounceClass>,
}

impl Case<'_> {
    fn line(&self, happened: &Happened, operator: Option<String>) -> Line {
        let Happened { kind, recipients, outcome, class } = happened;
        Line {
            message: self.stored.message,
            attempt: self.report.attempt,
            sender: self.stored.sender.clone(),
            kind: *kind,
            recipients: recipients.clone(),
            outcome: outcome.clone(),
            class: *class,
            operator,
            received_at: self.options.received_at,
            traceparent: self.options.traceparent.clone(),
        }
    }
}

fn plan_one(mut case: Case<'_>, surroundings: &mut Surroundings<'_>, planned: &mut Planned) {
    let Case { report, stored, .. } = case;
    let order = match &report.what {
        What::Ordered(order) if plan_kept(stored, order, surroundings.now, planned) => return,
        What::Ordered(order) => Some(order),
        What::Quarantined { losses } => {
            plan_kept(stored, &Order::quarantine(*losses), surroundings.now, planned);
            planned.dispositions.push(disposition(report, After::Held));
            return;
        }
        What::Outcomes(_) | What::Expired | What::Late => None,
    };
    let resolved = &case.verdicts.resolved;
    let remaining: Vec<String> =
        stored.recipients.iter().filter(|recipient| !resolved.contains(recipient)).cloned().collect();
    if case.verdicts.is_told {
        let due = due(stored.id, stored.next_attempt_at, surroundings.now);
        planned.plan.told.push((stored.id, due));
    }
    let after = match &report.what {
        What::Late => {
            let warning = surroundings.policy.warning(&case.options);
            After::Told { not_before: Some(warning).filter(|warning| *warning > surroundings.now) }
        }
        _ => after(&case, &remaining, surroundings, planned),
    };
    let dsn = write_notifications(&case, surroundings, planned);
    for happened in std::mem::take(&mut case.verdicts.events) {
        planned.lines.push(case.line(&happened, order.map(|order| order.operator.clone())));
        let Happened { kind, recipients, outcome, class } = happened;
        let failed = Failed { kind, recipients: &recipients, outcome: outcome.as_ref(), class };
        planned.plan.suppressions.extend(failed.suppressions(stored, surroundings));
        let next_attempt_at = match (kind, after) {
            (EventKind::AttemptDeferred, After::Later { due, .. }) => Some(due),
            _ => None,
        };
        let detail = EventDetail {
            source_avoided_until: surroundings.policy.avoided_until(outcome.as_ref()),
            outcome,
            class,
            next_attempt_at,
            dsn: dsn.filter(|_| matches!(kind, EventKind::RecipientFailed | EventKind::RecipientExpired)),
            ..order.map(|order| order.detail()).unwrap_or_default()
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
            detail: mailtier_api::encode_detail(detail),
        });
    }
    if order.is_some() {
        planned.hints.push(hint(stored, stored.expires_at, News::Withdrawn));
    }
    planned.dispositions.push(disposition(report, after));
}

/// What may put recipients on a suppression list.
struct Failed<'a> {
    kind: EventKind,
    recipients: &'a [String],
    outcome: Option<&'a Outcome>,
    class: Option<BounceClass>,
}

impl Failed<'_> {
    /// Whom it puts on the tenant's list. A failed notification of ours says that a sender of the tenant's is not there, whom
    /// it does not send to.
    fn suppressions(&self, stored: &StoredDelivery, surroundings: &Surroundings<'_>) -> Vec<NewSuppression> {
        let (Some(outcome), Some(class)) = (self.outcome, self.class) else { return Vec::new() };
        if self.kind != EventKind::RecipientFailed || stored.sender.is_empty() {
            return Vec::new();
        }
        let Surroundings { policy, now, .. } = surroundings;
        let found = self.recipients.iter().filter_map(|recipient| {
            let why = (SuppressionSource::Failure, outcome.cause.to_string());
            let recipient = Mailbox::parse(recipient).ok()?;
            policy.suppression.of_failure(stored.tenant, class, &recipient, why, stored.message, *now)
        });
        found.collect()
    }
}

/// The disposition of a report.
pub(super) fn disposition(report: &Report, after: After) -> Disposition {
    Disposition {
        delivery: report.delivery,
        attempt: report.attempt,
        worker: report.worker,
        was_reported: !matches!(report.what, What::Ordered(_)),
        after,
    }
}

fn verdicts(case: &Case<'_>, policy: &Policy, now: Timestamp) -> Verdicts {
    let Case { stored, options, .. } = case;
    let mut verdicts = Verdicts::default();
    match &case.report.what {
        What::Ordered(order) => match order.what {
            DeliveryChange::Delete => {
                verdicts.resolved = order.ended(stored);
                let recipients = verdicts.resolved.clone();
                verdicts.events.push(Happened {
                    kind: EventKind::RecipientRemoved,
                    recipients,
                    outcome: None,
                    class: None,
                });
            }
            DeliveryChange::Bounce => {
                let outcome = order.outcome(now);
                let class = policy.class_of(&outcome);
                verdicts.give_up(case, EventKind::RecipientFailed, order.ended(stored), Some(outcome), class, now);
            }
            DeliveryChange::Hold | DeliveryChange::Release | DeliveryChange::RetryNow | DeliveryChange::Reroute(_) => {}
        },
        What::Quarantined { .. } => {}
        What::Expired if !case.is_over_age(now) => {}
        What::Expired => {
            let last = last_outcome(stored);
            let class = last.as_ref().map_or(Some(BounceClass::Expired), |last| policy.class_of(last));
            verdicts.give_up(case, EventKind::RecipientExpired, stored.recipients.clone(), last, class, now);
        }
        What::Late if case.is_first_after(policy.warning(options), options, now) => {
            verdicts.is_told = true;
            let wanted = |recipient: &Mailbox| options.notify(recipient).delay;
            add_group(&mut verdicts.delays, &stored.recipients, last_outcome(stored).as_ref(), wanted);
        }
        What::Late => {}
        What::Outcomes(outcomes) => {
            // A recipient that is over already takes no further change (invariant 2), and each is named once.
            let mut open: HashSet<&str> = stored.recipients.iter().map(String::as_str).collect();
            let mut held_back = routed::HeldBack::new();
            for (recipients, outcome) in outcomes {
                let named: Vec<String> = recipients
                    .iter()
                    .map(Mailbox::as_str)
                    .filter(|recipient| open.remove(recipient))
                    .map(str::to_owned)
                    .collect();
                match named.is_empty() {
                    true => {}
                    // As with any opinion, one of an earlier attempt says nothing any more.
                    false if routed::is_hold(outcome) && case.report.attempt > stored.attempts => {
                        held_back.push((named, outcome));
                    }
                    false => verdicts.classify(case, policy, now, named, outcome),
                }
            }
            verdicts.hold = routed::reason(stored, &held_back, &verdicts.resolved);
            if verdicts.hold.is_none() {
                for (named, outcome) in held_back {
                    verdicts.classify(case, policy, now, named, outcome);
                }
            }
        }
    }
    verdicts
}

impl Verdicts {
    fn classify(&mut self, case: &Case<'_>, policy: &Policy, now: Timestamp, named: Vec<String>, outcome: &Outcome) {
        let options = &case.options;
        let judgement = policy.judge(outcome, &case.stored.destination);
        let class = judgement.map(|judgement| judgement.class);
        let said = || Some(outcome.clone());
        match case.next(judgement, policy, now) {
            Next::Delivered => {
                let traced = options.deliver_by.is_some_and(|by| by.trace);
                // RFC 3461 §5.2.2: a host that notifies is told whom of what, and then it is its duty.
                let wanted = |recipient: &Mailbox| traced || (options.notify(recipient).success && !outcome.notifies);
                add_group(&mut self.successes, &named, Some(outcome), wanted);
                self.resolved.extend(named.iter().cloned());
                let kind = EventKind::RecipientDelivered;
                self.events.push(Happened { kind, recipients: named, outcome: said(), class });
            }
            Next::Fail => self.give_up(case, EventKind::RecipientFailed, named, said(), class, now),
            Next::Expire => self.give_up(case, EventKind::RecipientExpired, named, said(), class, now),
            // An opinion loses to a newer attempt (invariant 4), and is recorded once.
            Next::Retry(_) if case.report.attempt <= case.stored.attempts => {}
            Next::Retry(due) => {
                if case.is_first_after(policy.warning(options), options, now) {
                    self.is_told = true;
                    add_group(&mut self.delays, &named, Some(outcome), |recipient| options.notify(recipient).delay);
                }
                // RFC 9110 §10.2.3, within what we would wait ourselves at the longest.
                let asked = now.after(outcome.retry_after.unwrap_or_default().min(MOST_ASKED_WAIT));
                let due = due.max(asked.min(case.stored.expires_at));
                self.deferral = Some((outcome.without_transcript(), due));
                let kind = EventKind::AttemptDeferred;
                self.events.push(Happened { kind, recipients: named, outcome: said(), class });
            }
        }
    }

    fn give_up(
        &mut self,
        case: &Case<'_>,
        kind: EventKind,
        named: Vec<String>,
        outcome: Option<Outcome>,
        class: Option<BounceClass>,
        now: Timestamp,
    ) {
        let (options, before) = (&case.options, self.failures.len());
        add_group(&mut self.failures, &named, outcome.as_ref(), |recipient| options.notify(recipient).failure);
        let expired = kind == EventKind::RecipientExpired;
        let over = |by: DeliverBy| by.mode == ByMode::Return && by.at <= now;
        for group in self.failures.iter_mut().skip(before) {
            group.expired = expired;
            group.deadline = expired && options.deliver_by.is_some_and(over);
        }
        self.resolved.extend(named.iter().cloned());
        self.events.push(Happened { kind, recipients: named, outcome, class });
    }
}

/// Adds those recipients that the sender wants to hear of.
fn add_group(
    groups: &mut Vec<DsnGroup>,
    named: &[String],
    outcome: Option<&Outcome>,
    wanted: impl Fn(&Mailbox) -> bool,
) {
    let parsed = named.iter().filter_map(|recipient| Mailbox::parse(recipient).ok());
    let recipients: Vec<Mailbox> = parsed.filter(|recipient| wanted(recipient)).collect();
    if !recipients.is_empty() {
        groups.push(DsnGroup { recipients, outcome: outcome.cloned(), expired: false, deadline: false });
    }
}

impl Case<'_> {
    /// Whether this is the first to know that a time is over: nobody wrote it down, and it lies between the attempt before
    /// and now. (Earlier programs wrote nothing down.)
    fn is_first_after(&self, time: Timestamp, options: &Options, now: Timestamp) -> bool {
        if self.stored.told_at.is_some() {
            return false;
        }
        let last = last_outcome(self.stored).map(|outcome| outcome.at);
        last.unwrap_or(options.received_at) < time && time <= now
    }
}

impl Policy {
    /// Why recipients did not get it, where they did not.
    pub(super) fn class_of(&self, outcome: &Outcome) -> Option<BounceClass> {
        self.meaning(outcome).map(|judgement| judgement.class)
    }

    /// Until when the address that it left from is not used there, where it is blocked.
    fn avoided_until(&self, outcome: Option<&Outcome>) -> Option<Timestamp> {
        // Most mail leaves from an address that has no others.
        let outcome = outcome.filter(|outcome| outcome.egress.as_ref().is_some_and(|egress| egress.has_others))?;
        match self.meaning(outcome).filter(|judgement| judgement.switches)?.action? {
            Decided::SwitchAddress { time, .. } => Some(outcome.at.after(time)),
            Decided::SlowDown | Decided::Suspend { .. } => None,
        }
    }

    /// When the sender is told that a message is late: after a time of its own (RFC 2852 §4, by-mode N), else after ours.
    fn warning(&self, options: &Options) -> Timestamp {
        let ours = options.release_at.unwrap_or(options.received_at).after(self.delay_warning);
        let theirs = options.deliver_by.filter(|by| by.mode == ByMode::Notify).map(|by| by.at);
        theirs.map_or(ours, |theirs| theirs.min(ours))
    }
}

/// Ends the delivery or keeps it, and says what follows.
fn after(case: &Case<'_>, remaining: &[String], surroundings: &Surroundings<'_>, planned: &mut Planned) -> After {
    let Case { report, stored, options, verdicts, .. } = case;
    if remaining.is_empty() {
        let fanout = options.fanout.max(1);
        planned.plan.finished.push(Finished { delivery: stored.id, message: stored.message, fanout });
        return After::Over;
    }
    if let Some(reason) = &verdicts.hold {
        return routed::hold((stored, report.attempt), (reason, remaining), surroundings.now, planned);
    }
    let (attempts, due, last_outcome) = match &verdicts.deferral {
        Some((outcome, due)) => (report.attempt, *due, mailtier_api::encode_outcome(outcome.clone())),
        None => {
            let said_nothing = verdicts.resolved.is_empty() && report.attempt > stored.attempts;
            let rest = if said_nothing { surroundings.policy.retry.standard.first } else { Duration::ZERO };
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
    if stored.held.is_some() {
        return After::Held;
    }
    After::Later { attempts, due, expires_at: stored.expires_at }
}

/// The notifications of this settlement about a delivery, one for each thing that has happened; none for the null sender
/// (RFC 5321 §4.5.5). The id is that of the one about failures.
fn write_notifications(
    case: &Case<'_>,
    surroundings: &mut Surroundings<'_>,
    planned: &mut Planned,
) -> Option<MessageId> {
    let Case { options, verdicts, .. } = case;
    let ReversePath::Mailbox(to) = ReversePath::parse(&case.stored.sender).ok()? else { return None };
    let returned = surroundings.returned.get(&case.stored.message).cloned().unwrap_or_default();
    let all = [
        (Action::Failed, &verdicts.failures),
        (Action::Delayed { until: case.stored.expires_at }, &verdicts.delays),
        (Action::Relayed, &verdicts.successes),
    ];
    let mut of_failure = None;
    for (action, failures) in all.into_iter().filter(|(_, groups)| !groups.is_empty()) {
        let id = surroundings.ids.pop()?;
        // RFC 3461 §4.3: only what failed is returned whole.
        let is_whole = returned.is_whole && action == Action::Failed;
        let facts = BounceFacts {
            id,
            to: to.clone(),
            about: case.stored.message,
            tenant: case.stored.tenant,
            options,
            headers: returned.octets.clone(),
            action,
            is_whole,
            failures,
            now: surroundings.now,
        };
        let (message, committed) = surroundings.policy.bounces.write(facts);
        planned.plan.dsns.push(message);
        planned.committed.extend(committed);
        if action == Action::Failed {
            of_failure = Some(id);
        }
    }
    of_failure
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use mailtier_schedule::{Classification, RetryPolicy, Verdict};
    use mailtier_store::Held;
    use mailtier_types::{
        Cause, DeliveryId, EnhancedCode, IdSource, NodeNumber, OriginalRecipient, RecipientRequest, Reply, Stage,
        TenantId, Trouble, TroubleKind,
    };

    use super::*;
    use crate::settle::Order;
    use crate::stored::example;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn meanings() -> Arc<Meanings> {
        Meanings::fixed(Classification::new(Some("builtin = false")).unwrap())
    }

    fn policy() -> Policy {
        let hour = Duration::from_secs(3600);
        let limits = AcceptLimits { lifetime: hour, bounce_lifetime: hour };
        Policy::new(meanings(), RetryRules::new(RetryPolicy::default()), "mx.example.com".to_owned(), limits, hour)
    }

    fn stored(sender: &str, recipients: &[&str], attempts: u16) -> StoredDelivery {
        let options = Options { fanout: 1, received_at: NOW, ..Options::default() };
        StoredDelivery {
            expires_at: NOW.after(Duration::from_secs(3600)),
            sender: sender.to_owned(),
            recipients: recipients.iter().map(|text| (*text).to_owned()).collect(),
            options: mailtier_api::encode_options(options),
            attempts,
            next_attempt_at: (attempts > 0).then_some(NOW),
            ..example()
        }
    }

    fn outcome(stage: Stage, code: u16) -> Outcome {
        let enhanced = Some(EnhancedCode::new(u8::try_from(code / 100).unwrap(), 1, 1));
        Outcome::new(stage, Cause::Reply(Reply::received(code, enhanced, "said".to_owned())), NOW)
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
        planned_at(NOW, stored, report)
    }

    fn planned_at(now: Timestamp, stored: &StoredDelivery, report: &Report) -> Planned {
        planned_by(&policy(), now, stored, report)
    }

    fn planned_by(policy: &Policy, now: Timestamp, stored: &StoredDelivery, report: &Report) -> Planned {
        let case = Case::new(report, stored, 0.5, policy, now);
        let mut source = IdSource::new(NodeNumber::new(1).unwrap());
        let ids = (0..case.notifications()).map(|_| source.take(1, now)).collect();
        let returned = HashMap::new();
        let planned = plan(vec![case], Surroundings { policy, now, returned: &returned, ids });
        assert!(planned.plan.dsns.len() <= 3);
        planned
    }

    /// What notifications say: action and recipient.
    fn told(planned: &Planned) -> Vec<String> {
        let contents =
            planned.plan.dsns.iter().map(|dsn| String::from_utf8_lossy(&dsn.body.as_ref().unwrap().1).into_owned());
        let mut told = Vec::new();
        for content in contents {
            let (mut recipient, mut original) = (String::new(), String::new());
            for line in content.lines() {
                if let Some(named) = line.strip_prefix("Original-Recipient: ") {
                    original = format!(" was {named}");
                } else if let Some(named) = line.strip_prefix("Final-Recipient: rfc822; ") {
                    recipient = named.to_owned();
                } else if let Some(action) = line.strip_prefix("Action: ") {
                    told.push(format!("{action} {recipient}{original}"));
                    original.clear();
                }
            }
        }
        told
    }

    fn asked(notify: &str) -> Options {
        let recipient = Mailbox::parse("x@b.example").unwrap();
        let request = RecipientRequest {
            recipient,
            notify: Some(notify.parse().unwrap()),
            original: Some(OriginalRecipient::new("rfc822", "list@a.example").unwrap()),
        };
        Options { fanout: 1, received_at: NOW, requests: vec![request], ..Options::default() }
    }

    fn stored_with(options: &Options) -> StoredDelivery {
        StoredDelivery {
            options: mailtier_api::encode_options(options.clone()),
            ..stored("s@a.example", &["x@b.example", "y@b.example"], 0)
        }
    }

    #[test]
    fn events_and_lines_say_why_a_recipient_did_not_get_it() {
        let mut over = stored("", &["x@b.example"], 0);
        over.expires_at = NOW;
        let attempted = [("x@b.example", 550), ("y@b.example", 450), ("z@b.example", 250)];
        let (open, invalid) =
            (stored("", &["x@b.example", "y@b.example", "z@b.example"], 0), BounceClass::InvalidMailbox);
        for (stored, what, expected) in [
            (open, outcomes(&attempted), vec![Some(invalid), Some(invalid), None]),
            (over, What::Expired, vec![Some(BounceClass::Expired)]),
        ] {
            let result = planned(&stored, &report(1, what));
            let details = result.plan.events.iter().map(|event| mailtier_api::decode_detail(&event.detail).unwrap());
            assert_eq!(details.map(|detail| detail.class).collect::<Vec<_>>(), expected);
            assert_eq!(result.lines.iter().map(|line| line.class).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn what_a_remote_may_have_is_sent_again_unless_its_destination_wants_it_once_at_the_most() {
        let cause = Cause::Trouble(Trouble { kind: TroubleKind::Unanswered, text: "connection lost".to_owned() });
        let outcome = Outcome::new(Stage::Final, cause, NOW);
        let report = report(1, What::Outcomes(vec![(vec![Mailbox::parse("x@b.example").unwrap()], outcome)]));
        let mut policy = policy();
        let stored = stored("s@a.example", &["x@b.example"], 0);
        let again = planned_by(&policy, NOW, &stored, &report);
        assert_eq!((again.plan.retries.len(), told(&again)), (1, Vec::new()));
        policy.retry.unanswered_at = [(stored.destination.clone(), Verdict::Permanent)].into();
        let over = planned_by(&policy, NOW, &stored, &report);
        assert_eq!((over.plan.retries.len(), told(&over)), (0, vec!["failed x@b.example".to_owned()]));
        assert_eq!(over.lines[0].class, Some(BounceClass::Unanswered));
    }

    #[test]
    fn senders_hear_of_what_they_asked_for() {
        let (bad, good) = ([("x@b.example", 550), ("y@b.example", 550)], [("x@b.example", 250), ("y@b.example", 250)]);
        let hear = |notify: &str, result: &[(&str, u16)]| {
            told(&planned(&stored_with(&asked(notify)), &report(1, outcomes(result))))
        };
        let x = "failed x@b.example was rfc822; list@a.example".to_owned();
        assert_eq!(hear("FAILURE", &bad), [x, "failed y@b.example".to_owned()]);
        assert_eq!(hear("NEVER", &bad), ["failed y@b.example"]);
        assert_eq!(hear("SUCCESS,DELAY", &bad), ["failed y@b.example"]);
        assert_eq!(hear("FAILURE", &good), Vec::<String>::new());
        assert_eq!(hear("SUCCESS", &good), ["relayed x@b.example was rfc822; list@a.example"]);
        let mut notifying = outcomes(&good);
        if let What::Outcomes(all) = &mut notifying {
            all.iter_mut().for_each(|(_, outcome)| outcome.notifies = true);
        }
        assert_eq!(told(&planned(&stored_with(&asked("SUCCESS")), &report(1, notifying))), Vec::<String>::new());
    }

    #[test]
    fn senders_hear_once_that_a_message_is_late() {
        let hour = Duration::from_secs(3600);
        let late = |options: &Options, now: Timestamp, attempted_before: Option<Timestamp>| {
            let mut stored = stored_with(options);
            stored.expires_at = NOW.after(hour * 24);
            if let Some(at) = attempted_before {
                stored.attempts = 1;
                stored.last_outcome = mailtier_api::encode_outcome(Outcome { at, ..outcome(Stage::Rcpt, 450) });
            }
            let deferred = outcomes(&[("x@b.example", 450), ("y@b.example", 450)]);
            told(&planned_at(now, &stored, &report(stored.attempts + 1, deferred)))
        };
        let delayed = ["delayed x@b.example was rfc822; list@a.example", "delayed y@b.example"];
        let minute = Duration::from_secs(60);
        assert_eq!(late(&asked("DELAY"), NOW.after(hour), None), delayed);
        assert!(late(&asked("DELAY"), NOW.after(hour - minute), None).is_empty(), "not late yet");
        assert!(late(&asked("DELAY"), NOW.after(hour * 2), Some(NOW.after(hour))).is_empty(), "told before");
        assert_eq!(late(&asked("FAILURE"), NOW.after(hour), None), ["delayed y@b.example"]);
        // RFC 2852 section 4: a time of the sender's own.
        let by = DeliverBy { at: NOW.after(minute), mode: ByMode::Notify, trace: false };
        assert_eq!(late(&Options { deliver_by: Some(by), ..asked("DELAY") }, NOW.after(minute), None), delayed);
    }

    #[test]
    fn senders_hear_on_time_whether_or_not_anything_was_attempted() {
        let hour = Duration::from_secs(3600);
        let (stored, late) = (stored_with(&asked("DELAY")), || report(0, What::Late));
        let stored = StoredDelivery { expires_at: NOW.after(hour * 24), ..stored };
        let result = planned_at(NOW.after(hour), &stored, &late());
        assert_eq!(told(&result), ["delayed x@b.example was rfc822; list@a.example", "delayed y@b.example"]);
        assert_eq!(result.plan.told, [(stored.id, stored.id.made_at())]);
        assert_eq!(result.dispositions[0].after, After::Told { not_before: None });
        assert!(result.plan.retries.is_empty() && result.plan.events.is_empty() && result.plan.finished.is_empty());
        // Too early, as an owner guesses who does not know what was asked for: it is told when.
        let result = planned_at(NOW.after(hour / 2), &stored, &late());
        assert_eq!(result.dispositions[0].after, After::Told { not_before: Some(NOW.after(hour)) });
        assert!(result.plan.told.is_empty() && result.plan.dsns.is_empty());
        // Told already: neither again, nor by the attempt that ends next.
        let stored = StoredDelivery { told_at: Some(NOW.after(hour)), ..stored };
        assert!(planned_at(NOW.after(hour * 2), &stored, &late()).plan.dsns.is_empty());
        let deferred = outcomes(&[("x@b.example", 450), ("y@b.example", 450)]);
        let result = planned_at(NOW.after(hour * 2), &stored, &report(1, deferred));
        assert!(result.plan.dsns.is_empty() && result.plan.told.is_empty());
    }

    #[test]
    fn a_deadline_of_the_sender_is_said_to_be_one() {
        let by = |mode| Some(DeliverBy { at: NOW, mode, trace: true });
        let options = Options { deliver_by: by(ByMode::Return), ..asked("FAILURE") };
        let result = planned(&expired(stored_with(&options)), &report(1, What::Expired));
        let content = String::from_utf8_lossy(&result.plan.dsns[0].body.as_ref().unwrap().1).into_owned();
        assert_eq!(content.matches("Status: 5.4.7").count(), 2, "{content}");
        // And each relay is reported where that was asked for, whatever the next host says.
        let options = Options { deliver_by: by(ByMode::Notify), ..Options::default() };
        let delivered = outcomes(&[("x@b.example", 250), ("y@b.example", 250)]);
        let result = planned(&stored_with(&options), &report(1, delivered));
        assert_eq!(told(&result), ["relayed x@b.example", "relayed y@b.example"]);
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
        assert!(matches!(result.dispositions[0].after, After::Later { attempts: 1, due, .. } if due > NOW));
    }

    #[test]
    fn a_recipient_that_is_not_there_is_put_on_the_list_of_whoever_wrote_to_it() {
        let mut config = mailtier_config::Config::default();
        config.suppression.mode = mailtier_config::SuppressionMode::Reject;
        let rules = Arc::new(Rules::new(&config).unwrap());
        let listing = policy().with_suppression(rules, Listed::default());
        let all = outcomes(&[("x@b.example", 250), ("y@b.example", 550), ("z@b.example", 451)]);
        let listed = |policy: &Policy, sender: &str, what: What| {
            let stored = stored(sender, &["x@b.example", "y@b.example", "z@b.example"], 0);
            let planned = planned_by(policy, NOW, &stored, &report(1, what));
            planned.plan.suppressions.into_iter().map(|one| (one.address, one.source)).collect::<Vec<_>>()
        };
        let found = [("y@b.example".to_owned(), SuppressionSource::Failure)];
        assert_eq!(listed(&listing, "s@a.example", all.clone()), found);
        assert_eq!(listed(&listing, "", all.clone()), [], "a notification of ours");
        assert_eq!(listed(&policy(), "s@a.example", all), [], "there are no lists");
        let order = Order {
            what: DeliveryChange::Bounce,
            operator: "alice".to_owned(),
            reason: String::new(),
            recipients: None,
            is_by_route: false,
        };
        assert_eq!(listed(&listing, "s@a.example", What::Ordered(Arc::new(order))), [], "an operator gave it up");
        assert_eq!(listed(&listing, "s@a.example", What::Expired), []);
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
        assert_eq!(result.plan, nothing());
        let expires_at = NOW.after(Duration::from_secs(3600));
        assert_eq!(result.dispositions[0].after, After::Later { attempts: 2, due: NOW, expires_at });
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
        assert_eq!(result.plan, nothing());
        let due = NOW.after(RetryPolicy::default().first);
        let expires_at = NOW.after(Duration::from_secs(3600));
        assert_eq!(result.dispositions[0].after, After::Later { attempts: 0, due, expires_at });
    }

    #[test]
    fn only_what_is_given_up_is_returned() {
        let returned = |sender, what| {
            let (stored, report) = (expired(stored(sender, &["x@b.example"], 0)), report(1, what));
            Case::new(&report, &stored, 0.5, &policy(), NOW).notifications() > 0
        };
        assert!(returned("s@a.example", What::Expired) && returned("s@a.example", outcomes(&[("x@b.example", 550)])));
        assert!(!returned("", What::Expired));
        assert!(!returned("s@a.example", ordered(DeliveryChange::Delete)));
        assert!(
            returned("s@a.example", ordered(DeliveryChange::Bounce)) && !returned("", ordered(DeliveryChange::Bounce))
        );
    }

    #[test]
    fn expiry_returns_what_is_left() {
        let stored = expired(stored("s@a.example", &["x@b.example", "y@b.example"], 4));
        let result = planned(&stored, &report(4, What::Expired));
        assert_eq!(result.plan.events[0].kind, EventKind::RecipientExpired);
        assert_eq!((result.plan.dsns.len(), result.plan.finished.len()), (1, 1));
    }

    /// Its time is up.
    fn expired(stored: StoredDelivery) -> StoredDelivery {
        StoredDelivery { expires_at: NOW, ..stored }
    }

    fn ordered(what: DeliveryChange) -> What {
        What::Ordered(Arc::new(Order {
            what,
            operator: "root".to_owned(),
            reason: "they asked".to_owned(),
            recipients: None,
            is_by_route: false,
        }))
    }

    /// Held for so long.
    fn held(stored: StoredDelivery, time: Duration) -> StoredDelivery {
        let held = Held { since: NOW.before(time), operator: "root".to_owned(), reason: String::new() };
        StoredDelivery { held: Some(held), ..stored }
    }

    fn nothing() -> SettlePlan {
        SettlePlan { at: NOW, ..SettlePlan::default() }
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn an_operator_is_named_and_nobody_is_told() {
        let result = planned(&stored("s@a.example", &["x@b.example"], 4), &report(4, ordered(DeliveryChange::Delete)));
        let detail = mailtier_api::decode_detail(&result.plan.events[0].detail).unwrap();
        assert_eq!((detail.operator.as_deref(), detail.reason.as_deref()), (Some("root"), Some("they asked")));
        assert!(result.plan.dsns.is_empty());
        assert!(!result.dispositions[0].was_reported);
        assert_eq!(result.hints[0].news, News::Withdrawn);
    }

    #[test]
    fn what_an_operator_gives_up_is_returned_with_his_reason() {
        for stored in
            [stored("s@a.example", &["x@b.example"], 0), held(stored("s@a.example", &["x@b.example"], 0), HOUR)]
        {
            let result = planned(&stored, &report(0, ordered(DeliveryChange::Bounce)));
            assert_eq!(result.plan.events[0].kind, EventKind::RecipientFailed);
            assert_eq!((result.plan.dsns.len(), result.plan.finished.len()), (1, 1));
            let content = String::from_utf8_lossy(&result.plan.dsns[0].body.as_ref().unwrap().1).into_owned();
            assert!(content.contains("Status: 5.7.0") && content.contains("they asked"), "{content}");
        }
    }

    #[test]
    fn what_is_held_is_not_given_up_for_its_age() {
        let late = held(expired(stored("s@a.example", &["x@b.example"], 1)), HOUR);
        let result = planned(&late, &report(1, What::Expired));
        assert_eq!((result.plan, result.dispositions[0].after), (nothing(), After::Held));
        // Nor for a deferral of the attempt that was under way.
        let result = planned(&late, &report(2, outcomes(&[("x@b.example", 450)])));
        assert_eq!(result.plan.retries[0].attempts, 2);
        assert_eq!(result.plan.events[0].kind, EventKind::AttemptDeferred);
        assert_eq!(result.dispositions[0].after, After::Held);
        // Facts win.
        for (code, kind) in [(250, EventKind::RecipientDelivered), (550, EventKind::RecipientFailed)] {
            let result = planned(&late, &report(2, outcomes(&[("x@b.example", code)])));
            assert_eq!((result.plan.events[0].kind, result.dispositions[0].after), (kind, After::Over));
        }
    }

    #[test]
    fn the_time_on_hold_does_not_count() {
        let minute = Duration::from_secs(60);
        let late = held(expired(stored("s@a.example", &["x@b.example"], 1)), HOUR);
        let result = planned(&late, &report(0, ordered(DeliveryChange::Release)));
        assert_eq!(result.plan.releases, [(late.id, NOW.after(HOUR))]);
        assert_eq!(result.plan.events[0].kind, EventKind::DeliveryReleased);
        assert!(result.dispositions.is_empty() && result.hints[0].news == News::Changed);
        assert_eq!(result.hints[0].expires_at, NOW.after(HOUR));
        // Its owner has not heard of the release and gives it up at the former time.
        let released = stored("s@a.example", &["x@b.example"], 1);
        let result = planned(&released, &report(1, What::Expired));
        assert_eq!(result.plan, nothing());
        assert_eq!(
            result.dispositions[0].after,
            After::Later { attempts: 1, due: NOW, expires_at: released.expires_at }
        );
        // A limit of the sender's own is his.
        let by = DeliverBy { at: NOW.after(minute), mode: ByMode::Return, trace: false };
        let stored = stored_with(&Options { deliver_by: Some(by), ..Options::default() });
        let limited = held(StoredDelivery { expires_at: by.at, ..stored }, HOUR);
        let result = planned(&limited, &report(0, ordered(DeliveryChange::Release)));
        assert_eq!(result.plan.releases, [(limited.id, by.at)]);
    }

    #[test]
    fn what_workers_are_lost_with_is_held_and_says_so() {
        let result = planned(&stored("s@a.example", &["x@b.example"], 1), &report(1, What::Quarantined { losses: 4 }));
        assert_eq!((result.plan.holds.len(), result.plan.events.len()), (1, 1));
        let detail = mailtier_api::decode_detail(&result.plan.events[0].detail).unwrap();
        assert_eq!(detail.operator.as_deref(), Some("mailtier"));
        assert!(detail.reason.unwrap().contains("4 workers were lost"));
        assert!(result.plan.dsns.is_empty());
        assert_eq!((result.dispositions[0].after, result.dispositions[0].was_reported), (After::Held, true));
    }

    fn held_by_route(recipient: &str) -> (Vec<Mailbox>, Outcome) {
        let text = "held by the route `quarantine`".to_owned();
        let cause = Cause::Trouble(Trouble { kind: TroubleKind::Held, text });
        (vec![Mailbox::parse(recipient).unwrap()], Outcome::new(Stage::Resolve, cause, NOW))
    }

    #[test]
    fn what_a_route_holds_is_held_once_and_was_no_attempt() {
        let one = stored("s@a.example", &["x@b.example"], 2);
        let result = planned(&one, &report(3, What::Outcomes(vec![held_by_route("x@b.example")])));
        let hold = &result.plan.holds[0];
        assert!(hold.by_route && hold.held.reason == "held by the route `quarantine`", "{hold:?}");
        assert_eq!(hold.held.operator, "mailtier");
        assert_eq!((result.plan.retries.len(), result.plan.dsns.len()), (0, 0));
        assert_eq!(result.plan.events.iter().map(|event| event.kind).collect::<Vec<_>>(), [EventKind::DeliveryHeld]);
        assert_eq!(result.dispositions[0].after, After::Held);
        // An opinion of an earlier attempt, reported once more after an operator has let it go.
        let late = planned(&one, &report(2, What::Outcomes(vec![held_by_route("x@b.example")])));
        assert!(late.plan.holds.is_empty() && late.plan.events.is_empty());
    }

    #[test]
    fn a_route_holds_those_that_are_left_when_the_others_are_over() {
        let two = stored("s@a.example", &["x@b.example", "y@b.example"], 0);
        let and = |mut others: Vec<(Vec<Mailbox>, Outcome)>| {
            others.push(held_by_route("y@b.example"));
            planned(&two, &report(1, What::Outcomes(others)))
        };
        let What::Outcomes(delivered) = outcomes(&[("x@b.example", 250)]) else { panic!() };
        let result = and(delivered);
        assert_eq!(result.plan.retries[0].recipients, ["y@b.example"]);
        let events: Vec<_> = result.plan.events.iter().map(|event| (event.kind, event.recipients.clone())).collect();
        let of = |name: &str| vec![name.to_owned()];
        assert_eq!(
            events,
            [(EventKind::DeliveryHeld, of("y@b.example")), (EventKind::RecipientDelivered, of("x@b.example"))]
        );
        assert_eq!((result.plan.holds.len(), result.dispositions[0].after), (1, After::Held));
        let What::Outcomes(deferred) = outcomes(&[("x@b.example", 450)]) else { panic!() };
        let result = and(deferred);
        assert!(result.plan.holds.is_empty(), "x must not wait for an operator");
        assert_eq!(result.plan.retries[0].recipients, ["x@b.example", "y@b.example"]);
        assert!(matches!(result.dispositions[0].after, After::Later { attempts: 1, .. }));
    }

    #[test]
    fn a_refusal_of_one_address_leads_to_another_soon_and_of_the_only_one_to_the_end() {
        let policy = Policy { meanings: Meanings::fixed(Classification::new(None).unwrap()), ..policy() };
        let one = StoredDelivery { expires_at: NOW.after(HOUR * 48), ..stored("s@a.example", &["x@b.example"], 0) };
        let planned = |attempt, has_others| {
            let cause = Cause::Reply(Reply::received(554, None, "Your IP 192.0.2.1 is blocked".to_owned()));
            let egress =
                mailtier_types::Egress { pool: "main".into(), source: Some([192, 0, 2, 1].into()), has_others };
            let outcome = Outcome { egress: Some(egress), ..Outcome::new(Stage::Rcpt, cause, NOW) };
            let what = What::Outcomes(vec![(vec![Mailbox::parse("x@b.example").unwrap()], outcome)]);
            let mut planned = planned_by(&policy, NOW, &one, &report(attempt, what));
            let event = planned.plan.events.remove(0);
            let detail = mailtier_api::decode_detail(&event.detail).unwrap();
            let due = planned.plan.retries.first().map(|retry| retry.next_attempt_at);
            (event.kind, due, detail.source_avoided_until)
        };
        let seconds = |seconds| Some(NOW.after(Duration::from_secs(seconds)));
        assert_eq!(planned(1, true), (EventKind::AttemptDeferred, seconds(60), seconds(3600)));
        assert_eq!(planned(3, true), (EventKind::AttemptDeferred, seconds(240), seconds(3600)));
        assert_eq!(planned(1, false), (EventKind::RecipientFailed, None, None));
    }

    #[test]
    fn a_remote_may_ask_for_a_longer_wait_within_a_day_and_the_lifetime() {
        let one = StoredDelivery { expires_at: NOW.after(HOUR * 48), ..stored("s@a.example", &["x@b.example"], 0) };
        let due = |stored: &StoredDelivery, asked: Duration| {
            let What::Outcomes(mut said) = outcomes(&[("x@b.example", 450)]) else { panic!() };
            said[0].1.retry_after = Some(asked);
            planned(stored, &report(1, What::Outcomes(said))).plan.retries[0].next_attempt_at
        };
        assert_eq!(due(&one, HOUR), NOW.after(HOUR));
        assert_eq!(due(&one, Duration::from_secs(1)), NOW.after(Duration::from_secs(300)), "ours is longer");
        assert_eq!(due(&one, HOUR * 1000), NOW.after(HOUR * 24));
        let short = StoredDelivery { expires_at: NOW.after(HOUR * 2), ..one };
        assert_eq!(due(&short, HOUR * 5), short.expires_at);
    }

    #[test]
    fn what_changes_nothing_is_not_recorded() {
        let waiting = StoredDelivery {
            next_attempt_at: Some(NOW.after(HOUR)),
            hosts: vec!["relay.example:2525".to_owned()],
            ..stored("s@a.example", &["x@b.example"], 1)
        };
        let on_hold = held(waiting.clone(), HOUR);
        let way = |hosts: &[&str]| DeliveryChange::Reroute(hosts.iter().map(|host| host.parse().unwrap()).collect());
        for (stored, what, expected) in [
            (&waiting, DeliveryChange::Hold, Some(EventKind::DeliveryHeld)),
            (&on_hold, DeliveryChange::Hold, None),
            (&waiting, DeliveryChange::Release, None),
            (&on_hold, DeliveryChange::Release, Some(EventKind::DeliveryReleased)),
            (&waiting, DeliveryChange::RetryNow, Some(EventKind::DeliveryHastened)),
            (&on_hold, DeliveryChange::RetryNow, None),
            (&stored("s@a.example", &["x@b.example"], 1), DeliveryChange::RetryNow, None),
            (&waiting, way(&["relay.example:2525"]), None),
            (&waiting, way(&["relay.example:2526"]), Some(EventKind::DeliveryRerouted)),
            (&on_hold, way(&[]), Some(EventKind::DeliveryRerouted)),
        ] {
            let result = planned(stored, &report(0, ordered(what.clone())));
            assert_eq!(result.plan.events.first().map(|event| event.kind), expected, "{what:?}");
            assert_eq!(result.hints.len(), usize::from(expected.is_some()), "{what:?}");
            assert_eq!(result.plan == nothing(), expected.is_none(), "{what:?}");
        }
    }
}
