//! The idle connections themselves: a stack for each key, so that the warmest is used and the rest run out. Not
//! responsible for closing.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Instant;

use super::{Key, Leased};

/// A connection nobody uses.
#[derive(Debug)]
struct Parked {
    leased: Leased,
    since: Instant,
}

/// Oldest first within each key.
#[derive(Debug, Default)]
pub(super) struct Idle {
    by_key: HashMap<Key, Vec<Parked>>,
}

impl Idle {
    /// The connection parked last of those that suit, unless it was parked before `oldest`.
    pub(super) fn take(
        &mut self,
        key: &Key,
        oldest: Option<Instant>,
        suits: impl Fn(&Leased) -> bool,
    ) -> Option<Leased> {
        let stack = self.by_key.get_mut(key)?;
        let is_fresh = |parked: &Parked| oldest.is_none_or(|oldest| parked.since >= oldest);
        let place = stack.iter().rposition(|parked| is_fresh(parked) && suits(&parked.leased))?;
        let parked = stack.remove(place);
        if self.by_key.get(key).is_some_and(Vec::is_empty) {
            self.by_key.remove(key);
        }
        Some(parked.leased)
    }

    /// Parks a connection; gives it back when there are `limit` already.
    pub(super) fn put(&mut self, key: Key, leased: Leased, since: Instant, limit: usize) -> Option<Leased> {
        if limit == 0 {
            return Some(leased);
        }
        let stack = self.by_key.entry(key).or_default();
        if stack.len() >= limit {
            return Some(leased);
        }
        stack.push(Parked { leased, since });
        None
    }

    /// Takes out what was parked before `before`.
    pub(super) fn expire(&mut self, before: Instant) -> Vec<Leased> {
        let mut expired = Vec::new();
        self.by_key.retain(|_, stack| {
            let fresh = stack.partition_point(|parked| parked.since < before);
            expired.extend(stack.drain(..fresh).map(|parked| parked.leased));
            !stack.is_empty()
        });
        expired
    }

    /// Takes out the connection that has idled longest.
    pub(super) fn evict(&mut self) -> Option<Leased> {
        let longest = |stack: &Vec<Parked>| stack.first().map(|parked| parked.since);
        let key = self.by_key.iter().min_by_key(|(_, stack)| longest(stack))?.0.clone();
        let Entry::Occupied(mut entry) = self.by_key.entry(key) else { return None };
        let leased = (!entry.get().is_empty()).then(|| entry.get_mut().remove(0).leased);
        if entry.get().is_empty() {
            entry.remove();
        }
        leased
    }
}
