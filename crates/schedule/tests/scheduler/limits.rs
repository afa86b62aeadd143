//! Limits of destinations, tenants and providers, what is suspended, and destinations that are dead: nothing goes that may
//! not, and everything goes that may.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use mailtier_schedule::{
    DestinationLimits, Entry, Feedback, GroupLimits, Insert, Limits, Provider, Rate, Ready, RetryPolicy, Rules,
    Scheduler, Suspended, Whom,
};
use mailtier_types::{DeliveryId, Epoch, ShardId, TenantId, Timestamp};
use proptest::prelude::*;

use crate::entries::{NOW, entry};

const ROOMY: Limits = Limits { max_entries: 10_000, max_entries_per_destination: 10_000 };

fn later(seconds: u64) -> Timestamp {
    NOW.after(Duration::from_secs(seconds))
}

fn attempts(scheduler: &mut Scheduler, now: Timestamp) -> Vec<i64> {
    std::iter::from_fn(|| scheduler.next_attempt(now)).map(|entry| entry.id.as_i64()).collect()
}

#[test]
fn the_oldest_that_is_ready_is_known() {
    let mut scheduler = Scheduler::new(ROOMY, Rules::plain(1));
    assert_eq!(scheduler.oldest_ready(), None);
    for (destination, number, due) in
        [("b.example", 7, NOW), ("c.example", 5, NOW), ("c.example", 4, NOW), ("d.example", 1, later(60))]
    {
        scheduler.insert(destination, entry(destination, number, due), NOW);
    }
    let oldest = |scheduler: &Scheduler| scheduler.oldest_ready().map(DeliveryId::as_i64);
    assert_eq!(oldest(&scheduler), Some(4), "what is not due is not ready");
    let suspended = Suspended { destinations: ["c.example".to_owned()].into(), ..Suspended::default() };
    scheduler.set_suspended(suspended);
    assert_eq!(oldest(&scheduler), Some(4), "what is suspended is ready all the same");
    scheduler.set_suspended(Suspended::default());
    assert_eq!(attempts(&mut scheduler, NOW).len(), 2);
    assert_eq!(oldest(&scheduler), Some(5), "what is in flight is not ready");
}

#[test]
fn a_rate_is_kept_to_and_the_next_time_is_told() {
    let mut rules = Rules::plain(100);
    let slow = DestinationLimits { rate: Some(Rate::new(60, Duration::from_secs(60))), ..rules.destination };
    rules.destinations.insert("slow.example".to_owned(), slow);
    let mut scheduler = Scheduler::new(ROOMY, rules);
    for number in 1..=5 {
        scheduler.insert("slow.example", entry("slow.example", number, NOW), NOW);
    }
    for number in 1..=5 {
        let now = later(number as u64 - 1);
        assert_eq!(attempts(&mut scheduler, now), [number]);
        scheduler.finish(DeliveryId::from_i64(number).unwrap());
        assert_eq!(scheduler.next_due(), (number < 5).then(|| later(number as u64)));
    }
    // What has passed is remembered beyond the last delivery.
    scheduler.insert("slow.example", entry("slow.example", 6, later(4)), later(4));
    assert_eq!(attempts(&mut scheduler, later(4)), []);
    assert_eq!(attempts(&mut scheduler, later(5)), [6]);
}

/// Rates of a destination, of a tenant and of a provider, each alone and one a minute.
fn one_a_minute() -> [Rules; 3] {
    let rate = Some(Rate::new(1, Duration::from_secs(60)));
    let limits = GroupLimits { concurrency: None, rate };
    let plain = Rules::plain(100);
    let destination = Rules { destination: DestinationLimits { rate, ..plain.destination }, ..plain };
    let tenant = Rules { tenant: limits, ..Rules::plain(100) };
    let mut provider = provider_of("mx.big.example");
    provider.providers[0].limits = limits;
    [destination, tenant, provider]
}

#[test]
fn what_is_not_attempted_after_all_takes_nothing_of_a_rate() {
    for rules in one_a_minute() {
        let mut scheduler = Scheduler::new(ROOMY, rules);
        for number in 1..=4 {
            scheduler.insert("one.example", entry("one.example", number, NOW), NOW);
            scheduler
                .recall(DeliveryId::from_i64(number).unwrap(), || Some(("mx.big.example".to_owned(), later(86_400))));
        }
        let id = |number| DeliveryId::from_i64(number).unwrap();
        assert_eq!(attempts(&mut scheduler, NOW), [1]);
        assert!(scheduler.release_unused(id(1), later(5)));
        assert_eq!(attempts(&mut scheduler, later(5)), [1], "no minute is lost by a refusal");
        assert!(scheduler.release(id(1), later(6)));
        assert_eq!(attempts(&mut scheduler, later(6)), [], "one whose worker was lost may have been attempted");
        assert_eq!(attempts(&mut scheduler, later(65)), [1]);
        assert_eq!(attempts(&mut scheduler, later(125)), [2]);
        assert!(scheduler.release_unused(id(1), later(126)));
        assert_eq!(attempts(&mut scheduler, later(184)), [], "another has passed since, less than a minute ago");
        assert_eq!(attempts(&mut scheduler, later(185)), [1]);
        scheduler.end_attempt(id(1), later(186));
        assert!(scheduler.release_unused(id(1), later(186)));
        assert_eq!(attempts(&mut scheduler, later(187)), [], "it was attempted");
    }
}

