//! What the worker holds: deliveries being attempted, results that no owner has settled yet, and who owns which shard.
//!
//! Pure: time is passed in. Responsible for refusing work of an older owner, for never attempting a delivery twice at a
//! time, and for keeping every result until some owner has made it durable (DESIGN.md, "The queue"). Not responsible
//! for links or for attempts.

mod credit;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use mailtier_api::work::{InFlight, WorkResult};
use mailtier_types::{DeliveryId, Epoch, ReplicaId, SHARD_COUNT, ShardId};

pub(crate) use credit::{Credit, Lane, LinkId};

/// What to do with a delivery that a queue replica sends.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Admission {
    /// Attempt it.
    Start,
    /// It is being attempted: its result will go to whoever owns the shard then.
    Known,
    /// It was attempted, and the result was not settled: here it is again.
    Finished(WorkResult),
    /// The shard has had a later owner, in this epoch.
    Stale(Epoch),
}

/// Who owned a shard last, as far as this worker knows.
#[derive(Clone, Copy, Debug, Default)]
struct Ownership {
    epoch: Epoch,
    owner: Option<ReplicaId>,
}

/// Whether a replica can be reached.
#[derive(Clone, Copy, Debug)]
enum Presence {
    Connected,
    GoneSince(Instant),
}

/// A delivery being attempted.
#[derive(Clone, Copy, Debug)]
struct Running {
    shard: ShardId,
    attempt: u16,
}

/// The worker's memory of its work.
#[derive(Debug)]
pub(crate) struct Ledger {
    shards: Vec<Ownership>,
    replicas: HashMap<ReplicaId, Presence>,
    running: HashMap<DeliveryId, Running>,
    finished: HashMap<DeliveryId, WorkResult>,
    /// How long an owner may be out of reach before deliveries not begun are left to others.
    patience: Duration,
}

