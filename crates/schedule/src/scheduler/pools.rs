//! The gates of egress pools: through which pool a queue's next delivery goes, or which one holds the queue. A pool lets
//! pass what its limits, its warm-up and the credit of the workers that serve it allow. What is beyond a day of a
//! warm-up goes on to the pool it overflows into, or waits for the next day.
//!
//! Not responsible for what the pools are (`pools`), nor for the allowance of a day beyond this replica (`allowance`).

use std::collections::HashMap;

use mailtier_types::{Day, DeliveryId, Group, TenantId, Timestamp};

use crate::allowance::{Allowance, AllowanceWish};
use crate::memory::{Key, List, Slab, Slot};
use crate::pools::{PoolId, WarmUp};
use crate::rules::Rules;
use crate::scheduler::Scheduler;
use crate::scheduler::gate::Gate;
use crate::scheduler::places::{Destination, OfDestination, Queue, Turn};

/// Which rules of pools there are for a mail. Mail of one tenant to one destination has a queue for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolClass(u16);

impl PoolClass {
    /// Of mail that no rule is about.
    pub const DEFAULT: Self = Self(0);

    pub(crate) const fn number(self) -> u16 {
        self.0
    }
}

/// Classes that depend on a provider; beyond so many, mail goes by the rules without one.
const MAX_CLASSES: usize = 10_000;

/// The pool through which a delivery is in flight, in one octet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Through(u8);

impl Through {
    /// Whether it went out on a day with an odd number: what comes back unused on a later day is of no use.
    const ODD_DAY: u8 = 0x80;

    fn new(pool: PoolId, day: Day) -> Self {
        Self(pool.number() | if day.number() & 1 == 1 { Self::ODD_DAY } else { 0 })
    }

    pub(crate) const fn from_octet(octet: u8) -> Self {
        Self(octet)
    }

    pub(crate) const fn octet(self) -> u8 {
        self.0
    }

    const fn pool(self) -> PoolId {
        PoolId::new(self.0 & !Self::ODD_DAY)
    }

    fn is_of(self, day: Day) -> bool {
        (self.0 & Self::ODD_DAY != 0) == (day.number() & 1 == 1)
    }
}

/// One pool, as it stands.
#[derive(Debug)]
struct State {
    gate: Key<Gate>,
    overflow: Option<PoolId>,
    warm_up: Option<WarmUp>,
    allowance: Allowance,
    /// What workers can take; absent: no worker was ever spoken of.
    credit: Option<u32>,
    is_unserved: bool,
    /// Of the queues that belong to it, what is ready.
    ready: usize,
    /// Nothing of it goes anywhere until something changes.
    is_stuck: bool,
}

/// All pools, and the classes of mail.
#[derive(Debug)]
pub(crate) struct Pooling {
    states: Vec<State>,
    /// The rules of each class.
    classes: Vec<Box<[u16]>>,
    numbers: HashMap<Box<[u16]>, PoolClass>,
    day: Day,
}

/// How a pool stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolStanding<'a> {
    /// Which.
    pub id: PoolId,
    /// Its name.
    pub name: &'a str,
    /// Deliveries being attempted through it.
    pub in_flight: u32,
    /// Deliveries that are due, and whose rules name it.
    pub ready: usize,
    /// What its warm-up allows today beyond what has gone out, as far as this replica knows; absent where it is warm.
    pub allowance_left: Option<u64>,
    /// Somebody has suspended it.
    pub is_suspended: bool,
    /// No worker serves it.
    pub is_unserved: bool,
}

impl Pooling {
    pub(crate) fn new(rules: &Rules, gates: &mut Slab<Gate>) -> Self {
        let states = rules.pools.iter().map(|(_, pool)| {
            let gate = gates.take();
            gates[gate] = Gate::of(Group::Pool(pool.name.clone()), pool.limits);
            State {
                gate,
                overflow: pool.overflow,
                warm_up: pool.warm_up.clone(),
                allowance: Allowance::default(),
                credit: None,
                is_unserved: false,
                ready: 0,
                is_stuck: false,
            }
        });
        Self {
            states: states.collect(),
            classes: vec![Box::default()],
            numbers: HashMap::from([(Box::default(), PoolClass::default())]),
            day: Day::default(),
        }
    }

