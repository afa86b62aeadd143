//! What is due and waits: for how long, and whose it is. Not responsible for when it goes.

use mailtier_types::{Group, Timestamp};

use crate::memory::{Key, List};
use crate::scheduler::Scheduler;
use crate::scheduler::places::{Destination, OfDestination, Queue, Turn};

/// What is due and not handed out. Of each queue the delivery that goes next speaks, so of several with unlike priorities
/// another may be due for longer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Since when the oldest is due that does not rest, whatever limit keeps it back.
    pub due_since: Option<Timestamp>,
    /// Since when the oldest is due that could go at once if a worker took it.
    pub unserved_since: Option<Timestamp>,
    /// Deliveries that are due and rest: their destination is dead, or something is suspended.
    pub resting: usize,
    /// Destinations that do not answer.
    pub dead: usize,
    /// Deliveries that are due, by the provider of their destination, in the order of the providers; the last is of those
    /// that are nobody's, as far as is known.
    pub of_providers: Vec<u64>,
}

/// How a provider stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProviderStanding<'a> {
    /// Its name.
    pub name: &'a str,
    /// Deliveries being attempted.
    pub in_flight: u32,
    /// Its limits keep mail back.
    pub is_limited: bool,
    /// One of its hosts has asked for a rest.
    pub rests: bool,
    /// Somebody has suspended it.
    pub is_suspended: bool,
}

impl Scheduler {
    /// What is due and waits. Costs in proportion to all queues.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        let providers = &self.keeping.rules.providers;
        let of_providers = vec![0; providers.len() + 1];
        let mut backlog = Backlog { resting: self.dormant_ready, of_providers, ..Backlog::default() };
        for key in self.destination_keys() {
            let destination = &self.places.destinations[key];
            backlog.dead += usize::from(destination.health.dead_until().is_some());
            let place = self.provider_place(destination);
            let mut next = destination.queues.first().some();
            while let Some(queue) = next {
                next = List::<Queue, OfDestination>::after(&self.places.queues, queue).some();
                self.add_queue(queue, place, &mut backlog);
            }
        }
        backlog
    }

    fn add_queue(&self, key: Key<Queue>, place: usize, backlog: &mut Backlog) {
        let queue = &self.places.queues[key];
        let Some(first) = queue.heap.first().some() else { return };
        if let Some(count) = backlog.of_providers.get_mut(place) {
            *count += u64::from(queue.ready);
        }
        if queue.is_dormant || self.rests() {
            return;
        }
        let due = self.entries[first].due;
        let earliest = |known: Option<Timestamp>| Some(known.map_or(due, |known| known.min(due)));
        backlog.due_since = earliest(backlog.due_since);
        let is_unserved = match queue.turn {
            Turn::Ringed => true,
            Turn::HeldByPool => self.lacks_workers_only(queue.holder),
            Turn::Idle | Turn::Parked | Turn::HeldByTenant | Turn::HeldByProvider => false,
        };
        if is_unserved {
            backlog.unserved_since = earliest(backlog.unserved_since);
        }
    }

    /// Where a destination's provider stands among the providers; behind the last where there is none.
    fn provider_place(&self, destination: &Destination) -> usize {
        let providers = &self.keeping.rules.providers;
        let Some(Group::Provider(name)) = destination.provider.some().and_then(|gate| self.gates[gate].group.as_ref())
        else {
            return providers.len();
        };
        providers.iter().position(|provider| provider.name == *name).unwrap_or(providers.len())
    }

    /// How each provider stands, in their order.
    pub fn providers(&self) -> impl Iterator<Item = ProviderStanding<'_>> {
        self.keeping.rules.providers.iter().map(|provider| {
            let name = provider.name.as_str();
            let gate = self.keeping.providers.get(name).map(|&gate| &self.gates[gate]);
            let rests = gate.is_some_and(|gate| gate.rests_until.is_some_and(|until| self.now < until));
            let is_suspended = self.keeping.suspended.providers.contains(name);
            ProviderStanding {
                name,
                in_flight: gate.map_or(0, |gate| gate.in_flight),
                is_limited: !rests && !is_suspended && gate.is_some_and(|gate| !gate.held.is_empty()),
                rests,
                is_suspended,
            }
        })
    }
}