/// One owner after the other, which know nothing of each other.
#[test]
fn no_stretch_of_time_has_more_than_a_rate_gives_whoever_owns_the_shard() {
    let (destination, id) = ("one.example", |number| DeliveryId::from_i64(number).unwrap());
    let shard = ShardId::of(destination);
    for rules in one_a_minute() {
        let mut owners = [Scheduler::new(ROOMY, rules.clone()), Scheduler::new(ROOMY, rules.clone())];
        let (mut queued, mut begun, mut second) = ((1..=100).collect::<Vec<_>>(), Vec::new(), 0);
        for (epoch, seconds) in (1..).zip([70, 5, 200, 61, 59, 1, 300, 90]) {
            let owner = &mut owners[epoch as usize % 2];
            owner.gain_shard(shard, Epoch(epoch), later(second));
            for &number in &queued {
                owner.insert(destination, entry(destination, number, NOW), later(second));
                owner.recall(id(number), || Some(("mx.big.example".to_owned(), later(86_400))));
            }
            for _ in 0..seconds {
                for number in attempts(owner, later(second)) {
                    begun.push(second);
                    queued.retain(|known| *known != number);
                    owner.finish(id(number));
                }
                second += 1;
            }
            assert_eq!(owner.drop_shard(shard), queued.len());
        }
        assert!(begun.windows(2).all(|two| two[1] - two[0] >= 60), "{begun:?}");
        assert_eq!((begun[0], begun.len()), (0, 11), "what nobody had before goes at once: {begun:?}");
    }
}

#[test]
fn of_one_owner_what_is_remembered_counts() {
    let [rules, tenant, _] = one_a_minute();
    let go = |scheduler: &mut Scheduler, number, now| {
        scheduler.insert("one.example", entry("one.example", number, now), now);
        let begun = attempts(scheduler, now);
        scheduler.finish(DeliveryId::from_i64(number).unwrap());
        begun.len()
    };
    let mut scheduler = Scheduler::new(ROOMY, rules);
    scheduler.gain_shard(ShardId::of("one.example"), Epoch(7), NOW);
    assert_eq!(go(&mut scheduler, 1, later(59)), 0);
    assert_eq!(go(&mut scheduler, 2, later(60)), 1);
    assert_eq!(go(&mut scheduler, 3, later(119)), 0, "it is known when one went, though it has no mail meanwhile");
    assert_eq!(go(&mut scheduler, 4, later(120)), 1);
    // The clock is put back, and what was remembered counts for nothing: but not the time of the other clock either.
    let back = NOW.before(Duration::from_secs(86_400));
    assert_eq!(go(&mut scheduler, 5, back), 0);
    assert_eq!(go(&mut scheduler, 6, back.after(Duration::from_secs(60))), 1);

    let mut scheduler = Scheduler::new(ROOMY, tenant);
    scheduler.gain_shard(ShardId::of("one.example"), Epoch(7), NOW);
    assert_eq!(go(&mut scheduler, 1, later(60)), 1);
    scheduler.gain_shard(ShardId::new(0), Epoch(8), later(119));
    assert_eq!(go(&mut scheduler, 2, later(120)), 1, "one shard more says nothing of a group");
}

#[test]
fn what_was_counted_elsewhere_or_not_at_all_gives_nothing_back() {
    let [rules, ..] = one_a_minute();
    let mut scheduler = Scheduler::new(ROOMY, Rules { providers: provider_of("mx.big.example").providers, ..rules });
    let id = |number| DeliveryId::from_i64(number).unwrap();
    let known = || Some(("mx.other.example".to_owned(), later(86_400)));
    for number in 1..=3 {
        scheduler.insert("one.example", entry("one.example", number, NOW), NOW);
    }
    assert_eq!(attempts(&mut scheduler, NOW), [1]);
    assert!(scheduler.asks(id(1)) && scheduler.release_unused(id(1), NOW), "a question counts for no rate");
    scheduler.recall(id(1), known);
    assert_eq!(attempts(&mut scheduler, NOW), [1]);
    scheduler.mark_in_flight("one.example", entry("one.example", 9, NOW));
    assert!(scheduler.release_unused(id(9), later(1)), "the owner before this one has counted it");
    assert_eq!(attempts(&mut scheduler, later(1)), []);
}

