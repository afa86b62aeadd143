//! Limits beyond a destination's own: of tenants, of providers and of egress pools, and what operators suspended. A gate that is closed
//! holds the queues whose turn comes, and lets them go on when it opens; nothing looks at them meanwhile. Also what is
//! known of destinations: their limits, their health, and when they may begin more.
//!
//! Not responsible for what the limits are (`rules`), nor for through which pool mail goes (`pools`), nor for what an attempt teaches (`health`).

use std::cmp::Reverse;
use std::collections::hash_map::Entry as MapEntry;
use std::collections::{BinaryHeap, HashMap, HashSet};

use mailtier_types::{DeliveryId, Group, ShardId, TenantId, Timestamp};

use crate::classification::Whom;
use crate::health::{Care, Feedback, Health};
use crate::memory::{Key, List, Slab, Slot};
use crate::rate::Meter;
use crate::rules::Rules;
use crate::scheduler::Scheduler;
use crate::scheduler::gate::Gate;
use crate::scheduler::places::{Destination, Joined, Queue, Turn, Turns};
use crate::scheduler::pools::Pooling;
use crate::scheduler::providers::KNOWN_FOR;
use crate::scheduler::remembered::{Memory, Remembered};
use crate::scheduler::tolls::Toll;

/// What operators have suspended: nothing of it is attempted until it is resumed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suspended {
    /// By name.
    pub destinations: HashSet<String>,
    /// By name.
    pub providers: HashSet<String>,
    /// By number.
    pub tenants: HashSet<TenantId>,
    /// By name.
    pub pools: HashSet<String>,
    /// All mail. Nothing is given up for its age either: whoever suspends everything does not know yet what is true.
    pub everything: bool,
}

impl Suspended {
    /// How much that is, however much mail each is about.
    #[must_use]
    pub fn count(&self) -> usize {
        let Self { destinations, providers, tenants, pools, everything } = self;
        destinations.len() + providers.len() + tenants.len() + pools.len() + usize::from(*everything)
    }
}

/// What is looked at when its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    Destination(u32),
    Gate(u32),
}

/// Everything gates need beside themselves.
#[derive(Debug)]
pub(crate) struct Gatekeeping {
    pub(crate) rules: Rules,
    pub(crate) suspended: Suspended,
    /// How many replicas keep to the limits together.
    pub(crate) replicas: u32,
    /// Since when this one keeps to them, or does so alone: what others have begun until then is not known.
    pub(crate) alone_since: Timestamp,
    pub(crate) tenants: HashMap<TenantId, Key<Gate>>,
    pub(crate) providers: HashMap<String, Key<Gate>>,
    pub(crate) pooling: Pooling,
    pub(super) remembered: Memory,
    /// Of attempts under way that something with a rate has counted, by the numbers of their slots.
    pub(super) tolls: HashMap<u32, Toll>,
    alarms: BinaryHeap<Reverse<(Timestamp, Alarm)>>,
    /// Gates whose groups are asked about.
    pub(crate) wishing: Vec<Key<Gate>>,
}

impl Gatekeeping {
    pub(crate) fn new(rules: Rules, gates: &mut Slab<Gate>) -> Self {
        Self {
            pooling: Pooling::new(&rules, gates),
            rules,
            suspended: Suspended::default(),
            replicas: 1,
            alone_since: Timestamp::EPOCH,
            tenants: HashMap::new(),
            providers: HashMap::new(),
            remembered: Memory::default(),
            tolls: HashMap::new(),
            alarms: BinaryHeap::new(),
            wishing: Vec::new(),
        }
    }

    pub(crate) fn next_alarm(&self) -> Option<Timestamp> {
        let alarm = self.alarms.peek().map(|Reverse((at, _))| *at);
        alarm.into_iter().chain(self.pooling.next_day()).min()
    }
}

/// How a destination stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Attempts it may have at a time now.
    pub concurrency: u32,
    /// It could not be reached, and is not tried before then.
    pub dead_until: Option<Timestamp>,
}

