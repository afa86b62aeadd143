//! What attempts teach about a destination: how many at a time it takes, and whether it can be reached at all. Not
//! responsible for single deliveries: theirs is `classify`.
//!
//! The window is Postfix's (`default_destination_concurrency_*_feedback`): each success adds its share of one, so that
//! after a whole window of successes there is one more; each refused connection halves it. A destination that could not
//! be reached several times in a row is dead: its mail waits, and one delivery at a time probes it.

use std::time::Duration;

use mailtier_types::{Cause, Class, Outcome, Timestamp, TroubleKind};

use crate::backoff::RetryPolicy;
use crate::classification::{Action, Judgement, Whom};
use crate::rules::DestinationLimits;

/// What an attempt says of its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feedback {
    /// It talked about the message.
    Good,
    /// It is there and wants less at a time.
    Busy,
    /// It could not be reached, or would not talk at all.
    Unreachable,
    /// Nothing: the trouble was ours, or the message's.
    Nothing,
    /// It is there, and a rule says that nothing more is attempted for a time.
    Suspend {
        /// Of whom.
        whom: Whom,
        /// For how long.
        time: Duration,
    },
}

/// What the outcomes of one attempt, with what they mean, say of its destination.
#[must_use]
pub fn feedback<'a>(judged: impl IntoIterator<Item = (&'a Outcome, Option<Judgement<'a>>)>) -> Feedback {
    let (mut said, mut ordered) = (Feedback::Nothing, None);
    for (outcome, judgement) in judged {
        let action = judgement.and_then(|judgement| judgement.action);
        // That is about an address of ours.
        ordered = ordered.max(action.filter(|action| !matches!(action, Action::SwitchAddress { .. })));
        match of_outcome(outcome, judgement) {
            Feedback::Nothing => {}
            // Whatever else was said, this one was talked about.
            _ if said == Feedback::Good => {}
            other => said = other,
        }
    }
    // Who wrote a rule has it count whatever became of others.
    match ordered {
        Some(Action::Suspend { whom, time }) => Feedback::Suspend { whom, time },
        Some(Action::SlowDown) => Feedback::Busy,
        Some(Action::SwitchAddress { .. }) | None => said,
    }
}

fn of_outcome(outcome: &Outcome, judgement: Option<Judgement<'_>>) -> Feedback {
    let before_mail = outcome.stage.is_before_mail();
    // Of one recipient who gets too much nothing follows for others; of the whole host it does.
    let concerns_all = before_mail || matches!(&outcome.cause, Cause::Reply(reply) if reply.code == 421);
    if concerns_all && judgement.is_some_and(|judgement| judgement.switches) {
        return Feedback::Nothing;
    }
    if concerns_all && judgement.is_some_and(|judgement| judgement.class.class() == Class::Throttled) {
        return Feedback::Busy;
    }
    match &outcome.cause {
        // RFC 5321 §3.8: the server is about to close, or has too many connections.
        Cause::Reply(reply) if reply.code == 421 && !before_mail => Feedback::Busy,
        Cause::Reply(_) if before_mail => Feedback::Unreachable,
        Cause::Reply(_) => Feedback::Good,
        Cause::Trouble(trouble) => match trouble.kind {
            // Who is not let in is refused again at once: a probe now and then is enough, and locks nobody out.
            TroubleKind::Connect | TroubleKind::DnsTemporary | TroubleKind::Login => Feedback::Unreachable,
            TroubleKind::Timeout | TroubleKind::Closed | TroubleKind::Tls | TroubleKind::Protocol if before_mail => {
                Feedback::Unreachable
            }
            TroubleKind::Timeout | TroubleKind::Closed | TroubleKind::Unanswered => Feedback::Busy,
            _ => Feedback::Nothing,
        },
    }
}

/// What is known of one destination.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Health {
    /// Attempts at a time, before rounding.
    window: f32,
    /// Attempts in a row that did not reach it.
    failures: u16,
    /// Probes that failed since it is dead.
    probes: u16,
    /// It is dead, and not probed before then.
    dead_until: Option<Timestamp>,
    /// It is there and was told to rest until then: what was in flight says nothing against that.
    is_resting: bool,
}

