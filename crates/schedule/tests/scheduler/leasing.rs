//! Several replicas that keep to limits together, over a network that delays and loses, and with members that pause, are
//! cut off, come and go: no limit is ever exceeded, and all is delivered when there is peace.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mailtier_schedule::{
    Answer, Entry, GroupLimits, Insert, Lessee, Lessor, Limits, PoolClass, Rate, Rules, Scheduler, View,
};
use mailtier_types::{DeliveryId, ReplicaId, ShardId, Slice, SliceLease, SliceReport, TenantId, Timestamp};
use proptest::prelude::*;

const STEP: Duration = Duration::from_millis(20);
const LEASE: Duration = Duration::from_secs(6);
const RENEWAL: Duration = Duration::from_secs(2);
/// As long as a call may take.
const CALL: Duration = Duration::from_secs(2);
const TENANT: TenantId = TenantId(7);

fn wall(at: Duration) -> Timestamp {
    Timestamp::from_secs(1_800_000_000).after(at)
}

/// Only what has passed since counts.
#[expect(clippy::disallowed_methods, reason = "there is no other way to have one")]
fn any_instant() -> Instant {
    Instant::now()
}

struct Replica {
    id: ReplicaId,
    scheduler: Scheduler,
    lessee: Lessee,
    lessor: Lessor,
    under_way: Vec<DeliveryId>,
    /// So many of these, the first ones, were begun before its membership lapsed: nobody can count them.
    uncounted: usize,
    /// When it last renewed its membership, and when it does so next.
    renewed_at: Option<Duration>,
    renews_at: Duration,
    /// It does nothing until then, and others' calls wait.
    paused_until: Duration,
    /// No other replica is reached until then, nor reaches it.
    cut_until: Duration,
    /// It cannot reach the database until then.
    blind_until: Duration,
    /// Of an earlier version: it does not lease, and reports nothing.
    is_foreign: bool,
}

enum Carried {
    Report(SliceReport),
    Answer(u64, Answer),
}

/// Something between two replicas.
struct Parcel {
    arrives_at: Duration,
    from: ReplicaId,
    to: ReplicaId,
    carried: Carried,
}

struct World {
    base: Instant,
    now: Duration,
    limits: GroupLimits,
    replicas: Vec<Replica>,
    /// Until when each is a member.
    members: BTreeMap<ReplicaId, Duration>,
    network: Vec<Parcel>,
    /// Calls that were not answered: until when, of whom, to whom, which.
    calls: Vec<(Duration, ReplicaId, ReplicaId, u64)>,
    delay: Duration,
    number: i64,
    joined: u32,
    begun: Vec<Duration>,
    /// Somebody was out of reach of a lessor for so long that what it had under way did not count any more, and may have it
    /// still.
    is_parted: bool,
}

impl World {
    fn new(limits: GroupLimits, replicas: usize) -> Self {
        let mut world = Self {
            base: any_instant(),
            now: Duration::ZERO,
            limits,
            replicas: Vec::new(),
            members: BTreeMap::new(),
            network: Vec::new(),
            calls: Vec::new(),
            delay: Duration::ZERO,
            number: 0,
            joined: 0,
            begun: Vec::new(),
            is_parted: false,
        };
        (0..replicas).for_each(|_| world.join());
        world
    }

    fn join(&mut self) {
        self.joined += 1;
        let id = ReplicaId::from_slice(&u128::from(self.joined).to_be_bytes()).unwrap();
        let mut rules = Rules::plain(1000);
        rules.tenants.insert(TENANT, self.limits);
        let limits = Limits { max_entries: 100_000, max_entries_per_destination: 100_000 };
        self.replicas.push(Replica {
            id,
            scheduler: Scheduler::new(limits, rules),
            lessee: Lessee::new(id, LEASE),
            lessor: Lessor::new(id, LEASE, self.base + self.now),
            under_way: Vec::new(),
            uncounted: 0,
            renewed_at: None,
            renews_at: self.now,
            paused_until: Duration::ZERO,
            cut_until: Duration::ZERO,
            blind_until: Duration::ZERO,
            is_foreign: false,
        });
    }