impl Ledger {
    /// `patience` must be shorter than the time for which a queue replica waits for a worker it has lost.
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            shards: vec![Ownership::default(); usize::from(SHARD_COUNT)],
            replicas: HashMap::new(),
            running: HashMap::new(),
            finished: HashMap::new(),
            patience,
        }
    }

    /// A replica can be reached.
    pub(crate) fn connected(&mut self, replica: ReplicaId) {
        self.replicas.insert(replica, Presence::Connected);
    }

    /// A replica is out of reach. Replicas that own nothing any more are forgotten.
    pub(crate) fn disconnected(&mut self, replica: ReplicaId, now: Instant) {
        self.replicas.insert(replica, Presence::GoneSince(now));
        let shards = &self.shards;
        self.replicas.retain(|replica, presence| {
            matches!(presence, Presence::Connected) || shards.iter().any(|shard| shard.owner == Some(*replica))
        });
    }

    /// A delivery arrives.
    pub(crate) fn admit(
        &mut self,
        from: ReplicaId,
        delivery: DeliveryId,
        shard: ShardId,
        epoch: Epoch,
        attempt: u16,
    ) -> Admission {
        if let Err(later) = self.own(from, shard, epoch) {
            return Admission::Stale(later);
        }
        if let Some(running) = self.running.get_mut(&delivery) {
            // A later attempt is answered by the one under way, under its number: else its owner would wait for it.
            running.attempt = running.attempt.max(attempt);
            return Admission::Known;
        }
        // A later attempt shows that the earlier one was settled, and only the word of it was lost.
        if let Some(result) = self.finished.get(&delivery).filter(|result| result.attempt >= attempt) {
            return Admission::Finished(result.clone());
        }
        self.finished.remove(&delivery);
        self.running.insert(delivery, Running { shard, attempt });
        Admission::Start
    }

    /// A replica asks what is held of shards that it owns. Answers which of them are not its own any more, with their
    /// later epochs, what is being attempted, and what is finished.
    pub(crate) fn inquire(&mut self, from: ReplicaId, shards: &[(ShardId, Epoch)]) -> Held {
        let mut owned = vec![false; usize::from(SHARD_COUNT)];
        let mut epochs = Vec::with_capacity(shards.len());
        for &(shard, epoch) in shards {
            match self.own(from, shard, epoch) {
                Ok(()) => {
                    epochs.push((shard, epoch));
                    if let Some(owned) = owned.get_mut(shard.index()) {
                        *owned = true;
                    }
                }
                Err(later) => epochs.push((shard, later)),
            }
        }
        let is_owned = |shard: ShardId| owned.get(shard.index()).copied().unwrap_or(false);
        let running = self.running.iter().filter(|(_, running)| is_owned(running.shard));
        let running = running.map(|(&delivery, running)| InFlight {
            delivery,
            attempt: running.attempt,
            shard: Some(running.shard),
        });
        let finished: Vec<WorkResult> =
            self.finished.values().filter(|result| is_owned(result.shard)).cloned().collect();
        let unsettled = finished.iter().map(|result| InFlight {
            delivery: result.delivery,
            attempt: result.attempt,
            shard: Some(result.shard),
        });
        Held { in_flight: running.chain(unsettled).collect(), finished, shards: epochs }
    }

    /// Asked just before a transaction begins: whether it may. Not when the owner has been out of reach for so long that
    /// another worker may have been given the delivery.
    pub(crate) fn may_begin(&self, shard: ShardId, now: Instant) -> bool {
        let owner = self.shards.get(shard.index()).and_then(|shard| shard.owner);
        match owner.and_then(|owner| self.replicas.get(&owner)) {
            Some(Presence::Connected) => true,
            Some(Presence::GoneSince(since)) => now.saturating_duration_since(*since) < self.patience,
            None => false,
        }
    }

    /// A result as it is to be reported: under the latest number and epoch that are known. An owner ignores a refusal of
    /// an epoch before its own.
    pub(crate) fn up_to_date(&self, result: WorkResult) -> WorkResult {
        let running = self.running.get(&result.delivery).map_or(result.attempt, |running| running.attempt);
        let epoch = self.shards.get(result.shard.index()).map_or(result.epoch, |shard| shard.epoch);
        WorkResult { attempt: running.max(result.attempt), epoch: epoch.max(result.epoch), ..result }
    }

    /// An attempt is over. Answers to whom its result goes, if that replica can be reached; else the result waits until
    /// an owner asks for it.
    pub(crate) fn finish(&mut self, result: WorkResult) -> Option<ReplicaId> {
        self.running.remove(&result.delivery);
        let owner = self.owner_in_reach(result.shard);
        // A delivery that was not attempted leaves nothing to remember: whoever asks does not find it, and sends it again.
        if !result.not_attempted {
            self.finished.insert(result.delivery, result);
        }
        owner
    }

    /// A delivery is dropped without a result: to its owner it is as if it had never arrived.
    pub(crate) fn forget(&mut self, delivery: DeliveryId) {
        self.running.remove(&delivery);
    }

    /// A result is durable.
    pub(crate) fn settled(&mut self, delivery: DeliveryId, attempt: u16) {
        if self.finished.get(&delivery).is_some_and(|result| result.attempt <= attempt) {
            self.finished.remove(&delivery);
        }
    }

    /// Deliveries being attempted.
    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    /// Results not settled.
    pub(crate) fn unsettled(&self) -> usize {
        self.finished.len()
    }

    fn owner_in_reach(&self, shard: ShardId) -> Option<ReplicaId> {
        let owner = self.shards.get(shard.index())?.owner?;
        matches!(self.replicas.get(&owner), Some(Presence::Connected)).then_some(owner)
    }

    /// Notes who owns a shard; the epoch of a later owner where there is one.
    fn own(&mut self, replica: ReplicaId, shard: ShardId, epoch: Epoch) -> Result<(), Epoch> {
        let Some(known) = self.shards.get_mut(shard.index()) else { return Err(epoch) };
        if epoch < known.epoch {
            return Err(known.epoch);
        }
        *known = Ownership { epoch, owner: Some(replica) };
        Ok(())
    }
}

/// What is held of the shards that a replica asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Held {
    /// Each shard asked for with the latest epoch known of it.
    pub(crate) shards: Vec<(ShardId, Epoch)>,
    /// Being attempted, or finished and not settled: nobody else is to attempt them.
    pub(crate) in_flight: Vec<InFlight>,
    /// Finished and not settled.
    pub(crate) finished: Vec<WorkResult>,
}