impl Health {
    /// Nothing is known yet.
    pub(crate) const fn new(limits: DestinationLimits) -> Self {
        Self { window: initial(limits), failures: 0, probes: 0, dead_until: None, is_resting: false }
    }

    /// Attempts at a time.
    pub(crate) fn concurrency(&self, limits: DestinationLimits, now: Timestamp) -> u32 {
        match self.dead_until {
            Some(until) if now < until => 0,
            Some(_) => 1,
            None => whole(self.window).clamp(1, limits.concurrency.max(1)),
        }
    }

    pub(crate) const fn dead_until(&self) -> Option<Timestamp> {
        self.dead_until
    }

    /// Whether there is something that a new start would not know.
    pub(crate) fn is_troubled(&self, limits: DestinationLimits) -> bool {
        self.failures > 0 || self.dead_until.is_some() || self.window < initial(limits)
    }

    /// Other limits hold for it: where nothing speaks against it, it may have at once what a new one may.
    pub(crate) fn renew(&mut self, old: DestinationLimits, new: DestinationLimits) {
        if !self.is_troubled(old) {
            self.window = self.window.max(initial(new));
        }
        self.window = self.window.min(new.concurrency.max(1) as f32);
    }

    /// Where it is dead, it rests until then at the latest.
    pub(crate) fn rewind(&mut self, latest: Timestamp) {
        self.dead_until = self.dead_until.map(|until| until.min(latest));
    }

    /// Learns from an attempt. `chance` spreads probes, as it spreads retries.
    pub(crate) fn learn(&mut self, said: Feedback, limits: DestinationLimits, care: Care<'_>, now: Timestamp) {
        let rests = self.is_resting && self.dead_until.is_some_and(|until| now < until);
        match said {
            Feedback::Nothing => {}
            Feedback::Good | Feedback::Busy if rests => {}
            Feedback::Good => {
                if self.dead_until.take().is_some() {
                    self.window = initial(limits);
                }
                (self.failures, self.probes) = (0, 0);
                let most = limits.concurrency.max(1);
                self.window = (self.window + 1.0 / self.window.max(1.0)).min(most as f32);
            }
            Feedback::Busy => {
                // It is there, whatever it was before.
                self.dead_until = None;
                (self.failures, self.probes) = (0, 0);
                self.window = (self.window / 2.0).max(1.0);
            }
            Feedback::Suspend { whom: Whom::Destination, time } => {
                (self.failures, self.probes, self.is_resting) = (0, 0, true);
                self.window = (self.window / 2.0).max(1.0);
                self.dead_until = self.dead_until.max(Some(now.after(time)));
            }
            // That it has a provider is known to who asks.
            Feedback::Suspend { whom: Whom::Provider, .. } => {}
            Feedback::Unreachable => {
                self.failures = self.failures.saturating_add(1);
                self.window = (self.window / 2.0).max(1.0);
                // What was in flight when it died says nothing new; a probe does.
                let is_news = self.dead_until.is_none_or(|until| until <= now);
                if care.dead_after > 0 && self.failures >= care.dead_after && is_news {
                    self.probes = self.probes.saturating_add(1);
                    self.is_resting = false;
                    self.dead_until = Some(now.after(care.probe.delay(self.probes, care.chance)));
                }
            }
        }
    }
}

/// How dead destinations are treated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Care<'a> {
    pub(crate) dead_after: u16,
    pub(crate) probe: &'a RetryPolicy,
    /// 0 to 1.
    pub(crate) chance: f32,
}

const fn initial(limits: DestinationLimits) -> f32 {
    let initial =
        if limits.initial_concurrency < limits.concurrency { limits.initial_concurrency } else { limits.concurrency };
    if initial == 0 { 1.0 } else { initial as f32 }
}

