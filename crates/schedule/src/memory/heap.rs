//! A queue's ready deliveries in their order: higher priority first, then what has been due for longer; but whatever waits
//! rises, by one priority each step of time, so that nothing waits for ever behind what keeps coming. A pairing heap
//! (Fredman, Sedgewick, Sleator, Tarjan 1986) through the slots: constant time to insert, logarithmic amortised to take
//! out, from anywhere. Not responsible for when something becomes ready.

use std::time::Duration;

use crate::memory::slab::{Key, Slab};
use crate::memory::slot::Slot;

/// The priorities of RFC 6710 §2, either way.
pub(crate) const MOST_PRIORITY: i8 = 9;

/// How fast waiting makes up for priority.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ageing {
    step_us: i64,
}

impl Ageing {
    /// A delivery that has been due for `step` longer goes before one whose priority is higher by one.
    pub(crate) fn new(step: Duration) -> Self {
        /// A hundred years: the order is that of priorities, and no sum overflows.
        const MOST_US: i64 = 100 * 366 * 86_400 * 1_000_000;
        Self { step_us: i64::try_from(step.as_micros()).unwrap_or(MOST_US).clamp(1, MOST_US) }
    }

    /// What is least goes first. It does not change while time passes, so a heap stays in order: when everything in a
    /// queue ages alike, only differences count.
    fn rank(self, slot: &Slot) -> (i64, i64) {
        (slot.due.as_micros().saturating_sub(i64::from(slot.priority) * self.step_us), slot.id)
    }

    fn goes_before(self, a: &Slot, b: &Slot) -> bool {
        self.rank(a) < self.rank(b)
    }
}

/// A slot's place in its heap.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HeapLinks {
    /// The first of its children.
    child: Key<Slot>,
    /// The next child of its parent.
    sibling: Key<Slot>,
    /// The sibling before it, or the parent where it is the first child.
    back: Key<Slot>,
}

/// The heap of one queue.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Heap {
    root: Key<Slot>,
}

impl Heap {
    pub(crate) const fn is_empty(self) -> bool {
        self.root.is_none()
    }

    pub(crate) fn insert(&mut self, slab: &mut Slab<Slot>, ageing: Ageing, key: Key<Slot>) {
        slab[key].heap = HeapLinks::default();
        self.root = meld(slab, ageing, self.root, key);
    }

    /// The first in order, which stays where it is.
    pub(crate) const fn first(self) -> Key<Slot> {
        self.root
    }

    /// The first in order.
    pub(crate) fn pop(&mut self, slab: &mut Slab<Slot>, ageing: Ageing) -> Option<Key<Slot>> {
        let first = self.root.some()?;
        let orphans = slab[first].heap.child;
        self.root = meld_all(slab, ageing, orphans);
        Some(first)
    }

    /// One that others go before; the first where it is alone.
    pub(crate) fn any_but_first(self, slab: &Slab<Slot>) -> Option<Key<Slot>> {
        let first = self.root.some()?;
        Some(slab[first].heap.child.some().unwrap_or(first))
    }

    /// `key` is in this heap.
    pub(crate) fn remove(&mut self, slab: &mut Slab<Slot>, ageing: Ageing, key: Key<Slot>) {
        if self.root == key {
            self.pop(slab, ageing);
            return;
        }
        let HeapLinks { child, sibling, back } = slab[key].heap;
        let before = &mut slab[back].heap;
        if before.child == key {
            before.child = sibling;
        } else {
            before.sibling = sibling;
        }
        if let Some(sibling) = sibling.some() {
            slab[sibling].heap.back = back;
        }
        let orphans = meld_all(slab, ageing, child);
        self.root = meld(slab, ageing, self.root, orphans);
    }
}

