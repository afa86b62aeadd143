//! Egress pools between the schedule, the workers and the allowances of the day: who serves which, what each can take,
//! and what the schedule is told of it. Not responsible for which pool a delivery goes through: the schedule is.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use mailtier_schedule::PoolId;
use mailtier_types::{Day, DeliveryId, ReversePath};
use opentelemetry::KeyValue;

use super::task::ConductorTask;
use crate::allowance::{Order, Taken};

/// How often allowances that were used up are asked for once more, and those that nobody uses here are given back.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Deliveries being read for their dispatch: each has a worker's credit set aside.
#[derive(Debug, Default)]
pub(super) struct Fetching {
    pools: HashMap<DeliveryId, PoolId>,
    counts: HashMap<PoolId, u32>,
}

impl Fetching {
    pub(super) fn insert(&mut self, id: DeliveryId, pool: PoolId) {
        if let Some(before) = self.pools.insert(id, pool) {
            self.uncount(before);
        }
        *self.counts.entry(pool).or_default() += 1;
    }

    /// Says whether it was there.
    pub(super) fn remove(&mut self, id: DeliveryId) -> bool {
        let Some(pool) = self.pools.remove(&id) else { return false };
        self.uncount(pool);
        true
    }

    pub(super) fn len(&self) -> usize {
        self.pools.len()
    }

    fn uncount(&mut self, pool: PoolId) {
        if let Some(count) = self.counts.get_mut(&pool) {
            *count = count.saturating_sub(1);
        }
    }

    fn of(&self, pool: PoolId) -> u32 {
        self.counts.get(&pool).copied().unwrap_or_default()
    }
}

/// What is kept of the pools here.
#[derive(Debug)]
pub(super) struct PoolDesk {
    /// The attribute of each pool's series, in the order of the pools.
    attributes: Vec<[KeyValue; 1]>,
    /// Of which it was said that mail waits and no worker serves it.
    warned: Vec<bool>,
    next_look: Instant,
    /// What is being asked for, and what is being given back.
    asked: usize,
    returning: usize,
}

impl PoolDesk {
    pub(super) fn new(names: impl Iterator<Item = String>, now: Instant) -> Self {
        let attributes: Vec<_> = names.map(|name| [KeyValue::new("pool", name)]).collect();
        Self { warned: vec![false; attributes.len()], attributes, next_look: now + LOOK_EVERY, asked: 0, returning: 0 }
    }

    fn attribute(&self, pool: PoolId) -> &[KeyValue] {
        self.attributes.get(pool.index()).map_or(&[], |attribute| attribute.as_slice())
    }
}

/// The domain of a reverse-path; none has the null one.
pub(crate) fn domain_of(sender: &ReversePath) -> &str {
    sender.mailbox().map_or("", |mailbox| mailbox.domain_str())
}

impl ConductorTask {
    /// The pools that a worker serves, as far as they are known here.
    pub(super) fn known_pools(&self, worker: &str, names: &[String]) -> Vec<PoolId> {
        let pools = &self.settings.rules.pools;
        let (known, unknown): (Vec<_>, Vec<_>) =
            names.iter().map(|name| pools.find(name).ok_or(name)).partition(Result::is_ok);
        let unknown: Vec<&String> = unknown.into_iter().filter_map(Result::err).collect();
        if !unknown.is_empty() {
            tracing::warn!(worker, pools = ?unknown, "a worker serves egress pools that are not in [[queue.pools]] here");
        }
        known.into_iter().flatten().collect()
    }

    /// Tells the schedule what workers can take of each pool now.
    pub(super) fn tell_credit(&mut self) {
        for (id, _) in self.settings.rules.pools.iter() {
            let credit = self.workers.credit_of(id).saturating_sub(self.fetching.of(id));
            // Without any worker everything waits, and no pool is worse than another.
            let is_served = self.workers.len() == 0 || self.workers.serve(id);
            self.scheduler.set_pool_credit(id, credit, is_served);
        }
    }

    /// Asks for what the schedule wants of the day's allowances; who leaves wants nothing more.
    pub(super) fn ask_allowances(&mut self) {
        if self.draining.is_some() || self.has_drained {
            return;
        }
        for wish in self.scheduler.allowance_wishes() {
            if let Some(pool) = self.settings.rules.pools.get(wish.pool) {
                let order = Order::Take { wish, name: pool.name.clone() };
                self.pools.asked += usize::from(self.purser.send(order).is_ok());
            }
        }
    }

    /// What was asked for, or nothing because it could not be had.
    pub(super) fn allowance_taken(&mut self, pool: PoolId, day: Day, taken: Option<Taken>) {
        self.pools.asked = self.pools.asked.saturating_sub(1);
        match taken {
            Some(Taken { slice, taken }) => self.scheduler.take_allowance(pool, day, slice, taken),
            None => self.scheduler.fail_allowance(pool, day),
        }
    }

    pub(super) fn allowance_returned(&mut self) {
        self.pools.returning = self.pools.returning.saturating_sub(1);
    }

    /// Gives back what is left of the day here: nothing more is dispatched. Says whether all is back; to be called again
    /// when nothing is in flight any more, because what was asked for may come until then, and what is handed out may come
    /// back unused.
    pub(super) fn return_allowances(&mut self) -> bool {
        let given = self.scheduler.surrender_allowance();
        self.give_back(given);
        self.pools.asked == 0 && self.pools.returning == 0
    }

    fn give_back(&mut self, given: Vec<(PoolId, Day, u32)>) {
        for (id, day, count) in given {
            if let Some(pool) = self.settings.rules.pools.get(id) {
                let order = Order::Return { name: pool.name.clone(), day, count };
                self.pools.returning += usize::from(self.purser.send(order).is_ok());
            }
        }
    }

    /// Once in a while: allowances that nobody uses here go back, and those that were used up are looked for again.
    pub(super) fn look_after_pools(&mut self, now: Instant) {
        if now >= self.pools.next_look {
            self.pools.next_look = now + LOOK_EVERY;
            let given = self.scheduler.look_for_allowance();
            self.give_back(given);
        }
        self.warn_of_unserved(now);
        for pool in self.scheduler.pools() {
            let attribute = self.pools.attribute(pool.id);
            self.meters.queue_pool_in_flight.record(u64::from(pool.in_flight), attribute);
            self.meters.queue_pool_ready.record(pool.ready as u64, attribute);
            if let Some(left) = pool.allowance_left {
                self.meters.queue_pool_allowance_left.record(left, attribute);
            }
        }
    }

    /// Says once of each pool that mail waits for a worker; again when one was there meanwhile.
    fn warn_of_unserved(&mut self, now: Instant) {
        if now < self.workers_known_from {
            return;
        }
        for pool in self.scheduler.pools() {
            let Some(is_warned) = self.pools.warned.get_mut(pool.id.index()) else { continue };
            if !pool.is_unserved {
                *is_warned = false;
            } else if pool.ready > 0 && !std::mem::replace(is_warned, true) {
                tracing::warn!(
                    pool = pool.name,
                    deliveries = pool.ready,
                    "mail waits: no connected worker serves its egress pool (see [[outbound.pools]])"
                );
            }
        }
    }

    /// A delivery went out through a pool.
    pub(super) fn count_dispatched(&self, pool: PoolId) {
        self.meters.queue_dispatched.add(1, self.pools.attribute(pool));
    }
}
