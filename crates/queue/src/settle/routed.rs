//! What a route decides that holds mail: the delivery is held where it holds all that is left of it, and waits with the
//! others where it does not. Pure.

use mailtier_store::{Retry, StoredDelivery};
use mailtier_types::{Cause, Outcome, Timestamp, TroubleKind};

use super::After;
use super::orders::{Order, plan_kept};
use super::plan::Planned;

/// Recipients that a route holds, with what the worker said of it.
pub(super) type HeldBack<'a> = Vec<(Vec<String>, &'a Outcome)>;

/// Whether a route holds those that this outcome names.
pub(super) fn is_hold(outcome: &Outcome) -> bool {
    matches!(&outcome.cause, Cause::Trouble(trouble) if trouble.kind == TroubleKind::Held)
}

/// Why, where these and those that are over are all there are: which route holds them.
pub(super) fn reason(stored: &StoredDelivery, held_back: &HeldBack<'_>, resolved: &[String]) -> Option<String> {
    let named = held_back.iter().flat_map(|(recipients, _)| recipients);
    let is_all = named.count() + resolved.len() == stored.recipients.len();
    let Cause::Trouble(trouble) = &held_back.first().filter(|_| is_all)?.1.cause else { return None };
    Some(trouble.text.clone())
}

/// Holds what is left of a delivery. It was no attempt, unless others of its recipients are over now.
pub(super) fn hold(
    (stored, attempt): (&StoredDelivery, u16),
    (reason, remaining): (&str, &[String]),
    now: Timestamp,
    planned: &mut Planned,
) -> After {
    if remaining.len() < stored.recipients.len() {
        planned.plan.retries.push(Retry {
            delivery: stored.id,
            attempts: attempt.max(stored.attempts),
            next_attempt_at: now,
            recipients: remaining.to_vec(),
            last_outcome: stored.last_outcome.clone(),
        });
    }
    let rest = StoredDelivery { recipients: remaining.to_vec(), ..stored.clone() };
    plan_kept(&rest, &Order::of_route(reason), now, planned);
    After::Held
}
