//! Who dispatches what, whatever happens to workers and replicas.

use std::time::Duration;

use mailtier_api::work::{Dispatch, Holding, WorkResult, WorkerFrame};
use mailtier_config::Config;
use mailtier_testkit::postgres::TestDatabase;
use mailtier_types::{Epoch, WorkerId};

use crate::submitter::Submitter;
use crate::system::{Replica, another, config, until_one_owns_all, until_owned, until_renewed, until_shared, usual};
use crate::worker::{Manner, Worker, all, in_flight, result};

/// A replica that has accepted one message, and the worker that has it in its hands.
struct Handed {
    database: TestDatabase,
    replica: Replica,
    submitter: Submitter,
    worker: Worker,
    dispatch: Dispatch,
}

/// To a worker that answers whatever it is asked.
async fn handed(change: impl FnOnce(&mut Config)) -> Handed {
    handed_to(Manner::default(), change).await
}

async fn handed_to(manner: Manner, change: impl FnOnce(&mut Config)) -> Handed {
    let (database, replica) = usual(change).await;
    let mut submitter = Submitter::connect(&replica).await;
    let mut worker = Worker::connect_as(WorkerId::random(), &replica, manner).await;
    worker.grant(100).await;
    submitter.accepted("s@a.example", &["x@b.example"]).await;
    let dispatch = worker.dispatch().await;
    Handed { database, replica, submitter, worker, dispatch }
}

/// It does not answer.
const MUTE: Manner = Manner { holds: Vec::new(), is_mute: true };

/// Workers that may be somewhere are waited for.
fn patiently(config: &mut Config) {
    config.queue.worker_grace = Duration::from_secs(3600);
}

fn soon(config: &mut Config) {
    config.queue.retry_first = Duration::from_millis(100);
}

#[tokio::test]
async fn what_a_lost_worker_had_is_given_to_another_and_its_late_result_is_still_a_fact() {
    let Handed { database, replica, worker: first, dispatch, .. } = handed(|_| {}).await;
    let id = first.id;
    first.vanish();
    let mut second = Worker::connect(&replica).await;
    let again = second.dispatch().await;
    assert_eq!((again.delivery, again.attempt), (dispatch.delivery, 1));
    let mut first = Worker::connect_as(id, &replica, Manner::default()).await;
    first.report(all(&dispatch, 250)).await;
    second.report(all(&again, 451)).await;
    assert_eq!(database.sql("SELECT count(*) FROM delivery").await.unwrap(), "0");
    second.is_left_alone().await;
}

#[tokio::test]
async fn a_worker_that_comes_back_with_its_deliveries_keeps_them() {
    let Handed { database: _database, replica, worker, dispatch, .. } = handed(|_| {}).await;
    let id = worker.id;
    worker.vanish();
    let manner = Manner { holds: vec![in_flight(&dispatch)], ..Manner::default() };
    let mut worker = Worker::connect_as(id, &replica, manner).await;
    worker.grant(100).await;
    worker.is_left_alone().await;
    worker.report(all(&dispatch, 250)).await;
}

#[tokio::test]
async fn a_worker_that_comes_back_without_its_deliveries_gets_them_again() {
    let Handed { database: _database, replica, worker, dispatch, .. } = handed(|_| {}).await;
    let id = worker.id;
    worker.vanish();
    let mut worker = Worker::connect_as(id, &replica, Manner::default()).await;
    worker.grant(100).await;
    assert_eq!(worker.dispatch().await.delivery, dispatch.delivery);
}

/// The answer to a question says nothing of what was sent after it was asked.
#[tokio::test]
async fn a_slow_answer_loses_nothing() {
    let Handed { database: _database, replica: _replica, mut worker, dispatch, .. } = handed_to(MUTE, |_| {}).await;
    let holding = Holding { shards: vec![(dispatch.shard, dispatch.epoch)], in_flight: Vec::new() };
    worker.say(WorkerFrame { holding: Some(holding), ..WorkerFrame::default() }).await;
    worker.is_left_alone().await;
    worker.report(all(&dispatch, 250)).await;
}

#[tokio::test]
async fn the_heir_of_a_killed_replica_attempts_what_nobody_has() {
    let Handed { database, replica, mut submitter, worker, dispatch: held } = handed(|_| {}).await;
    let id = worker.id;
    worker.vanish();
    // Nobody takes these before the replica is killed.
    let waiting = submitter.accepted("s@a.example", &["y@b.example"]).await;
    replica.kill();
    let heir = another(&database, |_| {}).await;
    let manner = Manner { holds: vec![in_flight(&held)], ..Manner::default() };
    let mut worker = Worker::connect_as(id, &heir, manner).await;
    worker.grant(100).await;
    let next = worker.dispatch().await;
    assert_eq!((next.message, next.epoch > held.epoch), (waiting, true));
    worker.is_left_alone().await;
    worker.report(all(&held, 250)).await;
    worker.report(all(&next, 250)).await;
    assert_eq!(database.sql("SELECT count(*) FROM delivery").await.unwrap(), "0");
}

