//! Everything that can happen next, one step at a time, and how it is told in a trace.
//!
//! A process that is slow or paused needs no step: nothing obliges a step to be taken while time passes.

use std::fmt;

use super::rules::Rules;
use super::state::{Outcome, REPLICAS, State};

/// One thing that happens. `r` is a replica, `w` a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Tick,
    // A keeper and the database.
    Renew(u8),
    Take(u8),
    HearAnswer(u8),
    LoseAnswer(u8),
    GiveUp { r: u8, is_done: bool },
    Drain(u8),
    Leave { r: u8, is_clean: bool, is_done: bool },
    // A conductor and its settler.
    LearnLoss(u8),
    EndTakeover(u8),
    Load(u8),
    Dispatch { r: u8, w: u8 },
    GiveUpFlight(u8),
    Settle(u8),
    Conclude(u8),
    // Connections.
    Break { r: u8, w: u8 },
    NoticeLoss { r: u8, w: u8 },
    Connect { r: u8, w: u8 },
    WorkerHears { r: u8, w: u8 },
    ReplicaHears { r: u8, w: u8 },
    // A worker and the remote host.
    Attempt { w: u8, outcome: Outcome },
    Forget(u8),
    // Processes.
    KillReplica(u8),
    StartReplica(u8),
    KillWorker(u8),
    StartWorker(u8),
}

impl Step {
    /// What a fair world need not do: a continuation without it must still come to a good end.
    pub(super) const fn is_fault(self) -> bool {
        matches!(
            self,
            Self::LoseAnswer(_)
                | Self::GiveUp { .. }
                | Self::Drain(_)
                | Self::Leave { is_done: false, .. }
                | Self::Break { .. }
                | Self::KillReplica(_)
                | Self::KillWorker(_)
        )
    }

    /// All there are, possible or not.
    pub(super) fn all(workers: usize) -> Vec<Self> {
        let (replicas, workers) = (0..u8::try_from(REPLICAS).unwrap(), 0..u8::try_from(workers).unwrap());
        let mut all = vec![Self::Tick];
        for w in workers.clone() {
            let outcomes = [Outcome::Delivered, Outcome::Deferred, Outcome::Failed];
            all.extend(outcomes.map(|outcome| Self::Attempt { w, outcome }));
            all.extend([Self::Forget(w), Self::KillWorker(w), Self::StartWorker(w)]);
        }
        for r in replicas {
            all.extend([Self::Renew(r), Self::Take(r), Self::HearAnswer(r), Self::LoseAnswer(r), Self::Drain(r)]);
            all.extend([true, false].map(|is_done| Self::GiveUp { r, is_done }));
            let ends = [(true, true), (true, false), (false, true), (false, false)];
            all.extend(ends.map(|(is_clean, is_done)| Self::Leave { r, is_clean, is_done }));
            all.extend([Self::LearnLoss(r), Self::EndTakeover(r), Self::Load(r), Self::GiveUpFlight(r)]);
            all.extend([Self::Settle(r), Self::Conclude(r), Self::KillReplica(r), Self::StartReplica(r)]);
            for w in workers.clone() {
                all.extend([Self::Dispatch { r, w }, Self::Break { r, w }, Self::NoticeLoss { r, w }]);
                all.extend([Self::Connect { r, w }, Self::WorkerHears { r, w }, Self::ReplicaHears { r, w }]);
            }
        }
        all
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Tick => write!(f, "time passes"),
            Self::Renew(r) => write!(f, "replica {r} asks for a renewal, and the database carries it out"),
            Self::Take(r) => write!(f, "replica {r} takes the shard, and the answer is on its way"),
            Self::HearAnswer(r) => write!(f, "replica {r} hears the database's answer"),
            Self::LoseAnswer(r) => write!(f, "the database's answer to replica {r} is lost"),
            Self::GiveUp { r, is_done: true } => write!(f, "replica {r} gives the shard up for another's share"),
            Self::GiveUp { r, is_done: false } => write!(f, "replica {r} wants to give the shard up and cannot"),
            Self::Drain(r) => write!(f, "replica {r} begins to drain"),
            Self::Leave { r, is_clean, is_done } => {
                let clean = if is_clean { "clean" } else { "not clean" };
                let done = if is_done { "" } else { ", which fails" };
                write!(f, "replica {r} gives the shard up, {clean}{done}, and ends")
            }
            Self::LearnLoss(r) => write!(f, "replica {r}'s conductor learns that the shard is lost"),
            Self::EndTakeover(r) => write!(f, "replica {r} ends its takeover"),
            Self::Load(r) => write!(f, "replica {r} loads the delivery"),
            Self::Dispatch { r, w } => write!(f, "replica {r} dispatches to worker {w}"),
            Self::GiveUpFlight(r) => write!(f, "replica {r} takes what its worker had for lost"),
            Self::Settle(r) => write!(f, "replica {r} settles a result"),
            Self::Conclude(r) => write!(f, "replica {r}'s conductor hears of a settlement"),
            Self::Break { r, w } => write!(f, "the connection of replica {r} and worker {w} breaks"),
            Self::NoticeLoss { r, w } => write!(f, "replica {r} notices that worker {w} is gone"),
            Self::Connect { r, w } => write!(f, "worker {w} connects to replica {r}"),
            Self::WorkerHears { r, w } => write!(f, "worker {w} hears replica {r}"),
            Self::ReplicaHears { r, w } => write!(f, "replica {r} hears worker {w}"),
            Self::Attempt { w, outcome } => write!(f, "worker {w} attempts: {outcome:?}"),
            Self::Forget(w) => write!(f, "worker {w} leaves the delivery to others"),
            Self::KillReplica(r) => write!(f, "replica {r} is killed"),
            Self::StartReplica(r) => write!(f, "replica {r} is started anew"),
            Self::KillWorker(w) => write!(f, "worker {w} is killed"),
            Self::StartWorker(w) => write!(f, "worker {w} is started anew"),
        }
    }
}