impl Scheduler {
    /// Replaces what is suspended. Costs in proportion to the destinations, where something has changed.
    pub fn set_suspended(&mut self, suspended: Suspended) {
        if self.keeping.suspended == suspended {
            return;
        }
        self.keeping.suspended = suspended;
        let suspended = &self.keeping.suspended;
        for (name, &gate) in &self.keeping.providers {
            self.gates[gate].is_suspended = suspended.providers.contains(name);
        }
        for (tenant, &gate) in &self.keeping.tenants {
            self.gates[gate].is_suspended = suspended.tenants.contains(tenant);
        }
        for key in self.destination_keys().collect::<Vec<_>>() {
            let destination = &mut self.places.destinations[key];
            destination.is_suspended = self.keeping.suspended.destinations.contains(destination.domain());
            self.judge_dormancy(key);
        }
        self.suspend_pools();
        self.wake_resting();
        self.reopen_all();
    }

    /// Whether nothing at all is to be done.
    pub(super) const fn rests(&self) -> bool {
        self.keeping.suspended.everything
    }

    /// Whether the destination of a known delivery, its provider, its tenant or its pool is suspended, or everything.
    #[must_use]
    pub fn is_suspended(&self, id: DeliveryId) -> bool {
        if self.rests() {
            return true;
        }
        let Some(entry) = self.find(id) else { return false };
        let queue = self.entries[entry].queue;
        let destination = &self.places.destinations[self.places.queues[queue].destination];
        destination.is_suspended
            || self.gates_of(queue).any(|gate| self.gates[gate].is_suspended)
            || self.is_pool_suspended(queue, entry)
    }

    /// Learns from an attempt that is over: of the destination itself, and whose exchanger it was. To be told before the
    /// delivery's end. `chance` is a random number from 0 to 1.
    pub fn learn(&mut self, id: DeliveryId, said: Feedback, exchanger: Option<&str>, chance: f32, now: Timestamp) {
        self.observe(now);
        let Some(entry) = self.find(id) else { return };
        let key = self.places.queues[self.entries[entry].queue].destination;
        self.learn_provider(key, exchanger, self.now);
        self.count_question(entry);
        let destination = &mut self.places.destinations[key];
        let was_dead = destination.health.dead_until();
        let rules = &self.keeping.rules;
        let care = Care { dead_after: rules.dead_after, probe: &rules.probe, chance };
        let said = match said {
            Feedback::Suspend { whom: Whom::Provider, time } => match destination.provider.some() {
                // What is in flight may come back with less to say.
                Some(provider) => {
                    let gate = &mut self.gates[provider];
                    gate.rests_until = gate.rests_until.max(Some(self.now.after(time)));
                    Feedback::Busy
                }
                None => Feedback::Suspend { whom: Whom::Destination, time },
            },
            said => said,
        };
        destination.health.learn(said, destination.limits, care, self.now);
        let (is_dead, shard) = (destination.health.dead_until(), destination.shard);
        if is_dead.is_some() != was_dead.is_some() {
            self.judge_dormancy(key);
        }
        if let Some(until) = is_dead.filter(|_| is_dead != was_dead) {
            self.shards[shard].spill.wake(until);
        }
        self.unpark(key);
    }

    /// How a destination stands, where it has deliveries: what was learnt of it shows nowhere else.
    #[must_use]
    pub fn standing(&self, name: &str) -> Option<Standing> {
        let Destination { health, limits, .. } =
            &self.places.destinations[self.places.find(name, ShardId::of(name))?];
        Some(Standing { concurrency: health.concurrency(*limits, self.now), dead_until: health.dead_until() })
    }

    /// Makes what is new about a delivery's place known to its gates.
    pub(super) fn welcome(&mut self, joined: Joined) {
        if joined.is_new_destination {
            let destination = &mut self.places.destinations[joined.destination];
            destination.limits = self.keeping.rules.of_destination(destination.domain());
            destination.is_suspended = self.keeping.suspended.destinations.contains(destination.domain());
            destination.health = Health::new(destination.limits);
            let gained_at = self.shards[destination.shard].gained_at;
            destination.meter =
                destination.limits.rate.map(|rate| Meter::exhausted(rate, gained_at)).unwrap_or_default();
            if let Some(known) = self.keeping.remembered.take(&destination.name) {
                // What is remembered may be of a time before another owned the shard.
                destination.meter = known.meter.max(destination.meter);
                destination.health = known.health;
                (destination.provider, destination.provider_until) = (known.provider, known.provider_until);
            }
        }
        if joined.is_new_queue {
            let tenant = self.places.queues[joined.queue].tenant;
            let gate = self.tenant_gate(tenant);
            self.places.queues[joined.queue].gate = gate;
            self.gates[gate].queues += 1;
            self.choose_pool(joined.queue);
            self.judge(joined.queue);
        }
    }