/// Nobody has been asked yet: that nothing is known to be in flight does not make it clean.
#[tokio::test]
async fn an_heir_that_leaves_before_it_has_asked_does_not_call_its_shards_clean() {
    let Handed { database, replica, dispatch: held, .. } = handed(patiently).await;
    replica.kill();
    let heir = another(&database, patiently).await;
    until_owned(&database, held.epoch.0 + 1).await;
    heir.stop().await;
    let next = another(&database, patiently).await;
    until_owned(&database, held.epoch.0 + 2).await;
    let mut other = Worker::connect(&next).await;
    other.is_left_alone().await;
}

/// One that has not heard that its attempt is settled, while another has the next in its hands.
#[tokio::test]
async fn an_heir_believes_the_worker_with_the_later_attempt() {
    let Handed { database, replica, mut worker, dispatch: first, .. } = handed(soon).await;
    worker.report(all(&first, 451)).await;
    let second = worker.dispatch().await;
    let id = worker.id;
    replica.kill();
    let heir = another(&database, soon).await;
    let holding = |dispatch| Manner { holds: vec![in_flight(dispatch)], ..Manner::default() };
    let mut before = Worker::connect_as(id, &heir, holding(&first)).await;
    let mut after = Worker::connect_as(WorkerId::random(), &heir, holding(&second)).await;
    until_owned(&database, first.epoch.0 + 1).await;
    before.report(all(&first, 451)).await;
    before.grant(100).await;
    after.grant(100).await;
    tokio::join!(before.is_left_alone(), after.is_left_alone());
    after.report(all(&second, 250)).await;
    assert_eq!(database.sql("SELECT count(*) FROM delivery").await.unwrap(), "0");
}

#[tokio::test]
async fn an_attempt_that_is_reported_again_does_not_end_the_next() {
    let Handed { database: _database, replica: _replica, mut worker, dispatch: first, .. } = handed(soon).await;
    worker.report(all(&first, 451)).await;
    let second = worker.dispatch().await;
    assert_eq!(second.attempt, 2);
    worker.report(all(&first, 451)).await;
    worker.is_left_alone().await;
    worker.report(all(&second, 250)).await;
}

/// The worker has the result of the first attempt still; the second was lost with the connection.
#[tokio::test]
async fn an_attempt_that_never_arrived_is_sent_again() {
    let Handed { database: _database, replica, mut worker, dispatch: first, .. } = handed(soon).await;
    worker.report(all(&first, 451)).await;
    assert_eq!(worker.dispatch().await.attempt, 2);
    let id = worker.id;
    worker.vanish();
    let manner = Manner { holds: vec![in_flight(&first)], ..Manner::default() };
    let mut worker = Worker::connect_as(id, &replica, manner).await;
    worker.grant(100).await;
    worker.report(all(&first, 451)).await;
    let again = worker.dispatch().await;
    assert_eq!((again.delivery, again.attempt), (first.delivery, 2));
}

/// The shard went away and came back, and only then is the refusal of the first ownership's dispatch heard.
#[tokio::test]
async fn a_refusal_of_an_earlier_epoch_does_not_give_a_delivery_to_another() {
    let Handed { database: _database, replica: _replica, mut worker, dispatch, .. } = handed(|_| {}).await;
    let refusal = WorkResult { epoch: Epoch(dispatch.epoch.0 - 1), ..result(&dispatch, Vec::new()) };
    worker.send(refusal).await;
    worker.is_left_alone().await;
    worker.report(all(&dispatch, 250)).await;
}

/// What a worker says of an earlier ownership would stay in the books for ever, and no drain would end in order.
#[tokio::test]
async fn an_answer_that_comes_too_late_says_nothing() {
    let Handed { database, replica, mut submitter, mut worker, dispatch } = handed_to(MUTE, |_| {}).await;
    worker.report(all(&dispatch, 250)).await;
    let shards = vec![(dispatch.shard, Epoch(dispatch.epoch.0 - 1))];
    let holding = Holding { shards, in_flight: vec![in_flight(&dispatch)] };
    worker.say(WorkerFrame { holding: Some(holding), ..WorkerFrame::default() }).await;
    // Frames are heard in order.
    submitter.accepted("s@a.example", &["y@b.example"]).await;
    let next = worker.dispatch().await;
    worker.report(all(&next, 250)).await;
    replica.stop().await;
    let unclean = "SELECT count(*) FROM shard WHERE lease_until <> '-infinity'";
    assert_eq!(database.sql(unclean).await.unwrap(), "0");
}

