//! Floods: what one destination or one bad day does to everybody else, and to memory.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mailtier_schedule::{Entry, Feedback, Insert, Limits, Ready, RetryPolicy, Rules, Scheduler, Suspended};
use mailtier_types::{DeliveryId, ShardId, TenantId, Timestamp};
use proptest::prelude::*;

use crate::entries::{NOW, WEEK, entry};

const HOUR: Duration = Duration::from_secs(3_600);

const ROOMY: Limits = Limits { max_entries: 100_000, max_entries_per_destination: 100_000 };

fn id(number: i64) -> DeliveryId {
    DeliveryId::from_i64(number).unwrap()
}

fn insert(scheduler: &mut Scheduler, destination: &str, number: i64, due: Timestamp) -> Insert {
    scheduler.insert(destination, entry(destination, number, due), NOW)
}

fn attempt(scheduler: &mut Scheduler, now: Timestamp) -> Option<(i64, Entry)> {
    match scheduler.next(now)? {
        Ready::Attempt(entry) => Some((entry.id.as_i64(), entry)),
        Ready::Expired(entry) => panic!("{entry:?} is given up"),
    }
}

#[test]
fn one_destinations_flood_delays_nobody_else() {
    let mut scheduler = Scheduler::new(ROOMY, Rules::plain(100_000));
    for number in 1..=10_000 {
        insert(&mut scheduler, "flood.example", number, NOW);
    }
    for number in 1..=10 {
        let destination = format!("{number}.example");
        insert(&mut scheduler, &destination, 20_000 + number, NOW);
    }
    let first: BTreeSet<i64> = (0..11).filter_map(|_| attempt(&mut scheduler, NOW)).map(|(id, _)| id).collect();
    assert_eq!(first, (20_001..=20_010).chain([1]).collect(), "each queue had one turn");
}

#[test]
fn tenants_take_turns_at_one_destination() {
    let mut scheduler = Scheduler::new(ROOMY, Rules::plain(1));
    for number in 1..=1_000 {
        insert(&mut scheduler, "big.example", number, NOW);
    }
    for number in 2_001..=2_003 {
        let entry = Entry { tenant: TenantId(7), ..entry("big.example", number, NOW) };
        scheduler.insert("big.example", entry, NOW);
    }
    let mut order = Vec::new();
    while order.len() < 8 {
        let (number, entry) = attempt(&mut scheduler, NOW).unwrap();
        assert!(scheduler.next(NOW).is_none(), "one attempt at a time");
        scheduler.finish(entry.id);
        order.push(number);
    }
    assert_eq!(order, [1, 2_001, 2, 2_002, 3, 2_003, 4, 5]);
}

#[test]
fn a_place_in_the_round_that_is_not_used_goes_to_the_next_tenant() {
    let mut scheduler = Scheduler::new(ROOMY, Rules::plain(1));
    for (number, tenant) in [(1, 1), (2, 2), (3, 3)] {
        let entry = Entry { tenant: TenantId(tenant), ..entry("big.example", number, NOW) };
        scheduler.insert("big.example", entry, NOW);
    }
    assert!(scheduler.finish(id(1)), "an operator removes what would have been next");
    assert_eq!(attempt(&mut scheduler, NOW).unwrap().0, 2);
    assert!(scheduler.next(NOW).is_none());
}

#[test]
fn attempts_and_what_is_given_up_can_be_asked_for_apart() {
    let mut scheduler = Scheduler::new(ROOMY, Rules::plain(100_000));
    let late = NOW.after(HOUR);
    scheduler.insert("a.example", Entry { expires_at: late, ..entry("a.example", 1, NOW) }, NOW);
    scheduler.insert("b.example", Entry { expires_at: late.after(HOUR), ..entry("b.example", 2, NOW) }, NOW);
    assert_eq!(scheduler.next_expired(NOW), None);
    assert_eq!(scheduler.next_attempt(late).map(|entry| entry.id), Some(id(2)));
    assert_eq!(scheduler.next_attempt(late), None, "nothing is attempted after its time");
    assert_eq!(scheduler.next_expired(late).map(|entry| entry.id), Some(id(1)));
    assert_eq!(scheduler.next_expired(late), None);
}

