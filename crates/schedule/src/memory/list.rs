//! Doubly linked lists whose links lie in the slots themselves, so that anything can leave any list at once. Not
//! responsible for knowing which list a slot is in: who puts it in remembers.

use std::fmt;
use std::marker::PhantomData;

use crate::memory::slab::{Key, Slab};

/// A slot's neighbours in one list.
pub(crate) struct Links<T> {
    back: Key<T>,
    next: Key<T>,
}

impl<T> Default for Links<T> {
    fn default() -> Self {
        Self { back: Key::NONE, next: Key::NONE }
    }
}

impl<T> fmt::Debug for Links<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}..{:?}", self.back, self.next)
    }
}

/// Slots that can be in a list of kind `L`, one at a time.
pub(crate) trait Linked<L>: Default {
    fn links(&self) -> &Links<Self>;
    fn links_mut(&mut self) -> &mut Links<Self>;
}

/// A list of kind `L`.
pub(crate) struct List<T, L> {
    first: Key<T>,
    last: Key<T>,
    kind: PhantomData<fn() -> L>,
}

impl<T, L> List<T, L> {
    pub(crate) const fn new() -> Self {
        Self { first: Key::NONE, last: Key::NONE, kind: PhantomData }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(crate) const fn first(&self) -> Key<T> {
        self.first
    }

    pub(crate) const fn last(&self) -> Key<T> {
        self.last
    }
}

impl<T: Linked<L>, L> List<T, L> {
    pub(crate) fn push_back(&mut self, slab: &mut Slab<T>, key: Key<T>) {
        let back = self.last;
        *slab[key].links_mut() = Links { back, next: Key::NONE };
        match back.some() {
            Some(back) => slab[back].links_mut().next = key,
            None => self.first = key,
        }
        self.last = key;
    }

    pub(crate) fn pop_front(&mut self, slab: &mut Slab<T>) -> Option<Key<T>> {
        let key = self.first.some()?;
        self.remove(slab, key);
        Some(key)
    }

    /// `key` is in this list.
    pub(crate) fn remove(&mut self, slab: &mut Slab<T>, key: Key<T>) {
        let Links { back, next } = std::mem::take(slab[key].links_mut());
        match back.some() {
            Some(back) => slab[back].links_mut().next = next,
            None => self.first = next,
        }
        match next.some() {
            Some(next) => slab[next].links_mut().back = back,
            None => self.last = back,
        }
    }

    /// What follows `key` in its list.
    pub(crate) fn after(slab: &Slab<T>, key: Key<T>) -> Key<T> {
        slab[key].links().next
    }
}

impl<T, L> Default for List<T, L> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, L> Clone for List<T, L> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, L> Copy for List<T, L> {}

impl<T, L> fmt::Debug for List<T, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}..{:?}", self.first, self.last)
    }
}
