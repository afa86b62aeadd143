//! Slots in chunks: growing never moves or copies what is there, and a slot given back is the next one taken. Not
//! responsible for what a slot holds.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

/// Slots in a chunk.
const CHUNK: usize = 1024;
/// Chunks that stay when the slab becomes empty.
const CHUNKS_KEPT: usize = 64;

/// The place of a slot. A key is valid from [`Slab::take`] to [`Slab::give_back`]; who holds it sees to that.
pub(crate) struct Key<T> {
    number: u32,
    of: PhantomData<fn() -> T>,
}

impl<T> Key<T> {
    /// The key of no slot.
    pub(crate) const NONE: Self = Self::new(u32::MAX);

    pub(crate) const fn new(number: u32) -> Self {
        Self { number, of: PhantomData }
    }

    pub(crate) const fn is_none(self) -> bool {
        self.number == u32::MAX
    }

    /// For hashing, and to be kept elsewhere.
    pub(crate) const fn number(self) -> u32 {
        self.number
    }

    /// As an option, for `while let`.
    pub(crate) const fn some(self) -> Option<Self> {
        if self.is_none() { None } else { Some(self) }
    }
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Key<T> {}

impl<T> PartialEq for Key<T> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for Key<T> {}

impl<T> Default for Key<T> {
    fn default() -> Self {
        Self::NONE
    }
}

impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number.fmt(f)
    }
}

/// Slots of one kind.
pub(crate) struct Slab<T> {
    chunks: Vec<Box<[T]>>,
    vacant: Vec<u32>,
    taken: usize,
}

impl<T: Default> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { chunks: Vec::new(), vacant: Vec::new(), taken: 0 }
    }

    /// A slot with whatever was in it before; the taker fills it.
    pub(crate) fn take(&mut self) -> Key<T> {
        if self.vacant.is_empty() {
            self.grow();
        }
        self.taken += 1;
        self.vacant.pop().map_or(Key::NONE, Key::new)
    }

    fn grow(&mut self) {
        let first = self.chunks.len() * CHUNK;
        self.chunks.push((0..CHUNK).map(|_| T::default()).collect());
        self.vacant.extend((first..first + CHUNK).rev().filter_map(|number| u32::try_from(number).ok()));
    }

    pub(crate) fn give_back(&mut self, key: Key<T>) {
        self.taken -= 1;
        if self.taken == 0 && self.chunks.len() > CHUNKS_KEPT {
            self.chunks = Vec::new();
            self.vacant = Vec::new();
        } else {
            self.vacant.push(key.number);
        }
    }

    /// Whether there is such a slot, in use or not.
    pub(crate) fn holds(&self, key: Key<T>) -> bool {
        (key.number as usize) < self.chunks.len() * CHUNK
    }

    /// How many slots are in use.
    pub(crate) const fn len(&self) -> usize {
        self.taken
    }
}

#[expect(
    clippy::indexing_slicing,
    reason = "keys are made by the slab they are used on, and slots stay until it is empty"
)]
impl<T> Index<Key<T>> for Slab<T> {
    type Output = T;

    fn index(&self, key: Key<T>) -> &T {
        let number = key.number as usize;
        &self.chunks[number / CHUNK][number % CHUNK]
    }
}

#[expect(
    clippy::indexing_slicing,
    reason = "keys are made by the slab they are used on, and slots stay until it is empty"
)]
impl<T> IndexMut<Key<T>> for Slab<T> {
    fn index_mut(&mut self, key: Key<T>) -> &mut T {
        let number = key.number as usize;
        &mut self.chunks[number / CHUNK][number % CHUNK]
    }
}

impl<T> fmt::Debug for Slab<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slab").field("taken", &self.taken).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_used_again_and_memory_returns_when_all_are_free() {
        let mut slab: Slab<u64> = Slab::new();
        let count = CHUNK * (CHUNKS_KEPT + 2);
        let keys: Vec<_> = (0..count).map(|_| slab.take()).collect();
        for (value, &key) in (0..).zip(&keys) {
            slab[key] = value;
        }
        assert!((0..).zip(&keys).all(|(value, &key)| slab[key] == value), "no two keys share a slot");
        slab.give_back(keys[7]);
        assert_eq!(slab.take(), keys[7]);
        for &key in &keys {
            slab.give_back(key);
        }
        assert_eq!((slab.len(), slab.chunks.len()), (0, 0));
        let key = slab.take();
        slab[key] = 1;
        assert_eq!((slab.len(), slab[key]), (1, 1));
    }
}