#[test]
fn what_stands_behind_the_limit_expires_on_time() {
    let mut scheduler = Scheduler::new(ROOMY, Rules::plain(1));
    for number in 1..=3 {
        let expires_at = NOW.after(HOUR * u32::try_from(number).unwrap());
        let entry = Entry { expires_at, ..entry("stuck.example", number, NOW) };
        scheduler.insert("stuck.example", entry, NOW);
    }
    assert_eq!(attempt(&mut scheduler, NOW).unwrap().0, 1);
    assert_eq!(scheduler.next(NOW), None);
    let mut now = NOW;
    while scheduler.len() > 1 {
        now = scheduler.next_due().expect("something will expire");
        if let Some(ready) = scheduler.next(now) {
            let Ready::Expired(entry) = ready else { panic!("{ready:?} while one is in flight") };
            assert_eq!(entry.expires_at, now);
            scheduler.finish(entry.id);
        }
    }
    assert_eq!(now, NOW.after(HOUR * 3));
    assert!(scheduler.in_flight(id(1)), "what is in flight is left to its attempt");
    assert!(scheduler.defer(id(1), 1, now));
    assert!(matches!(scheduler.next(now), Some(Ready::Expired(_))));
}

#[test]
fn what_waits_for_a_retry_makes_room_for_fresh_mail() {
    let mut scheduler = Scheduler::new(Limits { max_entries: 1_000, ..ROOMY }, Rules::plain(100_000));
    for number in 1..=1_000 {
        assert_eq!(insert(&mut scheduler, "dead.example", number, NOW.after(HOUR * 5)), Insert::Scheduled);
    }
    assert_eq!(insert(&mut scheduler, "dead.example", 2_000, NOW.after(HOUR * 9)), Insert::Spilled);
    let dead = ShardId::of("dead.example");
    scheduler.clear_spilled(dead);
    assert_eq!(insert(&mut scheduler, "fresh.example", 3_000, NOW), Insert::Scheduled);
    assert_eq!(scheduler.len(), 1_000, "no more than was allowed");
    assert_eq!(attempt(&mut scheduler, NOW).unwrap().0, 3_000);
    assert_eq!(scheduler.spilled_shards().collect::<Vec<_>>(), [dead]);
    assert_eq!(scheduler.reloadable_shards(NOW).count(), 0, "what had to go is not needed yet");
    assert_eq!(scheduler.reloadable_shards(NOW.after(HOUR * 5)).collect::<Vec<_>>(), [dead]);
}

#[test]
fn floods_leave_room_for_others_whatever_their_own_limit() {
    let mut scheduler = Scheduler::new(Limits { max_entries: 1_000, ..ROOMY }, Rules::plain(100_000));
    let mut number = 0;
    let mut flood = |scheduler: &mut Scheduler, name: &str| {
        let inserted = (0..1_000).map(|_| {
            number += 1;
            insert(scheduler, name, number, NOW)
        });
        inserted.filter(|&insert| insert == Insert::Scheduled).count()
    };
    let taken: Vec<usize> =
        ["a.example", "b.example", "c.example", "d.example"].map(|name| flood(&mut scheduler, name)).to_vec();
    assert_eq!(taken, [500, 250, 125, 100], "each as much as it leaves, or a little");
    assert_eq!(insert(&mut scheduler, "fresh.example", 1_000_000, NOW), Insert::Scheduled);
}

