//! What operators ask and want.

use mailtier_api::admin::{AdminClient, ListRequest, Shown, TraceBy, TraceRequest};
use mailtier_api::audit::{AuditReply, AuditRequest, Finding};
use mailtier_api::change::DeliveryChange;
use mailtier_api::filter::{DeliveryState, Filter};
use mailtier_config::Secret;
use mailtier_types::{Domain, EventKind, Timestamp};

use crate::changes::change;
use crate::submitter::{CONTENT, Submitter};
use crate::system::{Replica, config, until_shared, usual};
use crate::worker::{Worker, all};

#[tokio::test]
async fn the_queue_can_be_read() {
    let (_database, replica) = usual(|_| {}).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    let id = submitter.accepted("s@a.example", &["x@b.example"]).await;
    let dispatch = worker.dispatch().await;
    worker.report(all(&dispatch, 451)).await;
    let admin = replica.admin().await;
    let deferred = Filter { state: Some(DeliveryState::Deferred), ..Filter::default() };
    let request = ListRequest { limit: 10, filter: deferred.clone(), ..ListRequest::default() };
    let list = admin.list(request.clone()).await.unwrap();
    assert_eq!(list.deliveries.len(), 1);
    assert_eq!((list.deliveries[0].message, list.deliveries[0].attempts), (id, 1));
    assert!(list.deliveries[0].last_outcome.as_ref().unwrap().to_string().contains("451"));
    let elsewhere = Filter { destination: Domain::parse("c.example").ok(), ..deferred };
    let none = ListRequest { filter: elsewhere, ..request };
    assert!(admin.list(none).await.unwrap().deliveries.is_empty());
    let shown = admin.show(id, Shown::Content).await.unwrap();
    assert_eq!((shown.content.as_ref(), shown.events.len()), (CONTENT, 2));
    let by = TraceBy::Address("x@b.example".into());
    let told = admin.trace(TraceRequest { by, limit: 10, since: None, until: None }).await.unwrap();
    assert_eq!(told.events.len(), 2);
}

#[tokio::test]
async fn a_retry_does_not_wait_for_its_time() {
    let (_database, replica) = usual(|_| {}).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    let id = submitter.accepted("s@a.example", &["x@b.example"]).await;
    let first = worker.dispatch().await;
    worker.report(all(&first, 451)).await;
    worker.is_left_alone().await;
    assert_eq!(change(&replica, Filter::of(vec![id]), DeliveryChange::RetryNow).await.changed, 1);
    assert_eq!(worker.dispatch().await.attempt, 2);
}

/// Whichever replica is asked: the owner forgets it, too, and what it kept for the first attempt.
#[tokio::test]
async fn what_an_operator_takes_out_is_not_attempted_any_more() {
    let (database, replica) = usual(|_| {}).await;
    let other = Replica::start(config(&database)).await;
    until_shared(&database).await;
    let mut submitter = Submitter::connect(&replica).await;
    let recipients: Vec<String> = (0..16).map(|number| format!("x@d{number}.example")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let id = submitter.accepted("s@a.example", &recipients).await;
    assert_eq!(change(&other, Filter::of(vec![id]), DeliveryChange::Delete).await.changed, 16);
    assert_eq!(change(&other, Filter::of(vec![id]), DeliveryChange::Delete).await.changed, 0);
    let (mut worker, mut elsewhere) = (Worker::connect(&replica).await, Worker::connect(&other).await);
    tokio::join!(worker.is_left_alone(), elsewhere.is_left_alone());
    let shown = replica.admin().await.show(id, Shown::Nothing).await.unwrap();
    assert!(shown.deliveries.is_empty());
    assert_eq!(shown.events.last().unwrap().kind, EventKind::RecipientRemoved);
    assert_eq!(database.sql("SELECT count(*) FROM body").await.unwrap(), "0");
}

#[tokio::test]
async fn the_audit_proves_that_nobody_is_missing_and_names_who_is() {
    let (database, replica) = usual(|_| {}).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    submitter.accepted("s@a.example", &["x@b.example", "y@c.example"]).await;
    let dispatch = worker.dispatch().await;
    worker.report(all(&dispatch, 250)).await;
    let (admin, now) = (replica.admin().await, clock());
    let request = AuditRequest { from: Timestamp::EPOCH, until: now, after: None };
    let clean = admin.audit(request).await.unwrap();
    assert_eq!(clean, AuditReply { messages: 1, recipients: 2, ..AuditReply::default() });
    let lost = worker.dispatch().await;
    database.sql("DELETE FROM delivery").await.unwrap();
    let found = admin.audit(request).await.unwrap().findings;
    let recipient = lost.recipients[0].as_str().to_owned();
    assert_eq!(found, [Finding { message: lost.message, recipient, is_queued: false }]);
    let refused = admin.audit(AuditRequest { until: Timestamp::EPOCH, ..request }).await.unwrap_err();
    assert!(refused.to_string().contains("until: is not after `from`"), "{refused}");
}

/// Now, and a little later: what was accepted by then.
fn clock() -> Timestamp {
    Timestamp::from_system(std::time::SystemTime::now()).after(std::time::Duration::from_secs(1))
}

#[tokio::test]
async fn only_operators_are_answered() {
    let (_database, replica) = usual(|_| {}).await;
    for token in [None, Some(Secret::new("guessed".into()))] {
        let admin = AdminClient::connect(&replica.url(), token.as_ref()).await.unwrap();
        let refused = admin.list(ListRequest { limit: 1, ..ListRequest::default() }).await.unwrap_err();
        assert!(matches!(refused, mailtier_api::ApiError::Unauthenticated(_)), "{refused}");
    }
}
