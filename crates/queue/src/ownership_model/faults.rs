//! Time, and processes that end and begin.

use super::state::{Asked, DEAD, Fate, GRACE, Link, REPLICAS, Replica, State, Worker};
use super::steps::Protocol;

impl Protocol {
    /// Everything that runs out is nearer to its end. Time stands still where a fault that may not happen any more would
    /// come of it: then something else must happen first.
    pub(super) fn tick(&self, s: &mut State) -> Option<()> {
        if let Some(lease) = s.shard.lease.as_mut().filter(|lease| **lease > 0) {
            *lease -= 1;
            if *lease == 0 && s.shard.owner.is_some_and(|owner| owner < DEAD) {
                s.budget.pauses = s.budget.pauses.checked_sub(1)?;
            }
        }
        for replica in &mut s.replicas {
            count_down(&mut replica.fence);
            count_down(&mut replica.workers_known_in);
            replica.asked.iter_mut().for_each(Asked::grow_old);
            replica.flight.iter_mut().filter_map(|flight| flight.limbo.as_mut()).for_each(count_down);
            let takeover = replica.owned.iter_mut().filter_map(|owned| owned.takeover.as_mut());
            takeover.for_each(|takeover| {
                count_down(&mut takeover.not_before);
                count_down(&mut takeover.deadline);
            });
        }
        (0..self.workers).try_for_each(|w| Self::tick_worker(s, w))
    }

    /// A worker that a replica has had no word from for the grace is out of its reach: the window opens.
    fn tick_worker(s: &mut State, w: usize) -> Option<()> {
        let worker = &mut s.workers[w];
        let is_reached = |owner: u8| s.links[usize::from(owner)][w].is_up;
        if worker.owner.is_some_and(is_reached) {
            worker.owner_gone = 0;
        } else {
            worker.owner_gone = (worker.owner_gone + 1).min(super::state::PATIENCE);
        }
        for r in 0..REPLICAS {
            let link = &mut s.links[r][w];
            if !s.replicas[r].is_up || !worker.is_up || link.is_in_touch() {
                link.silent = 0;
            } else if link.silent < GRACE {
                link.silent += 1;
                if link.silent == GRACE {
                    s.budget.absences = s.budget.absences.checked_sub(1)?;
                    s.windows += 1;
                }
            }
        }
        Some(())
    }

    pub(super) fn kill_replica(s: &mut State, r: u8) -> Option<()> {
        s.replicas[usize::from(r)].is_up.then_some(())?;
        s.budget.replica_crashes = s.budget.replica_crashes.checked_sub(1)?;
        Self::end_replica(s, r);
        Some(())
    }

    /// Its connections end with it; its name in the table is nobody's any more.
    pub(super) fn end_replica(s: &mut State, r: u8) {
        s.replicas[usize::from(r)] = Replica::DOWN;
        s.links[usize::from(r)].fill(Link::NONE);
        if s.shard.owner == Some(r) {
            s.shard.owner = Some(DEAD);
        }
        for worker in s.workers.iter_mut().filter(|worker| worker.owner == Some(r)) {
            worker.owner = None;
        }
    }

    pub(super) fn start_replica(s: &mut State, r: u8) -> Option<()> {
        (!s.replicas[usize::from(r)].is_up).then_some(())?;
        s.replicas[usize::from(r)] = Replica::STARTED;
        Some(())
    }

    /// What it had in its hands, and results that nobody had settled, are gone: the published window.
    pub(super) fn kill_worker(s: &mut State, w: u8) -> Option<()> {
        let worker = s.workers[usize::from(w)];
        worker.is_up.then_some(())?;
        s.budget.worker_crashes = s.budget.worker_crashes.checked_sub(1)?;
        let is_unsettled = worker.finished.is_some_and(|(attempt, _)| attempt > s.delivery.attempts);
        let is_open = s.delivery.fate == Fate::Queued && (worker.running.is_some() || is_unsettled);
        s.windows += u8::from(is_open);
        s.workers[usize::from(w)] = Worker { is_up: false, ..Worker::STARTED };
        for r in 0..REPLICAS {
            let number = u8::try_from(r).ok()?;
            Self::cut(s, number, w);
            s.links[r][usize::from(w)].silent = 0;
            let replica = &mut s.replicas[r];
            replica.flight.iter_mut().filter(|flight| flight.worker == w).for_each(|flight| flight.worker = DEAD);
            replica.reports.forget(w, |report| &mut report.worker);
            replica.settled.forget(w, |settled| &mut settled.worker);
            let takeover = replica.owned.iter_mut().filter_map(|owned| owned.takeover.as_mut());
            for takeover in takeover.filter(|takeover| takeover.waiting_for & (1 << w) != 0) {
                takeover.waiting_for ^= (1 << w) | (1 << DEAD);
            }
        }
        Some(())
    }

    /// Under a number of its own, once every replica has noticed the end of the one before.
    pub(super) fn start_worker(&self, s: &mut State, w: u8) -> Option<()> {
        let place = usize::from(w);
        let is_noticed = s.links.iter().all(|links| !links[place].is_seen);
        (place < self.workers && !s.workers[place].is_up && is_noticed).then_some(())?;
        s.workers[place] = Worker::STARTED;
        Some(())
    }
}

fn count_down(ticks: &mut u8) {
    *ticks = ticks.saturating_sub(1);
}