#[test]
fn a_dead_destination_costs_one_attempt_at_a_time_and_no_delivery_waits_longer_for_it() {
    let mut rules = Rules::plain(10);
    (rules.dead_after, rules.probe) = (2, RetryPolicy { jitter: 0.0, ..RetryPolicy::default() });
    let mut scheduler = Scheduler::new(ROOMY, rules);
    for number in 1..=20 {
        scheduler.insert("dead.example", entry("dead.example", number, NOW), NOW);
    }
    scheduler.insert("alive.example", entry("alive.example", 100, NOW), NOW);
    assert_eq!(attempts(&mut scheduler, NOW).len(), 11);
    for number in 1..=10 {
        let id = DeliveryId::from_i64(number).unwrap();
        scheduler.learn(id, Feedback::Unreachable, None, 0.5, later(1));
        scheduler.defer(id, 1, later(10_000));
    }
    assert_eq!(attempts(&mut scheduler, later(1)), [], "nothing is tried at a dead destination");
    assert_eq!(scheduler.standing("dead.example").unwrap().dead_until, Some(later(301)));
    assert_eq!(scheduler.next_due(), Some(later(301)));
    assert_eq!(attempts(&mut scheduler, later(301)), [11], "one delivery probes it");
    scheduler.learn(DeliveryId::from_i64(11).unwrap(), Feedback::Unreachable, None, 0.5, later(310));
    scheduler.defer(DeliveryId::from_i64(11).unwrap(), 1, later(10_000));
    assert_eq!(attempts(&mut scheduler, later(909)), []);
    assert_eq!(attempts(&mut scheduler, later(910)), [12]);
    scheduler.learn(DeliveryId::from_i64(12).unwrap(), Feedback::Good, None, 0.5, later(911));
    scheduler.finish(DeliveryId::from_i64(12).unwrap());
    assert_eq!(
        attempts(&mut scheduler, later(911)),
        (13..=20).collect::<Vec<_>>(),
        "it is back, and all its mail goes"
    );
}

#[test]
fn a_dead_destination_is_probed_at_once_where_that_is_asked_for() {
    let mut rules = Rules::plain(10);
    (rules.dead_after, rules.probe) = (1, RetryPolicy { jitter: 0.0, ..RetryPolicy::default() });
    let mut scheduler = Scheduler::new(ROOMY, rules);
    let id = |number| DeliveryId::from_i64(number).unwrap();
    for number in 1..=4 {
        scheduler.insert("dead.example", entry("dead.example", number, NOW), NOW);
    }
    assert!(!scheduler.revive("dead.example", NOW) && !scheduler.revive("unknown.example", NOW));
    assert_eq!(attempts(&mut scheduler, NOW).len(), 4);
    for number in 1..=4 {
        scheduler.learn(id(number), Feedback::Unreachable, None, 0.5, NOW);
        scheduler.release(id(number), NOW);
    }
    assert_eq!(attempts(&mut scheduler, later(10)), []);
    assert!(scheduler.revive("dead.example", later(10)));
    assert_eq!(attempts(&mut scheduler, later(10)), [1], "one delivery probes it");
    assert!(scheduler.revive("dead.example", later(10)));
    assert_eq!(attempts(&mut scheduler, later(10)), []);
    scheduler.learn(id(1), Feedback::Unreachable, None, 0.5, later(10));
    for number in 1..=4 {
        scheduler.finish(id(number));
    }
    // Its mail is gone, and it is still known to be dead, for twice as long.
    scheduler.insert("dead.example", entry("dead.example", 5, later(20)), later(20));
    assert_eq!(scheduler.standing("dead.example").unwrap().dead_until, Some(later(610)));
    scheduler.finish(id(5));
    assert!(scheduler.revive("dead.example", later(30)));
    scheduler.insert("dead.example", entry("dead.example", 6, later(30)), later(30));
    assert_eq!(attempts(&mut scheduler, later(30)), [6]);
}

#[test]
fn what_a_dead_destination_has_ready_makes_room_for_others() {
    let mut rules = Rules::plain(10);
    rules.dead_after = 1;
    let limits = Limits { max_entries: 1_000, max_entries_per_destination: 1_000 };
    let mut scheduler = Scheduler::new(limits, rules);
    for number in 1..=1_000 {
        scheduler.insert("dead.example", entry("dead.example", number, NOW), NOW);
    }
    let first = scheduler.next_attempt(NOW).unwrap();
    scheduler.learn(first.id, Feedback::Unreachable, None, 0.5, NOW);
    scheduler.release(first.id, NOW);
    for number in 2_001..=2_500 {
        assert_eq!(scheduler.insert("alive.example", entry("alive.example", number, NOW), NOW), Insert::Scheduled);
    }
    assert_eq!(scheduler.insert("dead.example", entry("dead.example", 3_000, NOW), NOW), Insert::Spilled);
    assert_eq!(scheduler.len(), 1_000);
    let shard = ShardId::of("dead.example");
    assert_eq!(scheduler.spilled_shards().collect::<Vec<_>>(), [shard]);
    // The oldest stayed, and the rest is read again when the destination is back.
    assert!(scheduler.is_known(first.id));
    let now = later(600);
    assert!(scheduler.reloadable_shards(now).any(|reloadable| reloadable == shard));
}

fn provider_of(exchangers: &str) -> Rules {
    let exchangers = vec![exchangers.to_owned()];
    let big = Provider { name: "big".to_owned(), exchangers, limits: GroupLimits::default() };
    Rules { providers: vec![big], ..Rules::plain(10) }
}

