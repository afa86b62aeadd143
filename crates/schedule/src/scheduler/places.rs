//! Destinations and queues by name: each is kept once, from its first delivery to its last. A queue is what one tenant
//! has for one destination, and of which the same rules of egress pools may count. Not responsible for whose turn it is (`turns`).

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use mailtier_types::{ShardId, TenantId, Timestamp};

use crate::health::Health;
use crate::memory::{Heap, Key, Linked, Links, List, Siblings, Slab, Slot, mix};
use crate::pools::PoolId;
use crate::rate::Meter;
use crate::rules::DestinationLimits;
use crate::scheduler::gate::Gate;
use crate::scheduler::pools::PoolClass;
use crate::scheduler::shards::{OfShard, Shards};
use crate::scheduler::ways;

/// A queue's part in the round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing is ready.
    #[default]
    Idle,
    /// In the ring.
    Ringed,
    /// Kept by its destination, which is at its limit.
    Parked,
    /// Kept by its tenant's gate.
    HeldByTenant,
    /// Kept by the gate of its destination's provider.
    HeldByProvider,
    /// Kept by the gate of an egress pool.
    HeldByPool,
}

/// Marks the list a queue is in for its turn: the ring, its destination's parked queues, or those that a gate holds.
#[derive(Debug)]
pub(crate) struct Turns;

/// Marks the list of a destination's queues.
#[derive(Debug)]
pub(crate) struct OfDestination;

/// Marks the list of queues that rest and have something ready.
#[derive(Debug)]
pub(crate) struct Dormant;

/// What one tenant has for one destination.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) tenant: TenantId,
    pub(crate) destination: Key<Destination>,
    /// What is ready.
    pub(crate) heap: Heap,
    /// Deliveries in all places.
    count: u32,
    /// Of these, in the heap.
    pub(crate) ready: u32,
    pub(crate) turn: Turn,
    /// Its destination is dead, or somebody has suspended it.
    pub(crate) is_dormant: bool,
    /// Its tenant's gate.
    pub(crate) gate: Key<Gate>,
    /// Which rules of pools there are for it.
    pub(crate) class: PoolClass,
    /// The pool that it belongs to by these.
    pub(crate) pool: PoolId,
    /// The gate of the pool that holds it.
    pub(crate) holder: Key<Gate>,
    turns: Links<Self>,
    of_destination: Links<Self>,
    dormant: Links<Self>,
}

impl Queue {
    const fn owner(&self) -> Owner {
        (self.tenant, self.class)
    }
}

/// What limits apply to.
#[derive(Debug)]
pub(crate) struct Destination {
    /// Or of a way to it (see `ways`).
    pub(crate) name: String,
    hash: u64,
    pub(crate) shard: ShardId,
    /// Deliveries in all places.
    pub(crate) entries: List<Slot, Siblings>,
    pub(crate) count: u32,
    /// Of these, ready or being attempted.
    pub(crate) busy: u32,
    /// Of these, being attempted.
    pub(crate) in_flight: u32,
    /// Its queues in the ring.
    pub(crate) ringed: u32,
    /// Its queues that wait until an attempt ends.
    pub(crate) parked: List<Queue, Turns>,
    pub(crate) queues: List<Queue, OfDestination>,
    pub(crate) limits: DestinationLimits,
    pub(crate) health: Health,
    pub(crate) meter: Meter,
    pub(crate) is_suspended: bool,
    /// The gate of its provider, once that is known.
    pub(crate) provider: Key<Gate>,
    /// Until when it is known whose it is: a provider's or nobody's. Never, at first.
    pub(crate) provider_until: Timestamp,
    /// The delivery in flight that asks whose it is.
    pub(crate) asking: Key<Slot>,
    /// When it is looked at again because it may then begin more attempts.
    pub(crate) opens_at: Option<Timestamp>,
    /// It had no room for a delivery since its shard was last read from the beginning.
    pub(crate) overflowing: bool,
    of_shard: Links<Self>,
}

impl Destination {
    /// Its name as a destination, whatever way this is.
    pub(crate) fn domain(&self) -> &str {
        ways::destination_of(&self.name)
    }

    /// Where this way leads; none: it is the destination's own.
    pub(crate) fn hosts(&self) -> ways::Hosts<'_> {
        ways::hosts_of(&self.name)
    }

    /// It is the way that an operator has chosen for some of a destination's mail.
    pub(crate) fn is_way(&self) -> bool {
        ways::is_way(&self.name)
    }
}

impl Default for Destination {
    fn default() -> Self {
        let limits = DestinationLimits { concurrency: 1, initial_concurrency: 1, rate: None };
        Self {
            name: String::new(),
            hash: 0,
            shard: ShardId::new(0),
            entries: List::new(),
            count: 0,
            busy: 0,
            in_flight: 0,
            ringed: 0,
            parked: List::new(),
            queues: List::new(),
            limits,
            health: Health::new(limits),
            meter: Meter::default(),
            is_suspended: false,
            provider: Key::NONE,
            provider_until: Timestamp::EPOCH,
            asking: Key::NONE,
            opens_at: None,
            overflowing: false,
            of_shard: Links::default(),
        }
    }
}

impl Linked<Turns> for Queue {
    fn links(&self) -> &Links<Self> {
        &self.turns
    }

    fn links_mut(&mut self) -> &mut Links<Self> {
        &mut self.turns
    }
}

impl Linked<OfDestination> for Queue {
    fn links(&self) -> &Links<Self> {
        &self.of_destination
    }

    fn links_mut(&mut self) -> &mut Links<Self> {
        &mut self.of_destination
    }
}

