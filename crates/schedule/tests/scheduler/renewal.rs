//! Other rules while there are deliveries.

use std::time::Duration;

use mailtier_schedule::{
    DestinationLimits, Entry, Feedback, GroupLimits, Limits, PoolClass, Provider, Rate, Rules, Scheduler,
};
use mailtier_types::{DeliveryId, ShardId, TenantId, Timestamp};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const ROOMY: Limits = Limits { max_entries: 10_000, max_entries_per_destination: 10_000 };

fn later(seconds: u64) -> Timestamp {
    NOW.after(Duration::from_secs(seconds))
}

fn filled(rules: Rules, destination: &str) -> Scheduler {
    let mut scheduler = Scheduler::new(ROOMY, rules);
    for number in 1..=40 {
        let entry = Entry {
            id: DeliveryId::from_i64(number).unwrap(),
            shard: ShardId::of(destination),
            tenant: TenantId(7),
            class: PoolClass::default(),
            priority: 0,
            attempts: 0,
            due: NOW,
            expires_at: later(7 * 86_400),
            warn_at: None,
        };
        scheduler.insert(destination, entry, NOW);
    }
    scheduler
}

fn begun(scheduler: &mut Scheduler, now: Timestamp) -> usize {
    std::iter::from_fn(|| scheduler.next_attempt(now)).count()
}

fn only(concurrency: u32) -> GroupLimits {
    GroupLimits { concurrency: Some(concurrency), rate: None }
}

#[test]
fn a_higher_limit_lets_more_go_at_once_and_a_lower_one_waits_for_what_is_under_way() {
    let mut scheduler = filled(Rules::plain(3), "d.example");
    assert_eq!(begun(&mut scheduler, NOW), 3);
    scheduler.set_rules(Rules::plain(5), NOW);
    assert_eq!(begun(&mut scheduler, NOW), 2);
    scheduler.set_rules(Rules::plain(2), NOW);
    assert_eq!(begun(&mut scheduler, NOW), 0);
    for number in 1..=3 {
        scheduler.finish(DeliveryId::from_i64(number).unwrap());
    }
    assert_eq!(begun(&mut scheduler, NOW), 0, "two are still under way");
    scheduler.finish(DeliveryId::from_i64(4).unwrap());
    assert_eq!(begun(&mut scheduler, NOW), 1);
    // It does not answer as it should: more is allowed only when it does.
    scheduler.learn(DeliveryId::from_i64(5).unwrap(), Feedback::Busy, None, 0.5, NOW);
    scheduler.set_rules(Rules::plain(50), NOW);
    assert_eq!(begun(&mut scheduler, NOW), 0);
}

#[test]
fn a_tenant_that_is_limited_later_counts_what_is_under_way() {
    let mut scheduler = filled(Rules::plain(100), "d.example");
    (0..5).for_each(|_| assert!(scheduler.next_attempt(NOW).is_some()));
    let with = |limits| {
        let mut rules = Rules::plain(100);
        rules.tenants.insert(TenantId(7), limits);
        rules
    };
    scheduler.set_rules(with(only(6)), NOW);
    assert_eq!(begun(&mut scheduler, NOW), 1);
    scheduler.set_rules(with(only(9)), NOW);
    assert_eq!(begun(&mut scheduler, NOW), 3);
    scheduler.set_rules(Rules::plain(100), NOW);
    assert_eq!(begun(&mut scheduler, NOW), 31, "whoever it held goes on");
}

#[test]
fn a_rate_that_changes_begins_anew() {
    let with = |count, seconds| {
        let mut rules = Rules::plain(100);
        let rate = Some(Rate::new(count, Duration::from_secs(seconds)));
        rules.destinations.insert("d.example".to_owned(), DestinationLimits { rate, ..rules.destination });
        rules
    };
    let mut scheduler = filled(with(1, 86_400), "d.example");
    assert_eq!(begun(&mut scheduler, later(1)), 1);
    assert_eq!(begun(&mut scheduler, later(3600)), 0);
    scheduler.set_rules(with(1, 10), later(3600));
    assert_eq!(scheduler.next_due(), Some(later(3610)), "it does not wait for a day any more");
    assert_eq!(begun(&mut scheduler, later(3610)), 1);
    scheduler.set_rules(with(1, 10), later(3611));
    assert_eq!(begun(&mut scheduler, later(3619)), 0, "the same is no change");
    scheduler.set_rules(Rules::plain(100), later(3619));
    assert_eq!(begun(&mut scheduler, later(3619)), 38);
}

#[test]
fn whose_a_destination_is_is_asked_again_when_providers_change() {
    let with = |exchanger: &str, limit| {
        let (name, exchangers) = ("one".to_owned(), vec![exchanger.to_owned()]);
        Rules { providers: vec![Provider { name, exchangers, limits: only(limit) }], ..Rules::plain(100) }
    };
    let mut scheduler = filled(with("mx.example", 2), "d.example");
    let asked = scheduler.next_attempt(NOW).unwrap();
    assert!(scheduler.asks(asked.id));
    scheduler.resolved(asked.id, "a.mx.example", NOW);
    assert_eq!(begun(&mut scheduler, NOW), 2, "it is the provider's");
    scheduler.set_rules(with("mx.example", 5), NOW);
    assert_eq!(begun(&mut scheduler, NOW), 3, "and still is, under another limit");
    scheduler.set_rules(with("other.example", 50), NOW);
    assert_eq!(begun(&mut scheduler, NOW), 0, "nothing before it is known whose it is");
    scheduler.learn(DeliveryId::from_i64(1).unwrap(), Feedback::Good, Some("a.mx.example"), 0.5, NOW);
    assert_eq!(begun(&mut scheduler, NOW), 35, "it is nobody's");
    scheduler.set_rules(Rules::plain(100), NOW);
    assert_eq!(scheduler.provider_of(DeliveryId::from_i64(1).unwrap()), None);
}