#[test]
fn a_provider_is_recalled_from_attempts_of_earlier_owners() {
    let mut scheduler = Scheduler::new(ROOMY, provider_of("mx.big.example"));
    scheduler.set_suspended(Suspended { providers: ["big".to_owned()].into(), ..Suspended::default() });
    for number in 1..=3 {
        scheduler.insert("one.example", entry("one.example", number, NOW), NOW);
    }
    scheduler.insert("two.example", entry("two.example", 4, NOW), NOW);
    let id = |number| DeliveryId::from_i64(number).unwrap();
    scheduler.recall(id(2), || Some(("in.mx.big.example.".to_owned(), NOW)));
    scheduler.recall(id(3), || panic!("it is known"));
    scheduler.recall(id(4), || Some(("mx.other.example".to_owned(), NOW)));
    assert_eq!(attempts(&mut scheduler, NOW), [4]);
    let suspended =
        |scheduler: &Scheduler| (1..=5).map(|number| scheduler.is_suspended(id(number))).collect::<Vec<_>>();
    assert_eq!(suspended(&scheduler), [true, true, true, false, false]);
    scheduler.set_suspended(Suspended::default());
    assert_eq!(attempts(&mut scheduler, NOW), [1, 2, 3]);
    scheduler.set_suspended(Suspended { tenants: [TenantId(0)].into(), ..Suspended::default() });
    assert_eq!(suspended(&scheduler), [true, true, true, true, false], "what is in flight, too");
}

#[test]
fn while_everything_is_suspended_nothing_is_attempted_or_given_up() {
    let mut scheduler = Scheduler::new(ROOMY, Rules::plain(10));
    let everything = Suspended { everything: true, ..Suspended::default() };
    scheduler.insert("b.example", entry("b.example", 1, NOW), NOW);
    scheduler.insert("b.example", Entry { expires_at: NOW, ..entry("b.example", 2, NOW) }, NOW);
    scheduler.set_suspended(everything);
    assert_eq!((scheduler.next(NOW), scheduler.next_due()), (None, None), "nor is there a time to look again");
    assert!(scheduler.is_suspended(DeliveryId::from_i64(1).unwrap()));
    scheduler.set_suspended(Suspended::default());
    assert!(matches!(scheduler.next(NOW), Some(Ready::Expired(entry)) if entry.id.as_i64() == 2));
    assert!(matches!(scheduler.next(NOW), Some(Ready::Attempt(entry)) if entry.id.as_i64() == 1));
}

#[test]
fn a_provider_that_was_told_to_rest_does_so_and_then_goes_on_by_itself() {
    let mut scheduler = Scheduler::new(ROOMY, provider_of("mx.big.example"));
    let id = |number| DeliveryId::from_i64(number).unwrap();
    for (number, domain) in [(1, "one.example"), (2, "two.example"), (3, "else.example")] {
        let exchanger = if number < 3 { "mx.big.example" } else { "mx.small.example" };
        for number in [number, 10 + number] {
            scheduler.insert(domain, entry(domain, number, NOW), NOW);
        }
        scheduler.recall(id(number), || Some((exchanger.to_owned(), NOW)));
    }
    assert!(matches!(scheduler.next(NOW), Some(Ready::Attempt(entry)) if entry.id == id(1)));
    let rest = Feedback::Suspend { whom: Whom::Provider, time: Duration::from_secs(60) };
    scheduler.learn(id(1), rest, Some("mx.big.example"), 0.5, NOW);
    scheduler.finish(id(1));
    assert_eq!(attempts(&mut scheduler, NOW), [3, 13], "others go on");
    assert_eq!(attempts(&mut scheduler, later(59)), []);
    assert_eq!(scheduler.next_due(), Some(later(60)));
    let mut rest = attempts(&mut scheduler, later(60));
    rest.sort_unstable();
    assert_eq!(rest, [2, 11, 12]);
}

#[test]
fn of_a_destination_without_a_provider_it_rests_alone() {
    let mut scheduler = Scheduler::new(ROOMY, Rules::plain(1));
    let id = |number| DeliveryId::from_i64(number).unwrap();
    for (number, domain) in [(1, "one.example"), (2, "one.example"), (3, "else.example")] {
        scheduler.insert(domain, entry(domain, number, NOW), NOW);
    }
    assert_eq!(attempts(&mut scheduler, NOW), [1, 3]);
    let rest = Feedback::Suspend { whom: Whom::Provider, time: Duration::from_secs(60) };
    scheduler.learn(id(1), rest, None, 0.5, NOW);
    scheduler.finish(id(1));
    assert_eq!(attempts(&mut scheduler, later(59)), []);
    assert_eq!((scheduler.next_due(), attempts(&mut scheduler, later(60))), (Some(later(60)), vec![2]));
}

#[test]
fn a_destination_whose_exchangers_are_others_leaves_its_provider() {
    let mut rules = provider_of("mx.big.example");
    rules.providers[0].limits.concurrency = Some(1);
    let mut scheduler = Scheduler::new(ROOMY, rules);
    for number in 1..=5 {
        scheduler.insert("one.example", entry("one.example", number, NOW), NOW);
    }
    let id = |number| DeliveryId::from_i64(number).unwrap();
    scheduler.recall(id(1), || Some(("mx.big.example".to_owned(), NOW)));
    assert_eq!(attempts(&mut scheduler, NOW), [1]);
    scheduler.learn(id(1), Feedback::Good, None, 0.5, NOW);
    scheduler.finish(id(1));
    assert_eq!(attempts(&mut scheduler, NOW), [2], "an attempt that met no exchanger says nothing");
    scheduler.learn(id(2), Feedback::Good, Some("mx.small.example"), 0.5, NOW);
    scheduler.finish(id(2));
    assert_eq!(attempts(&mut scheduler, NOW), [3, 4, 5]);
}