/// Makes one tree of two; each may be none, neither has siblings.
fn meld(slab: &mut Slab<Slot>, ageing: Ageing, a: Key<Slot>, b: Key<Slot>) -> Key<Slot> {
    if a.is_none() {
        return b;
    }
    if b.is_none() {
        return a;
    }
    let (parent, child) = if ageing.goes_before(&slab[b], &slab[a]) { (b, a) } else { (a, b) };
    let sibling = slab[parent].heap.child;
    if let Some(sibling) = sibling.some() {
        slab[sibling].heap.back = child;
    }
    slab[child].heap.sibling = sibling;
    slab[child].heap.back = parent;
    slab[parent].heap.child = child;
    parent
}

/// Makes one tree of a row of siblings: pairs from the left, then the pairs from the right.
fn meld_all(slab: &mut Slab<Slot>, ageing: Ageing, first: Key<Slot>) -> Key<Slot> {
    let mut pairs = Key::NONE;
    let mut rest = first;
    while let Some(a) = rest.some() {
        let b = cut_off(slab, a);
        rest = if b.is_none() { b } else { cut_off(slab, b) };
        let pair = meld(slab, ageing, a, b);
        slab[pair].heap.sibling = pairs;
        pairs = pair;
    }
    let mut tree = Key::NONE;
    while let Some(pair) = pairs.some() {
        pairs = cut_off(slab, pair);
        tree = meld(slab, ageing, tree, pair);
    }
    tree
}

/// Parts a slot from its siblings and gives the next of them.
fn cut_off(slab: &mut Slab<Slot>, key: Key<Slot>) -> Key<Slot> {
    let links = &mut slab[key].heap;
    links.back = Key::NONE;
    std::mem::take(&mut links.sibling)
}

#[cfg(test)]
mod tests {
    use mailtier_types::Timestamp;
    use proptest::prelude::*;

    use super::*;

    const STEP_US: i64 = 1000;

    fn ageing() -> Ageing {
        Ageing::new(Duration::from_micros(1000))
    }

    proptest! {
        #[test]
        fn the_order_is_priority_and_age_whatever_is_taken_out(
            given in prop::collection::vec((-9_i8..10, 0..20_000_i64, any::<bool>()), 1..200),
            order in any::<u64>(),
        ) {
            let mut slab: Slab<Slot> = Slab::new();
            let mut heap = Heap::default();
            let mut kept = Vec::new();
            let mut removed = Vec::new();
            for (place, (priority, due, keep)) in given.into_iter().enumerate() {
                let key = slab.take();
                let id = (place as i64 + 1).wrapping_mul(order as i64 | 1) >> 1;
                (slab[key].id, slab[key].priority, slab[key].due) = (id, priority, Timestamp::from_micros(due));
                heap.insert(&mut slab, ageing(), key);
                if keep { kept.push((due - i64::from(priority) * STEP_US, id)) } else { removed.push(key) }
                if removed.len() > 3 {
                    heap.remove(&mut slab, ageing(), removed.remove(order as usize % 3));
                }
            }
            for key in removed {
                heap.remove(&mut slab, ageing(), key);
            }
            kept.sort_unstable();
            let mut popped = Vec::new();
            while let Some(key) = heap.pop(&mut slab, ageing()) {
                popped.push(ageing().rank(&slab[key]));
            }
            prop_assert_eq!(popped, kept);
        }
    }

    #[test]
    fn no_step_is_too_long_or_too_short() {
        let slot = |priority, due| Slot { priority, due: Timestamp::from_micros(due), ..Slot::default() };
        for step in [Duration::ZERO, Duration::from_secs(1), Duration::MAX] {
            let ageing = Ageing::new(step);
            assert!(ageing.goes_before(&slot(i8::MAX, 0), &slot(i8::MIN, 0)));
            assert!(ageing.goes_before(&slot(0, i64::MIN), &slot(0, i64::MAX)));
        }
        assert!(Ageing::new(Duration::MAX).goes_before(&slot(1, 1_800_000_000_000_000), &slot(0, 0)));
    }
}
