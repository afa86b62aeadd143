//! Takeovers, lost words and stale owners, without any stream.

use std::time::{Duration, Instant};

use mailtier_api::work::WorkResult;
use mailtier_types::{Cause, DeliveryId, Epoch, Mailbox, Outcome, ReplicaId, Reply, ShardId, Stage, Timestamp};

use super::*;

const PATIENCE: Duration = Duration::from_secs(5);
const SHARD: ShardId = ShardId::new(7);
const OTHER: ShardId = ShardId::new(8);

fn delivery(id: i64) -> DeliveryId {
    DeliveryId::from_i64(id).unwrap()
}

fn result(id: i64, shard: ShardId, attempt: u16) -> WorkResult {
    let outcome =
        Outcome::new(Stage::Final, Cause::Reply(Reply::received(250, None, "taken".to_owned())), Timestamp::EPOCH);
    let outcomes = vec![(vec![Mailbox::parse("a@example.com").unwrap()], outcome)];
    WorkResult {
        delivery: delivery(id),
        shard,
        epoch: Epoch(1),
        attempt,
        outcomes,
        not_attempted: false,
        exchanger: None,
        own_way: false,
    }
}

struct Two {
    ledger: Ledger,
    old: ReplicaId,
    new: ReplicaId,
}

/// Two replicas that can both be reached.
fn two() -> Two {
    let (old, new) = (ReplicaId::random(), ReplicaId::random());
    let mut ledger = Ledger::new(PATIENCE);
    ledger.connected(old);
    ledger.connected(new);
    Two { ledger, old, new }
}

#[test]
fn a_delivery_is_attempted_once_at_a_time_and_its_result_goes_to_the_new_owner() {
    let Two { mut ledger, old, new } = two();
    assert_eq!(ledger.admit(old, delivery(1), SHARD, Epoch(1), 1), Admission::Start);
    assert_eq!(ledger.admit(old, delivery(1), SHARD, Epoch(1), 1), Admission::Known);
    let held = ledger.inquire(new, &[(SHARD, Epoch(2))]);
    assert_eq!(held.in_flight, [InFlight { delivery: delivery(1), attempt: 1, shard: Some(SHARD) }]);
    assert!(held.finished.is_empty());
    assert_eq!(ledger.admit(new, delivery(1), SHARD, Epoch(2), 1), Admission::Known);
    assert_eq!(ledger.finish(result(1, SHARD, 1)), Some(new));
}

#[test]
fn an_older_epoch_is_refused_whatever_it_asks() {
    let Two { mut ledger, old, new } = two();
    ledger.inquire(new, &[(SHARD, Epoch(5))]);
    assert_eq!(ledger.admit(old, delivery(1), SHARD, Epoch(4), 1), Admission::Stale(Epoch(5)));
    assert_eq!(ledger.admit(old, delivery(2), OTHER, Epoch(4), 1), Admission::Start, "other shards are not concerned");
    let held = ledger.inquire(old, &[(SHARD, Epoch(4)), (OTHER, Epoch(4))]);
    assert_eq!(held.shards, [(SHARD, Epoch(5)), (OTHER, Epoch(4))]);
    assert_eq!(held.in_flight.len(), 1);
    assert_eq!(ledger.admit(new, delivery(1), SHARD, Epoch(5), 1), Admission::Start);
    assert_eq!(ledger.finish(result(1, SHARD, 1)), Some(new), "asking with an old epoch changes no owner");
}

#[test]
fn a_dispatch_of_a_higher_epoch_shows_a_new_owner_even_without_a_question() {
    let Two { mut ledger, old, new } = two();
    assert_eq!(ledger.admit(old, delivery(1), SHARD, Epoch(1), 1), Admission::Start);
    assert_eq!(ledger.admit(new, delivery(2), SHARD, Epoch(2), 1), Admission::Start);
    assert_eq!(ledger.finish(result(1, SHARD, 1)), Some(new));
}

#[test]
fn results_are_kept_until_they_are_settled() {
    let Two { mut ledger, old, new } = two();
    ledger.admit(old, delivery(1), SHARD, Epoch(1), 1);
    assert_eq!(ledger.finish(result(1, SHARD, 1)), Some(old));
    assert_eq!(ledger.unsettled(), 1);
    assert_eq!(
        ledger.admit(old, delivery(1), SHARD, Epoch(1), 1),
        Admission::Finished(result(1, SHARD, 1)),
        "sent again instead of delivered again"
    );
    assert_eq!(ledger.inquire(new, &[(SHARD, Epoch(2))]).finished, [result(1, SHARD, 1)]);
    ledger.settled(delivery(1), 1);
    assert_eq!(ledger.unsettled(), 0);
    assert!(ledger.inquire(new, &[(SHARD, Epoch(2))]).finished.is_empty());
}

