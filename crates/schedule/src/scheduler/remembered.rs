//! What outlives the last delivery of a destination, for as long as there is room: what was used of its rate, its
//! trouble, whose it is. Not responsible for what is worth it (`gates`).

use std::collections::HashMap;

use mailtier_types::Timestamp;

use crate::health::Health;
use crate::memory::Key;
use crate::rate::Meter;
use crate::scheduler::gate::Gate;

/// Destinations of one generation.
const GENERATION: usize = 65_536;

/// What is kept of a destination without deliveries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remembered {
    pub(super) meter: Meter,
    pub(super) health: Health,
    pub(super) provider: Key<Gate>,
    pub(super) provider_until: Timestamp,
}

/// The destinations that lost their last delivery most lately: [`GENERATION`] of them at least, twice as many at the
/// most. When one generation is full the one before it is forgotten, all at once and whatever it knows: who floods us
/// with names makes us forget, but never grow, and nothing is looked through to make room.
#[derive(Debug, Default)]
pub(super) struct Memory {
    young: HashMap<Box<str>, Remembered>,
    old: HashMap<Box<str>, Remembered>,
}

impl Memory {
    pub(super) fn insert(&mut self, name: &str, known: Remembered) {
        if self.young.len() >= GENERATION {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(name.into(), known);
    }

    /// What is known of a destination that has deliveries again.
    pub(super) fn take(&mut self, name: &str) -> Option<Remembered> {
        // Never of both: whoever comes back is taken out before it is put in again.
        self.young.remove(name).or_else(|| self.old.remove(name))
    }

    /// What is known of a destination that has no deliveries yet.
    pub(super) fn find(&self, name: &str) -> Option<&Remembered> {
        self.young.get(name).or_else(|| self.old.get(name))
    }

    /// The health of such a destination, to be changed.
    pub(super) fn health(&mut self, name: &str) -> Option<&mut Health> {
        self.young.get_mut(name).or_else(|| self.old.get_mut(name)).map(|known| &mut known.health)
    }

    /// Whose anything is, is not known any more.
    pub(super) fn forget_providers(&mut self) {
        for known in self.young.values_mut().chain(self.old.values_mut()) {
            (known.provider, known.provider_until) = (Key::NONE, Timestamp::EPOCH);
        }
    }

    pub(super) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::DestinationLimits;

    #[test]
    fn the_latest_are_remembered_and_no_more_than_two_generations() {
        let limits = DestinationLimits { concurrency: 1, initial_concurrency: 1, rate: None };
        let known = |second| Remembered {
            meter: Meter::default(),
            health: Health::new(limits),
            provider: Key::NONE,
            provider_until: Timestamp::from_secs(second),
        };
        let mut memory = Memory::default();
        for number in 0..5 * GENERATION {
            memory.insert(&number.to_string(), known(number as i64));
            assert!(memory.young.len() + memory.old.len() <= 2 * GENERATION);
        }
        let last = 5 * GENERATION - 1;
        for number in [last, last - GENERATION + 1] {
            let found = memory.take(&number.to_string()).unwrap();
            assert_eq!(found.provider_until, Timestamp::from_secs(number as i64));
            assert!(memory.take(&number.to_string()).is_none());
        }
        assert!(memory.take("0").is_none());
    }
}
