//! What the scheduler's operations cost with a million deliveries to ten thousand destinations in it. Each is done a
//! hundred thousand times at a stretch, so that the figures are of that many.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a benchmark may fail loudly")]

use std::time::Duration;

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher, black_box};
use mailtier_schedule::{Entry, Insert, Limits, PoolClass, Ready, Rules, Scheduler};
use mailtier_types::{DeliveryId, ShardId, TenantId, Timestamp};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

const ENTRIES: usize = 1_000_000;
const DESTINATIONS: usize = 10_000;
/// Of each operation at a stretch.
const STRETCH: usize = 100_000;
const SAMPLES: u32 = 5;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
/// When what waits is due.
const LATER: Timestamp = Timestamp::from_secs(1_800_003_600);
const EXPIRY: Timestamp = Timestamp::from_secs(1_800_432_000);

/// A scheduler, and where it stands.
struct World {
    scheduler: Scheduler,
    names: Vec<String>,
    /// Of the delivery that was inserted last.
    number: usize,
    now: Timestamp,
}

impl World {
    /// With a million deliveries, due at that time.
    fn new(due: Timestamp) -> Self {
        let most = 2 * ENTRIES;
        let limits = Limits { max_entries: most, max_entries_per_destination: most };
        let scheduler = Scheduler::new(limits, Rules::plain(1_000_000));
        let names = (0..DESTINATIONS).map(|number| format!("customer-{number}.example")).collect();
        let mut world = Self { scheduler, names, number: 0, now: NOW };
        world.insert(ENTRIES, due);
        world
    }

    /// The destinations in no order that memory would like.
    fn insert(&mut self, count: usize, due: Timestamp) {
        for _ in 0..count {
            let name = &self.names[self.number * 7919 % DESTINATIONS];
            self.number += 1;
            let entry = Entry {
                id: DeliveryId::from_i64(i64::try_from(self.number).unwrap()).unwrap(),
                shard: ShardId::of(name),
                tenant: TenantId(0),
                class: PoolClass::default(),
                priority: 0,
                attempts: 0,
                due,
                expires_at: EXPIRY,
                warn_at: None,
            };
            assert_eq!(self.scheduler.insert(name, entry, self.now), Insert::Scheduled);
        }
    }

    fn next(&mut self) -> Entry {
        match self.scheduler.next(self.now) {
            Some(Ready::Attempt(entry)) => entry,
            other => panic!("{other:?} is no attempt"),
        }
    }

    /// After the first of each destination was taken and settled.
    fn ordered() -> Self {
        let mut world = Self::new(NOW);
        for _ in 0..DESTINATIONS {
            let first = world.next();
            world.scheduler.finish(first.id);
        }
        world
    }

    fn take_all(&mut self, count: usize) {
        for _ in 0..count {
            black_box(self.next());
        }
    }
}

/// Measures an operation that is done [`STRETCH`] times, each time with a million in the scheduler.
fn stretch<I>(bencher: Bencher<'_, '_>, prepare: impl Fn() -> I, operate: impl Fn(&mut I)) {
    bencher.counter(ItemsCount::new(STRETCH)).with_inputs(prepare).bench_local_refs(|input| operate(input));
}

#[divan::bench(sample_count = SAMPLES, sample_size = 1)]
fn insert_ready(bencher: Bencher<'_, '_>) {
    stretch(bencher, || World::new(NOW), |world| world.insert(STRETCH, NOW));
}

#[divan::bench(sample_count = SAMPLES, sample_size = 1)]
fn insert_waiting(bencher: Bencher<'_, '_>) {
    stretch(bencher, || World::new(LATER), |world| world.insert(STRETCH, LATER));
}

/// Of each destination the first: that puts what is ready for it in order.
#[divan::bench(sample_count = SAMPLES, sample_size = 1)]
fn take_first_of_each_destination(bencher: Bencher<'_, '_>) {
    let take = |world: &mut World| world.take_all(DESTINATIONS);
    bencher.counter(ItemsCount::new(DESTINATIONS)).with_inputs(|| World::new(NOW)).bench_local_refs(take);
}

#[divan::bench(sample_count = SAMPLES, sample_size = 1)]
fn take_next(bencher: Bencher<'_, '_>) {
    stretch(bencher, World::ordered, |world| world.take_all(STRETCH));
}

/// With what is at work taken out before.
fn at_work() -> (World, Vec<Entry>) {
    let mut world = World::ordered();
    let taken = (0..STRETCH).map(|_| world.next()).collect();
    (world, taken)
}

/// The attempt is over, and then its result is durable.
#[divan::bench(sample_count = SAMPLES, sample_size = 1)]
fn settle(bencher: Bencher<'_, '_>) {
    let operate = |(world, taken): &mut (World, Vec<Entry>)| {
        for entry in taken {
            world.scheduler.end_attempt(entry.id, world.now);
            assert!(world.scheduler.finish(entry.id));
        }
    };
    stretch(bencher, at_work, operate);
}

#[divan::bench(sample_count = SAMPLES, sample_size = 1)]
fn defer(bencher: Bencher<'_, '_>) {
    let operate = |(world, taken): &mut (World, Vec<Entry>)| {
        for (entry, seconds) in taken.iter().zip((300..360).cycle()) {
            world.scheduler.end_attempt(entry.id, world.now);
            assert!(world.scheduler.defer(entry.id, 1, NOW.after(Duration::from_secs(seconds))));
        }
    };
    stretch(bencher, at_work, operate);
}

/// All of a delivery's life, one at a time, beside a million that wait for a retry.
#[divan::bench(sample_count = SAMPLES, sample_size = 1)]
fn whole_life_beside_a_backlog(bencher: Bencher<'_, '_>) {
    let operate = |world: &mut World| {
        for _ in 0..STRETCH {
            world.insert(1, NOW);
            let entry = world.next();
            world.scheduler.end_attempt(entry.id, NOW);
            assert!(world.scheduler.finish(entry.id));
        }
    };
    stretch(bencher, || World::new(LATER), operate);
}

/// A million become due at once: the first that is taken.
#[divan::bench(sample_count = SAMPLES, sample_size = 1)]
fn first_of_a_million_that_become_due(bencher: Bencher<'_, '_>) {
    let due = || {
        let mut world = World::new(LATER);
        world.now = LATER;
        world
    };
    bencher.counter(ItemsCount::new(ENTRIES)).with_inputs(due).bench_local_refs(World::next);
}

/// A million deliveries leave memory, a shard at a time: what happens where another replica takes them over.
#[divan::bench(sample_count = SAMPLES, sample_size = 1)]
fn drop_all_shards(bencher: Bencher<'_, '_>) {
    let operate = |world: &mut World| {
        for shard in ShardId::all() {
            black_box(world.scheduler.drop_shard(shard));
        }
    };
    bencher.counter(ItemsCount::new(ENTRIES)).with_inputs(|| World::new(NOW)).bench_local_refs(operate);
}