    pub(crate) fn gates(&self) -> impl Iterator<Item = Key<Gate>> + '_ {
        self.states.iter().map(|state| state.gate)
    }

    pub(crate) fn gate(&self, pool: PoolId) -> Key<Gate> {
        self.states.get(pool.index()).map_or(Key::NONE, |state| state.gate)
    }

    /// A pool's queue has got some ready deliveries more or less.
    pub(crate) fn count_ready(&mut self, pool: PoolId, more: usize, less: usize) {
        if let Some(state) = self.states.get_mut(pool.index()) {
            state.ready = (state.ready + more).saturating_sub(less);
        }
    }

    pub(crate) fn is_stuck(&self, pool: PoolId) -> bool {
        self.states.get(pool.index()).is_some_and(|state| state.is_stuck)
    }

    /// When a new day changes what may go out.
    pub(crate) fn next_day(&self) -> Option<Timestamp> {
        self.states.iter().any(|state| state.allowance.is_limited()).then(|| self.day.ends_at())
    }

    /// Where mail that belongs to a pool goes now, whether or not it may pass there: pools whose day is over hand it on.
    fn resolve(&self, pool: PoolId) -> PoolId {
        let mut pool = pool;
        // No way leads in a circle; should one, it ends.
        for _ in 0..self.states.len() {
            let Some(state) = self.states.get(pool.index()).filter(|state| state.allowance.is_over()) else { break };
            let Some(next) = state.overflow else { break };
            pool = next;
        }
        pool
    }
}

impl Scheduler {
    /// The class of a mail. `sender_domain` is empty for the null reverse-path.
    pub fn class_of(&mut self, tenant: TenantId, sender_domain: &str, destination: &str) -> PoolClass {
        let pooling = &mut self.keeping.pooling;
        let mut rules = self.keeping.rules.pools.candidates(tenant, sender_domain, destination);
        if let Some(&known) = pooling.numbers.get(rules.as_slice()) {
            return known;
        }
        if rules.len() > 1 && pooling.classes.len() >= MAX_CLASSES {
            rules.drain(..rules.len() - 1);
            if let Some(&known) = pooling.numbers.get(rules.as_slice()) {
                return known;
            }
        }
        let Ok(number) = u16::try_from(pooling.classes.len()) else { return PoolClass::default() };
        let rules = rules.into_boxed_slice();
        pooling.classes.push(rules.clone());
        pooling.numbers.insert(rules, PoolClass(number));
        PoolClass(number)
    }

    /// The pool through which a delivery is in flight.
    #[must_use]
    pub fn pool_of(&self, id: DeliveryId) -> Option<PoolId> {
        self.entries[self.find(id)?].through().map(Through::pool)
    }

