//! Where the scheduler keeps its deliveries: slots of 64 octets that every other structure threads through.
//!
//! | file | holds |
//! |---|---|
//! | `slab` | slots in chunks that never move, with typed keys |
//! | `slot` | one delivery and its links |
//! | `list` | doubly linked lists through slots |
//! | `heap` | pairing heaps through slots: a queue in its order |
//! | `wheel` | timers through slots |
//! | `index` | from an id to its slot |
//!
//! Nothing here allocates per operation once it has grown to its size, and nothing is deleted lazily: what is taken out
//! is gone. Not responsible for any decision.

mod heap;
mod index;
mod list;
mod slab;
mod slot;
mod wheel;

pub(crate) use heap::{Ageing, Heap, MOST_PRIORITY};
pub(crate) use index::{IdIndex, mix};
pub(crate) use list::{Linked, Links, List};
pub(crate) use slab::{Key, Slab};
pub(crate) use slot::{Place, Siblings, Slot, Timed, floor_tick};
pub(crate) use wheel::Wheel;
