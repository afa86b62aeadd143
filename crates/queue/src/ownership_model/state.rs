//! What the model keeps of the world: one shard, one delivery, replicas, workers and what is on its way between them.
//!
//! Times are small numbers of ticks that are left, or that have passed, never points in time: so the states are finitely
//! many.

use std::hash::{Hash, Hasher};

/// Replicas of the queue, and the most workers.
pub(super) const REPLICAS: usize = 2;
pub(super) const WORKERS: usize = 2;
/// How long a lease is, in ticks; dispatching is allowed for two thirds of it.
pub(super) const LEASE: u8 = 3;
pub(super) const FENCE: u8 = LEASE * 2 / 3;
/// How long a worker is waited for.
pub(super) const GRACE: u8 = 2;
/// How long an owner may be out of a worker's reach before the worker leaves what it has not begun to others.
pub(super) const PATIENCE: u8 = GRACE / 2;
/// Messages on their way over one connection in one direction; a sender waits for room.
pub(super) const WIRE: usize = 4;
/// Who held something and was killed: its number is never used again.
pub(super) const DEAD: u8 = 7;

/// A short queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fifo<T: Copy, const N: usize> {
    items: [Option<T>; N],
}

impl<T: Copy, const N: usize> Fifo<T, N> {
    pub(super) const EMPTY: Self = Self { items: [None; N] };

    /// Nothing when there is no room.
    #[must_use]
    pub(super) fn push(&mut self, item: T) -> Option<()> {
        *self.items.iter_mut().find(|place| place.is_none())? = Some(item);
        Some(())
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        let first = self.items[0].take();
        self.items.rotate_left(1);
        first
    }

    /// A worker was killed: what bears its number bears a dead one's.
    pub(super) fn forget(&mut self, worker: u8, number: impl Fn(&mut T) -> &mut u8) {
        let numbers = self.items.iter_mut().flatten().map(number);
        numbers.filter(|number| **number == worker).for_each(|number| *number = DEAD);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items[0].is_none()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = T> + '_ {
        self.items.iter().flatten().copied()
    }
}

/// Only what is in it counts: most are empty.
impl<T: Copy + Hash, const N: usize> Hash for Fifo<T, N> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        for item in &self.items {
            let Some(item) = item else { break };
            item.hash(hasher);
        }
        hasher.write_u8(u8::MAX);
    }
}

/// What the remote host says of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    Delivered,
    Deferred,
    Failed,
}

/// The row of the delivery with that of its retry, and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Delivery {
    pub(super) fate: Fate,
    /// Attempts that the stored opinion counts.
    pub(super) attempts: u8,
    /// The highest attempt that was ever deferred by a settlement.
    pub(super) newest_opinion: u8,
    /// Notifications written.
    pub(super) notified: u8,
    /// How often the remote host has taken the message.
    pub(super) accepted: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fate {
    Queued,
    Delivered,
    Failed,
}

/// The row of the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shard {
    pub(super) owner: Option<u8>,
    pub(super) epoch: u8,
    /// Ticks left; absent where it was given up clean.
    pub(super) lease: Option<u8>,
}

/// A statement of the keeper that the database has carried out, and whose answer is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    /// Ticks since the question.
    pub(super) age: u8,
    pub(super) answer: Answer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Answer {
    /// The epoch in which the shard came back.
    Renewed(Option<u8>),
    Taken {
        epoch: u8,
        clean: bool,
    },
}

impl Asked {
    /// How old the answer to a take is does not matter, nor does more than the fence.
    pub(super) fn grow_old(&mut self) {
        if matches!(self.answer, Answer::Renewed(_)) {
            self.age = (self.age + 1).min(FENCE);
        }
    }
}

/// The shard as the conductor owns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Owned {
    pub(super) epoch: u8,
    pub(super) takeover: Option<Takeover>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Takeover {
    /// A bit for each worker that has not answered.
    pub(super) waiting_for: u8,
    pub(super) not_before: u8,
    pub(super) deadline: u8,
}

/// The delivery in the schedule, with the attempts that are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Entry {
    Unknown,
    Ready(u8),
    Out(u8),
}

/// The delivery in the hands of a worker, as the owner believes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flight {
    pub(super) worker: u8,
    pub(super) attempt: u8,
    /// It is known to be of this shard.
    pub(super) shard_known: bool,
    /// Questions not answered yet that were asked before it was dispatched: it is news to them.
    pub(super) news_to: u8,
    pub(super) limbo: Option<u8>,
    pub(super) is_settling: bool,
}

/// A result with the settler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Report {
    pub(super) worker: u8,
    pub(super) attempt: u8,
    pub(super) outcome: Outcome,
}

/// A durable settlement that the conductor has not heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Settled {
    pub(super) worker: u8,
    pub(super) attempt: u8,
    /// The attempts stored, or absent where the delivery is over.
    pub(super) later: Option<u8>,
}

/// One replica: keeper, conductor and settler.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) struct Replica {
    pub(super) is_up: bool,
    pub(super) is_draining: bool,
    /// The keeper's: the epoch it believes to hold, and its question.
    pub(super) held: Option<u8>,
    pub(super) asked: Option<Asked>,
    /// Ticks for which the fence stays open.
    pub(super) fence: u8,
    /// The keeper knows that the shard is lost, the conductor does not yet.
    pub(super) is_loss_untold: bool,
    pub(super) owned: Option<Owned>,
    pub(super) entry: Entry,
    pub(super) flight: Option<Flight>,
    /// Ticks until every worker that lives is connected, or was lost for longer than it is waited for.
    pub(super) workers_known_in: u8,
    pub(super) reports: Fifo<Report, 2>,
    pub(super) settled: Fifo<Settled, 2>,
}