    /// How each pool stands.
    pub fn pools(&self) -> impl Iterator<Item = PoolStanding<'_>> {
        self.keeping.rules.pools.iter().zip(&self.keeping.pooling.states).map(|((id, pool), state)| PoolStanding {
            id,
            name: &pool.name,
            in_flight: self.gates[state.gate].in_flight,
            ready: state.ready,
            allowance_left: state.allowance.remaining(),
            is_suspended: self.gates[state.gate].is_suspended,
            is_unserved: state.is_unserved,
        })
    }

    /// Whether a pool's gate would let mail pass if workers could take more: neither its limits nor the day of its warm-up
    /// keep it back.
    pub(super) fn lacks_workers_only(&self, gate: Key<Gate>) -> bool {
        let Some(state) = self.keeping.pooling.states.iter().find(|state| state.gate == gate) else { return false };
        let has_allowance = state.allowance.free().is_none_or(|free| free > 0);
        has_allowance && self.gates[gate].free_by_limits(self.now) > 0
    }

    /// What the workers that serve a pool can take now, and whether there is any; before the first word of it there is no
    /// such limit. Costs in proportion to the destinations where the first worker came or the last went.
    pub fn set_pool_credit(&mut self, pool: PoolId, credit: u32, is_served: bool) {
        let Some(state) = self.keeping.pooling.states.get_mut(pool.index()) else { return };
        let has_more = credit > state.credit.unwrap_or(u32::MAX);
        let has_changed = state.is_unserved == is_served;
        (state.credit, state.is_unserved) = (Some(credit), !is_served);
        self.measure_room(pool);
        if has_changed {
            self.reconsider_pools();
        } else if has_more {
            self.open(self.keeping.pooling.gate(pool));
        }
    }

    /// What is to be asked for of the allowances of the day; each wish is told once until it is answered.
    pub fn allowance_wishes(&mut self) -> Vec<AllowanceWish> {
        let replicas = self.keeping.replicas;
        let states = (0..).map(PoolId::new).zip(&mut self.keeping.pooling.states);
        states
            .filter_map(|(pool, state)| {
                let is_wanted = state.ready > 0 || !self.gates[state.gate].held.is_empty();
                let (day, count, limit) = is_wanted.then(|| state.allowance.ask(replicas)).flatten()?;
                Some(AllowanceWish { pool, day, count, limit })
            })
            .collect()
    }

    /// The answer to a wish: a slice, which may be empty, and what all replicas have taken of the day.
    pub fn take_allowance(&mut self, pool: PoolId, day: Day, slice: u32, taken: u64) {
        let Some(state) = self.keeping.pooling.states.get_mut(pool.index()) else { return };
        let was_over = state.allowance.is_over();
        state.allowance.take(day, slice, taken);
        let is_over = state.allowance.is_over();
        self.measure_room(pool);
        if was_over != is_over {
            self.reconsider_pools();
        } else {
            self.open(self.keeping.pooling.gate(pool));
        }
    }

    /// A wish could not be answered.
    pub fn fail_allowance(&mut self, pool: PoolId, day: Day) {
        if let Some(state) = self.keeping.pooling.states.get_mut(pool.index()) {
            state.allowance.fail(day);
        }
    }

    /// To be called once in a while: other replicas may have given back what they had of the day, so that allowances which
    /// were used up may be asked for once more; and what was not used here since the last time is given up, for others.
    pub fn look_for_allowance(&mut self) -> Vec<(PoolId, Day, u32)> {
        self.surrender(|state| state.allowance.look_again() && state.ready == 0)
    }

    /// Gives up what was taken of the day and not used, so that others can have it.
    pub fn surrender_allowance(&mut self) -> Vec<(PoolId, Day, u32)> {
        self.surrender(|_| true)
    }

    fn surrender(&mut self, gives: impl Fn(&mut State) -> bool) -> Vec<(PoolId, Day, u32)> {
        let states = (0..).map(PoolId::new).zip(&mut self.keeping.pooling.states);
        let giving = states.filter_map(|(pool, state)| gives(state).then_some((pool, state)));
        let given: Vec<_> = giving
            .filter_map(|(pool, state)| state.allowance.surrender().map(|(day, count)| (pool, day, count)))
            .collect();
        given.iter().for_each(|(pool, ..)| self.measure_room(*pool));
        given
    }

    /// What is handed out was not attempted: as [`Scheduler::release`], and what was counted for it of rates and of the day
    /// of its pool's warm-up is there again.
    pub fn release_unused(&mut self, id: DeliveryId, now: Timestamp) -> bool {
        self.observe(now);
        let Some(key) = self.find(id).filter(|&key| self.is_out(key)) else { return false };
        let (day, today) = (self.keeping.pooling.day, Day::of(self.now));
        if let Some(through) = self.entries[key].through()
            && let Some(state) = self.keeping.pooling.states.get_mut(through.pool().index())
            && day == today
            && through.is_of(day)
        {
            let was_over = state.allowance.is_over();
            state.allowance.give_back();
            self.measure_room(through.pool());
            if was_over {
                self.reconsider_pools();
            }
        }
        self.uncount_rates(key);
        self.release(id, now)
    }

    /// The pool that mail of a queue goes through now, or the gate that holds it.
    pub(super) fn way(&self, queue: Key<Queue>) -> Result<PoolId, Key<Gate>> {
        let pooling = &self.keeping.pooling;
        let pool = pooling.resolve(self.places.queues[queue].pool);
        let gate = pooling.gate(pool);
        if self.gates[gate].free(self.now) == 0 { Err(gate) } else { Ok(pool) }
    }

    /// A delivery of a queue goes out, or a question about it that may become an attempt.
    pub(super) fn pass_pool(&mut self, queue: Key<Queue>, entry: Key<Slot>) {
        let pooling = &mut self.keeping.pooling;
        let pool = pooling.resolve(self.places.queues[queue].pool);
        self.entries[entry].set_through(Through::new(pool, pooling.day));
        let Some(state) = pooling.states.get_mut(pool.index()) else { return };
        let was_over = state.allowance.is_over();
        state.allowance.spend();
        state.credit = state.credit.map(|credit| credit.saturating_sub(1));
        let (key, is_over) = (state.gate, state.allowance.is_over());
        self.measure_room(pool);
        self.enter_gate(key);
        if is_over && !was_over {
            self.reconsider_pools();
        }
    }

    /// A delivery is in flight whatever the limits say: through the pool it belongs to, as far as is known.
    pub(super) fn join_pool(&mut self, queue: Key<Queue>, entry: Key<Slot>) {
        let (pool, pooling) = (self.places.queues[queue].pool, &self.keeping.pooling);
        self.entries[entry].set_through(Through::new(pool, pooling.day));
        self.enter_gate(pooling.gate(pool));
    }

    /// It is not in flight any more.
    pub(super) fn leave_pool(&mut self, entry: Key<Slot>) {
        if let Some(gate) = self.pool_gate(entry) {
            self.gates[gate].in_flight -= 1;
            self.open(gate);
        }
    }

    /// The gate of the pool through which a delivery is in flight.
    pub(super) fn pool_gate(&self, entry: Key<Slot>) -> Option<Key<Gate>> {
        Some(self.keeping.pooling.gate(self.entries[entry].through()?.pool()))
    }

    /// Whether a queue's pool, or for what is in flight its own, is suspended.
    pub(super) fn is_pool_suspended(&self, queue: Key<Queue>, entry: Key<Slot>) -> bool {
        let pooling = &self.keeping.pooling;
        let resting = || pooling.gate(pooling.resolve(self.places.queues[queue].pool));
        self.gates[self.pool_gate(entry).unwrap_or_else(resting)].is_suspended
    }

    /// The pool of mail by its class and what is known of its destination's provider.
    pub(super) fn pool_of_class(&self, class: PoolClass, provider: Key<Gate>) -> PoolId {
        let rules = self.keeping.pooling.classes.get(usize::from(class.0)).map_or(&[][..], |rules| rules);
        // Only several rules can mean that some ask for the provider, or the only one does.
        let provider = (!rules.is_empty()).then(|| self.name_of_provider(provider)).flatten();
        self.keeping.rules.pools.choose(rules, provider)
    }

    /// The queue belongs to a pool by its class and what is known of its destination's provider.
    pub(super) fn choose_pool(&mut self, key: Key<Queue>) {
        let (class, destination) = (self.places.queues[key].class, self.places.queues[key].destination);
        let pool = self.pool_of_class(class, self.places.destinations[destination].provider);
        let queue = &mut self.places.queues[key];
        let before = std::mem::replace(&mut queue.pool, pool);
        if before != pool {
            let ready = queue.ready as usize;
            self.keeping.pooling.count_ready(before, 0, ready);
            self.keeping.pooling.count_ready(pool, ready, 0);
        }
    }

    /// The provider of a destination is another: its queues may belong to other pools.
    pub(super) fn choose_pools(&mut self, destination: Key<Destination>) {
        let mut next = self.places.destinations[destination].queues.first().some();
        while let Some(queue) = next {
            next = List::<Queue, OfDestination>::after(&self.places.queues, queue).some();
            let before = self.places.queues[queue].pool;
            self.choose_pool(queue);
            if self.places.queues[queue].pool != before {
                self.let_go(queue);
            }
        }
    }

    /// Parks a queue that a pool's gate holds.
    fn let_go(&mut self, queue: Key<Queue>) {
        if self.places.queues[queue].turn == Turn::HeldByPool {
            let gate = self.places.queues[queue].holder;
            self.gates[gate].held.remove(&mut self.places.queues, queue);
            self.park(queue);
        }
    }

    /// A new day begins: allowances are new, and what waited for it goes.
    pub(super) fn turn_day(&mut self) {
        let today = Day::of(self.now);
        let pooling = &mut self.keeping.pooling;
        if pooling.day == today {
            return;
        }
        pooling.day = today;
        let mut has_changed = false;
        for state in &mut pooling.states {
            if let Some(warm_up) = &state.warm_up {
                state.allowance = Allowance::begin(today, warm_up.allowance(today));
                has_changed = true;
            }
        }
        if has_changed {
            let pools: Vec<PoolId> = self.keeping.rules.pools.iter().map(|(id, _)| id).collect();
            pools.into_iter().for_each(|pool| self.measure_room(pool));
            self.reconsider_pools();
        }
    }

    /// What a pool's gate lets pass beside its limits.
    fn measure_room(&mut self, pool: PoolId) {
        if let Some(state) = self.keeping.pooling.states.get(pool.index()) {
            let room = state.credit.into_iter().chain(state.allowance.free()).min();
            self.gates[state.gate].room = room;
        }
    }

    /// Ways have changed: what pools hold looks for its way anew, and what nothing can be attempted of makes room for
    /// others. Costs in proportion to what is held, and to the destinations where a pool has begun or ceased to be of use.
    pub(super) fn reconsider_pools(&mut self) {
        let pooling = &self.keeping.pooling;
        let is_stuck = |pool| {
            let end = pooling.resolve(pool);
            let state = pooling.states.get(end.index());
            state.is_some_and(|state| {
                state.is_unserved || state.allowance.is_over() || self.gates[state.gate].is_suspended
            })
        };
        let stuck: Vec<bool> = self.keeping.rules.pools.iter().map(|(id, _)| is_stuck(id)).collect();
        let mut has_changed = false;
        for (state, is_stuck) in self.keeping.pooling.states.iter_mut().zip(stuck) {
            has_changed |= std::mem::replace(&mut state.is_stuck, is_stuck) != is_stuck;
        }
        if has_changed {
            for destination in self.destination_keys().collect::<Vec<_>>() {
                self.judge_dormancy(destination);
            }
            self.wake_resting();
        }
        self.release_held();
    }

    /// What pools hold is parked, and comes into the round as its destination allows.
    fn release_held(&mut self) {
        let gates: Vec<Key<Gate>> = self.keeping.pooling.gates().collect();
        for gate in gates {
            let mut held = std::mem::take(&mut self.gates[gate].held);
            while let Some(queue) = held.pop_front(&mut self.places.queues) {
                self.park(queue);
                self.unpark(self.places.queues[queue].destination);
            }
        }
    }

    /// Which pools are suspended, after a change of that.
    pub(super) fn suspend_pools(&mut self) {
        for (state, (_, pool)) in self.keeping.pooling.states.iter().zip(self.keeping.rules.pools.iter()) {
            self.gates[state.gate].is_suspended = self.keeping.suspended.pools.contains(&pool.name);
        }
        self.reconsider_pools();
    }

    /// The name of the provider whose gate this is, if it is one.
    fn name_of_provider(&self, gate: Key<Gate>) -> Option<&str> {
        let gate = gate.some()?;
        self.keeping.providers.iter().find(|(_, known)| **known == gate).map(|(name, _)| name.as_str())
    }
}