#[test]
fn after_an_overflow_the_oldest_come_first() {
    let limits = Limits { max_entries_per_destination: 200, ..ROOMY };
    let mut scheduler = Scheduler::new(limits, Rules::plain(1));
    let shard = ShardId::of("slow.example");
    let inserted = |scheduler: &mut Scheduler, number| insert(scheduler, "slow.example", number, NOW);
    let scheduled = (1..=500).filter(|&number| inserted(&mut scheduler, number) == Insert::Scheduled).count();
    assert_eq!(scheduled, 200);
    for number in 1..=100 {
        assert_eq!(scheduler.reloadable_shards(NOW).count(), 0);
        assert_eq!(
            inserted(&mut scheduler, 500 + number),
            Insert::Spilled,
            "newcomers don't overtake what was spilled"
        );
        let (next, entry) = attempt(&mut scheduler, NOW).unwrap();
        assert_eq!(next, number);
        scheduler.finish(entry.id);
    }
    assert_eq!(scheduler.reloadable_shards(NOW).collect::<Vec<_>>(), [shard], "half of it is worked off");
    scheduler.clear_spilled(shard);
    let known = (101..=600).filter(|&number| inserted(&mut scheduler, number) != Insert::Spilled).count();
    assert_eq!(known, 200);
    assert!(scheduler.is_known(id(300)) && !scheduler.is_known(id(301)));
    assert_eq!(scheduler.spilled_shards().collect::<Vec<_>>(), [shard]);
}

#[test]
fn a_shard_that_was_dropped_leaves_nothing_behind() {
    let mut scheduler = Scheduler::new(Limits { max_entries_per_destination: 300, ..ROOMY }, Rules::plain(2));
    for number in 1..=400 {
        insert(&mut scheduler, "a.example", number, NOW);
        insert(&mut scheduler, "b.example", 1_000 + number, NOW.after(HOUR));
    }
    while attempt(&mut scheduler, NOW).is_some() {}
    assert_eq!(scheduler.drop_shard(ShardId::of("a.example")), 300);
    assert_eq!((scheduler.len(), scheduler.counts().in_flight), (400, 0));
    assert_eq!(scheduler.spilled_shards().count(), 0);
    // The next owner of the shard, or this one again, begins anew with the full concurrency.
    insert(&mut scheduler, "a.example", 1, NOW);
    insert(&mut scheduler, "a.example", 2, NOW);
    assert_eq!((attempt(&mut scheduler, NOW).unwrap().0, attempt(&mut scheduler, NOW).unwrap().0), (1, 2));
}

#[test]
fn work_found_at_a_worker_counts_for_the_limit() {
    let mut scheduler = Scheduler::new(ROOMY, Rules::plain(2));
    for number in 1..=3 {
        scheduler.mark_in_flight("a.example", entry("a.example", number, NOW));
    }
    for number in 1..=5 {
        insert(&mut scheduler, "a.example", number, NOW);
    }
    assert_eq!(attempt(&mut scheduler, NOW), None, "three are in flight and two may be");
    scheduler.finish(id(1));
    assert_eq!(attempt(&mut scheduler, NOW), None);
    scheduler.finish(id(2));
    assert_eq!(attempt(&mut scheduler, NOW).unwrap().0, 4);
    assert_eq!(attempt(&mut scheduler, NOW), None);
}

/// An owner with its database: whatever does not fit into memory is read again when the scheduler says so.
struct Owner {
    scheduler: Scheduler,
    database: BTreeMap<i64, (String, Entry)>,
    limits: Limits,
    now: Timestamp,
    walks: usize,
}

impl Owner {
    fn new(limits: Limits, rules: Rules) -> Self {
        Self { scheduler: Scheduler::new(limits, rules), database: BTreeMap::new(), limits, now: NOW, walks: 0 }
    }

    fn accept(&mut self, destination: &str, number: i64) -> Insert {
        let entry = Entry { expires_at: self.now.after(WEEK), ..entry(destination, number, self.now) };
        self.database.insert(number, (destination.to_owned(), entry));
        let inserted = self.scheduler.insert(destination, entry, self.now);
        assert!(self.scheduler.len() <= self.limits.max_entries);
        inserted
    }

    fn reload(&mut self) {
        let shards: Vec<ShardId> = self.scheduler.reloadable_shards(self.now).collect();
        for shard in shards {
            self.walks += 1;
            self.scheduler.clear_spilled(shard);
            for (destination, entry) in self.database.values().filter(|(_, entry)| entry.shard == shard) {
                self.scheduler.insert(destination, *entry, self.now);
            }
        }
    }

