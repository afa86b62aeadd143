//! What operators order about deliveries, and what of it leaves them in the queue: held, released, due, on another way.
//! Pure. Not responsible for what ends them: that is planned as any other end is.

use mailtier_api::change::DeliveryChange;
use mailtier_api::filter::AddressPattern;
use mailtier_api::peer::{Hint, News};
use mailtier_api::tokens::OURSELVES;
use mailtier_store::{Held, Hold, NewEvent, Reroute, StoredDelivery};
use mailtier_types::{
    ByMode, Cause, Change, EventDetail, EventKind, Outcome, ReversePath, Stage, State, Timestamp, Trouble, TroubleKind,
};

use super::line::Line;
use super::plan::{Planned, options_of};

/// What an operator orders, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    /// What.
    pub(crate) what: DeliveryChange,
    /// Who.
    pub(crate) operator: String,
    /// Why, one line; may be empty.
    pub(crate) reason: String,
    /// What ends, ends for these recipients alone.
    pub(crate) recipients: Option<AddressPattern>,
    /// A route of the configuration says so.
    pub(crate) is_by_route: bool,
}

/// What a sender is told where the operator gave no reason.
const NO_REASON: &str = "an administrator has given up this message";

impl Order {
    /// That a delivery is held because it may be what ends workers.
    pub(super) fn quarantine(losses: u16) -> Self {
        let reason = format!("{losses} workers were lost with it in their hands; see their logs before it is released");
        Self::hold(reason, false)
    }

    /// That a delivery is held because a route says so.
    pub(super) fn of_route(reason: &str) -> Self {
        Self::hold(reason.to_owned(), true)
    }

    fn hold(reason: String, is_by_route: bool) -> Self {
        Self { what: DeliveryChange::Hold, operator: OURSELVES.to_owned(), reason, recipients: None, is_by_route }
    }

    /// The outcome that a delivery given up by order has.
    pub(super) fn outcome(&self, now: Timestamp) -> Outcome {
        let text = if self.reason.is_empty() { NO_REASON.to_owned() } else { self.reason.clone() };
        // Of no attempt; the kind of trouble says so.
        Outcome::new(Stage::Resolve, Cause::Trouble(Trouble { kind: TroubleKind::Administrative, text }), now)
    }

    /// Those recipients of a delivery that it ends for.
    pub(super) fn ended(&self, stored: &StoredDelivery) -> Vec<String> {
        let is_meant = |recipient: &&String| match &self.recipients {
            None => true,
            Some(AddressPattern::Mailbox(mailbox)) => mailbox.as_str() == recipient.as_str(),
            Some(AddressPattern::Domain(domain)) => {
                recipient.rsplit_once('@').is_some_and(|(_, of)| of == domain.as_str())
            }
            Some(AddressPattern::Null) => false,
        };
        stored.recipients.iter().filter(is_meant).cloned().collect()
    }

    /// Who and why, for an event.
    pub(super) fn detail(&self) -> EventDetail {
        let reason = Some(self.reason.clone()).filter(|reason| !reason.is_empty());
        EventDetail { operator: Some(self.operator.clone()), reason, ..EventDetail::default() }
    }
}

/// In which state the recipients of a stored delivery are.
pub(super) const fn state_of(stored: &StoredDelivery) -> State {
    if stored.held.is_some() { State::Held } else { State::Queued }
}

/// What owners are told of a delivery.
pub(crate) fn hint(stored: &StoredDelivery, expires_at: Timestamp, news: News) -> Hint {
    Hint {
        delivery: stored.id,
        destination: stored.destination.clone(),
        tenant: stored.tenant,
        priority: stored.priority,
        expires_at,
        sender: ReversePath::parse(&stored.sender).ok(),
        news,
    }
}

/// What an order comes to for one delivery.
enum Effect {
    /// It is so already, or cannot be.
    Nothing,
    /// It ends.
    End,
    /// It is held.
    Hold,
    /// It goes on, and its time is up then.
    Release(Timestamp),
    /// It is due.
    Hasten,
    /// Its next attempts go there.
    Reroute(Vec<String>),
}

