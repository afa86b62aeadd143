//! What must hold in every state, and what a good end is.

use super::rules::Rules;
use super::state::{Down, Entry, Fate, Link, Replica, State, Up, Worker};

/// The property that does not hold, if any.
pub(super) fn violated(s: &State, rules: Rules) -> Option<&'static str> {
    let delivery = &s.delivery;
    if live_dispatches(s, rules) > 1 + s.windows {
        return Some("outside the published window, one dispatch is live at a time");
    }
    if delivery.accepted > 1 + s.windows {
        return Some("outside the published window, the remote host gets a message once");
    }
    if !is_accounted_for(s) {
        return Some("no recipient is lost: queued, or delivered, or failed with its one notification");
    }
    if s.has_strange_dispatch {
        return Some("who dispatches owns the shard");
    }
    (delivery.attempts < delivery.newest_opinion).then_some("an old opinion loses to a newer one")
}

/// Dispatches in the hands of workers, and those on their way that would not be refused for their epoch.
fn live_dispatches(s: &State, rules: Rules) -> u8 {
    let mut live = 0;
    for (w, worker) in s.workers.iter().enumerate() {
        live += u8::from(worker.running.is_some());
        for links in &s.links {
            if links[w].down.is_empty() {
                continue;
            }
            let is_live = |message: &Down| match message {
                Down::Dispatch { epoch, .. } => *epoch >= worker.epoch || !rules.old_epochs_are_refused,
                _ => false,
            };
            live += u8::try_from(links[w].down.iter().filter(is_live).count()).unwrap();
        }
    }
    live
}

fn is_accounted_for(s: &State) -> bool {
    match s.delivery.fate {
        Fate::Queued => s.delivery.notified == 0,
        Fate::Delivered => s.delivery.accepted > 0 && s.delivery.notified == 0,
        Fate::Failed => s.delivery.notified == 1,
    }
}

/// The delivery is over, and nobody has anything of it, or believes so: no drain waits, no memory is lost. Nothing that
/// happens after this could make a difference.
pub(super) fn is_good_end(s: &State) -> bool {
    let is_free = |replica: &Replica| {
        let is_settling = !replica.reports.is_empty() || !replica.settled.is_empty();
        replica.flight.is_none() && replica.entry == Entry::Unknown && !is_settling
    };
    let is_idle = |worker: &Worker| worker.running.is_none() && worker.finished.is_none();
    let is_quiet = |link: &Link| {
        let says_something = |message| matches!(message, Up::Holding { held: Some(_), .. } | Up::Result { .. });
        let is_dispatch = |message| matches!(message, Down::Dispatch { .. });
        !link.down.iter().any(is_dispatch) && !link.up.iter().any(says_something)
    };
    s.delivery.fate != Fate::Queued
        && s.replicas.iter().all(is_free)
        && s.workers.iter().all(is_idle)
        && s.links.iter().flatten().all(is_quiet)
}
