//! Senders hear on time that a message is late, once, whatever is attempted or restarted meanwhile.

use std::time::Duration;

use mailtier_testkit::postgres::TestDatabase;
use mailtier_types::ReversePath;

use crate::submitter::Submitter;
use crate::system::{Replica, config};
use crate::worker::{Worker, all};

#[tokio::test]
async fn senders_hear_on_time_and_once_though_nothing_is_attempted_then() {
    let database = TestDatabase::migrated().await.unwrap();
    let mut config = config(&database);
    config.queue.delay_warning = Duration::from_secs(2);
    config.queue.retry_first = Duration::from_secs(600);
    config.queue.destination_concurrency = 1;
    let replica = Replica::start(config.clone()).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    // One is tried in ten minutes again, one is never tried at all behind one that does not end.
    submitter.accepted("deferred@one.example", &["x@b.example"]).await;
    let dispatch = worker.dispatch().await;
    worker.report(all(&dispatch, 450)).await;
    for sender in ["flying@two.example", "ready@three.example"] {
        submitter.accepted(sender, &["x@c.example"]).await;
    }
    submitter.accepted("", &["x@c.example"]).await;
    let flying = worker.dispatch().await;
    assert_eq!(flying.destination, "c.example");
    let mut told = Vec::new();
    for _ in 0..2 {
        let notification = worker.dispatch().await;
        assert_eq!(notification.sender, ReversePath::Null);
        told.push(notification.recipients[0].to_string());
        worker.report(all(&notification, 250)).await;
    }
    told.sort_unstable();
    assert_eq!(told, ["deferred@one.example", "ready@three.example"]);
    worker.is_left_alone().await;
    // What was under way is told of when it ends, and nobody is told of mail from nobody.
    worker.report(all(&flying, 450)).await;
    let mut told = Vec::new();
    for _ in 0..3 {
        let dispatch = worker.dispatch().await;
        let is_notification = dispatch.destination != "c.example";
        if is_notification {
            told.push(dispatch.recipients[0].to_string());
        }
        worker.report(all(&dispatch, if is_notification { 250 } else { 450 })).await;
    }
    assert_eq!(told, ["flying@two.example"]);
    worker.is_left_alone().await;
    worker.vanish();
    replica.stop().await;
    // Another owner knows that they have been told.
    let replica = Replica::start(config).await;
    let mut worker = Worker::connect(&replica).await;
    worker.is_left_alone().await;
}
