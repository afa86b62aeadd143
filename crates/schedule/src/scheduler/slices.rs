//! The gates of one replica among several: which part of a group's limits is its own, and what it needs of them. Not
//! responsible for asking (`leasing`).

use std::collections::BTreeMap;

use mailtier_types::{Group, ReplicaId, Slice, SliceWish};

use crate::leasing::View;
use crate::memory::{Key, List};
use crate::rate::{Meter, Rate};
use crate::rules::GroupLimits;
use crate::scheduler::Scheduler;
use crate::scheduler::gate::Gate;
use crate::scheduler::places::{Queue, Turns};

/// Queues that a gate holds of which it is looked how much they have.
const QUEUES_ASKED: usize = 64;
/// Of what is under way, a part of this is asked for in advance.
const AHEAD: u32 = 4;

/// Which part of a group's limits is this replica's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it: nobody else keeps to them.
    #[default]
    Whole,
    /// One of so many equal ones.
    Share(u32),
    /// What was leased.
    Slice(Slice),
}

impl Part {
    /// What a part leaves of limits, but for attempts that were leased.
    pub(crate) fn of(self, limits: GroupLimits) -> GroupLimits {
        match self {
            Self::Whole => limits,
            Self::Share(replicas) => limits.shared_by(replicas),
            Self::Slice(slice) => {
                GroupLimits { concurrency: limits.concurrency.map(|_| slice.concurrency), rate: None }
            }
        }
    }

    pub(crate) fn slice(&mut self) -> Option<&mut Slice> {
        match self {
            Self::Slice(slice) => Some(slice),
            Self::Whole | Self::Share(_) => None,
        }
    }
}

impl Scheduler {
    /// So many replicas keep to the limits of tenants, providers and pools together; those of destinations are each one
    /// replica's. With others, this one has nothing more of a group than is under way until it is leased some.
    pub(crate) fn set_replicas(&mut self, replicas: u32) {
        let (before, now) = (std::mem::replace(&mut self.keeping.replicas, replicas.max(1)), replicas.max(1));
        if (before > 1) == (now > 1) {
            return;
        }
        for key in self.all_gates() {
            let gate = &mut self.gates[key];
            gate.part =
                if now > 1 { Part::Slice(Slice { concurrency: gate.in_flight, attempts: 0 }) } else { Part::Whole };
            if gate.in_flight > 0 || !gate.held.is_empty() {
                self.wish_for(key);
            }
        }
        if now == 1 {
            self.exhaust_gates();
            for key in std::mem::take(&mut self.keeping.wishing) {
                self.gates[key].is_wishing = false;
                self.drop_idle(key);
            }
        }
        for key in self.all_gates() {
            self.open(key);
        }
    }

    /// What has passed of the rates of groups until now is not known: as much as may pass at once counts as passed just now.
    pub(super) fn exhaust_gates(&mut self) {
        self.keeping.alone_since = self.now;
        for key in self.all_gates() {
            let gate = &mut self.gates[key];
            if let Some(rate) = gate.limits.rate {
                gate.meter = Meter::exhausted(rate, self.now);
            }
        }
    }

    /// A gate that is new.
    pub(super) fn first_gate(&self, group: Group, limits: GroupLimits) -> Gate {
        let meter = limits.rate.map(|rate| Meter::exhausted(rate, self.keeping.alone_since)).unwrap_or_default();
        Gate { part: self.first_part(), meter, ..Gate::of(group, limits) }
    }

    fn first_part(&self) -> Part {
        if self.keeping.replicas > 1 { Part::Slice(Slice::default()) } else { Part::Whole }
    }

    /// A gate holds something, or something is under way through it: its group is asked about.
    pub(super) fn wish_for(&mut self, key: Key<Gate>) {
        let gate = &mut self.gates[key];
        if self.keeping.replicas > 1 && !gate.is_wishing && gate.is_limited() {
            gate.is_wishing = true;
            self.keeping.wishing.push(key);
        }
    }

    /// Something is under way through a gate.
    pub(super) fn enter_gate(&mut self, key: Key<Gate>) {
        self.gates[key].in_flight += 1;
        self.wish_for(key);
    }

