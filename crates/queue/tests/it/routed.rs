//! What routes decide at workers, and what the queue makes of it: mail that is held, and ways that say nothing of a
//! destination.

use std::time::Duration;

use mailtier_api::change::DeliveryChange;
use mailtier_api::filter::Filter;
use mailtier_api::work::{Dispatch, WorkResult};
use mailtier_types::{Cause, Outcome, Stage, Timestamp, Trouble, TroubleKind};

use crate::changes::change;
use crate::submitter::Submitter;
use crate::system::usual;
use crate::worker::{Worker, all, result};

fn said(dispatch: &Dispatch, stage: Stage, kind: TroubleKind, text: &str) -> WorkResult {
    let cause = Cause::Trouble(Trouble { kind, text: text.to_owned() });
    let at = Timestamp::from_system(std::time::SystemTime::now());
    result(dispatch, vec![(dispatch.recipients.clone(), Outcome::new(stage, cause, at))])
}

fn held(dispatch: &Dispatch) -> WorkResult {
    said(dispatch, Stage::Resolve, TroubleKind::Held, "held by the route `quarantine`")
}

const HELD: &str = "SELECT count(*) || ' ' || coalesce(max(operator || ': ' || reason), '-') FROM held";

#[tokio::test]
async fn what_a_route_holds_stays_until_it_is_released_and_is_not_held_again() {
    let (database, replica) = usual(|_| {}).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    submitter.accepted("s@a.example", &["x@b.example"]).await;
    let dispatch = worker.dispatch().await;
    assert!(!dispatch.was_held);
    worker.report(held(&dispatch)).await;
    assert_eq!(database.sql(HELD).await.unwrap(), "1 mailtier: held by the route `quarantine`");
    worker.is_left_alone().await;
    // The same report, said once more because its confirmation was lost, changes nothing.
    worker.report(held(&dispatch)).await;
    assert_eq!(database.sql("SELECT count(*) FROM event WHERE kind = 7").await.unwrap(), "1");

    let filter = || Filter { destination: Some("b.example".parse().unwrap()), ..Filter::default() };
    assert_eq!(change(&replica, filter(), DeliveryChange::Release).await.changed, 1);
    let dispatch = worker.dispatch().await;
    assert_eq!((dispatch.was_held, dispatch.attempt), (true, 1), "it was no attempt");
    worker.report(all(&dispatch, 450)).await;
    // An operator holds it, and lets it go: a route still has no more say in it.
    assert_eq!(change(&replica, filter(), DeliveryChange::Hold).await.changed, 1);
    assert_eq!(change(&replica, filter(), DeliveryChange::Release).await.changed, 1);
    assert_eq!(change(&replica, filter(), DeliveryChange::RetryNow).await.changed, 1);
    let dispatch = worker.dispatch().await;
    assert_eq!((dispatch.was_held, dispatch.attempt), (true, 2));
    worker.report(all(&dispatch, 250)).await;
    assert_eq!(
        database.sql("SELECT (SELECT count(*) FROM delivery), (SELECT count(*) FROM held)").await.unwrap(),
        "0|0"
    );
}

#[tokio::test]
async fn one_senders_smarthost_that_is_down_keeps_nobody_elses_mail() {
    let (_database, replica) = usual(|config| config.queue.dead_after = 1).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    for (own_way, is_dead) in [(true, false), (false, true)] {
        let destination = format!("d{is_dead}.example");
        submitter.accepted("s@a.example", &[&format!("x@{destination}")]).await;
        let dispatch = worker.dispatch().await;
        let failed = said(&dispatch, Stage::Connect, TroubleKind::Connect, "refused");
        worker.report(WorkResult { own_way, ..failed }).await;
        submitter.accepted("s@a.example", &[&format!("y@{destination}")]).await;
        if is_dead {
            worker.is_left_alone().await;
        } else {
            let other = worker.dispatch().await;
            assert_eq!(other.destination, destination);
            worker.report(all(&other, 250)).await;
        }
    }
}

#[tokio::test]
async fn a_remote_says_when_it_wants_to_be_tried_again() {
    let (database, replica) = usual(|config| config.queue.retry_first = Duration::from_secs(60)).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    submitter.accepted("s@a.example", &["x@b.example"]).await;
    let mut result = all(&worker.dispatch().await, 450);
    result.outcomes[0].1.retry_after = Some(Duration::from_secs(7200));
    worker.report(result).await;
    let due = "SELECT next_attempt_at BETWEEN now() + '7100 s' AND now() + '7300 s' FROM retry";
    assert_eq!(database.sql(due).await.unwrap(), "t");
}
