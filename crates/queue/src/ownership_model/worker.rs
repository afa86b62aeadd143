//! The worker's steps: `outbound/src/{ledger/mod,desk,links/link}.rs`, and the connections between it and the replicas.

use super::state::{Down, GRACE, Link, Outcome, PATIENCE, State, Up};
use super::steps::Protocol;

impl Protocol {
    /// Both directions lose what is on its way. The worker knows at once, the replica when it notices.
    pub(super) fn break_link(s: &mut State, r: u8, w: u8) -> Option<()> {
        s.links[usize::from(r)][usize::from(w)].is_up.then_some(())?;
        s.budget.losses = s.budget.losses.checked_sub(1)?;
        Self::cut(s, r, w);
        Some(())
    }

    pub(super) fn cut(s: &mut State, r: u8, w: u8) {
        let link = &mut s.links[usize::from(r)][usize::from(w)];
        *link = Link { is_seen: link.is_seen, silent: link.silent, ..Link::NONE };
        let flight = s.replicas[usize::from(r)].flight.as_mut().filter(|flight| flight.worker == w);
        // Questions over this connection are answered by nobody any more.
        flight.into_iter().for_each(|flight| flight.news_to = 0);
    }

    /// What the worker holds waits for its return, and a shard that becomes ours meanwhile does.
    pub(super) fn notice_loss(s: &mut State, r: u8, w: u8) -> Option<()> {
        let link = &mut s.links[usize::from(r)][usize::from(w)];
        (link.is_seen && !link.is_up).then_some(())?;
        link.is_seen = false;
        let is_alive = s.workers[usize::from(w)].is_up;
        let replica = &mut s.replicas[usize::from(r)];
        replica.workers_known_in = GRACE;
        // Of a killed worker the flights bear a number that nobody has any more.
        let is_of = |worker: u8| worker == w || (worker >= super::state::DEAD && !is_alive);
        if let Some(flight) = replica.flight.as_mut().filter(|flight| is_of(flight.worker)) {
            flight.limbo.get_or_insert(GRACE);
        }
        Some(())
    }

    /// A connection that the replica did not know to be broken is replaced without a word. It asks at once.
    pub(super) fn connect(&self, s: &mut State, r: u8, w: u8) -> Option<()> {
        let (replica, worker) = (&mut s.replicas[usize::from(r)], &mut s.workers[usize::from(w)]);
        let link = &mut s.links[usize::from(r)][usize::from(w)];
        (replica.is_up && worker.is_up && !link.is_up).then_some(())?;
        *link = Link { silent: link.silent, ..Link::UP };
        if worker.owner == Some(r) {
            worker.owner_gone = 0;
        }
        let Some(owned) = &mut replica.owned else { return Some(()) };
        let epoch = owned.epoch;
        if let Some(takeover) = owned.takeover.as_mut().filter(|_| self.rules.workers_are_asked) {
            takeover.waiting_for |= 1 << w;
        }
        self.inquire(s, r, usize::from(w), epoch)
    }

    pub(super) fn worker_hears(&self, s: &mut State, r: u8, w: u8) -> Option<()> {
        let link = &mut s.links[usize::from(r)][usize::from(w)];
        let worker = &mut s.workers[usize::from(w)];
        match link.down.pop()? {
            Down::Inquire { epoch } => {
                if self.owns(worker, r, epoch) {
                    let held = worker.running.or(worker.finished.map(|(attempt, _)| attempt));
                    link.up.push(Up::Holding { epoch, held })?;
                    match worker.finished {
                        Some((attempt, outcome)) => link.up.push(Up::Result { attempt, outcome }),
                        None => Some(()),
                    }
                } else {
                    link.up.push(Up::Holding { epoch: worker.epoch, held: None })
                }
            }
            Down::Dispatch { epoch, attempt } => {
                if !self.owns(worker, r, epoch) {
                    return link.up.push(Up::NotAttempted { attempt, later: worker.epoch });
                }
                if let Some(running) = &mut worker.running {
                    if self.rules.later_numbers_are_adopted {
                        *running = attempt.max(*running);
                    }
                    return Some(());
                }
                if let Some((attempt, outcome)) = worker.finished.filter(|(finished, _)| *finished >= attempt) {
                    return link.up.push(Up::Result { attempt, outcome });
                }
                worker.finished = None;
                worker.running = Some(attempt);
                Some(())
            }
            Down::Settled { attempt } => {
                worker.finished = worker.finished.filter(|(finished, _)| *finished > attempt);
                Some(())
            }
        }
    }

    /// The ledger's `own`: notes whose the shard is, unless a later owner is known.
    fn owns(&self, worker: &mut super::state::Worker, r: u8, epoch: u8) -> bool {
        if self.rules.old_epochs_are_refused && epoch < worker.epoch {
            return false;
        }
        (worker.epoch, worker.owner, worker.owner_gone) = (epoch, Some(r), 0);
        true
    }

    /// The whole transaction with the remote host, from the last look at the owner to the result in the ledger. That the
    /// worker is killed in the middle of it is the same as that it is killed after it.
    pub(super) fn attempt(&self, s: &mut State, w: u8, outcome: Outcome) -> Option<()> {
        let may_begin = Self::may_begin(s, w);
        let worker = &mut s.workers[usize::from(w)];
        may_begin.then_some(())?;
        let attempt = worker.running.take()?;
        let budget = &mut s.budget;
        match outcome {
            Outcome::Delivered => s.delivery.accepted += 1,
            Outcome::Deferred => budget.deferrals = budget.deferrals.checked_sub(1)?,
            Outcome::Failed => budget.refusals = budget.refusals.checked_sub(1)?,
        }
        worker.finished = Some((attempt, outcome));
        let link = worker.owner.map(|owner| &mut s.links[usize::from(owner)][usize::from(w)]);
        match link.filter(|link| link.is_up) {
            Some(link) => link.up.push(Up::Result { attempt, outcome }),
            None => {
                worker.finished = worker.finished.filter(|_| self.rules.results_are_kept);
                Some(())
            }
        }
    }

    /// Its owner has been out of reach for too long: as if it had never arrived.
    pub(super) fn forget(s: &mut State, w: u8) -> Option<()> {
        (!Self::may_begin(s, w)).then_some(())?;
        s.workers[usize::from(w)].running.take()?;
        Some(())
    }

    fn may_begin(s: &State, w: u8) -> bool {
        let worker = &s.workers[usize::from(w)];
        let is_connected = worker.owner.is_some_and(|owner| s.links[usize::from(owner)][usize::from(w)].is_up);
        is_connected || worker.owner_gone < PATIENCE
    }
}
