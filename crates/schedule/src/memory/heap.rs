//! A queue's ready deliveries in their order: higher priority first, then the older. A pairing heap (Fredman, Sedgewick,
//! Sleator, Tarjan 1986) through the slots: constant time to insert, logarithmic amortised to take out, from anywhere.
//! Not responsible for when something becomes ready.

use crate::memory::slab::{Key, Slab};
use crate::memory::slot::Slot;

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

    pub(crate) fn insert(&mut self, slab: &mut Slab<Slot>, key: Key<Slot>) {
        slab[key].heap = HeapLinks::default();
        self.root = meld(slab, self.root, key);
    }

    /// The first in order.
    pub(crate) fn pop(&mut self, slab: &mut Slab<Slot>) -> Option<Key<Slot>> {
        let first = self.root.some()?;
        self.root = meld_all(slab, slab[first].heap.child);
        Some(first)
    }

    /// One that others go before; the first where it is alone.
    pub(crate) fn any_but_first(self, slab: &Slab<Slot>) -> Option<Key<Slot>> {
        let first = self.root.some()?;
        Some(slab[first].heap.child.some().unwrap_or(first))
    }

    /// `key` is in this heap.
    pub(crate) fn remove(&mut self, slab: &mut Slab<Slot>, key: Key<Slot>) {
        if self.root == key {
            self.pop(slab);
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
        let orphans = meld_all(slab, child);
        self.root = meld(slab, self.root, orphans);
    }
}

fn goes_before(a: &Slot, b: &Slot) -> bool {
    (b.priority, a.id) < (a.priority, b.id)
}

/// Makes one tree of two; each may be none, neither has siblings.
fn meld(slab: &mut Slab<Slot>, a: Key<Slot>, b: Key<Slot>) -> Key<Slot> {
    if a.is_none() {
        return b;
    }
    if b.is_none() {
        return a;
    }
    let (parent, child) = if goes_before(&slab[b], &slab[a]) { (b, a) } else { (a, b) };
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
fn meld_all(slab: &mut Slab<Slot>, first: Key<Slot>) -> Key<Slot> {
    let mut pairs = Key::NONE;
    let mut rest = first;
    while let Some(a) = rest.some() {
        let b = cut_off(slab, a);
        rest = if b.is_none() { b } else { cut_off(slab, b) };
        let pair = meld(slab, a, b);
        slab[pair].heap.sibling = pairs;
        pairs = pair;
    }
    let mut tree = Key::NONE;
    while let Some(pair) = pairs.some() {
        pairs = cut_off(slab, pair);
        tree = meld(slab, tree, pair);
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
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_order_is_priority_then_age_whatever_is_taken_out(
            given in prop::collection::vec((-2_i16..3, any::<bool>()), 1..200),
            order in any::<u64>(),
        ) {
            let mut slab: Slab<Slot> = Slab::new();
            let mut heap = Heap::default();
            let mut kept = Vec::new();
            let mut removed = Vec::new();
            for (place, (priority, keep)) in given.into_iter().enumerate() {
                let key = slab.take();
                let id = (place as i64 + 1).wrapping_mul(order as i64 | 1) >> 1;
                (slab[key].id, slab[key].priority) = (id, priority);
                heap.insert(&mut slab, key);
                if keep { kept.push((-priority, id)) } else { removed.push(key) }
                if removed.len() > 3 {
                    heap.remove(&mut slab, removed.remove(order as usize % 3));
                }
            }
            for key in removed {
                heap.remove(&mut slab, key);
            }
            kept.sort_unstable();
            let mut popped = Vec::new();
            while let Some(key) = heap.pop(&mut slab) {
                popped.push((-slab[key].priority, slab[key].id));
            }
            prop_assert_eq!(popped, kept);
        }
    }
}