/// Rounded down. A share of one lost to the arithmetic does not keep a window from its next whole number.
fn whole(window: f32) -> u32 {
    const SLACK: f32 = 0.001;
    // Clamped by whoever asks; a float that is too large becomes the largest number.
    (window + SLACK) as u32
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mailtier_types::{BounceClass, Reply, Stage, Trouble};

    use super::*;
    use crate::classification::{Classification, Verdict};

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const LIMITS: DestinationLimits = DestinationLimits { concurrency: 8, initial_concurrency: 2, rate: None };

    fn later(seconds: u64) -> Timestamp {
        NOW.after(Duration::from_secs(seconds))
    }

    fn care(probe: &RetryPolicy) -> Care<'_> {
        Care { dead_after: 3, probe, chance: 0.5 }
    }

    fn outcome(stage: Stage, cause: Cause) -> Outcome {
        Outcome::new(stage, cause, NOW)
    }

    #[test]
    fn outcomes_say_something_of_their_destination() {
        let rules = Classification::new(Some("builtin = false")).unwrap();
        let reply = |stage, code| outcome(stage, Cause::Reply(Reply::received(code, None, String::new())));
        let said = |stage, status: &str| {
            outcome(stage, Cause::Reply(Reply::received(421, status.parse().ok(), String::new())))
        };
        let trouble = |stage, kind| outcome(stage, Cause::Trouble(Trouble { kind, text: String::new() }));
        for (outcome, said) in [
            (reply(Stage::Final, 250), Feedback::Good),
            (reply(Stage::Rcpt, 550), Feedback::Good),
            (reply(Stage::Mail, 421), Feedback::Busy),
            (reply(Stage::Banner, 421), Feedback::Unreachable),
            (said(Stage::Banner, "4.7.0"), Feedback::Busy),
            (said(Stage::Rcpt, "4.7.28"), Feedback::Busy),
            (reply(Stage::Ehlo, 554), Feedback::Unreachable),
            (trouble(Stage::Connect, TroubleKind::Timeout), Feedback::Unreachable),
            (trouble(Stage::Resolve, TroubleKind::DnsTemporary), Feedback::Unreachable),
            (trouble(Stage::Final, TroubleKind::Closed), Feedback::Busy),
            (trouble(Stage::Resolve, TroubleKind::NoSuchDomain), Feedback::Nothing),
            (trouble(Stage::Mail, TroubleKind::Conversion), Feedback::Nothing),
            (trouble(Stage::Connect, TroubleKind::Local), Feedback::Nothing),
        ] {
            assert_eq!(feedback([(&outcome, rules.judge(&outcome))]), said, "{outcome:?}");
        }
        let (good, bad) = (reply(Stage::Final, 250), reply(Stage::Mail, 421));
        let judged = |outcome| (outcome, rules.judge(outcome));
        assert_eq!(feedback([judged(&bad), judged(&good)]), Feedback::Good);
        assert_eq!(feedback([]), Feedback::Nothing);
    }

    #[test]
    fn what_a_rule_orders_counts_whatever_became_of_others() {
        let reply = |code| outcome(Stage::Final, Cause::Reply(Reply::received(code, None, String::new())));
        let ordered = |action| {
            let (class, verdict) = (BounceClass::Spam, Verdict::Temporary);
            Some(Judgement { class, verdict, action: Some(action), switches: false, rule: None })
        };
        let time = Duration::from_secs(60);
        let (good, bad) = (reply(250), reply(451));
        assert_eq!(feedback([(&bad, ordered(Action::SlowDown)), (&good, None)]), Feedback::Busy);
        let rest = |whom| Action::Suspend { whom, time };
        let judged =
            [Action::SlowDown, rest(Whom::Provider), rest(Whom::Destination)].map(|action| (&bad, ordered(action)));
        assert_eq!(feedback(judged), Feedback::Suspend { whom: Whom::Provider, time });
    }

    #[test]
    fn a_destination_that_was_told_to_rest_does_so_whatever_was_in_flight() {
        let (mut health, probe) = (Health::new(LIMITS), RetryPolicy { jitter: 0.0, ..RetryPolicy::default() });
        let rest = Feedback::Suspend { whom: Whom::Destination, time: Duration::from_secs(600) };
        health.learn(rest, LIMITS, Care { dead_after: 0, ..care(&probe) }, NOW);
        for said in [Feedback::Good, Feedback::Busy, Feedback::Unreachable] {
            health.learn(said, LIMITS, care(&probe), later(1));
            assert_eq!(health.dead_until(), Some(later(600)), "{said:?}");
        }
        assert_eq!((health.concurrency(LIMITS, later(599)), health.concurrency(LIMITS, later(600))), (0, 1));
        health.learn(Feedback::Good, LIMITS, care(&probe), later(601));
        assert_eq!((health.dead_until(), health.concurrency(LIMITS, later(601))), (None, 2));
    }

    #[test]
    fn a_window_grows_by_one_for_each_window_of_successes_and_is_halved() {
        let (mut health, probe) = (Health::new(LIMITS), RetryPolicy::default());
        let mut seen = Vec::new();
        for _ in 0..40 {
            seen.push(health.concurrency(LIMITS, NOW));
            health.learn(Feedback::Good, LIMITS, care(&probe), NOW);
        }
        let successes = |concurrency| seen.iter().filter(|seen| **seen == concurrency).count();
        assert_eq!((seen[0], seen[39]), (2, 8), "{seen:?}");
        assert!(
            (3..8)
                .all(|concurrency| (concurrency as usize..=concurrency as usize + 1).contains(&successes(concurrency))),
            "{seen:?}"
        );
        for concurrency in [4, 2, 1, 1] {
            health.learn(Feedback::Busy, LIMITS, care(&probe), NOW);
            assert_eq!(health.concurrency(LIMITS, NOW), concurrency);
        }
        assert_eq!(health.dead_until(), None, "it is there");
    }

    #[test]
    fn a_dead_destination_is_probed_by_one_at_a_time_and_then_used_again() {
        let (mut health, probe) = (Health::new(LIMITS), RetryPolicy { jitter: 0.0, ..RetryPolicy::default() });
        for _ in 0..2 {
            health.learn(Feedback::Unreachable, LIMITS, care(&probe), NOW);
            assert_eq!(health.dead_until(), None);
        }
        health.learn(Feedback::Unreachable, LIMITS, care(&probe), NOW);
        assert_eq!(health.dead_until(), Some(later(300)));
        health.learn(Feedback::Unreachable, LIMITS, care(&probe), later(5));
        assert_eq!(health.dead_until(), Some(later(300)), "what was in flight says nothing new");
        assert_eq!((health.concurrency(LIMITS, later(299)), health.concurrency(LIMITS, later(300))), (0, 1));
        health.learn(Feedback::Unreachable, LIMITS, care(&probe), later(300));
        assert_eq!(health.dead_until(), Some(later(900)));
        health.learn(Feedback::Unreachable, LIMITS, care(&probe), later(900));
        assert_eq!(health.dead_until(), Some(later(2100)), "as seldom as a delivery would be tried again");
        health.learn(Feedback::Good, LIMITS, care(&probe), later(2200));
        assert_eq!((health.dead_until(), health.concurrency(LIMITS, later(2200))), (None, 2));
        health.learn(Feedback::Unreachable, LIMITS, care(&probe), later(2201));
        assert_eq!(health.dead_until(), None, "it begins anew");
        for _ in 0..2 {
            health.learn(Feedback::Unreachable, LIMITS, care(&probe), later(2202));
        }
        assert!(health.dead_until().is_some());
        health.learn(Feedback::Busy, LIMITS, care(&probe), later(2900));
        assert_eq!((health.dead_until(), health.concurrency(LIMITS, later(2900))), (None, 1), "it talks again")
    }

    #[test]
    fn nobody_is_dead_where_that_is_off() {
        let (mut health, probe) = (Health::new(LIMITS), RetryPolicy::default());
        for _ in 0..100 {
            health.learn(Feedback::Unreachable, LIMITS, Care { dead_after: 0, ..care(&probe) }, NOW);
        }
        assert_eq!(health.concurrency(LIMITS, NOW), 1);
    }
}
