//! The keeper's steps, and what the database does of them: `ownership/keeper.rs`, `renew.sql`, `take_shards.sql`,
//! `release.sql`; and what gaining and losing mean to the conductor: `conductor/task.rs`, `conductor/shards.rs`.

use super::state::{Answer, Asked, Down, Entry, FENCE, GRACE, LEASE, Owned, State, Takeover};
use super::steps::Protocol;

fn spend(budget: &mut u8) -> Option<()> {
    *budget = budget.checked_sub(1)?;
    Some(())
}

impl Protocol {
    /// `renew.sql` is carried out at the moment it is asked for: later would only make the lease longer. While draining
    /// only the lease is renewed, and the answer does not matter. A replica that has nothing to gain need not ask.
    pub(super) fn renew(s: &mut State, r: u8) -> Option<()> {
        let replica = &mut s.replicas[usize::from(r)];
        (replica.is_up && replica.asked.is_none()).then_some(())?;
        let is_ours = s.shard.owner == Some(r);
        let is_renewed = s.shard.lease == Some(LEASE) && (replica.is_draining || replica.fence == FENCE);
        (if is_ours { !is_renewed } else { replica.held.is_some() }).then_some(())?;
        if is_ours {
            s.shard.lease = Some(LEASE);
        }
        if !replica.is_draining {
            let answer = Answer::Renewed(is_ours.then_some(s.shard.epoch));
            replica.asked = Some(Asked { age: 0, answer });
        }
        Some(())
    }

    /// `take_shards.sql`, of a shard whose lease has run out. One that the keeper holds already it does not want. A replica
    /// that does not know the workers yet leaves it to others while these are members, which nobody is for longer than its
    /// shards are its own: that it takes it here at any time is what happens when they are slow.
    pub(super) fn take_shard(&self, s: &mut State, r: u8) -> Option<()> {
        let replica = &mut s.replicas[usize::from(r)];
        let is_idle = replica.is_up && !replica.is_draining && replica.asked.is_none() && replica.held.is_none();
        (is_idle && s.shard.lease.unwrap_or_default() == 0).then_some(())?;
        let clean = s.shard.lease.is_none() || !self.rules.unclean_is_unclean;
        s.shard.owner = Some(r);
        s.shard.epoch += 1;
        s.shard.lease = Some(LEASE);
        replica.asked = Some(Asked { age: 0, answer: Answer::Taken { epoch: s.shard.epoch, clean } });
        Some(())
    }

    /// The keeper compares what it holds with what came back, tells the conductor, and moves the fence.
    pub(super) fn hear_answer(&self, s: &mut State, r: u8) -> Option<()> {
        let replica = &mut s.replicas[usize::from(r)];
        (!replica.is_loss_untold).then_some(())?;
        let Asked { age, answer } = replica.asked.take()?;
        match answer {
            Answer::Taken { epoch, clean } => self.gain(s, r, epoch, clean),
            Answer::Renewed(came_back) => {
                let is_early = self.rules.fence_is_early;
                replica.fence = if is_early { FENCE.saturating_sub(age) } else { LEASE };
                if replica.held.is_some() && replica.held != came_back {
                    replica.held = None;
                    self.lose_shard(s, r);
                }
                match came_back {
                    // Ours, and not known here: the answer to taking it was lost, or giving it up failed.
                    Some(epoch) if s.replicas[usize::from(r)].held.is_none() => self.gain(s, r, epoch, false),
                    _ => Some(()),
                }
            }
        }
    }

    pub(super) fn lose_answer(s: &mut State, r: u8) -> Option<()> {
        s.replicas[usize::from(r)].asked.take()?;
        spend(&mut s.budget.lost_answers)
    }

    /// For another's share: the conductor forgets the shard first, then it is released as not clean, or that fails.
    pub(super) fn give_up(&self, s: &mut State, r: u8, is_done: bool) -> Option<()> {
        let replica = &mut s.replicas[usize::from(r)];
        (replica.is_up && !replica.is_draining && replica.asked.is_none()).then_some(())?;
        replica.held.take()?;
        spend(&mut s.budget.handovers)?;
        self.lose_shard(s, r);
        Self::release(s, r, false, is_done)
    }