/// Without their answers the next owner would have to ask again, and perhaps to wait for workers that it does not know.
#[tokio::test]
async fn a_replica_that_leaves_hears_first_what_the_workers_that_it_asked_have() {
    let (database, first) = usual(|_| {}).await;
    let second = Replica::start(config(&database)).await;
    let manner = Manner { is_mute: true, ..Manner::default() };
    let _worker = Worker::connect_as(WorkerId::random(), &second, manner).await;
    until_shared(&database).await;
    first.kill();
    second.stop().await;
    let clean = "SELECT count(*) FROM shard WHERE lease_until = '-infinity'";
    assert_eq!(database.sql(clean).await.unwrap(), "128");
}

/// A clean end leaves nothing to be asked for: the heir need not wait for workers that may be somewhere.
#[tokio::test]
async fn the_heir_of_a_replica_that_left_in_order_goes_on_at_once() {
    let (database, replica) = usual(patiently).await;
    let mut submitter = Submitter::connect(&replica).await;
    submitter.accepted("s@a.example", &["x@b.example"]).await;
    replica.stop().await;
    let heir = another(&database, patiently).await;
    let mut worker = Worker::connect(&heir).await;
    worker.dispatch().await;
}

/// What was not given up clean it could not dispatch from before it knows which workers live.
#[tokio::test]
async fn a_newcomer_leaves_shards_to_those_that_know_the_workers() {
    let hour = |config: &mut mailtier_config::Config| config.queue.worker_grace = Duration::from_secs(3600);
    let (database, first) = usual(hour).await;
    let mut config = config(&database);
    hour(&mut config);
    let second = Replica::start(config).await;
    let (mut submitter, mut worker) = (Submitter::connect(&second).await, Worker::connect(&first).await);
    for _ in 0..5 {
        until_renewed(&database).await;
        submitter.accepted("s@a.example", &["x@b.example"]).await;
        let dispatch = worker.dispatch().await;
        assert_eq!(dispatch.epoch, Epoch(1));
        worker.report(all(&dispatch, 250)).await;
    }
    assert_eq!(database.sql("SELECT count(DISTINCT owner) FROM shard WHERE epoch = 1").await.unwrap(), "1");
    // Left in order, everything is clean; and it is taken, for nobody else is there.
    first.stop().await;
    let mut worker = Worker::connect(&second).await;
    submitter.accepted("s@a.example", &["x@b.example"]).await;
    let dispatch = worker.dispatch().await;
    assert_eq!(dispatch.epoch, Epoch(2));
    worker.report(all(&dispatch, 250)).await;
}

/// Members of the version before count everyone they see, and give up his share.
#[tokio::test]
async fn a_newcomer_is_seen_by_nobody_before_it_takes_its_share() {
    let hour = |config: &mut mailtier_config::Config| config.queue.worker_grace = Duration::from_secs(3600);
    let (database, _first) = usual(|_| {}).await;
    let mut config = config(&database);
    hour(&mut config);
    let second = Replica::start(config.clone()).await;
    until_renewed(&database).await;
    assert_eq!(database.sql("SELECT count(*) FROM member").await.unwrap(), "1");
    second.stop().await;
    config.queue.worker_grace = Duration::from_secs(1);
    let _second = Replica::start(config).await;
    until_shared(&database).await;
    assert_eq!(database.sql("SELECT count(*) FROM member").await.unwrap(), "2");
}

/// With renewals so rare that nothing is found by them.
#[tokio::test]
async fn shards_change_hands_at_once_when_a_replica_comes_or_goes() {
    let seldom = |config: &mut Config| {
        config.queue.lease = Duration::from_secs(3600);
        config.queue.renew_every = Duration::from_secs(1200);
    };
    let (database, first) = usual(seldom).await;
    let _second = another(&database, seldom).await;
    until_shared(&database).await;
    first.stop().await;
    until_one_owns_all(&database).await;
}

#[tokio::test]
async fn a_replica_that_leaves_settles_what_is_in_flight() {
    let Handed { database, replica, mut worker, dispatch, .. } = handed(|_| {}).await;
    let (_, ()) = tokio::join!(worker.report(all(&dispatch, 250)), replica.stop());
    assert_eq!(database.sql("SELECT count(*) FROM delivery").await.unwrap(), "0");
    assert_eq!(database.sql("SELECT count(*) FROM shard WHERE owner IS NOT NULL").await.unwrap(), "0");
}

#[tokio::test]
async fn owners_are_told_of_what_others_accept() {
    let never = |config: &mut Config| config.queue.catch_up_every = Duration::from_secs(3600);
    let (database, replica) = usual(never).await;
    let other = another(&database, never).await;
    let (mut here, mut there) = (Worker::connect(&replica).await, Worker::connect(&other).await);
    let mut submitter = Submitter::connect(&replica).await;
    until_shared(&database).await;
    for number in 0..20 {
        submitter.accepted("s@a.example", &[&format!("x@d{number}.example")]).await;
    }
    let (mut at_home, mut abroad) = (0, 0);
    while at_home + abroad < 20 {
        tokio::select! {
            _ = here.dispatch() => at_home += 1,
            _ = there.dispatch() => abroad += 1,
        }
    }
    assert!(at_home > 0 && abroad > 0, "{at_home} and {abroad}");
}