    /// The last delivery of a queue is gone, and with it the queue; perhaps its destination too.
    pub(super) fn farewell(&mut self, key: Key<Queue>) {
        let gate = self.places.queues[key].gate;
        let destination = self.places.queues[key].destination;
        self.gates[gate].queues -= 1;
        self.drop_idle(gate);
        self.places.drop_queue(key);
        if self.places.destinations[destination].count == 0 {
            self.remember(destination);
            self.places.drop_destination(&mut self.shards, destination);
        }
    }

    /// A tenant's gate that nothing goes through is dropped: later, where it remembers what has passed, or has something
    /// that is to be given back.
    pub(super) fn drop_idle(&mut self, key: Key<Gate>) {
        let gate = &mut self.gates[key];
        let Some(Group::Tenant(tenant)) =
            gate.group.as_ref().filter(|_| gate.queues + gate.in_flight == 0 && !gate.is_wishing)
        else {
            return;
        };
        let at = gate.remembers_until();
        if at <= self.now {
            self.keeping.tenants.remove(tenant);
            self.gates.give_back(key);
        } else {
            gate.opens_at = Some(at);
            self.keeping.alarms.push(Reverse((at, Alarm::Gate(key.number()))));
        }
    }

    /// What must outlive a destination's last delivery: a rate that was used, trouble, its provider.
    fn remember(&mut self, key: Key<Destination>) {
        let Destination { name, meter, health, provider, provider_until, limits, .. } = &self.places.destinations[key];
        let (provider, provider_until) = (*provider, *provider_until);
        if !meter.is_at_rest(self.now) || health.is_troubled(*limits) || provider_until > self.now {
            let known = Remembered { meter: *meter, health: *health, provider, provider_until };
            self.keeping.remembered.insert(name, known);
        }
    }

    fn tenant_gate(&mut self, tenant: TenantId) -> Key<Gate> {
        match self.keeping.tenants.entry(tenant) {
            MapEntry::Occupied(known) => *known.get(),
            MapEntry::Vacant(place) => {
                let key = self.gates.take();
                place.insert(key);
                self.gates[key] = Gate {
                    is_suspended: self.keeping.suspended.tenants.contains(&tenant),
                    ..self.first_gate(Group::Tenant(tenant), self.keeping.rules.of_tenant(tenant))
                };
                key
            }
        }
    }

    pub(super) fn provider_gate(&mut self, name: &str) -> Key<Gate> {
        if let Some(&known) = self.keeping.providers.get(name) {
            return known;
        }
        let key = self.gates.take();
        self.gates[key] = Gate {
            is_suspended: self.keeping.suspended.providers.contains(name),
            ..self.first_gate(Group::Provider(name.to_owned()), self.keeping.rules.of_provider(name))
        };
        self.keeping.providers.insert(name.to_owned(), key);
        key
    }

    /// A destination is found to be a provider's, or nobody's: what is in flight counts for it from now on.
    pub(super) fn assign(&mut self, key: Key<Destination>, gate: Key<Gate>) {
        let (before, in_flight) = {
            let destination = &mut self.places.destinations[key];
            (std::mem::replace(&mut destination.provider, gate), destination.in_flight)
        };
        if before == gate {
            return;
        }
        if let Some(gate) = gate.some() {
            self.gates[gate].in_flight += in_flight;
            if in_flight > 0 {
                self.wish_for(gate);
            }
        }
        if let Some(before) = before.some() {
            self.gates[before].in_flight -= in_flight;
            let mut next = self.gates[before].held.first().some();
            while let Some(queue) = next {
                next = List::<Queue, Turns>::after(&self.places.queues, queue).some();
                if self.places.queues[queue].destination == key {
                    self.gates[before].held.remove(&mut self.places.queues, queue);
                    self.park(queue);
                }
            }
            self.open(before);
        }
        self.choose_pools(key);
        self.judge_dormancy(key);
        self.unpark(key);
    }