    /// `release.sql`.
    fn release(s: &mut State, r: u8, is_clean: bool, is_done: bool) -> Option<()> {
        if !is_done {
            return spend(&mut s.budget.lost_answers);
        }
        if s.shard.owner == Some(r) {
            s.shard.owner = None;
            s.shard.lease = (!is_clean).then_some(0);
        }
        Some(())
    }

    /// From now on nothing is dispatched.
    pub(super) fn drain(s: &mut State, r: u8) -> Option<()> {
        let replica = &mut s.replicas[usize::from(r)];
        (replica.is_up && !replica.is_draining && replica.asked.is_none()).then_some(())?;
        replica.held?;
        replica.is_draining = true;
        replica.fence = 0;
        spend(&mut s.budget.handovers)
    }

    /// The end of a drain: clean when nothing is in anybody's hands, or else because it took too long.
    pub(super) fn leave(&self, s: &mut State, r: u8, is_clean: bool, is_done: bool) -> Option<()> {
        let replica = &s.replicas[usize::from(r)];
        replica.is_draining.then_some(())?;
        let is_settled = replica.reports.is_empty() && replica.settled.is_empty();
        let is_known = replica.owned.is_none_or(|owned| owned.takeover.is_none()) || !self.rules.unknown_is_unclean;
        let is_drained = replica.flight.is_none() && is_settled;
        (!is_clean || (is_drained && is_known)).then_some(())?;
        Self::release(s, r, is_clean, is_done)?;
        Self::end_replica(s, r);
        Some(())
    }

    /// The conductor forgets the shard; where losses do not come first, it hears of that later.
    fn lose_shard(&self, s: &mut State, r: u8) {
        s.replicas[usize::from(r)].is_loss_untold = true;
        if self.rules.losses_come_first {
            let _ = Self::learn_loss(s, r);
        }
    }

    pub(super) fn learn_loss(s: &mut State, r: u8) -> Option<()> {
        let replica = &mut s.replicas[usize::from(r)];
        std::mem::take(&mut replica.is_loss_untold).then_some(())?;
        if replica.owned.take().is_some() {
            replica.entry = Entry::Unknown;
            replica.flight = replica.flight.filter(|flight| !flight.shard_known);
        }
        // It guards nothing now.
        replica.fence = 0;
        Some(())
    }

    /// The conductor owns the shard; unless it was given up clean, it asks every worker that it is connected to before
    /// it dispatches, and waits for those that were alive a moment ago.
    fn gain(&self, s: &mut State, r: u8, epoch: u8, clean: bool) -> Option<()> {
        let links = s.links[usize::from(r)];
        let replica = &mut s.replicas[usize::from(r)];
        replica.held = Some(epoch);
        replica.entry = Entry::Unknown;
        let not_before = if self.rules.absent_are_awaited { replica.workers_known_in } else { 0 };
        let connected = (0..self.workers).filter(|&w| links[w].is_seen);
        let waiting_for = connected.clone().map(|w| 1 << w).sum();
        let waiting_for = if self.rules.workers_are_asked { waiting_for } else { 0 };
        let takeover = Takeover { waiting_for, not_before, deadline: GRACE.max(not_before) };
        replica.owned = Some(Owned { epoch, takeover: (!clean).then_some(takeover) });
        for w in connected {
            self.inquire(s, r, w, epoch)?;
        }
        Some(())
    }

    /// What is sent over a connection that is gone is lost.
    pub(super) fn inquire(&self, s: &mut State, r: u8, w: usize, epoch: u8) -> Option<()> {
        let link = &mut s.links[usize::from(r)][w];
        if link.is_up && self.rules.workers_are_asked {
            link.down.push(Down::Inquire { epoch })?;
        }
        Some(())
    }
}
