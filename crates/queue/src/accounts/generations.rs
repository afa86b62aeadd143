//! What is remembered for as long as there is room, and no longer looked through to make some. Pure.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// Two generations: when the young one is full the old one is forgotten, all at once. So what was changed most lately is
/// remembered, one generation of it at least, and two at the most.
#[derive(Debug)]
pub(super) struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    taken: usize,
    room: usize,
}

impl<K: Eq + Hash, V: Default> Generations<K, V> {
    /// With so much room in each.
    pub(super) fn new(room: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), taken: 0, room }
    }

    /// What is known by this key: of each generation, the young one first.
    pub(super) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> impl Iterator<Item = &V>
    where
        K: Borrow<Q>,
    {
        [self.young.get(key), self.old.get(key)].into_iter().flatten()
    }

    /// Changes what the young generation knows by this key, by nothing where it does not; `change` says how much more
    /// room that takes.
    pub(super) fn change(&mut self, key: K, change: impl FnOnce(&mut V) -> usize) {
        if self.taken >= self.room {
            self.old = std::mem::take(&mut self.young);
            self.taken = 0;
        }
        self.taken += change(self.young.entry(key).or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_remembered_and_no_more_than_two_generations() {
        let mut known: Generations<usize, Option<usize>> = Generations::new(100);
        for number in 0..950 {
            known.change(number, |value| usize::from(value.replace(number).is_none()));
            assert!(known.young.len() + known.old.len() <= 200);
            for latest in number.saturating_sub(99)..=number {
                assert_eq!(known.get(&latest).next(), Some(&Some(latest)));
            }
        }
        assert_eq!(known.get(&0).next(), None);
        // What is only changed takes no more room.
        known.change(949, |value| usize::from(value.replace(7).is_none()));
        assert_eq!((known.taken, known.get(&949).next()), (50, Some(&Some(7))));
    }
}