#[test]
fn fresh_domains_of_one_provider_never_have_more_than_its_limit_together() {
    let mut rules = provider_of("mx.big.example");
    rules.providers[0].limits.concurrency = Some(2);
    let mut scheduler = Scheduler::new(ROOMY, rules);
    let id = |number| DeliveryId::from_i64(number).unwrap();
    for number in 1..=60 {
        let domain = format!("{number}.example");
        scheduler.insert(&domain, entry(&domain, number, NOW), NOW);
        scheduler.insert(&domain, entry(&domain, 100 + number, NOW), NOW);
    }
    let asked = attempts(&mut scheduler, NOW);
    assert_eq!(asked, (1..=60).collect::<Vec<_>>(), "one question for each domain");
    assert!(asked.iter().all(|&number| scheduler.asks(id(number))));
    for number in 1..=60 {
        assert!(scheduler.resolved(id(number), "in.mx.big.example", NOW));
    }
    let mut begun = attempts(&mut scheduler, NOW);
    let mut in_order = Vec::new();
    while let Some(number) = begun.pop() {
        assert!(begun.len() < 2 && !scheduler.asks(id(number)));
        in_order.push(number);
        scheduler.finish(id(number));
        begun.extend(attempts(&mut scheduler, NOW));
    }
    assert_eq!(in_order.len(), 120);
    // Hours later nobody relies on it any more.
    let known = |scheduler: &mut Scheduler, number, now| {
        scheduler.insert("1.example", entry("1.example", number, now), now);
        attempts(scheduler, now);
        !scheduler.asks(id(number))
    };
    assert!(known(&mut scheduler, 1_000, later(6 * 3600 - 1)));
    scheduler.finish(id(1_000));
    assert!(!known(&mut scheduler, 1_001, later(6 * 3600)));
    scheduler.learn(id(1_001), Feedback::Unreachable, None, 0.5, later(6 * 3600));
    scheduler.finish(id(1_001));
    assert!(!known(&mut scheduler, 1_002, later(6 * 3600)), "an attempt that met no exchanger says nothing");
}

const DESTINATIONS: usize = 4;
const TENANTS: i32 = 3;

fn name(destination: usize) -> String {
    format!("{destination}.example")
}

/// The provider whose exchangers a destination has.
fn provider(destination: usize) -> Option<&'static str> {
    ["even", "odd"].get(destination % 3).copied()
}

fn exchanger(destination: usize) -> String {
    format!("mx1.{}.mx.", provider(destination).unwrap_or("nobody"))
}

/// What an attempt means takes a while to be stored; the next one need not wait for that.
#[test]
fn an_attempt_that_is_over_makes_room_before_it_is_stored() {
    let mut rules = Rules::plain(2);
    rules.tenants.insert(TenantId(0), GroupLimits { concurrency: Some(2), rate: None });
    let mut scheduler = Scheduler::new(Limits { max_entries: 100, max_entries_per_destination: 100 }, rules);
    for number in 1..=5 {
        assert_eq!(scheduler.insert("one.example", entry("one.example", number, NOW), NOW), Insert::Scheduled);
    }
    let (first, second) = (scheduler.next_attempt(NOW).unwrap().id, scheduler.next_attempt(NOW).unwrap().id);
    assert_eq!(scheduler.next_attempt(NOW), None);
    scheduler.end_attempt(first, NOW);
    scheduler.end_attempt(first, NOW);
    let third = scheduler.next_attempt(NOW).unwrap().id;
    assert_eq!(scheduler.next_attempt(NOW), None, "its place is taken once");
    assert!(scheduler.in_flight(first) && scheduler.counts().in_flight == 3);

    scheduler.defer(first, 1, later(60));
    assert!(scheduler.finish(second) && scheduler.finish(third));
    scheduler.end_attempt(third, NOW);
    assert_eq!((scheduler.counts().in_flight, scheduler.counts().waiting, scheduler.len()), (0, 1, 3));
    assert!(scheduler.next_attempt(NOW).is_some() && scheduler.next_attempt(NOW).is_some());
}

/// Workers have them still; their new owner learns of them a little later.
#[test]
fn what_is_under_way_counts_for_a_while_after_its_shard_was_given_up() {
    let mut rules = Rules::plain(10);
    rules.tenants.insert(TenantId(0), GroupLimits { concurrency: Some(4), rate: None });
    let mut scheduler = Scheduler::new(ROOMY, rules);
    for number in 1..=3 {
        scheduler.insert("gone.example", entry("gone.example", number, NOW), NOW);
    }
    assert_eq!(attempts(&mut scheduler, NOW).len(), 3);
    for number in 4..=9 {
        scheduler.insert("kept.example", entry("kept.example", number, NOW), NOW);
    }
    assert_eq!(attempts(&mut scheduler, NOW), [4]);
    assert_eq!(scheduler.give_up_shard(ShardId::of("gone.example"), later(10), NOW), 3);
    assert_eq!(attempts(&mut scheduler, NOW), [], "three are under way at other hands");
    let id = |number| DeliveryId::from_i64(number).unwrap();
    scheduler.end_attempt(id(1), NOW);
    scheduler.end_attempt(id(1), NOW);
    assert_eq!(attempts(&mut scheduler, NOW), [5], "of one it is known that it is over");
    // Back again, and given up once more while it is under way: it counts once.
    scheduler.mark_in_flight("gone.example", entry("gone.example", 2, NOW));
    assert_eq!(scheduler.give_up_shard(ShardId::of("gone.example"), later(20), NOW), 1);
    assert_eq!(scheduler.next_due(), Some(later(10)));
    assert_eq!(attempts(&mut scheduler, later(10)), [6]);
    assert_eq!(attempts(&mut scheduler, later(19)), []);
    assert_eq!(attempts(&mut scheduler, later(20)), [7]);
    assert!((4..=7).all(|number| scheduler.finish(id(number))));
    assert_eq!(attempts(&mut scheduler, later(20)), [8, 9]);
}