impl Linked<Dormant> for Queue {
    fn links(&self) -> &Links<Self> {
        &self.dormant
    }

    fn links_mut(&mut self) -> &mut Links<Self> {
        &mut self.dormant
    }
}

impl Linked<OfShard> for Destination {
    fn links(&self) -> &Links<Self> {
        &self.of_shard
    }

    fn links_mut(&mut self) -> &mut Links<Self> {
        &mut self.of_shard
    }
}

/// All destinations and queues that have deliveries.
pub(crate) struct Places {
    pub(crate) destinations: Slab<Destination>,
    pub(crate) queues: Slab<Queue>,
    by_name: HashTable<Key<Destination>>,
    by_owner: HashTable<Key<Queue>>,
    /// Strangers choose the names of destinations, so their hash has a secret key.
    hasher: RandomState,
}

/// Whose a queue is, beside its destination's.
pub(crate) type Owner = (TenantId, PoolClass);

fn queue_hash(destination: Key<Destination>, (tenant, class): Owner) -> u64 {
    let hash = mix(u64::from(destination.number()) << 32 | u64::from(tenant.0.cast_unsigned()));
    if class == PoolClass::default() { hash } else { mix(hash ^ u64::from(class.number())) }
}

impl Places {
    pub(crate) fn new() -> Self {
        Self {
            destinations: Slab::new(),
            queues: Slab::new(),
            by_name: HashTable::new(),
            by_owner: HashTable::new(),
            hasher: RandomState::new(),
        }
    }

    pub(crate) fn find(&self, name: &str, shard: ShardId) -> Option<Key<Destination>> {
        self.find_hashed(self.hasher.hash_one(name), name, shard)
    }

    fn find_hashed(&self, hash: u64, name: &str, shard: ShardId) -> Option<Key<Destination>> {
        let is_it = |key: &Key<Destination>| {
            let destination = &self.destinations[*key];
            destination.shard == shard && destination.name == name
        };
        self.by_name.find(hash, is_it).copied()
    }

    /// Adds a delivery to the count of its queue, which is made if there is none. What is new about it is for the caller
    /// to fill in.
    pub(crate) fn join(&mut self, shards: &mut Shards, name: &str, shard: ShardId, owner: Owner) -> Joined {
        let hash = self.hasher.hash_one(name);
        let known = self.find_hashed(hash, name, shard);
        let destination = known.unwrap_or_else(|| self.new_destination(shards, hash, name, shard));
        let hash = queue_hash(destination, owner);
        let queues = &self.queues;
        let is_it = |key: &Key<Queue>| queues[*key].destination == destination && queues[*key].owner() == owner;
        let known_queue = self.by_owner.find(hash, is_it).copied();
        let queue = known_queue.unwrap_or_else(|| self.new_queue(destination, owner));
        self.queues[queue].count += 1;
        self.destinations[destination].count += 1;
        Joined { queue, destination, is_new_destination: known.is_none(), is_new_queue: known_queue.is_none() }
    }

    fn new_destination(&mut self, shards: &mut Shards, hash: u64, name: &str, shard: ShardId) -> Key<Destination> {
        let key = self.destinations.take();
        let destination = &mut self.destinations[key];
        let mut buffer = std::mem::take(&mut destination.name);
        buffer.clear();
        buffer.push_str(name);
        *destination = Destination { name: buffer, hash, shard, ..Destination::default() };
        shards[shard].destinations.push_back(&mut self.destinations, key);
        let destinations = &self.destinations;
        self.by_name.insert_unique(hash, key, |key| destinations[*key].hash);
        key
    }

    fn new_queue(&mut self, destination: Key<Destination>, (tenant, class): Owner) -> Key<Queue> {
        let key = self.queues.take();
        self.queues[key] = Queue { tenant, class, destination, ..Queue::default() };
        self.destinations[destination].queues.push_back(&mut self.queues, key);
        let queues = &self.queues;
        let hash_of = |key: &Key<Queue>| queue_hash(queues[*key].destination, queues[*key].owner());
        self.by_owner.insert_unique(hash_of(&key), key, hash_of);
        key
    }

    /// Takes a delivery from the count of its queue. Says whether it was the queue's last.
    pub(crate) fn part(&mut self, key: Key<Queue>) -> bool {
        let queue = &mut self.queues[key];
        queue.count -= 1;
        let is_last = queue.count == 0;
        self.destinations[queue.destination].count -= 1;
        is_last
    }

    /// Forgets a queue without deliveries.
    pub(crate) fn drop_queue(&mut self, key: Key<Queue>) {
        let (destination, owner) = (self.queues[key].destination, self.queues[key].owner());
        if let Ok(found) = self.by_owner.find_entry(queue_hash(destination, owner), |&other| other == key) {
            found.remove();
        }
        self.destinations[destination].queues.remove(&mut self.queues, key);
        self.queues.give_back(key);
    }

    /// Forgets a destination without deliveries.
    pub(crate) fn drop_destination(&mut self, shards: &mut Shards, key: Key<Destination>) {
        let (hash, shard) = (self.destinations[key].hash, self.destinations[key].shard);
        if let Ok(found) = self.by_name.find_entry(hash, |&other| other == key) {
            found.remove();
        }
        shards[shard].destinations.remove(&mut self.destinations, key);
        self.destinations.give_back(key);
    }
}

/// Where a delivery was counted in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Joined {
    pub(crate) queue: Key<Queue>,
    pub(crate) destination: Key<Destination>,
    pub(crate) is_new_destination: bool,
    pub(crate) is_new_queue: bool,
}