    /// As by a signal: nothing is under way, and it is no member any more.
    fn leave(&mut self, place: usize) {
        let left = self.replicas.remove(place);
        self.members.remove(&left.id);
        self.network.retain(|parcel| parcel.to != left.id);
        // What it had is another's then.
        let heir = place % self.replicas.len();
        self.submit(heir, left.scheduler.len());
    }

    fn submit(&mut self, place: usize, count: usize) {
        for _ in 0..count {
            self.number += 1;
            let destination = format!("d{}.example", self.number % 7);
            let due = wall(self.now);
            let entry = Entry {
                id: DeliveryId::from_i64(self.number).unwrap(),
                shard: ShardId::of(&destination),
                tenant: TENANT,
                class: PoolClass::default(),
                priority: 0,
                attempts: 0,
                due,
                expires_at: due.after(Duration::from_secs(86_400)),
                warn_at: None,
            };
            assert_eq!(self.replicas[place].scheduler.insert(&destination, entry, due), Insert::Scheduled);
        }
    }

    fn finish(&mut self, place: usize, count: usize) {
        let replica = &mut self.replicas[place];
        replica.uncounted = replica.uncounted.saturating_sub(count);
        for id in replica.under_way.drain(..count.min(replica.under_way.len())) {
            assert!(replica.scheduler.finish(id));
        }
    }

    fn reaches(&self, one: ReplicaId, other: ReplicaId) -> bool {
        let is_cut = |id| self.replicas.iter().any(|replica| replica.id == id && replica.cut_until > self.now);
        one == other || !is_cut(one) && !is_cut(other)
    }

    fn send(&mut self, from: ReplicaId, to: ReplicaId, carried: Carried) {
        let delay = if from == to { Duration::ZERO } else { self.delay };
        self.network.push(Parcel { arrives_at: self.now + delay, from, to, carried });
    }

    fn deliver(&mut self) {
        let (arrived, under_way) = std::mem::take(&mut self.network).into_iter().partition(|parcel| {
            let receiver = self.replicas.iter().find(|replica| replica.id == parcel.to);
            parcel.arrives_at <= self.now && receiver.is_none_or(|receiver| receiver.paused_until <= self.now)
        });
        self.network = under_way;
        let instant = self.base + self.now;
        for Parcel { from, to, carried, .. } in arrived {
            if !self.reaches(from, to) {
                continue;
            }
            let Some(replica) = self.replicas.iter_mut().find(|replica| replica.id == to) else { continue };
            match carried {
                Carried::Report(report) => {
                    let sequence = report.sequence;
                    let mut leased = || replica.lessor.lease(&report, instant).map_or(Answer::Lost, Answer::Leased);
                    let answer = if replica.is_foreign { Answer::Unknown } else { leased() };
                    self.send(to, from, Carried::Answer(sequence, answer));
                }
                Carried::Answer(sequence, answer) => {
                    let call = self.calls.iter().position(|call| (call.1, call.2, call.3) == (to, from, sequence));
                    if let Some(call) = call {
                        self.calls.remove(call);
                        if answer == Answer::Unknown {
                            replica.lessor.note_foreign(from);
                        }
                        replica.lessee.answered(from, sequence, answer, &mut replica.scheduler);
                    }
                }
            }
        }
    }