#[derive(Clone, Debug)]
enum Operation {
    Insert { destination: usize, tenant: i32, in_ms: i64 },
    Work { at_most: usize },
    End { which: usize, said: Feedback, again_in_ms: Option<i64> },
    Answer { which: usize },
    Refuse { which: usize },
    Wait { ms: i64 },
    WaitUntilDue,
    Suspend { destination: Option<usize>, provider: Option<&'static str>, tenant: Option<i32> },
}

fn operation() -> impl Strategy<Value = Operation> {
    let said = prop_oneof![
        4 => Just(Feedback::Good), 1 => Just(Feedback::Busy), 2 => Just(Feedback::Unreachable), 1 => Just(Feedback::Nothing)
    ];
    prop_oneof![
        6 => (0..DESTINATIONS, 0..TENANTS, prop_oneof![3 => Just(0), 1 => 0..20_000_i64])
            .prop_map(|(destination, tenant, in_ms)| Operation::Insert { destination, tenant, in_ms }),
        4 => (1..20_usize).prop_map(|at_most| Operation::Work { at_most }),
        5 => (any::<usize>(), said, prop::option::of(0..30_000_i64))
            .prop_map(|(which, said, again_in_ms)| Operation::End { which, said, again_in_ms }),
        3 => any::<usize>().prop_map(|which| Operation::Answer { which }),
        2 => any::<usize>().prop_map(|which| Operation::Refuse { which }),
        2 => prop_oneof![9 => 0..3_000_i64, 1 => 0..10_000_000_i64].prop_map(|ms| Operation::Wait { ms }),
        2 => Just(Operation::WaitUntilDue),
        1 => (prop::option::of(0..DESTINATIONS), prop::option::of(prop::sample::select(vec!["even", "odd"])), prop::option::of(0..TENANTS))
            .prop_map(|(destination, provider, tenant)| Operation::Suspend { destination, provider, tenant }),
    ]
}

/// A rate as it was meant: microseconds between two, and how many at once.
#[derive(Clone, Copy, Debug)]
struct Meant {
    interval_us: i64,
    burst: i64,
}

impl Meant {
    fn new(per_minute: u32) -> Self {
        let interval_us = 60_000_000 / i64::from(per_minute);
        Self { interval_us, burst: (1_000_000 / interval_us).max(1) }
    }

    /// When the next may pass after those that passed (microseconds, ascending).
    fn opens_at(self, passed: &[i64]) -> i64 {
        let next = passed.iter().fold(i64::MIN, |next, &at| next.max(at) + self.interval_us);
        next.saturating_sub(self.interval_us * (self.burst - 1))
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Waiting,
    /// In flight as a question: whose is the destination?
    Asking,
    InFlight,
}

struct World {
    scheduler: Scheduler,
    now: Timestamp,
    /// Per minute, of destination 0, tenant 0 and provider "even"; and attempts at a time of tenant 1 and of both
    /// providers.
    rates: [u32; 3],
    at_a_time: [u32; 2],
    suspended: Suspended,
    deliveries: BTreeMap<i64, (usize, i32, Entry, State)>,
    /// Destinations whose provider was told, if ever, and until when that is believed.
    known: HashMap<usize, i64>,
    passed_destination: Vec<i64>,
    passed_tenant: Vec<i64>,
    passed_provider: Vec<i64>,
    /// Of those in flight that have passed: when, and as whose.
    counted: HashMap<i64, (i64, Option<&'static str>)>,
    number: i64,
}

impl World {
    fn new(rates: [u32; 3], at_a_time: [u32; 2]) -> Self {
        let minute = Duration::from_secs(60);
        let [destination, tenant, provider] = rates.map(|count| Some(Rate::new(count, minute)));
        let mut rules = Rules::plain(4);
        rules.destination.initial_concurrency = 2;
        rules.destinations.insert(name(0), DestinationLimits { rate: destination, ..rules.destination });
        rules.tenants = HashMap::from([
            (TenantId(0), GroupLimits { concurrency: None, rate: tenant }),
            (TenantId(1), GroupLimits { concurrency: Some(at_a_time[0]), rate: None }),
        ]);
        let limits = |rate| GroupLimits { concurrency: Some(at_a_time[1]), rate };
        rules.providers = [("even", provider), ("odd", None)]
            .map(|(name, rate)| Provider {
                name: name.into(),
                exchangers: vec![format!("{name}.mx")],
                limits: limits(rate),
            })
            .to_vec();
        (rules.dead_after, rules.probe) = (3, RetryPolicy { first: Duration::from_secs(20), ..RetryPolicy::default() });
        Self {
            scheduler: Scheduler::new(ROOMY, rules),
            now: NOW,
            rates,
            at_a_time,
            suspended: Suspended::default(),
            deliveries: BTreeMap::new(),
            known: HashMap::new(),
            passed_destination: Vec::new(),
            passed_tenant: Vec::new(),
            passed_provider: Vec::new(),
            counted: HashMap::new(),
            number: 0,
        }
    }

