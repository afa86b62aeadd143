//! The conductor's and the settler's steps: `conductor/{task,dispatching,results,flights}.rs`, `settle.sql`,
//! `finish_delivered.sql`.

use super::rules::Rules;
use super::state::{Down, Entry, Fate, Flight, GRACE, Outcome, Report, Settled, State, Up};
use super::steps::Protocol;

impl Protocol {
    /// Every worker has answered, and those that were alive a moment ago have had their time; or the time is up.
    pub(super) fn end_takeover(s: &mut State, r: u8) -> Option<()> {
        let owned = s.replicas[usize::from(r)].owned.as_mut()?;
        let takeover = owned.takeover?;
        let is_known = takeover.not_before == 0 && takeover.waiting_for == 0;
        (is_known || takeover.deadline == 0).then_some(())?;
        owned.takeover = None;
        Some(())
    }

    /// The delivery is read from its table into the schedule, or into flight where a worker has it already.
    pub(super) fn load(s: &mut State, r: u8) -> Option<()> {
        let replica = &mut s.replicas[usize::from(r)];
        replica.active()?;
        (replica.may_dispatch() && replica.entry == Entry::Unknown && s.delivery.fate == Fate::Queued).then_some(())?;
        replica.entry = match &mut replica.flight {
            Some(flight) => {
                flight.shard_known = true;
                Entry::Out(s.delivery.attempts)
            }
            None => Entry::Ready(s.delivery.attempts),
        };
        Some(())
    }

    /// It is due: its row is read again, and what is not over goes out.
    pub(super) fn dispatch(s: &mut State, r: u8, w: u8) -> Option<()> {
        let link = &mut s.links[usize::from(r)][usize::from(w)];
        let replica = &mut s.replicas[usize::from(r)];
        let Entry::Ready(attempts) = replica.entry else { return None };
        (replica.may_dispatch() && link.is_seen).then_some(())?;
        let (epoch, attempt) = (replica.active()?, attempts + 1);
        if s.delivery.fate != Fate::Queued {
            replica.entry = Entry::Unknown;
            return Some(());
        }
        replica.entry = Entry::Out(attempts);
        let news_to = link.unanswered();
        replica.flight =
            Some(Flight { worker: w, attempt, shard_known: true, news_to, limbo: None, is_settling: false });
        if link.is_up {
            link.down.push(Down::Dispatch { epoch, attempt })?;
        }
        s.has_strange_dispatch |= s.shard.owner != Some(r) || s.shard.epoch != epoch;
        Some(())
    }

    /// Its worker has been gone for the grace.
    pub(super) fn give_up_flight(s: &mut State, r: u8) -> Option<()> {
        let replica = &mut s.replicas[usize::from(r)];
        let flight = replica.flight.filter(|flight| !flight.is_settling && flight.limbo == Some(0));
        flight?;
        replica.flight = None;
        replica.make_ready();
        Some(())
    }

    /// One transaction: who deletes the row decides, an opinion counts only when it is newer than the stored one.
    pub(super) fn settle(&self, s: &mut State, r: u8) -> Option<()> {
        let replica = &mut s.replicas[usize::from(r)];
        let Report { worker, attempt, outcome } = replica.reports.pop()?;
        let delivery = &mut s.delivery;
        if delivery.fate == Fate::Queued {
            match outcome {
                Outcome::Delivered => delivery.fate = Fate::Delivered,
                Outcome::Failed => {
                    delivery.fate = Fate::Failed;
                    delivery.notified += 1;
                }
                Outcome::Deferred => {
                    if attempt > delivery.attempts || !self.rules.old_opinions_lose {
                        delivery.attempts = attempt;
                    }
                    delivery.newest_opinion = delivery.newest_opinion.max(attempt);
                }
            }
        }
        let later = (delivery.fate == Fate::Queued).then_some(delivery.attempts);
        replica.settled.push(Settled { worker, attempt, later })
    }

    /// The worker hears that its result is durable; the schedule forgets the delivery or waits for its next attempt.
    pub(super) fn conclude(&self, s: &mut State, r: u8) -> Option<()> {
        let replica = &mut s.replicas[usize::from(r)];
        let Settled { worker, attempt, later } = replica.settled.pop()?;
        let is_other = |flight: &Flight| {
            flight.worker != worker || (self.rules.attempts_are_told_apart && flight.attempt > attempt)
        };
        let flies_elsewhere = replica.flight.as_ref().is_some_and(is_other);
        if !flies_elsewhere {
            replica.flight = None;
        }
        match later {
            None => replica.entry = Entry::Unknown,
            Some(_) if flies_elsewhere => {}
            Some(attempts) => replica.defer(attempts),
        }
        Self::send(s, r, worker, Down::Settled { attempt })
    }