    fn act(&mut self, place: usize) {
        let (now, instant) = (self.now, self.base + self.now);
        let replica = &mut self.replicas[place];
        if replica.paused_until > now {
            return;
        }
        let id = replica.id;
        if now >= replica.renews_at && replica.blind_until <= now {
            replica.renews_at = now + RENEWAL;
            replica.renewed_at = Some(now);
            self.members.insert(id, now + LEASE);
            let lives = |until: &&Duration| **until > now;
            let members = self.members.iter().filter(|(_, until)| lives(until)).map(|(id, _)| *id).collect();
            let view = View::of(members);
            replica.lessor.meet(view.clone(), instant, instant);
            replica.lessee.meet(view, &mut replica.scheduler, instant, instant);
        }
        self.calls.retain(|(until, caller, lessor, sequence)| {
            let is_over = *caller == id && *until <= now;
            if is_over {
                replica.lessee.answered(*lessor, *sequence, Answer::Lost, &mut replica.scheduler);
            }
            !is_over
        });
        let reports =
            if replica.is_foreign { Vec::new() } else { replica.lessee.reports(&mut replica.scheduler, instant) };
        if replica.renewed_at.is_some_and(|renewed_at| now < renewed_at + LEASE * 2 / 3) {
            while let Some(entry) = replica.scheduler.next_attempt(wall(now)) {
                replica.under_way.push(entry.id);
                self.begun.push(now);
            }
        }
        for (lessor, report) in reports {
            self.calls.push((now + CALL, id, lessor, report.sequence));
            self.send(id, lessor, Carried::Report(report));
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += STEP;
            self.deliver();
            (0..self.replicas.len()).for_each(|place| self.act(place));
            self.deliver();
            self.check();
        }
    }

    fn under_way(&self) -> usize {
        self.replicas.iter().map(|replica| replica.under_way.len() - replica.uncounted).sum()
    }

    fn check(&mut self) {
        for replica in &mut self.replicas {
            if self.members.get(&replica.id).is_some_and(|until| *until <= self.now) {
                replica.uncounted = replica.under_way.len();
            }
        }
        let Some(limit) = self.limits.concurrency else { return };
        if self.replicas.iter().any(|replica| replica.lessee.silent().next().is_some()) {
            self.is_parted = true;
        } else if self.replicas.iter().all(|replica| replica.under_way.is_empty()) {
            self.is_parted = false;
        }
        if !self.is_parted {
            assert!(self.under_way() <= limit as usize, "{} of {limit} at {:?}", self.under_way(), self.now);
        }
    }

    /// No stretch of time has more than the rate gives for it, beside a second's worth, which each replica may have kept.
    fn check_rate(&self) {
        let Some(rate) = self.limits.rate else { return };
        let interval = Duration::from_micros(rate.interval_us().unsigned_abs());
        let second = (1_000_000 / rate.interval_us()).max(1).unsigned_abs();
        for (first, begin) in self.begun.iter().enumerate() {
            for (last, end) in self.begun.iter().enumerate().skip(first) {
                let most = second * (1 + self.replicas.len() as u64)
                    + (*end - *begin).as_micros() as u64 / interval.as_micros() as u64;
                assert!((last - first) as u64 <= most, "{} from {begin:?} to {end:?}", last - first + 1);
            }
        }
    }

    fn left(&self) -> usize {
        self.replicas.iter().map(|replica| replica.scheduler.len()).sum()
    }

    /// Nothing fails any more, and what is begun ends soon.
    fn settle(&mut self, limit: Duration) {
        self.delay = Duration::from_millis(10);
        let end = self.now + limit;
        while self.left() > 0 {
            assert!(self.now < end, "{} stand still, {} under way", self.left(), self.under_way());
            self.run(Duration::from_millis(100));
            (0..self.replicas.len()).for_each(|place| self.finish(place, usize::MAX));
        }
    }
}

#[derive(Clone, Debug)]
enum Trouble {
    Submit { place: usize, count: usize },
    Finish { place: usize, count: usize },
    Slow { ms: u64 },
    Cut { place: usize, ms: u64 },
    Blind { place: usize, ms: u64 },
    Pause { place: usize, ms: u64 },
    Join,
    Leave { place: usize },
}

fn trouble() -> impl Strategy<Value = Trouble> {
    let place = || 0..8_usize;
    prop_oneof![
        6 => (place(), 1..20_usize).prop_map(|(place, count)| Trouble::Submit { place, count }),
        6 => (place(), 1..10_usize).prop_map(|(place, count)| Trouble::Finish { place, count }),
        1 => (0..900_u64).prop_map(|ms| Trouble::Slow { ms }),
        1 => (place(), 0..9_000_u64).prop_map(|(place, ms)| Trouble::Cut { place, ms }),
        1 => (place(), 0..12_000_u64).prop_map(|(place, ms)| Trouble::Blind { place, ms }),
        1 => (place(), 0..12_000_u64).prop_map(|(place, ms)| Trouble::Pause { place, ms }),
        1 => Just(Trouble::Join),
        1 => place().prop_map(|place| Trouble::Leave { place }),
    ]
}

