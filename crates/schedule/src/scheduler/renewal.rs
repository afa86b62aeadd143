//! Other rules while there are deliveries: what is known and counted under the old ones stays as far as it means something
//! under the new ones. Not responsible for what the rules are (`rules`).

use mailtier_types::{Group, Timestamp};

use crate::memory::Key;
use crate::rate::Meter;
use crate::rules::{GroupLimits, Rules};
use crate::scheduler::Scheduler;
use crate::scheduler::gate::Gate;
use crate::scheduler::places::Destination;

impl Scheduler {
    /// Keeps to other rules from now on. Egress pools, and whose mail goes through which, stay as they are but for the
    /// pools' limits ([`Rules::renewed`]). What is under way counts on. A rate that has changed begins as if as much as may
    /// pass at once had passed just now. Where providers have changed, it is asked again whose each destination is. Costs in
    /// proportion to the destinations.
    pub fn set_rules(&mut self, rules: Rules, now: Timestamp) {
        self.observe(now);
        let rules = self.keeping.rules.renewed(rules);
        if rules == self.keeping.rules {
            return;
        }
        let old = std::mem::replace(&mut self.keeping.rules, rules);
        for key in self.destination_keys().collect::<Vec<_>>() {
            self.renew_destination(key);
        }
        for key in self.all_gates() {
            self.renew_gate(key);
        }
        if !old.have_same_providers(&self.keeping.rules) {
            self.forget_providers();
        }
        for key in self.destination_keys().collect::<Vec<_>>() {
            self.judge_dormancy(key);
        }
        self.reopen_all();
    }

    fn renew_destination(&mut self, key: Key<Destination>) {
        let now = self.now;
        let destination = &mut self.places.destinations[key];
        let limits = self.keeping.rules.of_destination(destination.domain());
        if limits.rate != destination.limits.rate {
            destination.meter = limits.rate.map(|rate| Meter::exhausted(rate, now)).unwrap_or_default();
            // The alarm was set for the old rate.
            destination.opens_at = None;
        }
        destination.health.renew(destination.limits, limits);
        destination.limits = limits;
    }

    fn renew_gate(&mut self, key: Key<Gate>) {
        let Some(limits) = self.gates[key].group.as_ref().map(|group| self.limits_of(group)) else { return };
        let gate = &mut self.gates[key];
        if limits.rate != gate.limits.rate {
            gate.meter = limits.rate.map(|rate| Meter::exhausted(rate, self.now)).unwrap_or_default();
            gate.opens_at = None;
        }
        gate.limits = limits;
        if gate.in_flight > 0 || !gate.held.is_empty() {
            self.wish_for(key);
        }
        self.open_later(key);
        // One without a rate has nothing to remember any more.
        self.drop_idle(key);
    }

    fn limits_of(&self, group: &Group) -> GroupLimits {
        let rules = &self.keeping.rules;
        match group {
            Group::Tenant(tenant) => rules.of_tenant(*tenant),
            Group::Provider(name) => rules.of_provider(name),
            Group::Pool(name) => {
                let pool = rules.pools.find(name).and_then(|id| rules.pools.get(id));
                pool.map(|pool| pool.limits).unwrap_or_default()
            }
        }
    }

    /// Nothing is known any more of whose destinations are: each counts for its provider of before until an attempt, or a
    /// question, tells.
    fn forget_providers(&mut self) {
        let has_none = self.keeping.rules.providers.is_empty();
        self.keeping.remembered.forget_providers();
        for key in self.destination_keys().collect::<Vec<_>>() {
            self.places.destinations[key].provider_until = Timestamp::EPOCH;
            if has_none {
                self.assign(key, Key::NONE);
            }
        }
    }
}
