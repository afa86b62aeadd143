//! What is due and waits is told: for how long, whose it is, and whether only workers are missing.

use std::time::Duration;

use mailtier_schedule::{Backlog, Feedback, GroupLimits, Limits, PoolId, Provider, Rules, Scheduler, Suspended};
use mailtier_types::{DeliveryId, Timestamp};

use crate::entries::{NOW, entry};

const ROOMY: Limits = Limits { max_entries: 10_000, max_entries_per_destination: 10_000 };

fn at(seconds: u64) -> Timestamp {
    NOW.after(Duration::from_secs(seconds))
}

fn insert(scheduler: &mut Scheduler, destination: &str, number: i64, due: Timestamp, now: Timestamp) {
    scheduler.insert(destination, entry(destination, number, due), now);
}

fn one_at_a_time() -> Rules {
    Rules::plain(1)
}

#[test]
fn what_a_limit_keeps_back_is_due_and_no_worker_is_missing() {
    let mut scheduler = Scheduler::new(ROOMY, one_at_a_time());
    assert_eq!(scheduler.backlog(), Backlog { of_providers: vec![0], ..Backlog::default() });
    insert(&mut scheduler, "a.example", 1, at(0), at(0));
    insert(&mut scheduler, "a.example", 2, at(5), at(5));
    insert(&mut scheduler, "later.example", 3, at(60), at(5));
    let waiting = scheduler.backlog();
    assert_eq!((waiting.due_since, waiting.unserved_since), (Some(at(0)), Some(at(0))), "nobody took it");
    assert_eq!(waiting.of_providers, [2], "what is not due does not count");
    let taken = scheduler.next_attempt(at(6)).unwrap();
    assert_eq!(taken.id.as_i64(), 1);
    assert!(scheduler.next_attempt(at(6)).is_none());
    let limited = scheduler.backlog();
    assert_eq!((limited.due_since, limited.unserved_since), (Some(at(5)), None), "its destination takes one at a time");
}

#[test]
fn what_only_lacks_a_worker_s_room_is_unserved() {
    let mut scheduler = Scheduler::new(ROOMY, one_at_a_time());
    scheduler.set_pool_credit(PoolId::DEFAULT, 0, true);
    insert(&mut scheduler, "a.example", 1, at(0), at(0));
    assert!(scheduler.next_attempt(at(1)).is_none());
    assert_eq!(scheduler.backlog().unserved_since, Some(at(0)), "held by a pool without credit");
    scheduler.set_pool_credit(PoolId::DEFAULT, 1, true);
    assert!(scheduler.next_attempt(at(2)).is_some());
    assert_eq!(scheduler.backlog().unserved_since, None);
}

#[test]
fn what_rests_has_no_age() {
    let mut scheduler = Scheduler::new(ROOMY, one_at_a_time());
    insert(&mut scheduler, "a.example", 1, at(0), at(0));
    assert!(scheduler.next_attempt(at(0)).is_some());
    scheduler.release(DeliveryId::from_i64(1).unwrap(), at(0));
    let suspended = Suspended { destinations: ["a.example".to_owned()].into(), ..Suspended::default() };
    scheduler.set_suspended(suspended);
    let backlog = scheduler.backlog();
    assert_eq!((backlog.due_since, backlog.unserved_since, backlog.resting), (None, None, 1));
    assert_eq!(backlog.of_providers, [1], "it is due all the same");
}

#[test]
fn providers_are_told_apart_and_how_they_stand() {
    let provider = |name: &str, exchanger: &str| Provider {
        name: name.to_owned(),
        exchangers: vec![exchanger.to_owned()],
        limits: GroupLimits { concurrency: Some(1), rate: None },
    };
    let providers = vec![provider("big", "big.example"), provider("small", "small.example")];
    let mut scheduler = Scheduler::new(ROOMY, Rules { providers, ..Rules::plain(10) });
    for number in 1..=3 {
        insert(&mut scheduler, "a.example", number, at(0), at(0));
    }
    insert(&mut scheduler, "other.example", 4, at(0), at(0));
    let first = scheduler.next_attempt(at(0)).unwrap();
    scheduler.learn(first.id, Feedback::Nothing, Some("mx.big.example"), 0.5, at(0));
    scheduler.finish(first.id);
    let begun: Vec<i64> = std::iter::from_fn(|| scheduler.next_attempt(at(1))).map(|entry| entry.id.as_i64()).collect();
    let standing =
        |scheduler: &Scheduler| scheduler.providers().map(|one| (one.in_flight, one.is_limited)).collect::<Vec<_>>();
    assert_eq!(begun.len(), 2, "one of the provider's and the other");
    assert_eq!(standing(&scheduler), [(1, true), (0, false)]);
    assert_eq!(scheduler.backlog().of_providers, [1, 0, 0]);
    scheduler.set_suspended(Suspended { providers: ["small".to_owned()].into(), ..Suspended::default() });
    let suspended: Vec<&str> = scheduler.providers().filter(|one| one.is_suspended).map(|one| one.name).collect();
    assert_eq!(suspended, ["small"], "whether or not it has mail");
}
