//! A delivery that ends workers is found among the innocent and held; the others go on.

use std::time::Duration;

use mailtier_testkit::postgres::TestDatabase;

use crate::submitter::Submitter;
use crate::system::usual;
use crate::worker::{Worker, all};

/// Until something is held; its destination and the reason.
async fn until_held(database: &TestDatabase) -> String {
    let held = "SELECT string_agg(d.destination || ': ' || h.operator || ': ' || h.reason, ', ')
                FROM held h JOIN delivery d ON d.id = h.delivery_id";
    let mut looks = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..200 {
        looks.tick().await;
        let found = database.sql(held).await.unwrap();
        if !found.is_empty() {
            return found;
        }
    }
    panic!("nothing is held");
}

#[tokio::test]
async fn what_worker_after_worker_is_lost_with_is_held_and_the_rest_goes_on() {
    let (database, replica) = usual(|config| {
        config.queue.quarantine_after = 3;
        config.queue.worker_grace = Duration::from_millis(500);
    })
    .await;
    let mut submitter = Submitter::connect(&replica).await;
    submitter.accepted("s@a.example", &["x@poison.example", "x@b.example", "x@c.example"]).await;
    // Two workers go with all of them.
    for _ in 0..2 {
        let mut worker = Worker::connect(&replica).await;
        for _ in 0..3 {
            worker.dispatch().await;
        }
        worker.vanish();
    }
    // From then on they go one by one, so that the innocent are cleared before the third is lost.
    let mut worker = Worker::connect(&replica).await;
    let mut delivered = Vec::new();
    loop {
        let dispatch = worker.dispatch().await;
        if dispatch.destination == "poison.example" {
            break;
        }
        worker.report(all(&dispatch, 250)).await;
        delivered.push(dispatch.destination);
    }
    worker.vanish();
    let held = until_held(&database).await;
    assert!(held.starts_with("poison.example: mailtier: 3 workers were lost with it"), "{held}");
    assert_eq!(database.sql("SELECT count(*) FROM event WHERE kind = 7").await.unwrap(), "1");

    // Workers live, and get what is left and what comes.
    let mut worker = Worker::connect(&replica).await;
    submitter.accepted("s@a.example", &["x@d.example"]).await;
    while delivered.len() < 3 {
        let dispatch = worker.dispatch().await;
        worker.report(all(&dispatch, 250)).await;
        delivered.push(dispatch.destination);
    }
    delivered.sort_unstable();
    assert_eq!(delivered, ["b.example", "c.example", "d.example"]);
    worker.is_left_alone().await;
}

#[tokio::test]
async fn nothing_is_held_where_that_is_not_wanted() {
    let (database, replica) = usual(|config| {
        config.queue.quarantine_after = 0;
        config.queue.worker_grace = Duration::from_millis(500);
    })
    .await;
    Submitter::connect(&replica).await.accepted("s@a.example", &["x@poison.example"]).await;
    for _ in 0..4 {
        let mut worker = Worker::connect(&replica).await;
        worker.dispatch().await;
        worker.vanish();
    }
    let mut worker = Worker::connect(&replica).await;
    let dispatch = worker.dispatch().await;
    worker.report(all(&dispatch, 250)).await;
    assert_eq!(database.sql("SELECT count(*) FROM held").await.unwrap(), "0");
}
