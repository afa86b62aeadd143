//! From which of our addresses a delivery leaves: the same as before where the remote is to know it again, and none that is
//! blocked where it goes. Not responsible for which addresses there are: workers know that.
//!
//! What one delivery met is read from its last outcome, which is stored and comes along with each further attempt: no
//! restart forgets it. That an address is blocked for all mail of a destination or provider is known to the replica that
//! heard it; others hear it themselves with their next attempt.

use std::time::Duration;

use mailtier_api::work::{AvoidedSource, Dispatch};
use mailtier_schedule::{Action, Blocked, Blocker, Judgement, Whom};
use mailtier_types::{Class, DeliveryId, Outcome, Timestamp};

use super::handle::Content;
use super::task::ConductorTask;

/// Addresses that one dispatch names: more than a pool has use for.
const MAX_AVOIDED: usize = 1000;

impl ConductorTask {
    /// What a worker is to know of our addresses for an attempt. Most have neither failed before nor meet a block, and
    /// cost a look.
    pub(super) fn choose_source(&self, dispatch: &mut Dispatch, content: &Content, now: Timestamp) {
        // Where an operator sends it another host answers.
        if !content.hosts.is_empty() {
            return;
        }
        let left_from = |last: &Outcome| last.egress.as_ref().and_then(|egress| egress.source);
        if let Some((last, source)) = content.last.as_deref().and_then(|last| Some((last, left_from(last)?))) {
            let classification = self.settings.meanings.now();
            let judgement = classification.judge(last);
            dispatch.same_source = is_greylisted(judgement).then_some(source);
            let until = blocked_for(judgement).map(|(_, time)| last.at.after(time)).filter(|until| *until > now);
            dispatch.avoided_sources.extend(until.map(|until| avoided((source, until), true, now)));
        }
        if self.avoidance.is_empty() {
            return;
        }
        let provider = self.scheduler.provider_of(dispatch.delivery);
        for blocked in self.avoidance.of(&dispatch.destination, provider, now).take(MAX_AVOIDED) {
            if dispatch.avoided_sources.iter().all(|known| known.address != blocked.0) {
                dispatch.avoided_sources.push(avoided(blocked, false, now));
            }
        }
    }

    /// An attempt was refused for the address that it left from: others do not leave from it for a time.
    pub(super) fn note_block(
        &mut self,
        id: DeliveryId,
        outcome: &Outcome,
        judgement: Option<Judgement<'_>>,
        now: Timestamp,
    ) {
        let Some((whom, time)) = blocked_for(judgement) else { return };
        let Some(address) = outcome.egress.as_ref().and_then(|egress| egress.source) else { return };
        let Some(destination) = self.scheduler.destination_of(id) else { return };
        let host = outcome.remote.as_ref().map(|remote| remote.name.as_str());
        let provider = host.and_then(|host| self.settings.rules.provider_of(host));
        let blocker = match (whom, provider) {
            (Whom::Provider, Some(provider)) => Blocker::Provider(provider.to_owned()),
            _ => Blocker::Destination(destination.to_owned()),
        };
        let until = outcome.at.after(time);
        if self.avoidance.block(&blocker, address, until, now) {
            let rule = judgement.and_then(|judgement| judgement.rule);
            tracing::warn!(%address, ?blocker, ?time, rule, "one of our addresses is blocked there: others are used for a time");
        }
    }
}

/// RFC 6647 §2: who greylists knows a client by its address.
fn is_greylisted(judgement: Option<Judgement<'_>>) -> bool {
    judgement.is_some_and(|judgement| judgement.class.class() == Class::Greylisted)
}

/// Whose mail is not to leave from the address, and for how long.
fn blocked_for(judgement: Option<Judgement<'_>>) -> Option<(Whom, Duration)> {
    match judgement.filter(|judgement| judgement.switches)?.action? {
        Action::SwitchAddress { whom, time } => Some((whom, time)),
        Action::SlowDown | Action::Suspend { .. } => None,
    }
}

/// In whole seconds, the last one counted: what is tried then is not tried too early.
fn avoided((address, until): Blocked, refused_this: bool, now: Timestamp) -> AvoidedSource {
    AvoidedSource { address, time: Duration::from_secs(until.since(now).as_secs() + 1), refused_this }
}