/// The protocol with its rules, for so many workers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Protocol {
    pub(super) rules: Rules,
    pub(super) workers: usize,
}

impl Protocol {
    /// What a step makes of a state; nothing where it cannot be taken.
    pub(super) fn after(&self, state: &State, step: Step) -> Option<State> {
        let mut next = *state;
        self.take(&mut next, step)?;
        Some(next)
    }

    fn take(&self, s: &mut State, step: Step) -> Option<()> {
        match step {
            Step::Tick => self.tick(s),
            Step::Renew(r) => Self::renew(s, r),
            Step::Take(r) => self.take_shard(s, r),
            Step::HearAnswer(r) => self.hear_answer(s, r),
            Step::LoseAnswer(r) => Self::lose_answer(s, r),
            Step::GiveUp { r, is_done } => self.give_up(s, r, is_done),
            Step::Drain(r) => Self::drain(s, r),
            Step::Leave { r, is_clean, is_done } => self.leave(s, r, is_clean, is_done),
            Step::LearnLoss(r) => Self::learn_loss(s, r),
            Step::EndTakeover(r) => Self::end_takeover(s, r),
            Step::Load(r) => Self::load(s, r),
            Step::Dispatch { r, w } => Self::dispatch(s, r, w),
            Step::GiveUpFlight(r) => Self::give_up_flight(s, r),
            Step::Settle(r) => self.settle(s, r),
            Step::Conclude(r) => self.conclude(s, r),
            Step::Break { r, w } => Self::break_link(s, r, w),
            Step::NoticeLoss { r, w } => Self::notice_loss(s, r, w),
            Step::Connect { r, w } => self.connect(s, r, w),
            Step::WorkerHears { r, w } => self.worker_hears(s, r, w),
            Step::ReplicaHears { r, w } => self.replica_hears(s, r, w),
            Step::Attempt { w, outcome } => self.attempt(s, w, outcome),
            Step::Forget(w) => Self::forget(s, w),
            Step::KillReplica(r) => Self::kill_replica(s, r),
            Step::StartReplica(r) => Self::start_replica(s, r),
            Step::KillWorker(w) => Self::kill_worker(s, w),
            Step::StartWorker(w) => self.start_worker(s, w),
        }
    }
}