impl Replica {
    pub(super) const DOWN: Self = Self {
        is_up: false,
        is_draining: false,
        held: None,
        asked: None,
        fence: 0,
        is_loss_untold: false,
        owned: None,
        entry: Entry::Unknown,
        flight: None,
        workers_known_in: 0,
        reports: Fifo::EMPTY,
        settled: Fifo::EMPTY,
    };

    pub(super) const STARTED: Self = Self { is_up: true, workers_known_in: GRACE, ..Self::DOWN };

    /// The epoch in which it may dispatch, fence and drain aside.
    pub(super) fn active(&self) -> Option<u8> {
        self.owned.filter(|owned| owned.takeover.is_none()).map(|owned| owned.epoch)
    }

    pub(super) fn may_dispatch(&self) -> bool {
        !self.is_draining && self.fence > 0
    }
}

/// From a replica to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Down {
    Inquire { epoch: u8 },
    Dispatch { epoch: u8, attempt: u8 },
    Settled { attempt: u8 },
}

/// From a worker to a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Up {
    Holding { epoch: u8, held: Option<u8> },
    Result { attempt: u8, outcome: Outcome },
    NotAttempted { attempt: u8, later: u8 },
}

/// The connection between one replica and one worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// It exists.
    pub(super) is_up: bool,
    /// The replica believes so; it notices a loss later than the worker.
    pub(super) is_seen: bool,
    pub(super) down: Fifo<Down, WIRE>,
    pub(super) up: Fifo<Up, WIRE>,
    /// Ticks for which the replica has been without a word it waits for.
    pub(super) silent: u8,
}

/// What is small goes into one octet: hashing is most of the work.
impl Hash for Link {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u8(u8::from(self.is_up) | u8::from(self.is_seen) << 1 | self.silent << 2);
        if self.is_up {
            self.down.hash(hasher);
            self.up.hash(hasher);
        }
    }
}

impl Link {
    pub(super) const NONE: Self = Self { is_up: false, is_seen: false, down: Fifo::EMPTY, up: Fifo::EMPTY, silent: 0 };
    pub(super) const UP: Self = Self { is_up: true, is_seen: true, ..Self::NONE };

    /// Questions that were not answered yet.
    pub(super) fn unanswered(&self) -> u8 {
        let asked = self.down.iter().filter(|message| matches!(message, Down::Inquire { .. }));
        let answers = self.up.iter().filter(|message| matches!(message, Up::Holding { .. }));
        u8::try_from(asked.count() + answers.count()).unwrap()
    }

    /// The worker is connected and every question is answered.
    pub(super) fn is_in_touch(&self) -> bool {
        self.is_up && self.is_seen && self.unanswered() == 0
    }
}

/// One worker: its ledger of the shard and the delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Worker {
    pub(super) is_up: bool,
    /// The highest epoch seen, and whose it was; absent where that process is gone.
    pub(super) epoch: u8,
    pub(super) owner: Option<u8>,
    /// Ticks for which the owner has been out of reach.
    pub(super) owner_gone: u8,
    /// The attempt in hand.
    pub(super) running: Option<u8>,
    /// The result that nobody has settled.
    pub(super) finished: Option<(u8, Outcome)>,
}

impl Worker {
    pub(super) const STARTED: Self =
        Self { is_up: true, epoch: 0, owner: None, owner_gone: 0, running: None, finished: None };
}

/// How often each fault may happen yet, and each thing whose number would else have no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Budget {
    pub(super) replica_crashes: u8,
    pub(super) worker_crashes: u8,
    /// A replica lives, and yet its lease runs out.
    pub(super) pauses: u8,
    /// A worker lives, and yet a replica is without a word from it for the whole grace.
    pub(super) absences: u8,
    /// A connection breaks and loses what is on its way.
    pub(super) losses: u8,
    /// A replica gives the shard up, for another's share or to leave.
    pub(super) handovers: u8,
    /// A statement is carried out, or not, and its answer is lost.
    pub(super) lost_answers: u8,
    /// The remote host defers.
    pub(super) deferrals: u8,
    /// The remote host refuses for good.
    pub(super) refusals: u8,
}

/// The whole world.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub(super) delivery: Delivery,
    pub(super) shard: Shard,
    pub(super) replicas: [Replica; REPLICAS],
    pub(super) workers: [Worker; WORKERS],
    pub(super) links: [[Link; WORKERS]; REPLICAS],
    pub(super) budget: Budget,
    /// How often the published window has opened: a worker died with the delivery, or was out of reach for the grace.
    pub(super) windows: u8,
    /// A replica dispatched what was not its own.
    pub(super) has_strange_dispatch: bool,
}

impl State {
    /// A system that has been up for long: the first replica has just taken the shard, which nobody had before, and the
    /// message was just accepted.
    pub(super) fn new(workers: usize, budget: Budget) -> Self {
        let owner = Replica {
            is_up: true,
            held: Some(1),
            fence: FENCE,
            owned: Some(Owned { epoch: 1, takeover: None }),
            ..Replica::DOWN
        };
        let worker = Worker { epoch: 1, owner: Some(0), ..Worker::STARTED };
        let mut state = Self {
            delivery: Delivery { fate: Fate::Queued, attempts: 0, newest_opinion: 0, notified: 0, accepted: 0 },
            shard: Shard { owner: Some(0), epoch: 1, lease: Some(LEASE) },
            replicas: [owner, Replica { is_up: true, ..Replica::DOWN }],
            workers: [worker; WORKERS],
            links: [[Link::UP; WORKERS]; REPLICAS],
            budget,
            windows: 0,
            has_strange_dispatch: false,
        };
        for absent in workers..WORKERS {
            state.workers[absent].is_up = false;
            state.links.iter_mut().for_each(|links| links[absent] = Link::NONE);
        }
        state
    }
}
