//! Whose a destination is. Its exchangers tell: a worker that attempted a delivery to it, or, before the first attempt, a
//! worker that was asked. While nobody knows, one delivery at a time goes to it, and that one is first a question: which
//! exchanger would get this? So the limits of a provider hold from the first attempt on. Not responsible for the limits
//! themselves (`gates`).
//!
//! Nothing is asked where there are no providers.

use std::time::Duration;

use mailtier_types::{DeliveryId, Group, Timestamp};

use crate::memory::{Key, Slot};
use crate::scheduler::Scheduler;
use crate::scheduler::places::{Destination, Queue};

/// For how long it is believed whose a destination is, from the last exchanger that was met: one that moves is asked
/// again.
pub(super) const KNOWN_FOR: Duration = Duration::from_secs(6 * 3600);

impl Scheduler {
    /// Whether the attempt that was handed out is to be a question first: which exchanger would get the delivery. It ends
    /// with [`Self::resolved`], or like any attempt where it was made all the same.
    #[must_use]
    pub fn asks(&self, id: DeliveryId) -> bool {
        let Some(entry) = self.find(id) else { return false };
        self.places.destinations[self.places.queues[self.entries[entry].queue].destination].asking == entry
    }

    /// The answer: this exchanger. The delivery was not attempted, and is ready again, now under the limits of whose it
    /// is. Says whether it was in flight.
    pub fn resolved(&mut self, id: DeliveryId, exchanger: &str, now: Timestamp) -> bool {
        self.observe(now);
        let Some(entry) = self.find(id).filter(|&entry| self.is_out(entry)) else { return false };
        let key = self.places.queues[self.entries[entry].queue].destination;
        self.learn_provider(key, Some(exchanger), self.now);
        self.release_unused(id, now)
    }

    /// Whose exchanger an attempt of a delivery met, and when, that another owner learned from. Attempts that were learned
    /// from here know better: then nobody asks.
    pub fn recall(&mut self, id: DeliveryId, exchanger: impl FnOnce() -> Option<(String, Timestamp)>) {
        let Some(entry) = self.find(id) else { return };
        let key = self.places.queues[self.entries[entry].queue].destination;
        if self.places.destinations[key].provider_until > Timestamp::EPOCH {
            return;
        }
        if let Some((exchanger, at)) = exchanger() {
            self.learn_provider(key, Some(&exchanger), at);
            self.unpark(key);
        }
    }

    /// The provider whose a known delivery's destination is, as far as that is known.
    #[must_use]
    pub fn provider_of(&self, id: DeliveryId) -> Option<&str> {
        let queue = self.entries[self.find(id)?].queue;
        let gate = self.places.destinations[self.places.queues[queue].destination].provider.some()?;
        match &self.gates[gate].group {
            Some(Group::Provider(name)) => Some(name),
            _ => None,
        }
    }

    /// Whose an exchanger is, its destination is; one that has moved away is nobody's.
    pub(super) fn learn_provider(&mut self, key: Key<Destination>, exchanger: Option<&str>, at: Timestamp) {
        let Some(exchanger) = exchanger.filter(|_| !self.keeping.rules.providers.is_empty()) else { return };
        let gate = match self.keeping.rules.provider_of(exchanger).map(str::to_owned) {
            Some(name) => self.provider_gate(&name),
            None => Key::NONE,
        };
        let until = &mut self.places.destinations[key].provider_until;
        *until = at.after(KNOWN_FOR).max(*until);
        self.assign(key, gate);
    }

    /// Whether nobody knows whose a destination is, where that matters.
    pub(super) fn is_unknown(&self, key: Key<Destination>) -> bool {
        let destination = &self.places.destinations[key];
        !self.keeping.rules.providers.is_empty() && destination.provider_until <= self.now && !destination.is_way()
    }

    /// A delivery goes into flight as a question. Whatever has a rate does not count it unless it turns out to have been
    /// an attempt; the day of a pool's warm-up gets back what was set aside for it.
    pub(super) fn begin_question(&mut self, queue: Key<Queue>, entry: Key<Slot>) {
        self.places.destinations[self.places.queues[queue].destination].asking = entry;
        // What its gates let it pass for is still there.
        self.pass_on(queue);
    }

    /// What was a question was attempted: by a worker that does not know questions, or that found no exchanger.
    pub(super) fn count_question(&mut self, entry: Key<Slot>) {
        let queue = self.entries[entry].queue;
        let asking = &mut self.places.destinations[self.places.queues[queue].destination].asking;
        if *asking == entry {
            *asking = Key::NONE;
            self.count_rates(queue, entry);
        }
    }
}