    /// Attempts what is ready; every `failing`th attempt is deferred. Gives the ids attempted.
    fn work(&mut self, failing: usize) -> Vec<i64> {
        let mut attempted = Vec::new();
        while let Some(ready) = self.scheduler.next(self.now) {
            let (Ready::Attempt(entry) | Ready::Expired(entry)) = ready;
            let number = entry.id.as_i64();
            if matches!(ready, Ready::Attempt(_)) {
                attempted.push(number);
            }
            let is_failing = matches!(ready, Ready::Attempt(_)) && attempted.len() % failing == 0;
            let said = if is_failing { Feedback::Unreachable } else { Feedback::Good };
            self.scheduler.learn(entry.id, said, None, 0.5, self.now);
            if is_failing {
                let due = self.now.after(Duration::from_secs(300 << entry.attempts.min(4)));
                let stored = &mut self.database.get_mut(&number).unwrap().1;
                (stored.attempts, stored.due) = (entry.attempts + 1, due);
                self.scheduler.defer(entry.id, entry.attempts + 1, due);
            } else {
                self.database.remove(&number);
                self.scheduler.finish(entry.id);
            }
        }
        attempted
    }

    /// Until nothing is left, with the time running from one thing to do to the next but at most a minute.
    fn run_dry(&mut self) {
        let end = self.now.after(WEEK * 3);
        while !self.database.is_empty() && self.now < end {
            self.work(4);
            let due = self.scheduler.next_due().unwrap_or(end).min(self.now.after(Duration::from_secs(60)));
            self.now = self.now.max(due);
            self.reload();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn what_does_not_fit_is_not_lost(
        max_entries in 1_usize..400,
        max_entries_per_destination in 1_usize..400,
        mail in prop::collection::vec((0_u32..12, 1_usize..200), 1..20),
        failing in 1_usize..5,
        dead_after in 0_u16..3,
    ) {
        let limits = Limits { max_entries, max_entries_per_destination };
        let mut owner = Owner::new(limits, Rules { dead_after, ..Rules::plain(3) });
        let mut number = 0;
        for (destination, count) in mail {
            for _ in 0..count {
                number += 1;
                owner.accept(&format!("{}.example", destination.isqrt()), number);
            }
            owner.work(failing);
            owner.now = owner.now.after(Duration::from_secs(30));
        }
        owner.run_dry();
        prop_assert!(owner.database.is_empty(), "{} are left of {number}", owner.database.len());
        prop_assert!(owner.scheduler.is_empty());
        prop_assert_eq!(owner.scheduler.spilled_shards().count(), 0);
        prop_assert!(owner.walks < 20_000, "{} walks", owner.walks);
    }
}

#[test]
fn fresh_mail_goes_through_while_many_dead_destinations_fill_the_memory() {
    let limits = Limits { max_entries: 2_000, max_entries_per_destination: 1_000 };
    let mut owner = Owner::new(limits, Rules::plain(20));
    let mut number = 0;
    for minute in 0..60 {
        for _ in 0..200 {
            number += 1;
            owner.accept(&format!("dead{}.example", number % 50), number);
        }
        number += 1;
        let fresh = number;
        assert_eq!(owner.accept("alive.example", fresh), Insert::Scheduled, "minute {minute}");
        // Every attempt fails, but the one is made at once.
        assert!(owner.work(1).contains(&fresh), "minute {minute}");
        owner.now = owner.now.after(Duration::from_secs(60));
        owner.reload();
    }
    assert!(owner.database.len() > 5 * limits.max_entries);
    owner.run_dry();
    assert!(owner.database.is_empty());
}

/// Destinations with one delivery each, of which nothing can be attempted, and then fresh mail to others.
fn filled_with_resting(of: &[String], fresh: usize, rest: impl FnOnce(&mut Scheduler)) -> Owner {
    let mut rules = Rules::plain(10);
    (rules.dead_after, rules.probe) = (1, RetryPolicy { jitter: 0.0, ..RetryPolicy::default() });
    let limits = Limits { max_entries: of.len(), max_entries_per_destination: of.len() };
    let mut owner = Owner::new(limits, rules);
    for (number, destination) in (1..).zip(of) {
        assert_eq!(owner.accept(destination, number), Insert::Scheduled);
    }
    rest(&mut owner.scheduler);
    for number in 0..fresh {
        let number = i64::try_from(1_000 + number).unwrap();
        assert_eq!(owner.accept(&format!("{number}.example"), number), Insert::Scheduled);
    }
    owner
}

fn all_die(scheduler: &mut Scheduler) {
    while let Some(entry) = scheduler.next_attempt(NOW) {
        scheduler.learn(entry.id, Feedback::Unreachable, None, 0.5, NOW);
        scheduler.release_unused(entry.id, NOW);
    }
}

#[test]
fn what_rests_is_not_read_again_before_something_can_be_attempted_of_it() {
    let names: Vec<String> = (0..100).map(|number| format!("dead{number}.example")).collect();
    let suspended = Suspended { destinations: names.iter().cloned().collect(), ..Suspended::default() };
    let suspend = |scheduler: &mut Scheduler| scheduler.set_suspended(suspended.clone());
    for (is_dead, mut owner) in
        [(true, filled_with_resting(&names, 40, all_die)), (false, filled_with_resting(&names, 40, suspend))]
    {
        assert!(owner.scheduler.spilled_shards().count() > 10);
        while owner.scheduler.next_attempt(NOW).is_some() {}
        let mut number = 2_000;
        while owner.now < NOW.after(Duration::from_secs(299)) {
            owner.now = owner.now.after(Duration::from_secs(1));
            owner.reload();
            // More of the same changes nothing about that.
            number += 1;
            assert_eq!(owner.accept(&names[number as usize % 100], number), Insert::Spilled);
        }
        assert_eq!(owner.walks, 0, "dead: {is_dead}");
        if !is_dead {
            owner.scheduler.set_suspended(Suspended::default());
        }
        for number in 1_000..1_040 {
            owner.database.remove(&number);
            owner.scheduler.finish(id(number));
        }
        for _ in 0..20 {
            owner.now = owner.now.after(Duration::from_secs(1));
            owner.reload();
            owner.work(usize::MAX);
        }
        assert!(owner.database.is_empty(), "{} are left", owner.database.len());
    }
}

#[test]
fn what_is_spilled_of_a_dead_destination_is_read_when_it_is_there_again() {
    let names: Vec<String> = (0..100).map(|_| "dead.example".to_owned()).collect();
    let shard = ShardId::of("dead.example");
    for is_gone in [false, true] {
        let mut owner = filled_with_resting(&names, if is_gone { 100 } else { 40 }, all_die);
        let now = NOW.after(Duration::from_secs(10));
        assert_eq!(owner.scheduler.reloadable_shards(now).count(), 0);
        assert!(owner.scheduler.revive("dead.example", now));
        if is_gone {
            // Others have taken all the room.
            while owner.scheduler.next_attempt(now).is_some() {}
            assert!(owner.scheduler.finish(id(1_000)));
        }
        assert!(owner.scheduler.reloadable_shards(now).any(|reloadable| reloadable == shard));
        owner.now = now;
        owner.reload();
        let probe = owner.scheduler.next_attempt(now).filter(|entry| entry.shard == shard);
        assert_eq!(probe.is_some(), is_gone || owner.scheduler.in_flight(id(1)));
    }
}

#[test]
fn what_is_spilled_of_what_was_suspended_is_read_when_it_is_resumed() {
    let names: Vec<String> = (0..100).map(|number| format!("rests{number}.example")).collect();
    let destinations = Suspended { destinations: names.iter().cloned().collect(), ..Suspended::default() };
    let tenants = Suspended { tenants: [TenantId(7)].into(), ..Suspended::default() };
    for suspended in [destinations, tenants] {
        let mut scheduler = Scheduler::new(Limits { max_entries: 100, ..ROOMY }, Rules::plain(1000));
        scheduler.set_suspended(suspended);
        let insert_resting = |scheduler: &mut Scheduler, number: i64| {
            let name = &names[number as usize];
            scheduler.insert(name, Entry { tenant: TenantId(7), ..entry(name, number + 1, NOW) }, NOW)
        };
        assert!((0..100).all(|number| insert_resting(&mut scheduler, number) == Insert::Scheduled));
        for number in 1_000..1_100 {
            assert_eq!(insert(&mut scheduler, "fresh.example", number, NOW), Insert::Scheduled);
        }
        assert_eq!(insert_resting(&mut scheduler, 0), Insert::Spilled);
        while attempt(&mut scheduler, NOW).is_some() {}
        for number in 0..10 {
            assert!(scheduler.finish(id(1_000 + number)));
            assert_eq!(insert(&mut scheduler, "later.example", 2_000 + number, NOW.after(HOUR)), Insert::Scheduled);
        }
        assert_eq!(scheduler.reloadable_shards(NOW.after(HOUR)).count(), 0, "nothing is here of what rests");
        scheduler.set_suspended(Suspended::default());
        assert!(scheduler.reloadable_shards(NOW).count() > 10);
    }
}

#[test]
fn what_is_spilled_probes_its_destination_where_nothing_else_does() {
    let names = [(); 3].map(|()| "dead.example".to_owned());
    let mut owner = filled_with_resting(&names, 2, all_die);
    while owner.scheduler.next_attempt(NOW).is_some() {}
    let at = |seconds| NOW.after(Duration::from_secs(seconds));
    for (seconds, probe) in [(300, 1), (900, 2), (2_100, 3)] {
        owner.now = at(seconds - 1);
        owner.reload();
        assert_eq!(owner.work(1), [], "{seconds}");
        owner.now = at(seconds);
        owner.reload();
        let walks = owner.walks;
        owner.reload();
        assert_eq!(owner.walks, walks, "once is enough");
        let begun = owner.scheduler.next_attempt(owner.now).unwrap();
        assert_eq!(begun.id, id(probe));
        owner.scheduler.learn(begun.id, Feedback::Unreachable, None, 0.5, owner.now);
        let stored = &mut owner.database.get_mut(&probe).unwrap().1;
        (stored.attempts, stored.due) = (1, at(10_000));
        owner.scheduler.defer(begun.id, 1, at(10_000));
    }
}

#[test]
fn a_probe_under_way_does_not_keep_others_from_making_room() {
    let names = ["dead0.example", "dead1.example", "dead1.example"].map(str::to_owned);
    let mut owner = filled_with_resting(&names, 0, all_die);
    owner.scheduler.revive("dead0.example", NOW);
    assert_eq!(owner.scheduler.next_attempt(NOW).map(|entry| entry.id), Some(id(1)));
    assert_eq!(owner.accept("fresh.example", 10), Insert::Scheduled);
    assert_eq!(owner.accept("fresh.example", 11), Insert::Scheduled);
    assert_eq!(owner.accept("fresh.example", 12), Insert::Spilled, "nothing is left that rests");
    assert!(owner.scheduler.in_flight(id(1)));
}

#[test]
fn a_probe_that_is_due_stays() {
    let names: Vec<String> = (0..40).map(|number| format!("dead{number}.example")).collect();
    let mut owner = filled_with_resting(&names, 0, all_die);
    for name in &names[..10] {
        owner.scheduler.revive(name, NOW);
    }
    let mut fresh = (100..200).map(|number| owner.accept("fresh.example", number));
    assert!(fresh.by_ref().take(30).all(|insert| insert == Insert::Scheduled));
    assert!(fresh.all(|insert| insert == Insert::Spilled));
    assert!((1..=10).all(|number| owner.scheduler.is_known(id(number))));
}

#[test]
fn what_comes_to_rest_makes_room_at_once() {
    let limits = Limits { max_entries: 100, max_entries_per_destination: 100 };
    let mut scheduler = Scheduler::new(limits, Rules::plain(10));
    for number in 1..=100 {
        insert(&mut scheduler, "flood.example", number, NOW);
    }
    assert_eq!(insert(&mut scheduler, "fresh.example", 200, NOW), Insert::Spilled, "nothing can make room");
    let suspended = Suspended { destinations: ["flood.example".to_owned()].into(), ..Suspended::default() };
    scheduler.set_suspended(suspended);
    let fresh = ShardId::of("fresh.example");
    assert!(scheduler.reloadable_shards(NOW).any(|shard| shard == fresh));
    scheduler.clear_spilled(fresh);
    assert_eq!(insert(&mut scheduler, "fresh.example", 200, NOW), Insert::Scheduled);
}

#[test]
fn what_has_no_room_is_given_up_within_a_minute_of_its_time() {
    let limits = Limits { max_entries: 100, max_entries_per_destination: 100 };
    let mut scheduler = Scheduler::new(limits, Rules::plain(10));
    for number in 1..=100 {
        insert(&mut scheduler, "flood.example", number, NOW);
    }
    while attempt(&mut scheduler, NOW).is_some() {}
    let old = |number| Entry { expires_at: NOW.after(HOUR), ..entry("old.example", number, NOW) };
    assert_eq!(scheduler.insert("old.example", old(200), NOW), Insert::Spilled);
    assert_eq!(insert(&mut scheduler, "old.example", 300, NOW), Insert::Spilled);
    let (shard, late) = (ShardId::of("old.example"), NOW.after(HOUR + Duration::from_secs(60)));
    assert_eq!(scheduler.reloadable_shards(late.before(Duration::from_secs(1))).count(), 0);
    assert_eq!(scheduler.reloadable_shards(late).collect::<Vec<_>>(), [shard]);
    scheduler.clear_spilled(shard);
    assert_eq!(scheduler.insert("old.example", old(200), late), Insert::Scheduled);
    assert_eq!(scheduler.insert("old.example", entry("old.example", 300, NOW), late), Insert::Spilled);
    assert_eq!(scheduler.next_expired(late).map(|entry| entry.id), Some(id(200)));
    assert_eq!(scheduler.reloadable_shards(late).count(), 0, "the other has time");
    let taken =
        (1_000..3_000).filter(|&number| scheduler.insert("old.example", old(number), late) == Insert::Scheduled);
    assert_eq!(taken.count(), 999, "there is an end to it");
    assert_eq!(scheduler.reloadable_shards(late).count(), 0);
    while let Some(entry) = scheduler.next_expired(late) {
        scheduler.finish(entry.id);
    }
    assert_eq!(scheduler.reloadable_shards(late).collect::<Vec<_>>(), [shard]);
}

#[test]
fn a_backlog_whose_senders_are_told_one_after_the_other_is_read_once_a_minute() {
    const KEPT: i64 = 100;
    let limits = Limits { max_entries_per_destination: 100, ..ROOMY };
    let mut scheduler = Scheduler::new(limits, Rules::plain(100_000));
    let shard = ShardId::of("back.example");
    // Twenty a second came in, and four hours later twenty a second are late.
    let late = |number: i64| NOW.after(Duration::from_millis(50) * u32::try_from(number).unwrap());
    let read = |scheduler: &mut Scheduler, now: Timestamp| {
        scheduler.clear_spilled(shard);
        for number in 1..=20_000 {
            let warn_at = Some(late(number)).filter(|at| *at > now);
            scheduler.insert("back.example", Entry { warn_at, ..entry("back.example", number, NOW) }, now);
        }
    };
    read(&mut scheduler, NOW);
    assert_eq!(scheduler.len(), usize::try_from(KEPT).unwrap());
    let mut readings = Vec::new();
    for second in 1..=600_u64 {
        let now = NOW.after(Duration::from_secs(second));
        while scheduler.next(now).is_some() {}
        if scheduler.reloadable_shards(now).next().is_some() {
            readings.push(second);
            read(&mut scheduler, now);
        }
    }
    assert!((8..=10).contains(&readings.len()), "{readings:?}");
}