    /// Gates of a queue, but for its pool's.
    pub(super) fn gates_of(&self, queue: Key<Queue>) -> impl Iterator<Item = Key<Gate>> + use<> {
        let queue = &self.places.queues[queue];
        queue.gate.some().into_iter().chain(self.places.destinations[queue.destination].provider.some())
    }

    /// An attempt is begun, or a question that may become one.
    pub(super) fn pass_gates(&mut self, key: Key<Queue>, entry: Key<Slot>) {
        for key in self.gates_of(key) {
            self.enter_gate(key);
        }
        self.pass_pool(key, entry);
        match self.is_unknown(self.places.queues[key].destination) {
            true => self.begin_question(key, entry),
            false => self.count_rates(key, entry),
        }
    }

    /// The gate that does not let a queue pass now.
    pub(super) fn closed_gate(&self, key: Key<Queue>) -> Option<(Turn, Key<Gate>)> {
        let queue = &self.places.queues[key];
        let provider = self.places.destinations[queue.destination].provider;
        let gates = [(Turn::HeldByTenant, queue.gate), (Turn::HeldByProvider, provider)];
        let closed =
            |(_, gate): &(Turn, Key<Gate>)| gate.some().is_some_and(|gate| self.gates[gate].free(self.now) == 0);
        gates.into_iter().find(closed).or_else(|| Some((Turn::HeldByPool, self.way(key).err()?)))
    }

    pub(super) fn hold(&mut self, key: Key<Queue>, turn: Turn, gate: Key<Gate>) {
        let queue = &mut self.places.queues[key];
        (queue.turn, queue.holder) = (turn, gate);
        self.gates[gate].held.push_back(&mut self.places.queues, key);
        self.wish_for(gate);
        self.open_later(gate);
    }

    /// A queue leaves the round without having used its place in it: others that its gates hold may have it.
    pub(super) fn pass_on(&mut self, key: Key<Queue>) {
        for gate in self.gates_of(key) {
            self.open(gate);
        }
        if let Ok(pool) = self.way(key) {
            self.open(self.keeping.pooling.gate(pool));
        }
    }

    /// Lets as many of those that a gate holds go on as may pass.
    pub(super) fn open(&mut self, gate: Key<Gate>) {
        let mut free = self.gates[gate].free(self.now);
        while free > 0 {
            let Some(key) = self.gates[gate].held.pop_front(&mut self.places.queues) else { return };
            self.park(key);
            self.unpark(self.places.queues[key].destination);
            // One that stays parked will be looked at when its turn comes; the room is for the next.
            free -= u32::from(self.places.queues[key].turn == Turn::Ringed);
        }
        self.open_later(gate);
    }

    /// Sets the alarm of a gate that holds something for its rate, or because it rests.
    pub(super) fn open_later(&mut self, key: Key<Gate>) {
        let gate = &mut self.gates[key];
        let by_rate = gate.rate().map(|rate| gate.meter.opens_at(rate));
        let Some(at) = by_rate.max(gate.rests_until) else { return };
        let waits = !gate.is_suspended && !gate.held.is_empty();
        if waits && at > self.now && gate.opens_at.is_none_or(|known| at < known) {
            gate.opens_at = Some(at);
            self.keeping.alarms.push(Reverse((at, Alarm::Gate(key.number()))));
        }
    }

    /// Sets the alarm of a destination that could begin more later: for its rate, or because it is dead.
    pub(super) fn wake_later(&mut self, key: Key<Destination>) {
        let destination = &mut self.places.destinations[key];
        let dead_until = destination.health.dead_until().filter(|until| *until > self.now);
        let by_rate = destination.limits.rate.map(|rate| destination.meter.opens_at(rate));
        let at = dead_until.into_iter().chain(by_rate.filter(|at| *at > self.now)).max();
        if let Some(at) = at.filter(|at| destination.opens_at.is_none_or(|known| *at < known))
            && !destination.is_suspended
        {
            destination.opens_at = Some(at);
            self.keeping.alarms.push(Reverse((at, Alarm::Destination(key.number()))));
        }
    }

