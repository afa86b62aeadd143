//! The shards this replica owns, and what must be known before their deliveries may be dispatched. Pure.
//!
//! A shard that had another owner a moment ago may have deliveries in the hands of workers. It is not dispatched from
//! until every connected worker has said what it holds of it, and until this process has been up for the grace, within
//! which every worker that lives has connected to it. A worker that stays away longer is taken for dead: that is the
//! published window.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use mailtier_store::TakenShard;
use mailtier_types::{Epoch, ShardId, WorkerId};

/// One owned shard.
#[derive(Debug)]
struct Owned {
    epoch: Epoch,
    /// Present until everything is known.
    takeover: Option<Takeover>,
}

#[derive(Debug)]
struct Takeover {
    /// Workers that have not answered.
    waiting_for: HashSet<WorkerId>,
    /// Not before this, so that every living worker has had the time to connect.
    not_before: Instant,
    /// Not after this, whoever has not answered.
    deadline: Instant,
}

/// All owned shards.
#[derive(Debug, Default)]
pub(super) struct Shards {
    owned: HashMap<ShardId, Owned>,
    taking_over: usize,
}

impl Shards {
    /// A shard has become ours. `not_before` and `deadline` bound the takeover of one that was not given up cleanly.
    pub(super) fn gain(
        &mut self,
        gained: TakenShard,
        workers: impl Iterator<Item = WorkerId>,
        not_before: Instant,
        deadline: Instant,
    ) {
        let takeover = (!gained.clean).then(|| Takeover { waiting_for: workers.collect(), not_before, deadline });
        self.lose(gained.shard);
        self.taking_over += usize::from(takeover.is_some());
        self.owned.insert(gained.shard, Owned { epoch: gained.epoch, takeover });
    }

    /// A shard is another's now; says whether it was ours.
    pub(super) fn lose(&mut self, shard: ShardId) -> bool {
        let lost = self.owned.remove(&shard);
        self.taking_over -= usize::from(lost.as_ref().is_some_and(|owned| owned.takeover.is_some()));
        lost.is_some()
    }

    /// The epoch in which a shard is owned, whether or not it may be dispatched from.
    pub(super) fn epoch(&self, shard: ShardId) -> Option<Epoch> {
        self.owned.get(&shard).map(|owned| owned.epoch)
    }

    /// Those that are still being taken over: what workers have of them is not known.
    pub(super) fn unknown(&self) -> Vec<ShardId> {
        self.owned.iter().filter(|(_, owned)| owned.takeover.is_some()).map(|(shard, _)| *shard).collect()
    }

    pub(super) const fn is_taking_over(&self) -> bool {
        self.taking_over > 0
    }

    pub(super) fn is_owned(&self, shard: ShardId) -> bool {
        self.owned.contains_key(&shard)
    }

    /// The epoch of a shard that may be dispatched from.
    pub(super) fn active(&self, shard: ShardId) -> Option<Epoch> {
        self.owned.get(&shard).filter(|owned| owned.takeover.is_none()).map(|owned| owned.epoch)
    }

    pub(super) fn len(&self) -> usize {
        self.owned.len()
    }

    /// All, with their epochs.
    pub(super) fn epochs(&self) -> Vec<(ShardId, Epoch)> {
        self.owned.iter().map(|(shard, owned)| (*shard, owned.epoch)).collect()
    }

    /// Those that may be dispatched from.
    pub(super) fn all_active(&self) -> Vec<ShardId> {
        self.owned.iter().filter(|(_, owned)| owned.takeover.is_none()).map(|(shard, _)| *shard).collect()
    }

    /// A worker has connected and is asked.
    pub(super) fn worker_connected(&mut self, worker: WorkerId) {
        for takeover in self.owned.values_mut().filter_map(|owned| owned.takeover.as_mut()) {
            takeover.waiting_for.insert(worker);
        }
    }