    fn in_flight(&self, of: impl Fn(usize, i32) -> bool) -> u32 {
        self.deliveries.values().filter(|(d, t, _, state)| *state != State::Waiting && of(*d, *t)).count() as u32
    }

    fn known_provider(&self, destination: usize) -> Option<&'static str> {
        provider(destination).filter(|_| self.known.contains_key(&destination))
    }

    fn is_unknown(&self, destination: usize) -> bool {
        self.known.get(&destination).is_none_or(|until| *until <= self.now.as_micros())
    }

    fn told(&mut self, destination: usize) {
        self.known.insert(destination, self.now.after(Duration::from_secs(6 * 3600)).as_micros());
    }

    /// When an attempt may be begun, as far as time decides; nothing where something else stands in its way.
    fn opens_at(&self, destination: usize, tenant: i32) -> Option<i64> {
        let known = self.known_provider(destination);
        let is_suspended = self.suspended.destinations.contains(&name(destination))
            || self.suspended.tenants.contains(&TenantId(tenant))
            || known.is_some_and(|name| self.suspended.providers.contains(name));
        let standing = self.scheduler.standing(&name(destination))?;
        let is_dead = standing.dead_until.filter(|until| *until > self.now);
        let concurrency = match is_dead.is_some() || self.is_unknown(destination) {
            true => 1,
            false => standing.concurrency,
        };
        let is_full = self.in_flight(|d, _| d == destination) >= concurrency
            || (tenant == 1 && self.in_flight(|_, t| t == 1) >= self.at_a_time[0])
            || (known.is_some() && self.in_flight(|d, _| self.known_provider(d) == known) >= self.at_a_time[1]);
        if is_suspended || is_full {
            return None;
        }
        let mut opens_at = is_dead.map_or(i64::MIN, Timestamp::as_micros);
        if destination == 0 {
            opens_at = opens_at.max(Meant::new(self.rates[0]).opens_at(&self.passed_destination));
        }
        if tenant == 0 {
            opens_at = opens_at.max(Meant::new(self.rates[1]).opens_at(&self.passed_tenant));
        }
        if known == Some("even") {
            opens_at = opens_at.max(Meant::new(self.rates[2]).opens_at(&self.passed_provider));
        }
        Some(opens_at)
    }

    fn begin(&mut self, entry: Entry) {
        let (destination, tenant, stored, state) = self.deliveries[&entry.id.as_i64()];
        assert_eq!(state, State::Waiting);
        assert!(stored.due <= self.now);
        let may = self.opens_at(destination, tenant);
        assert!(may.is_some_and(|at| at <= self.now.as_micros()), "{destination} {tenant}: {may:?} at {:?}", self.now);
        let asks = self.is_unknown(destination);
        assert_eq!(self.scheduler.asks(entry.id), asks);
        let state = &mut self.deliveries.get_mut(&entry.id.as_i64()).unwrap().3;
        *state = if asks { State::Asking } else { State::InFlight };
        if !asks {
            self.passed(entry.id.as_i64(), destination, tenant);
        }
    }

    /// An attempt is counted: when it begins, or when a question turns out to have been one.
    fn passed(&mut self, id: i64, destination: usize, tenant: i32) {
        let at = self.now.as_micros();
        self.counted.insert(id, (at, self.known_provider(destination)));
        if destination == 0 {
            self.passed_destination.push(at);
        }
        if tenant == 0 {
            self.passed_tenant.push(at);
        }
        if self.known_provider(destination) == Some("even") {
            self.passed_provider.push(at);
        }
    }

    /// Nothing was to be done: then nothing may be done, and the next time is no later than it should be.
    fn check_rest(&self) {
        let due = self.scheduler.next_due();
        for (id, (destination, tenant, entry, state)) in &self.deliveries {
            if *state != State::Waiting {
                continue;
            }
            let Some(opens_at) = self.opens_at(*destination, *tenant) else { continue };
            let at = opens_at.max(entry.due.as_micros());
            assert!(at > self.now.as_micros(), "{id} to {destination} of {tenant} is kept back: {:?}", self.scheduler);
            assert!(due.is_some_and(|due| due.as_micros() <= at), "{id}: next at {due:?}, and {at} is meant");
        }
    }

    fn work(&mut self, at_most: usize) {
        for _ in 0..at_most {
            match self.scheduler.next(self.now) {
                Some(Ready::Attempt(entry)) => self.begin(entry),
                Some(Ready::Expired(entry)) => panic!("{entry:?} is no week old"),
                None => return self.check_rest(),
            }
        }
    }

    fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Insert { destination, tenant, in_ms } => {
                self.number += 1;
                let due = Timestamp::from_micros(self.now.as_micros() + in_ms * 1000);
                let entry = Entry { tenant: TenantId(*tenant), ..entry(&name(*destination), self.number, due) };
                assert_eq!(self.scheduler.insert(&name(*destination), entry, self.now), Insert::Scheduled);
                self.deliveries.insert(self.number, (*destination, *tenant, entry, State::Waiting));
            }
            Operation::Work { at_most } => self.work(*at_most),
            Operation::End { which, said, again_in_ms } => self.end(*which, *said, *again_in_ms),
            Operation::Answer { which } => self.answer(*which),
            Operation::Refuse { which } => self.refuse(*which),
            Operation::Wait { ms } => self.now = Timestamp::from_micros(self.now.as_micros() + ms * 1000),
            Operation::WaitUntilDue => {
                self.work(1_000);
                let due = self.scheduler.next_due().filter(|due| *due < self.now.after(Duration::from_secs(3600)));
                self.now = due.map_or(self.now, |due| due.max(self.now));
            }
            Operation::Suspend { destination, provider, tenant } => {
                self.suspended = Suspended {
                    destinations: destination.iter().map(|destination| name(*destination)).collect(),
                    providers: provider.iter().map(|name| (*name).to_owned()).collect(),
                    tenants: tenant.iter().copied().map(TenantId).collect(),
                    ..Suspended::default()
                };
                self.scheduler.set_suspended(self.suspended.clone());
            }
        }
    }

    fn flying(&self, which: usize, is_it: impl Fn(State) -> bool) -> Option<i64> {
        let flying: Vec<i64> = self.deliveries.iter().filter(|(_, one)| is_it(one.3)).map(|(id, _)| *id).collect();
        flying.get(which % flying.len().max(1)).copied()
    }

    /// A worker says which exchanger would get what was sent as a question.
    fn answer(&mut self, which: usize) {
        let Some(id) = self.flying(which, |state| state == State::Asking) else { return };
        let (destination, ..) = self.deliveries[&id];
        let key = DeliveryId::from_i64(id).unwrap();
        assert!(self.scheduler.resolved(key, &exchanger(destination), self.now));
        assert!(!self.scheduler.in_flight(key) && !self.scheduler.resolved(key, "mx.odd.mx", self.now));
        self.told(destination);
        self.deliveries.get_mut(&id).unwrap().3 = State::Waiting;
    }

    /// A worker does not attempt what it was sent. It counts for nothing, unless others have passed since.
    fn refuse(&mut self, which: usize) {
        let Some(id) = self.flying(which, |state| state != State::Waiting) else { return };
        assert!(self.scheduler.release_unused(DeliveryId::from_i64(id).unwrap(), self.now));
        let (destination, tenant, _, state) = self.deliveries.get_mut(&id).unwrap();
        *state = State::Waiting;
        let Some((at, provider)) = self.counted.remove(&id) else { return };
        for (passed, counts) in [
            (&mut self.passed_destination, *destination == 0),
            (&mut self.passed_tenant, *tenant == 0),
            (&mut self.passed_provider, provider == Some("even")),
        ] {
            passed.pop_if(|last| counts && *last == at);
        }
    }

    /// An attempt ends. One that was to be a question was made by a worker that does not know them.
    fn end(&mut self, which: usize, said: Feedback, again_in_ms: Option<i64>) {
        let Some(id) = self.flying(which, |state| state != State::Waiting) else { return };
        let (destination, tenant, _, state) = self.deliveries[&id];
        let key = DeliveryId::from_i64(id).unwrap();
        self.scheduler.learn(key, said, Some(&exchanger(destination)), 0.5, self.now);
        self.told(destination);
        if state == State::Asking {
            self.passed(id, destination, tenant);
        }
        self.counted.remove(&id);
        match again_in_ms {
            None => {
                self.scheduler.finish(key);
                self.deliveries.remove(&id);
            }
            Some(ms) => {
                let one = self.deliveries.get_mut(&id).unwrap();
                one.2.attempts += 1;
                one.2.due = Timestamp::from_micros(self.now.as_micros() + ms * 1000);
                one.3 = State::Waiting;
                self.scheduler.defer(key, one.2.attempts, one.2.due);
            }
        }
    }

    /// Resumes everything; all that is left is delivered within reason.
    fn run_dry(&mut self) {
        self.suspended = Suspended::default();
        self.scheduler.set_suspended(Suspended::default());
        for _ in 0..20_000 {
            if self.deliveries.is_empty() {
                return;
            }
            self.work(1_000);
            while self.flying(0, |state| state == State::Asking).is_some() {
                self.answer(0);
            }
            while self.in_flight(|_, _| true) > 0 {
                self.end(0, Feedback::Good, None);
            }
            self.now = self.scheduler.next_due().unwrap_or(self.now).max(self.now);
        }
        panic!("{} are left", self.deliveries.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn limits_hold_and_nothing_starves(
        rates in prop::array::uniform3(prop::sample::select(vec![1_u32, 6, 30, 60, 600])),
        at_a_time in prop::array::uniform2(1..5_u32),
        operations in prop::collection::vec(operation(), 1..200),
    ) {
        let mut world = World::new(rates, at_a_time);
        for operation in &operations {
            world.apply(operation);
        }
        world.run_dry();
        prop_assert!(world.scheduler.is_empty());
    }
}