fn effect(stored: &StoredDelivery, change: &DeliveryChange, now: Timestamp) -> Effect {
    match change {
        DeliveryChange::Bounce | DeliveryChange::Delete => Effect::End,
        DeliveryChange::Hold if moves(stored, Change::Hold) => Effect::Hold,
        DeliveryChange::Release if moves(stored, Change::Release) => Effect::Release(expiry_when_released(stored, now)),
        DeliveryChange::RetryNow if stored.held.is_none() && stored.next_attempt_at.is_some_and(|at| at > now) => {
            Effect::Hasten
        }
        DeliveryChange::Reroute(hosts) => {
            let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
            if hosts == stored.hosts { Effect::Nothing } else { Effect::Reroute(hosts) }
        }
        DeliveryChange::Hold | DeliveryChange::Release | DeliveryChange::RetryNow => Effect::Nothing,
    }
}

/// Whether an order would change anything about a delivery as it is stored.
pub(crate) fn would_change(stored: &StoredDelivery, change: &DeliveryChange, now: Timestamp) -> bool {
    !matches!(effect(stored, change, now), Effect::Nothing)
}

/// Plans an order that keeps a delivery in the queue; says whether it is one. Where nothing would change, nothing is
/// written and nobody is told.
pub(super) fn plan_kept(stored: &StoredDelivery, order: &Order, now: Timestamp, planned: &mut Planned) -> bool {
    let mut detail = order.detail();
    let mut expires_at = stored.expires_at;
    let kind = match effect(stored, &order.what, now) {
        Effect::End => return false,
        Effect::Nothing => return true,
        Effect::Hold => {
            let (operator, reason) = (order.operator.clone(), order.reason.clone());
            let held = Held { since: now, operator, reason };
            planned.plan.holds.push(Hold { delivery: stored.id, held, by_route: order.is_by_route });
            EventKind::DeliveryHeld
        }
        Effect::Release(later) => {
            expires_at = later;
            planned.plan.releases.push((stored.id, expires_at));
            EventKind::DeliveryReleased
        }
        Effect::Hasten => {
            planned.plan.hastened.get_or_insert((Vec::new(), now)).0.push(stored.id);
            EventKind::DeliveryHastened
        }
        Effect::Reroute(hosts) => {
            detail.hosts.clone_from(&hosts);
            let reroute = Reroute { deliveries: Vec::new(), hosts, due: now };
            planned.plan.reroute.get_or_insert(reroute).deliveries.push(stored.id);
            EventKind::DeliveryRerouted
        }
    };
    let news = if kind == EventKind::DeliveryHeld { News::Withdrawn } else { News::Changed };
    planned.hints.push(hint(stored, expires_at, news));
    record(stored, order, kind, &detail, now, planned);
    true
}

/// In the history and in the log.
fn record(
    stored: &StoredDelivery,
    order: &Order,
    kind: EventKind,
    detail: &EventDetail,
    now: Timestamp,
    planned: &mut Planned,
) {
    planned.lines.push(Line {
        message: stored.message,
        attempt: 0,
        sender: stored.sender.clone(),
        kind,
        recipients: stored.recipients.clone(),
        outcome: None,
        class: None,
        operator: Some(order.operator.clone()),
        received_at: stored.message.made_at(),
        traceparent: None,
    });
    planned.plan.events.push(NewEvent {
        at: now,
        kind,
        message: stored.message,
        delivery: Some(stored.id),
        tenant: stored.tenant,
        attempt: 0,
        sender: stored.sender.clone(),
        recipients: stored.recipients.clone(),
        detail: mailtier_api::encode_detail(detail.clone()),
    });
}

/// Whether a change is one in the state that a delivery is in.
fn moves(stored: &StoredDelivery, change: Change) -> bool {
    let state = state_of(stored);
    state.after(change).is_ok_and(|after| after != state)
}

/// The time on hold does not count, unless the sender set a limit (RFC 2852): that is his, and goes on.
fn expiry_when_released(stored: &StoredDelivery, now: Timestamp) -> Timestamp {
    let on_hold = stored.held.as_ref().map_or(std::time::Duration::ZERO, |held| now.since(held.since));
    let limit = options_of(stored).deliver_by.filter(|by| by.mode == ByMode::Return).map(|by| by.at);
    let later = stored.expires_at.after(on_hold);
    limit.map_or(later, |limit| later.min(limit.max(stored.expires_at)))
}