    /// A worker has answered for these shards, in this epoch.
    pub(super) fn worker_answered(&mut self, worker: WorkerId, answered: &[(ShardId, Epoch)]) {
        for (shard, epoch) in answered {
            if let Some(owned) = self.owned.get_mut(shard).filter(|owned| owned.epoch == *epoch)
                && let Some(takeover) = &mut owned.takeover
            {
                takeover.waiting_for.remove(&worker);
            }
        }
    }

    /// Ends the takeovers that can end; returns their shards, which are to be loaded. Those that are `unread` wait: what
    /// workers have of them does not count under its limits yet.
    pub(super) fn taken_over(&mut self, now: Instant, unread: impl FnOnce() -> HashSet<ShardId>) -> Vec<ShardId> {
        let mut done = Vec::new();
        if self.taking_over == 0 {
            return done;
        }
        let unread = unread();
        for (shard, owned) in self.owned.iter_mut().filter(|(shard, _)| !unread.contains(shard)) {
            let is_done = owned.takeover.as_ref().is_some_and(|takeover| {
                now >= takeover.deadline || (now >= takeover.not_before && takeover.waiting_for.is_empty())
            });
            if is_done {
                owned.takeover = None;
                done.push(*shard);
            }
        }
        self.taking_over -= done.len();
        done
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SHARD: ShardId = ShardId::new(7);

    fn gained(epoch: i64, clean: bool) -> TakenShard {
        TakenShard { shard: SHARD, epoch: Epoch(epoch), clean }
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_clean_shard_is_active_at_once() {
        let (mut shards, start) = (Shards::default(), Instant::now());
        shards.gain(gained(1, true), [WorkerId::random()].into_iter(), after(start, 5), after(start, 10));
        assert_eq!(shards.active(SHARD), Some(Epoch(1)));
        assert!(shards.taken_over(start, HashSet::new).is_empty());
    }

    #[test]
    fn a_takeover_waits_for_every_worker_and_for_those_that_may_still_connect() {
        let (mut shards, start) = (Shards::default(), Instant::now());
        let (first, second) = (WorkerId::random(), WorkerId::random());
        shards.gain(gained(4, false), [first].into_iter(), after(start, 5), after(start, 10));
        shards.worker_answered(first, &[(SHARD, Epoch(4))]);
        assert!(shards.taken_over(after(start, 1), HashSet::new).is_empty(), "others may connect");
        shards.worker_connected(second);
        assert!(shards.taken_over(after(start, 6), HashSet::new).is_empty(), "the second has not answered");
        shards.worker_answered(second, &[(SHARD, Epoch(3))]);
        assert!(shards.taken_over(after(start, 6), HashSet::new).is_empty(), "an answer to an older epoch is none");
        shards.worker_answered(second, &[(SHARD, Epoch(4))]);
        assert_eq!(shards.taken_over(after(start, 6), HashSet::new), [SHARD]);
        assert_eq!(shards.active(SHARD), Some(Epoch(4)));
    }

    #[test]
    fn a_takeover_ends_at_its_deadline() {
        let (mut shards, start) = (Shards::default(), Instant::now());
        shards.gain(gained(4, false), [WorkerId::random()].into_iter(), start, after(start, 10));
        assert!(shards.taken_over(after(start, 9), HashSet::new).is_empty());
        assert!(shards.taken_over(after(start, 10), || HashSet::from([SHARD])).is_empty(), "not before it is read");
        assert_eq!(shards.taken_over(after(start, 10), HashSet::new), [SHARD]);
    }

    #[test]
    fn a_lost_shard_is_not_dispatched_from() {
        let (mut shards, start) = (Shards::default(), Instant::now());
        shards.gain(gained(1, true), std::iter::empty(), start, start);
        assert!(shards.lose(SHARD));
        assert_eq!(shards.active(SHARD), None);
        assert!(!shards.lose(SHARD));
    }
}