impl World {
    fn apply(&mut self, trouble: &Trouble) {
        let count = self.replicas.len();
        let until = |ms: &u64| self.now + Duration::from_millis(*ms);
        match trouble {
            Trouble::Submit { place, count: more } => self.submit(place % count, *more),
            Trouble::Finish { place, count: less } => self.finish(place % count, *less),
            Trouble::Slow { ms } => self.delay = Duration::from_millis(*ms),
            Trouble::Cut { place, ms } => self.replicas[place % count].cut_until = until(ms),
            Trouble::Blind { place, ms } => self.replicas[place % count].blind_until = until(ms),
            Trouble::Pause { place, ms } => self.replicas[place % count].paused_until = until(ms),
            Trouble::Join if count < 5 => self.join(),
            Trouble::Leave { place } if count > 2 => {
                self.finish(place % count, usize::MAX);
                self.leave(place % count);
            }
            Trouble::Join | Trouble::Leave { .. } => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn no_limit_is_exceeded_and_nothing_starves(
        limit in 1..12_u32,
        per_second in prop::option::of(1..30_u32),
        troubles in prop::collection::vec((trouble(), 0..2_000_u64), 1..60),
    ) {
        let rate = per_second.map(|count| Rate::new(count, Duration::from_secs(1)));
        let mut world = World::new(GroupLimits { concurrency: Some(limit), rate }, 3);
        for (trouble, ms) in troubles {
            world.apply(&trouble);
            world.run(Duration::from_millis(ms));
        }
        let enough = Duration::from_secs(60 + 2 * world.left() as u64);
        world.settle(enough);
        world.check_rate();
    }
}

#[test]
fn what_one_does_not_need_the_others_have() {
    let mut world = World::new(GroupLimits { concurrency: Some(9), rate: None }, 3);
    world.run(Duration::from_secs(1));
    world.submit(0, 100);
    world.run(Duration::from_secs(1));
    assert_eq!(world.replicas[0].under_way.len(), 9, "alone it has the whole");
    world.submit(1, 100);
    world.submit(2, 100);
    for _ in 0..40 {
        world.run(Duration::from_millis(200));
        (0..3).for_each(|place| world.finish(place, 1));
    }
    world.run(Duration::from_millis(300));
    let each: Vec<usize> = world.replicas.iter().map(|replica| replica.under_way.len()).collect();
    assert_eq!(each, [3, 3, 3]);
}

#[test]
fn a_limit_of_one_goes_round() {
    let mut world = World::new(GroupLimits { concurrency: Some(1), rate: None }, 3);
    world.run(Duration::from_secs(1));
    (0..3).for_each(|place| world.submit(place, 100));
    let mut done = [0; 3];
    for _ in 0..150 {
        world.run(Duration::from_millis(100));
        for (place, done) in done.iter_mut().enumerate() {
            *done += world.replicas[place].under_way.len();
            world.finish(place, 1);
        }
    }
    assert!(done.iter().all(|done| *done > 25) && done.iter().sum::<usize>() > 100, "{done:?}");
}

#[test]
fn a_rate_is_used_to_the_full_wherever_the_mail_is() {
    let rate = Some(Rate::new(20, Duration::from_secs(1)));
    for loaded in [1, 3] {
        let mut world = World::new(GroupLimits { concurrency: None, rate }, 3);
        world.run(Duration::from_secs(2));
        (0..loaded).for_each(|place| world.submit(place, 1000));
        world.run(Duration::from_secs(30));
        let begun = world.begun.len();
        assert!((590..=620).contains(&begun), "{begun} in 30 s");
    }
}

/// Without the other, its groups would stand still for ever.
#[test]
fn a_lessor_that_is_never_reached_is_not_waited_for() {
    let mut world = World::new(GroupLimits { concurrency: Some(8), rate: None }, 2);
    world.run(Duration::from_secs(1));
    let far = Duration::from_secs(3600);
    world.replicas.iter_mut().for_each(|replica| replica.cut_until = far);
    world.submit(0, 100);
    world.submit(1, 100);
    for _ in 0..300 {
        world.run(Duration::from_millis(100));
        (0..2).for_each(|place| world.finish(place, 1));
        (0..2).for_each(|place| world.submit(place, 1));
    }
    world.run(Duration::from_millis(100));
    let silent: Vec<usize> = world.replicas.iter().map(|replica| replica.lessee.silent().count()).collect();
    let under_way: Vec<usize> = world.replicas.iter().map(|replica| replica.under_way.len()).collect();
    assert_eq!((silent, under_way), (vec![1, 1], vec![4, 4]));
}

#[test]
fn of_more_groups_than_a_report_names_each_has_its_turn() {
    let mut world = World::new(GroupLimits::default(), 1);
    let limits = GroupLimits { concurrency: Some(1), rate: None };
    let tenants = i32::try_from(SliceReport::MAX_WISHES).unwrap() * 3;
    let mut rules = Rules::plain(1000);
    rules.tenants.extend((0..tenants).map(|tenant| (TenantId(tenant), limits)));
    let mut replica = world.replicas.remove(0);
    replica.scheduler = Scheduler::new(Limits { max_entries: 100_000, max_entries_per_destination: 100_000 }, rules);
    let other = ReplicaId::from_slice(&9_u128.to_be_bytes()).unwrap();
    replica.lessee.meet(View::of(vec![replica.id, other]), &mut replica.scheduler, world.base, world.base);
    for tenant in 0..tenants {
        let entry = Entry {
            id: DeliveryId::from_i64(i64::from(tenant) + 1).unwrap(),
            shard: ShardId::of("d.example"),
            tenant: TenantId(tenant),
            class: PoolClass::default(),
            priority: 0,
            attempts: 0,
            due: wall(Duration::ZERO),
            expires_at: wall(Duration::from_secs(86_400)),
            warn_at: None,
        };
        replica.scheduler.insert("d.example", entry, wall(Duration::ZERO));
    }
    assert!(replica.scheduler.next_attempt(wall(Duration::ZERO)).is_none(), "nothing is leased yet");
    let mut named = std::collections::HashSet::new();
    for round in 1..=2 {
        for (lessor, report) in replica.lessee.reports(&mut replica.scheduler, world.base + STEP * 10 * round) {
            named.extend(report.wishes.iter().map(|wish| wish.group.clone()));
            replica.lessee.answered(lessor, report.sequence, Answer::Lost, &mut replica.scheduler);
        }
    }
    assert_eq!(named.len(), tenants as usize);
}

#[test]
fn what_was_leased_and_is_not_attempted_is_there_again_for_a_second() {
    let rate = Some(Rate::new(1, Duration::from_secs(60)));
    let mut world = World::new(GroupLimits { concurrency: None, rate }, 1);
    world.submit(0, 2);
    let Replica { mut scheduler, mut lessee, .. } = world.replicas.remove(0);
    let others: Vec<ReplicaId> = (8..10_u128).map(|id| ReplicaId::from_slice(&id.to_be_bytes()).unwrap()).collect();
    lessee.meet(View::of(others), &mut scheduler, world.base, world.base);
    let at = |ms| wall(Duration::from_millis(ms));
    assert!(scheduler.next_attempt(at(0)).is_none(), "nothing is leased yet");
    let mut lease = |scheduler: &mut Scheduler, attempts, ms| {
        let mut unused = 0;
        for (lessor, SliceReport { view, term, sequence, wishes, .. }) in
            lessee.reports(scheduler, world.base + Duration::from_millis(ms))
        {
            unused += wishes.iter().map(|wish| wish.unused).sum::<u32>();
            let slices = wishes.iter().map(|_| Slice { concurrency: 0, attempts }).collect();
            let answer = Answer::Leased(SliceLease { view, term, slices });
            lessee.answered(lessor, sequence, answer, scheduler);
        }
        unused
    };
    assert_eq!(lease(&mut scheduler, 1, 0), 0);
    let first = scheduler.next_attempt(at(100)).unwrap().id;
    assert!(scheduler.next_attempt(at(100)).is_none());
    assert!(scheduler.release_unused(first, at(1100)));
    let second = scheduler.next_attempt(at(1100)).unwrap().id;
    assert!(scheduler.release_unused(second, at(1200)));
    assert_eq!(lease(&mut scheduler, 1, 1200), 1, "what is not begun again is given back");
    let third = scheduler.next_attempt(at(1200)).unwrap().id;
    assert!(scheduler.release_unused(third, at(2201)));
    assert!(scheduler.next_attempt(at(2201)).is_none(), "the next may have been leased to another meanwhile");
}

/// Whoever of them leases the group: nothing stands still for it, and it is not missed.
#[test]
fn beside_one_of_an_earlier_version_an_equal_part_is_kept_to_at_once() {
    let rate = Some(Rate::new(20, Duration::from_secs(1)));
    for foreign in 0..3 {
        let mut world = World::new(GroupLimits { concurrency: None, rate }, 3);
        world.replicas[foreign].is_foreign = true;
        let native = (foreign + 1) % 3;
        world.run(Duration::from_secs(1));
        world.submit(native, 1000);
        world.run(LEASE);
        let begun = world.begun.len();
        assert!((35..=100).contains(&begun), "{foreign}: {begun} in {LEASE:?}, of 13 a second or of 7 by itself");
        assert_eq!(world.replicas[native].lessee.silent().count(), 0);
    }
}

/// What the others have begun is not known to one that is left alone, of tenants that are new to it as well.
#[test]
fn one_that_is_left_alone_does_not_begin_anew() {
    let rate = Some(Rate::new(20, Duration::from_secs(1)));
    let mut world = World::new(GroupLimits { concurrency: None, rate }, 2);
    world.run(Duration::from_secs(1));
    world.submit(1, 20);
    while !world.replicas[1].scheduler.is_empty() {
        world.run(STEP);
        world.finish(1, 20);
    }
    world.leave(1);
    world.replicas[0].renews_at = world.now;
    world.run(STEP);
    world.submit(0, 100);
    world.run(Duration::from_secs(1));
    let last = world.now.saturating_sub(Duration::from_millis(1040));
    let begun = world.begun.iter().filter(|at| **at >= last).count();
    assert!((15..=22).contains(&begun), "{begun}");
}

/// As long as it lives, everything that ever had a limit would be asked about.
#[test]
fn one_of_an_earlier_version_is_not_asked_about_what_is_over() {
    let mut world = World::new(GroupLimits { concurrency: Some(8), rate: None }, 1);
    world.submit(0, 1);
    let mut replica = world.replicas.remove(0);
    // Whoever of them leases the group, it is leased by one of an earlier version.
    let others: Vec<ReplicaId> = (8..10_u128).map(|id| ReplicaId::from_slice(&id.to_be_bytes()).unwrap()).collect();
    replica.lessee.meet(View::of(others), &mut replica.scheduler, world.base, world.base);
    let mut has_begun = false;
    let mut named = Vec::new();
    for round in 1..=5 {
        if let Some(entry) = replica.scheduler.next_attempt(wall(Duration::ZERO)) {
            has_begun = replica.scheduler.finish(entry.id);
        }
        let reports = replica.lessee.reports(&mut replica.scheduler, world.base + STEP * 10 * round);
        named.push(reports.iter().map(|(_, report)| report.wishes.len()).sum::<usize>());
        for (lessor, report) in reports {
            replica.lessee.answered(lessor, report.sequence, Answer::Unknown, &mut replica.scheduler);
        }
    }
    assert!(has_begun, "an equal part is its own");
    assert_eq!((named.first(), named.last()), (Some(&1), Some(&0)), "{named:?}");
}
