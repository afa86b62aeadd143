//! Random operations on the scheduler and on a map of deliveries; after each the two must agree.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use mailtier_schedule::{Correction, Entry, Insert, Limits, PoolClass, Ready, Rules, Scheduler};
use mailtier_types::{DeliveryId, ShardId, TenantId, Timestamp};
use proptest::prelude::*;

const DESTINATIONS: [&str; 5] = ["a.example", "b.example", "c.example", "d.example", "e.example"];
const CONCURRENCY: u32 = 2;
/// By which waiting makes up for priority: a short while, so that both count in what is tried here.
const STEP_US: i64 = 150_000;

#[derive(Clone, Debug)]
enum Operation {
    Insert { destination: usize, tenant: i32, priority: i16, due_in_ms: i64, expires_in_ms: i64 },
    Next,
    Drain,
    Wait { ms: i64 },
    Finish { which: usize },
    Defer { which: usize, in_ms: i64 },
    Release { which: usize },
    Correct { which: usize, attempts: u16, due_in_ms: Option<i64>, expires_in_ms: i64 },
    RetryNow { which: usize },
    RetryDestination { destination: usize },
    MarkInFlight { destination: usize, which: usize, known: bool },
    DropShard { destination: usize },
    PutClockBack { seconds: i64 },
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation as Op;
    let delay = prop_oneof![3 => Just(0_i64), 3 => 1..100_i64, 3 => 1..10_000_i64, 1 => 1..1_000_000_000_i64];
    let life = prop_oneof![1 => 0..200_i64, 3 => 10_000..1_000_000_000_i64];
    let insert = (0..5_usize, 0..3_i32, -1..2_i16, delay.clone(), life).prop_map(
        |(destination, tenant, priority, due_in_ms, expires_in_ms)| Op::Insert {
            destination,
            tenant,
            priority,
            due_in_ms,
            expires_in_ms,
        },
    );
    prop_oneof![
        12 => insert,
        12 => Just(Op::Next),
        1 => Just(Op::Drain),
        4 => prop_oneof![4 => 0..200_i64, 1 => 0..400_000_000_i64].prop_map(|ms| Op::Wait { ms }),
        6 => any::<usize>().prop_map(|which| Op::Finish { which }),
        2 => (any::<usize>(), 0..3_u16, prop::option::of(delay.clone()), -100..100_000_i64).prop_map(
            |(which, attempts, due_in_ms, expires_in_ms)| Op::Correct { which, attempts, due_in_ms, expires_in_ms }
        ),
        6 => (any::<usize>(), delay).prop_map(|(which, in_ms)| Op::Defer { which, in_ms }),
        2 => any::<usize>().prop_map(|which| Op::Release { which }),
        1 => any::<usize>().prop_map(|which| Op::RetryNow { which }),
        1 => (0..5_usize).prop_map(|destination| Op::RetryDestination { destination }),
        1 => (0..5_usize, any::<usize>(), any::<bool>())
            .prop_map(|(destination, which, known)| Op::MarkInFlight { destination, which, known }),
        1 => (0..5_usize).prop_map(|destination| Op::DropShard { destination }),
        1 => (0..5_000_i64).prop_map(|seconds| Op::PutClockBack { seconds }),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Waiting,
    Ready,
    InFlight,
    GivenUp,
}

struct Delivery {
    entry: Entry,
    destination: &'static str,
    place: Place,
}

type QueueName = (&'static str, TenantId);

struct World {
    scheduler: Scheduler,
    deliveries: BTreeMap<i64, Delivery>,
    now: Timestamp,
    next_id: i64,
    /// Turns of the second queue since the first became ready or had its own last turn.
    overtaken: HashMap<(QueueName, QueueName), u32>,
}

/// Timers are met to the millisecond and never early.
fn has_come(at: Timestamp, now: Timestamp) -> bool {
    at.as_micros().div_euclid(1000) + i64::from(at.as_micros() % 1000 != 0) <= now.as_millis()
}

impl World {
    fn new() -> Self {
        let limits = Limits { max_entries: 10_000, max_entries_per_destination: 10_000 };
        Self {
            scheduler: Scheduler::new(limits, Rules::plain(CONCURRENCY))
                .with_priority_step(Duration::from_micros(STEP_US.unsigned_abs())),
            deliveries: BTreeMap::new(),
            now: Timestamp::from_micros(1_800_000_000_000_777),
            next_id: 1_000_000,
            overtaken: HashMap::new(),
        }
    }

    fn pick(&self, which: usize) -> Option<i64> {
        let out: Vec<i64> = self
            .deliveries
            .iter()
            .filter(|(_, d)| d.place == Place::InFlight || which.is_multiple_of(4))
            .map(|(&id, _)| id)
            .collect();
        (!out.is_empty()).then(|| out[which % out.len()])
    }

    fn id(id: i64) -> DeliveryId {
        DeliveryId::from_i64(id).unwrap()
    }

    fn in_flight(&self, destination: &str) -> usize {
        self.deliveries.values().filter(|d| d.destination == destination && d.place == Place::InFlight).count()
    }

    /// A delivery comes (back) from elsewhere: where does it go?
    fn place(entry: &Entry, now: Timestamp) -> Place {
        if entry.due <= now || entry.expires_at <= now { Place::Ready } else { Place::Waiting }
    }

    /// Timers go off when the scheduler is asked, not before.
    fn wake(&mut self) {
        for delivery in self.deliveries.values_mut() {
            let at = delivery.entry.due.min(delivery.entry.expires_at);
            if delivery.place == Place::Waiting && has_come(at, self.now) {
                delivery.place = Place::Ready;
            }
        }
    }

    fn is_expired(&self, delivery: &Delivery) -> bool {
        delivery.entry.expires_at <= self.now
    }

    fn insert(&mut self, destination: usize, tenant: i32, priority: i16, due_in_ms: i64, expires_in_ms: i64) {
        let destination = DESTINATIONS[destination];
        // Ids are not always in order: other replicas' come late.
        self.next_id += if self.next_id % 3 == 0 { -1_001 } else { 1_000 };
        while self.deliveries.contains_key(&self.next_id) {
            self.next_id += 7;
        }
        let entry = Entry {
            id: Self::id(self.next_id),
            shard: ShardId::of(destination),
            tenant: TenantId(tenant),
            class: PoolClass::default(),
            priority,
            attempts: 0,
            due: Timestamp::from_micros(self.now.as_micros() + due_in_ms * 1_000 + due_in_ms % 900),
            expires_at: Timestamp::from_micros(self.now.as_micros() + expires_in_ms * 1_000 + 13),
            warn_at: None,
        };
        assert_eq!(self.scheduler.insert(destination, entry, self.now), Insert::Scheduled);
        assert_eq!(self.scheduler.insert(destination, entry, self.now), Insert::Known);
        let place = Self::place(&entry, self.now);
        self.deliveries.insert(self.next_id, Delivery { entry, destination, place });
    }

    fn next(&mut self) -> bool {
        let ready = self.scheduler.next(self.now);
        self.wake();
        match ready {
            Some(Ready::Expired(entry)) => {
                let delivery = &self.deliveries[&entry.id.as_i64()];
                assert!(delivery.place == Place::Ready && self.is_expired(delivery), "{entry:?} has time left");
                self.deliveries.get_mut(&entry.id.as_i64()).unwrap().place = Place::GivenUp;
            }
            Some(Ready::Attempt(entry)) => self.check_attempt(entry),
            None => self.check_nothing_to_do(),
        }
        ready.is_some()
    }

    fn check_attempt(&mut self, entry: Entry) {
        let delivery = &self.deliveries[&entry.id.as_i64()];
        assert_eq!(delivery.entry, entry);
        assert_eq!(delivery.place, Place::Ready);
        assert!(
            !self.is_expired(delivery) || !has_come(entry.expires_at, self.now),
            "what is expired is not attempted"
        );
        let (destination, tenant) = (delivery.destination, entry.tenant);
        assert!(self.in_flight(destination) < CONCURRENCY as usize, "{destination} is over its limit");
        for other in self.deliveries.values() {
            if (other.destination, other.entry.tenant, other.place) == (destination, tenant, Place::Ready)
                && !self.is_expired(other)
            {
                let key = |entry: &Entry| (entry.due.as_micros() - i64::from(entry.priority) * STEP_US, entry.id);
                assert!(key(&entry) <= key(&other.entry), "{entry:?} overtook {:?}", other.entry);
            }
        }
        self.deliveries.get_mut(&entry.id.as_i64()).unwrap().place = Place::InFlight;
        self.check_fairness((destination, tenant));
    }

    fn check_fairness(&mut self, served: QueueName) {
        self.overtaken.retain(|(waiting, _), _| *waiting != served);
        self.forget_those_no_longer_ready();
        for waiting in self.ready_queues().into_iter().filter(|&queue| queue != served && queue.0 == served.0) {
            let turns = self.overtaken.entry((waiting, served)).or_default();
            *turns += 1;
            assert!(*turns <= 2, "{waiting:?} was overtaken {turns} times by {served:?}");
        }
    }

    fn forget_those_no_longer_ready(&mut self) {
        let ready = self.ready_queues();
        self.overtaken.retain(|(waiting, _), _| ready.contains(waiting));
    }

    fn ready_queues(&self) -> Vec<QueueName> {
        let ready = self.deliveries.values().filter(|d| d.place == Place::Ready && !self.is_expired(d));
        let mut names: Vec<QueueName> = ready.map(|d| (d.destination, d.entry.tenant)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn check_nothing_to_do(&self) {
        let mut earliest = None::<Timestamp>;
        for delivery in self.deliveries.values() {
            let Entry { due, expires_at, .. } = delivery.entry;
            let wakes = match delivery.place {
                Place::Waiting => due.min(expires_at),
                Place::Ready => {
                    assert!(!has_come(expires_at, self.now), "{:?} should be given up", delivery.entry);
                    assert!(self.in_flight(delivery.destination) >= CONCURRENCY as usize, "{:?} waits", delivery.entry);
                    expires_at
                }
                Place::InFlight | Place::GivenUp => continue,
            };
            earliest = Some(earliest.map_or(wakes, |known| known.min(wakes)));
        }
        let next_due = self.scheduler.next_due();
        assert_eq!(next_due.is_some(), earliest.is_some());
        if let (Some(next_due), Some(earliest)) = (next_due, earliest) {
            let latest = Timestamp::from_micros(earliest.as_micros() + 999);
            assert!(next_due > self.now && next_due <= latest, "{next_due:?} for {earliest:?} at {:?}", self.now);
        }
    }

    fn put_back(&mut self, id: i64, change: impl Fn(&mut Entry)) {
        let now = self.now;
        let delivery = self.deliveries.get_mut(&id).unwrap();
        change(&mut delivery.entry);
        delivery.place = Self::place(&delivery.entry, now);
    }

    fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Insert { destination, tenant, priority, due_in_ms, expires_in_ms } => {
                self.insert(destination, tenant, priority, due_in_ms, expires_in_ms);
            }
            Operation::Next => {
                self.next();
            }
            Operation::Drain => while self.next() {},
            Operation::Wait { ms } => self.now = self.now.after(Duration::from_millis(ms.unsigned_abs())),
            Operation::Finish { which } => {
                let Some(id) = self.pick(which) else { return };
                assert!(self.scheduler.finish(Self::id(id)));
                assert!(!self.scheduler.finish(Self::id(id)));
                self.deliveries.remove(&id);
            }
            Operation::Defer { which, in_ms } => self.defer(which, in_ms),
            Operation::Release { which } => {
                let Some(id) = self.pick(which) else { return };
                let is_out = matches!(self.deliveries[&id].place, Place::InFlight | Place::GivenUp);
                assert_eq!(self.scheduler.release(Self::id(id), self.now), is_out);
                let now = self.now;
                if is_out {
                    self.put_back(id, |entry| entry.due = entry.due.min(now));
                }
            }
            Operation::Correct { which, attempts, due_in_ms, expires_in_ms } => {
                self.correct(which, attempts, due_in_ms, expires_in_ms);
            }
            Operation::RetryNow { which } => {
                let Some(id) = self.pick(which) else { return };
                self.retry(|delivery| delivery.entry.id.as_i64() == id);
            }
            Operation::RetryDestination { destination } => {
                let name = DESTINATIONS[destination];
                self.retry(|delivery| delivery.destination == name);
            }
            Operation::MarkInFlight { destination, which, known } => self.mark(destination, which, known),
            Operation::DropShard { destination } => {
                let shard = ShardId::of(DESTINATIONS[destination]);
                let before = self.deliveries.len();
                self.deliveries.retain(|_, delivery| delivery.entry.shard != shard);
                assert_eq!(self.scheduler.drop_shard(shard), before - self.deliveries.len());
            }
            Operation::PutClockBack { seconds } => {
                // Whatever has come due stays so, and the model has to have seen it.
                while self.next() {}
                self.now = self.now.before(Duration::from_secs(seconds.unsigned_abs() + 2));
            }
        }
    }

    /// Some operations go by the time that the scheduler was told last.
    fn tell_time(&mut self) {
        assert!(!self.scheduler.release(DeliveryId::from_i64(i64::MAX).unwrap(), self.now), "nobody has it");
    }

    fn defer(&mut self, which: usize, in_ms: i64) {
        let Some(id) = self.pick(which) else { return };
        self.tell_time();
        let due = Timestamp::from_micros(self.now.as_micros() + in_ms * 1_000 + 1);
        let attempts = self.deliveries[&id].entry.attempts + 1;
        assert!(self.scheduler.defer(Self::id(id), attempts, due));
        self.put_back(id, |entry| (entry.attempts, entry.due) = (attempts, due));
        if self.deliveries[&id].place == Place::Waiting {
            assert!(self.scheduler.defer(Self::id(id), attempts, self.now), "known");
            assert_eq!(self.scheduler.entry(Self::id(id)).unwrap().due, due, "and an old opinion never wins");
        }
    }

    fn correct(&mut self, which: usize, attempts: u16, due_in_ms: Option<i64>, expires_in_ms: i64) {
        let Some(id) = self.pick(which) else { return };
        let in_ms = |ms: i64| Timestamp::from_micros(self.now.as_micros() + ms * 1_000 + 1);
        let (due, expires_at) = (due_in_ms.map(in_ms), in_ms(expires_in_ms));
        assert!(self.scheduler.correct(Self::id(id), Correction { attempts, due, expires_at }, self.now));
        let is_out = matches!(self.deliveries[&id].place, Place::InFlight | Place::GivenUp);
        let change = |entry: &mut Entry| {
            entry.attempts = entry.attempts.max(attempts);
            entry.due = due.filter(|_| !is_out).unwrap_or(entry.due);
            entry.expires_at = expires_at;
        };
        if is_out {
            change(&mut self.deliveries.get_mut(&id).unwrap().entry);
        } else {
            self.put_back(id, change);
        }
    }

    /// What waits is made due, as after an operator's change of its row.
    fn retry(&mut self, is_meant: impl Fn(&Delivery) -> bool) {
        self.tell_time();
        let now = self.now;
        for delivery in self.deliveries.values_mut().filter(|d| d.place == Place::Waiting && is_meant(d)) {
            let Entry { id, attempts, due, expires_at, .. } = delivery.entry;
            let due = due.min(now);
            assert!(self.scheduler.correct(id, Correction { attempts, due: Some(due), expires_at }, now));
            delivery.entry.due = due;
            delivery.place = Place::Ready;
        }
    }

    fn mark(&mut self, destination: usize, which: usize, known: bool) {
        if !known {
            self.insert(destination, 0, 0, 0, 1_000_000);
        }
        let id = if known { self.pick(which) } else { Some(self.next_id) };
        let Some(id) = id else { return };
        let delivery = self.deliveries.get_mut(&id).unwrap();
        if !known {
            self.scheduler.finish(Self::id(id));
        }
        self.scheduler.mark_in_flight(delivery.destination, delivery.entry);
        delivery.place = Place::InFlight;
    }

    fn check_views(&self) {
        let counts = self.scheduler.counts();
        let out = self.deliveries.values().filter(|d| matches!(d.place, Place::InFlight | Place::GivenUp)).count();
        assert_eq!(self.scheduler.len(), self.deliveries.len());
        assert_eq!(counts.in_flight, out);
        assert_eq!(counts.waiting + counts.ready + counts.in_flight, self.deliveries.len());
        for (&id, delivery) in &self.deliveries {
            let id = Self::id(id);
            assert_eq!(self.scheduler.destination_of(id), Some(delivery.destination));
            assert_eq!(self.scheduler.in_flight(id), matches!(delivery.place, Place::InFlight | Place::GivenUp));
            assert_eq!(self.scheduler.entry(id), Some(delivery.entry));
        }
        assert_eq!(self.scheduler.spilled_shards().count(), 0);
    }

    /// With nothing more coming in, everything comes out.
    fn run_dry(&mut self) {
        for _ in 0..100_000 {
            while self.next() {}
            let out: Vec<i64> = self
                .deliveries
                .iter()
                .filter(|(_, d)| matches!(d.place, Place::InFlight | Place::GivenUp))
                .map(|(&id, _)| id)
                .collect();
            for id in out {
                assert!(self.scheduler.finish(Self::id(id)));
                self.deliveries.remove(&id);
            }
            match self.scheduler.next_due() {
                Some(due) => self.now = self.now.max(due),
                None => break,
            }
        }
        assert!(self.deliveries.is_empty() && self.scheduler.is_empty(), "{} are lost", self.deliveries.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn the_scheduler_does_what_the_model_does(operations in prop::collection::vec(operation(), 1..150)) {
        let mut world = World::new();
        for operation in &operations {
            world.apply(operation);
            world.forget_those_no_longer_ready();
            world.check_views();
        }
        world.run_dry();
    }
}