    /// Looks at everything whose alarm has gone off. One that was set for what is gone by now does no harm.
    pub(super) fn open_on_time(&mut self) {
        while let Some(Reverse((at, alarm))) = self.keeping.alarms.peek().copied() {
            if at > self.now {
                return;
            }
            self.keeping.alarms.pop();
            match alarm {
                Alarm::Destination(number) => {
                    let key = Key::new(number);
                    if self.places.destinations.holds(key) && self.places.destinations[key].opens_at == Some(at) {
                        self.places.destinations[key].opens_at = None;
                        self.unpark(key);
                    }
                }
                Alarm::Gate(number) => {
                    let key = Key::new(number);
                    if self.gates.holds(key) && self.gates[key].opens_at == Some(at) {
                        self.gates[key].opens_at = None;
                        self.open(key);
                        self.drop_idle(key);
                    }
                }
            }
        }
    }

    /// After a change of the clock or of what is suspended.
    pub(super) fn reopen_all(&mut self) {
        for key in self.destination_keys().collect::<Vec<_>>() {
            self.unpark(key);
        }
        for gate in self.all_gates() {
            self.open(gate);
        }
    }

    pub(super) fn all_gates(&self) -> Vec<Key<Gate>> {
        let named = self.keeping.tenants.values().chain(self.keeping.providers.values()).copied();
        named.chain(self.keeping.pooling.gates()).collect()
    }

    /// The clock was put back: no rate and no rest is longer for it.
    pub(super) fn rewind_gates(&mut self) {
        self.keeping.alarms.clear();
        let (now, probe) = (self.now, self.keeping.rules.probe);
        for key in self.destination_keys().collect::<Vec<_>>() {
            let destination = &mut self.places.destinations[key];
            destination.opens_at = None;
            destination.health.rewind(now.after(probe.max));
            destination.provider_until = destination.provider_until.min(now.after(KNOWN_FOR));
            if let Some(rate) = destination.limits.rate {
                destination.meter.rewind(rate, now);
            }
        }
        for key in self.all_gates() {
            let gate = &mut self.gates[key];
            gate.opens_at = None;
            gate.rests_until = gate.rests_until.map(|until| until.min(now.after(probe.max)));
            if let Some(rate) = gate.rate() {
                gate.meter.rewind(rate, now);
            }
        }
        self.rewind_strays();
        self.keeping.alone_since = self.keeping.alone_since.min(now);
        // What is not remembered any more may have passed until now.
        self.keeping.remembered.clear();
        ShardId::all().for_each(|shard| self.shards[shard].regain(now));
        self.reopen_all();
        for key in self.all_gates() {
            self.drop_idle(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::rate::Rate;
    use crate::{Entry, GroupLimits, Limits, PoolClass};

    #[test]
    fn of_tenants_without_mail_nothing_is_kept_once_their_rates_have_recovered() {
        let rate = Some(Rate::new(10, Duration::from_secs(1)));
        let rules = Rules { tenant: GroupLimits { concurrency: None, rate }, ..Rules::plain(100) };
        let mut scheduler = Scheduler::new(Limits { max_entries: 100, max_entries_per_destination: 100 }, rules);
        let now = Timestamp::from_secs(1_800_000_000);
        for number in 1..=10 {
            let entry = Entry {
                id: DeliveryId::from_i64(number).unwrap(),
                shard: ShardId::of("d.example"),
                tenant: TenantId(i32::try_from(number).unwrap()),
                class: PoolClass::default(),
                priority: 0,
                attempts: 0,
                due: now,
                expires_at: now.after(Duration::from_secs(60)),
                warn_at: None,
            };
            scheduler.insert("d.example", entry, now);
            let begun = scheduler.next_attempt(now).unwrap();
            scheduler.finish(begun.id);
        }
        assert_eq!(scheduler.keeping.tenants.len(), 10, "what they have begun counts");
        let at = scheduler.next_due().unwrap();
        assert!(scheduler.next_attempt(at.after(Duration::from_secs(2))).is_none());
        assert_eq!((scheduler.keeping.tenants.len(), scheduler.next_due()), (0, None));
    }
}