    pub(super) fn replica_hears(&self, s: &mut State, r: u8, w: u8) -> Option<()> {
        let link = &mut s.links[usize::from(r)][usize::from(w)];
        let message = link.up.pop()?;
        let unanswered = link.unanswered();
        let replica = &mut s.replicas[usize::from(r)];
        match message {
            Up::Holding { epoch, held } => {
                replica.hear_holding(w, epoch, held, unanswered, self.rules);
            }
            Up::Result { attempt, outcome } => {
                let flight = replica.flight.as_mut();
                if let Some(flight) = flight.filter(|flight| flight.worker == w && flight.attempt <= attempt) {
                    (flight.is_settling, flight.limbo) = (true, None);
                }
                replica.reports.push(Report { worker: w, attempt, outcome })?;
            }
            Up::NotAttempted { attempt, later } => {
                // Where the worker knows a later epoch the delivery rests for a while, which the model leaves out.
                let is_old =
                    self.rules.old_refusals_are_ignored && replica.owned.is_some_and(|owned| owned.epoch > later);
                let flight = replica.flight.filter(|flight| flight.worker == w && flight.attempt == attempt);
                if flight.is_some() && !is_old {
                    replica.flight = None;
                    replica.make_ready();
                }
                if !self.rules.refusals_are_not_confirmed {
                    Self::send(s, r, w, Down::Settled { attempt })?;
                }
            }
        }
        Some(())
    }

    fn send(s: &mut State, r: u8, w: u8, message: Down) -> Option<()> {
        match s.links[usize::from(r)].get_mut(usize::from(w)) {
            Some(link) if link.is_up && link.is_seen => link.down.push(message),
            _ => Some(()),
        }
    }
}

impl super::state::Replica {
    /// The scheduler's `release`.
    fn make_ready(&mut self) {
        if let Entry::Out(attempts) = self.entry {
            self.entry = Entry::Ready(attempts);
        }
    }

    /// The scheduler's `defer`.
    fn defer(&mut self, attempts: u8) {
        match self.entry {
            Entry::Out(_) => self.entry = Entry::Ready(attempts),
            Entry::Ready(before) => self.entry = Entry::Ready(before.max(attempts)),
            Entry::Unknown => {}
        }
    }

    /// A worker says what it holds. What it does not name of what it was sent before it was asked waits for a while.
    fn hear_holding(&mut self, w: u8, epoch: u8, held: Option<u8>, unanswered: u8, rules: Rules) {
        if let Some(owned) = self.owned.as_mut().filter(|owned| owned.epoch == epoch)
            && let Some(takeover) = &mut owned.takeover
        {
            takeover.waiting_for &= !(1 << w);
        }
        let mut is_news = false;
        if let Some(flight) = self.flight.as_mut().filter(|flight| flight.worker == w) {
            is_news = flight.news_to > 0;
            flight.news_to -= u8::from(is_news);
            if !is_news && !flight.is_settling && flight.shard_known {
                flight.limbo.get_or_insert(GRACE);
            }
        }
        let is_owned = self.owned.is_some_and(|owned| owned.epoch == epoch);
        // An answer that comes too late says nothing: the shard is another's, or will be asked for again.
        let Some(attempt) = held.filter(|_| is_owned || !rules.held_shards_are_named) else { return };
        match &mut self.flight {
            Some(flight) if flight.worker == w => {
                flight.limbo = None;
                // What it was sent later never arrived.
                if !is_news && rules.named_attempts_are_believed {
                    flight.attempt = attempt;
                }
            }
            // Another has an earlier attempt, which is over, and only the word of that was lost.
            Some(flight) if attempt > flight.attempt && rules.later_attempts_prevail => {
                self.take_over_flight(w, attempt, unanswered, rules);
            }
            Some(_) => {}
            None => self.take_over_flight(w, attempt, unanswered, rules),
        }
    }

    fn take_over_flight(&mut self, worker: u8, attempt: u8, news_to: u8, rules: Rules) {
        let shard_known = self.entry != Entry::Unknown || rules.held_shards_are_named;
        if let Entry::Ready(attempts) = self.entry {
            self.entry = Entry::Out(attempts);
        }
        self.flight = Some(Flight { worker, attempt, shard_known, news_to, limbo: None, is_settling: false });
    }
}