    pub(crate) fn has_wishes(&self) -> bool {
        !self.keeping.wishing.is_empty()
    }

    /// The gates of which this replica has something, or needs something, by the lessors of their groups. Costs in
    /// proportion to their number.
    pub(crate) fn wishing(&mut self, view: &View) -> BTreeMap<ReplicaId, Vec<Key<Gate>>> {
        let first_part = self.first_part();
        let mut wishing = std::mem::take(&mut self.keeping.wishing);
        let mut by_lessor: BTreeMap<ReplicaId, Vec<Key<Gate>>> = BTreeMap::new();
        wishing.retain(|&key| {
            let gate = &mut self.gates[key];
            if gate.is_idle() {
                // An equal share is nobody's once its lessor is back: what comes next asks first.
                (gate.is_wishing, gate.part) = (false, first_part);
                self.drop_idle(key);
                return false;
            }
            if let Some(lessor) = gate.lessor(view) {
                by_lessor.entry(lessor).or_default().push(key);
            }
            true
        });
        self.keeping.wishing = wishing;
        by_lessor
    }

    /// What is to be said of a gate's group now. Attempts that were leased and not begun are given back with it.
    pub(crate) fn wish(&mut self, key: Key<Gate>) -> Option<SliceWish> {
        let wanted = self.wanted(key);
        let gate = &mut self.gates[key];
        let holds = gate.part.of(gate.limits).concurrency.unwrap_or_default();
        let unused = gate.part.slice().map_or(0, |slice| std::mem::take(&mut slice.attempts));
        gate.is_accounted = true;
        let GroupLimits { concurrency, rate } = gate.limits;
        let (group, interval_us, in_use) = (gate.group.clone()?, rate.map(Rate::interval_us), gate.in_flight);
        Some(SliceWish { group, concurrency, interval_us, holds, in_use, wanted, unused })
    }

    /// What a lessor said: a part of a group's limits is this replica's from now on, as in [`Self::take_part`]; and whether
    /// the lessor knows this replica to hold something.
    pub(crate) fn take_answer(&mut self, group: &Group, part: Part, is_accounted: bool) {
        if let Some(key) = self.gate_of(group) {
            self.gates[key].is_accounted = is_accounted;
            self.take_part(key, part);
        }
    }

    /// A part of a gate's limits is this replica's from now on; attempts are in addition to those it has.
    pub(crate) fn take_part(&mut self, key: Key<Gate>, part: Part) {
        let gate = &mut self.gates[key];
        if self.keeping.replicas <= 1 {
            return;
        }
        let more = gate.part.slice().map_or(0, |slice| slice.attempts);
        if let (Part::Share(_), Part::Slice(_), Some(rate)) = (part, gate.part, gate.limits.rate) {
            gate.meter = Meter::exhausted(rate, self.now);
        }
        gate.part = part;
        if let Some(slice) = gate.part.slice().filter(|slice| **slice != Slice::default()) {
            slice.attempts = slice.attempts.saturating_add(more);
        }
        self.open(key);
    }

    /// What could be begun if the limits of a gate let it.
    fn wanted(&self, key: Key<Gate>) -> u32 {
        let gate = &self.gates[key];
        if gate.is_suspended || gate.room == Some(0) {
            return 0;
        }
        let mut wanted = if gate.in_flight > 0 { gate.in_flight / AHEAD + 1 } else { 0 };
        let mut next = gate.held.first().some();
        for _ in 0..QUEUES_ASKED {
            let Some(queue) = next else { break };
            wanted = wanted.saturating_add(self.places.queues[queue].ready);
            next = List::<Queue, Turns>::after(&self.places.queues, queue).some();
        }
        wanted
    }

    fn gate_of(&self, group: &Group) -> Option<Key<Gate>> {
        match group {
            Group::Tenant(tenant) => self.keeping.tenants.get(tenant).copied(),
            Group::Provider(name) => self.keeping.providers.get(name).copied(),
            Group::Pool(name) => {
                let (id, _) = self.keeping.rules.pools.iter().find(|(_, pool)| pool.name == *name)?;
                self.keeping.pooling.gate(id).some()
            }
        }
    }
}
