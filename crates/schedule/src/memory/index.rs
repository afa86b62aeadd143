//! From an id to its slot. The table is in parts, so that growing stalls for a part and not for the whole. Not
//! responsible for the slots.

use hashbrown::HashTable;

use crate::memory::slab::{Key, Slab};
use crate::memory::slot::Slot;

const PARTS: usize = 64;
/// Entries of a part that may stay allocated when the part becomes empty.
const CAPACITY_KEPT: usize = 1024;

/// Spreads the bits of a number over all of it (the finaliser of splitmix64). Ids are not chosen by peers, so it needs
/// no key.
pub(crate) const fn mix(number: u64) -> u64 {
    let a = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let b = (a ^ (a >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    b ^ (b >> 31)
}

const fn hash(id: i64) -> u64 {
    mix(id.cast_unsigned())
}

/// All known ids.
#[derive(Debug)]
pub(crate) struct IdIndex {
    parts: Vec<HashTable<Key<Slot>>>,
}

impl IdIndex {
    pub(crate) fn new() -> Self {
        Self { parts: (0..PARTS).map(|_| HashTable::new()).collect() }
    }

    pub(crate) fn find(&self, slab: &Slab<Slot>, id: i64) -> Option<Key<Slot>> {
        let hash = hash(id);
        self.parts.get(part(hash))?.find(hash, |&key| slab[key].id == id).copied()
    }

    /// Adds a slot whose id is not there.
    pub(crate) fn insert(&mut self, slab: &Slab<Slot>, key: Key<Slot>) {
        let hash_of = |key: &Key<Slot>| hash(slab[*key].id);
        let own = hash_of(&key);
        if let Some(part) = self.parts.get_mut(part(own)) {
            part.insert_unique(own, key, hash_of);
        }
    }

    pub(crate) fn remove(&mut self, slab: &Slab<Slot>, key: Key<Slot>) {
        let hash = hash(slab[key].id);
        let Some(part) = self.parts.get_mut(part(hash)) else { return };
        if let Ok(found) = part.find_entry(hash, |&other| other == key) {
            found.remove();
        }
        if part.is_empty() && part.capacity() > CAPACITY_KEPT {
            *part = HashTable::new();
        }
    }
}

/// The table itself uses the lowest and the highest bits of the hash; the part is chosen by some between.
fn part(hash: u64) -> usize {
    usize::try_from(hash >> 40).unwrap_or(0) % PARTS
}