#[test]
fn a_later_attempt_shows_that_the_earlier_result_was_settled() {
    let Two { mut ledger, old, .. } = two();
    ledger.admit(old, delivery(1), SHARD, Epoch(1), 1);
    ledger.finish(result(1, SHARD, 1));
    assert_eq!(ledger.admit(old, delivery(1), SHARD, Epoch(1), 2), Admission::Start);
    assert_eq!(ledger.unsettled(), 0);
    ledger.finish(result(1, SHARD, 2));
    ledger.settled(delivery(1), 1);
    assert_eq!(ledger.unsettled(), 1, "a late word about the first attempt is not about the second");
}

#[test]
fn what_was_not_attempted_may_be_sent_again_at_once() {
    let Two { mut ledger, old, .. } = two();
    ledger.admit(old, delivery(1), SHARD, Epoch(1), 1);
    let refused = WorkResult { not_attempted: true, outcomes: Vec::new(), ..result(1, SHARD, 1) };
    assert_eq!(ledger.finish(refused), Some(old));
    assert_eq!(ledger.unsettled(), 0);
    assert_eq!(ledger.admit(old, delivery(1), SHARD, Epoch(1), 1), Admission::Start);
}

#[test]
fn a_result_waits_while_its_owner_is_out_of_reach() {
    let Two { mut ledger, old, new } = two();
    ledger.admit(old, delivery(1), SHARD, Epoch(1), 1);
    ledger.disconnected(old, Instant::now());
    assert_eq!(ledger.finish(result(1, SHARD, 1)), None);
    ledger.connected(old);
    assert_eq!(ledger.inquire(old, &[(SHARD, Epoch(1))]).finished.len(), 1, "the same owner, back again");
    assert_eq!(ledger.inquire(new, &[(SHARD, Epoch(2))]).finished.len(), 1, "or its successor");
}

#[test]
fn nothing_is_begun_for_an_owner_that_is_gone_for_long() {
    let Two { mut ledger, old, new } = two();
    let start = Instant::now();
    ledger.admit(old, delivery(1), SHARD, Epoch(1), 1);
    assert!(ledger.may_begin(SHARD, start));
    ledger.disconnected(old, start);
    assert!(ledger.may_begin(SHARD, start + PATIENCE / 2), "it may come back in a moment");
    assert!(!ledger.may_begin(SHARD, start + PATIENCE));
    ledger.inquire(new, &[(SHARD, Epoch(2))]);
    assert!(ledger.may_begin(SHARD, start + PATIENCE), "the new owner knows that it is here");
    assert!(!ledger.may_begin(OTHER, start), "nobody sent anything of that shard");
}

#[test]
fn replicas_that_came_and_went_are_forgotten() {
    let Two { mut ledger, .. } = two();
    for _ in 0..1000 {
        let passing = ReplicaId::random();
        ledger.connected(passing);
        ledger.disconnected(passing, Instant::now());
    }
    assert_eq!(ledger.replicas.len(), 2);
}

#[test]
fn what_is_finished_and_not_settled_is_named_to_a_new_owner() {
    let Two { mut ledger, old, new } = two();
    assert_eq!(ledger.admit(old, delivery(1), SHARD, Epoch(1), 2), Admission::Start);
    ledger.finish(result(1, SHARD, 2));
    let held = ledger.inquire(new, &[(SHARD, Epoch(2))]);
    assert_eq!(held.in_flight, [InFlight { delivery: delivery(1), attempt: 2, shard: Some(SHARD) }]);
    assert_eq!(held.finished, [result(1, SHARD, 2)]);
}

#[test]
fn what_is_under_way_answers_for_a_later_attempt_and_for_a_later_owner() {
    let Two { mut ledger, old, new } = two();
    assert_eq!(ledger.admit(old, delivery(1), SHARD, Epoch(1), 1), Admission::Start);
    assert_eq!(ledger.admit(new, delivery(1), SHARD, Epoch(2), 2), Admission::Known);
    let reported = ledger.up_to_date(result(1, SHARD, 1));
    assert_eq!((reported.attempt, reported.epoch), (2, Epoch(2)));
    assert_eq!(ledger.finish(reported), Some(new));
    ledger.settled(delivery(1), 1);
    assert_eq!(ledger.unsettled(), 1, "what was settled is the first attempt");
}
