//! What operators suspend is suspended everywhere, and stays so.

use std::time::Duration;

use mailtier_api::ApiError;
use mailtier_api::change::DeliveryChange;
use mailtier_api::filter::Filter;
use mailtier_api::suspensions::{ResumeOrder, STARTED_PAUSED, Scope, SuspendOrder, Suspension};
use mailtier_types::TenantId;

use crate::changes::change;
use crate::pair::Pair;
use crate::submitter::{Submitter, submission};
use crate::system::{LIMIT, Replica, config, usual, with_provider};
use crate::worker::{Worker, all};

const ALICE: &str = "alice";

fn destination(name: &str) -> Scope {
    Scope::destination(name).unwrap()
}

fn tenant(number: i32) -> Scope {
    Scope::tenant(number).unwrap()
}

async fn suspend(replica: &Replica, scope: Scope) {
    let order = SuspendOrder { scope, reason: "they asked".into(), lasting: None, operator: ALICE.into() };
    replica.admin().await.suspend(order).await.unwrap();
}

async fn resume(replica: &Replica, scope: Scope) -> bool {
    replica.admin().await.resume(ResumeOrder { scope, operator: ALICE.into() }).await.unwrap()
}

async fn listed(replica: &Replica) -> Vec<Suspension> {
    replica.admin().await.list_suspensions().await.unwrap()
}

/// Of so many destinations each replica owns some.
const DOMAINS: usize = 12;

fn domain(number: usize) -> String {
    format!("d{number}.example")
}

#[tokio::test]
async fn suspended_destinations_wait_on_every_replica_across_restarts_until_they_are_resumed() {
    let mut pair = Pair::start(|_| {}).await;
    for number in 0..DOMAINS {
        suspend(&pair.replicas[0], destination(&domain(number).to_uppercase())).await;
    }
    pair.until_all_know().await;
    let mut submitter = pair.submitter().await;
    for number in 0..DOMAINS {
        submitter
            .accepted("s@a.example", &[&format!("x@{}", domain(number)), &format!("x@not-{}", domain(number))])
            .await;
    }
    let others = pair.deliver(DOMAINS).await;
    assert!(others.iter().all(|name| name.starts_with("not-")), "others' mail goes on: {others:?}");
    pair.are_left_alone().await;

    let mut pair = pair.restarted().await;
    pair.submitter().await.accepted("s@a.example", &["x@d0.example", "x@other.example"]).await;
    assert_eq!(pair.deliver(1).await, ["other.example"]);
    pair.are_left_alone().await;
    let known = listed(&pair.replicas[1]).await;
    assert_eq!(known.len(), DOMAINS);
    let told = (&known[0].scope, known[0].operator.as_str(), known[0].reason.as_str(), known[0].until);
    assert_eq!(told, (&destination("d0.example"), "root (alice)", "they asked", None));

    for number in 0..DOMAINS {
        assert!(resume(&pair.replicas[1], destination(&domain(number))).await);
        assert!(!resume(&pair.replicas[0], destination(&domain(number))).await, "it is not suspended any more");
    }
    assert_eq!(pair.deliver(DOMAINS + 1).await.len(), DOMAINS + 1, "one had two");
    assert_eq!(pair.database.sql("SELECT count(*) FROM delivery").await.unwrap(), "0");
}

#[tokio::test]
async fn suspended_tenants_wait_wherever_their_mail_goes() {
    let mut pair = Pair::start(|_| {}).await;
    suspend(&pair.replicas[1], tenant(7)).await;
    pair.until_all_know().await;
    let mut submitter = pair.submitter().await;
    for number in 0..DOMAINS {
        let mut of_tenant = submission("s@a.example", &[&format!("x@{}", domain(number))]);
        of_tenant.envelope.tenant = TenantId(7);
        assert_eq!(submitter.submit(of_tenant).await.result, Ok(()));
    }
    submitter.accepted("s@a.example", &["x@d0.example"]).await;
    let (place, other) = pair.dispatch().await;
    assert_eq!(other.tenant, TenantId(0), "to the same destination");
    pair.workers[place].report(all(&other, 250)).await;
    pair.are_left_alone().await;
    let mut pair = pair.restarted().await;
    pair.are_left_alone().await;
    assert!(resume(&pair.replicas[0], tenant(7)).await);
    assert_eq!(pair.deliver(DOMAINS).await.len(), DOMAINS);
}

#[tokio::test]
async fn suspended_providers_hold_all_destinations_known_to_be_theirs() {
    let mut pair = Pair::start(|config| with_provider(config, None)).await;
    let unknown = SuspendOrder { scope: Scope::provider("bigg").unwrap(), ..order() };
    let refused = pair.replicas[0].admin().await.suspend(unknown).await.unwrap_err();
    assert!(matches!(&refused, ApiError::Invalid(text) if text.contains("did you mean `big`?")), "{refused}");
    let mut submitter = pair.submitter().await;
    let submit_all = async |submitter: &mut Submitter| {
        for number in 0..DOMAINS {
            submitter.accepted("s@a.example", &[&format!("x@{}", domain(number))]).await;
        }
    };
    submit_all(&mut submitter).await;
    pair.attempt(DOMAINS, "in.mx.big.example", 451).await;
    suspend(&pair.replicas[0], Scope::provider("big").unwrap()).await;
    pair.until_all_know().await;
    submit_all(&mut submitter).await;
    submitter.accepted("s@a.example", &["x@other.example"]).await;
    assert_eq!(pair.deliver(1).await, ["other.example"]);
    pair.are_left_alone().await;
    // What was deferred says whose exchanger that was, for other mail of its destination too.
    let mut pair = pair.restarted().await;
    pair.are_left_alone().await;
    assert!(resume(&pair.replicas[1], Scope::provider("big").unwrap()).await);
    assert_eq!(pair.deliver(DOMAINS).await.len(), DOMAINS);
}

fn order() -> SuspendOrder {
    SuspendOrder { scope: destination("b.example"), reason: String::new(), lasting: None, operator: ALICE.into() }
}

#[tokio::test]
async fn a_suspension_lets_what_is_in_flight_end_and_no_retry_through() {
    let (database, replica) = usual(|_| {}).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    let deferred = submitter.accepted("s@a.example", &["x@b.example"]).await;
    let (first, _) = (worker.dispatch().await, submitter.accepted("s@a.example", &["y@b.example"]).await);
    let second = worker.dispatch().await;
    suspend(&replica, destination("b.example")).await;
    worker.report(all(&first, 451)).await;
    worker.report(all(&second, 250)).await;
    assert_eq!(database.sql("SELECT count(*) FROM delivery").await.unwrap(), "1", "what was in flight has ended");
    assert_eq!(change(&replica, Filter::of(vec![deferred]), DeliveryChange::RetryNow).await.changed, 1);
    worker.is_left_alone().await;
    assert!(resume(&replica, destination("B.example")).await);
    assert_eq!(worker.dispatch().await.attempt, 2, "and it is due");
}

#[tokio::test]
async fn what_is_suspended_expires_on_time() {
    let (database, replica) = usual(|config| config.queue.lifetime = Duration::from_secs(2)).await;
    let mut submitter = Submitter::connect(&replica).await;
    suspend(&replica, destination("b.example")).await;
    submitter.accepted("s@a.example", &["x@b.example"]).await;
    let mut worker = Worker::connect(&replica).await;
    let notification = worker.dispatch().await;
    assert_eq!(notification.destination, "a.example", "its sender is told");
    assert_eq!(database.sql("SELECT count(*) FROM event WHERE kind = 5").await.unwrap(), "1");
}

#[tokio::test]
async fn a_suspension_ends_when_its_time_is_over_and_a_later_order_replaces_it() {
    let (database, replica) = usual(|_| {}).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    let admin = replica.admin().await;
    admin.suspend(SuspendOrder { lasting: Some(Duration::from_secs(7200)), ..order() }).await.unwrap();
    let reason = "longer".to_owned();
    let later = SuspendOrder { lasting: Some(Duration::from_secs(9000)), reason, operator: "bob".into(), ..order() };
    admin.suspend(later).await.unwrap();
    let only = listed(&replica).await.remove(0);
    let lasting = only.until.unwrap().since(only.since);
    assert_eq!(
        (lasting, only.operator.as_str(), only.reason.as_str()),
        (Duration::from_secs(9000), "root (bob)", "longer")
    );
    submitter.accepted("s@a.example", &["x@b.example"]).await;
    worker.is_left_alone().await;
    database.sql("UPDATE rule SET expires_at = now() - interval '1 second'").await.unwrap();
    worker.dispatch().await;
    assert!(listed(&replica).await.is_empty());
    assert!(!resume(&replica, destination("b.example")).await);
}

#[tokio::test]
async fn a_new_replica_dispatches_nothing_before_it_knows_what_is_suspended() {
    let (database, replica) = usual(|_| {}).await;
    suspend(&replica, destination("b.example")).await;
    Submitter::connect(&replica).await.accepted("s@a.example", &["x@b.example", "x@c.example"]).await;
    replica.stop().await;
    database.sql("ALTER TABLE rule RENAME TO unreadable").await.unwrap();
    let begun = Replica::begin(config(&database)).await;
    let mut worker = Worker::connect(begun.replica()).await;
    worker.is_left_alone().await;
    database.sql("ALTER TABLE unreadable RENAME TO rule").await.unwrap();
    let _replica = begun.until_ready().await;
    assert_eq!(worker.dispatch().await.destination, "c.example");
    worker.is_left_alone().await;
}

#[tokio::test]
async fn rules_that_cannot_be_read_stay_as_they_were() {
    let (database, replica) = usual(|_| {}).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    suspend(&replica, destination("b.example")).await;
    database.sql("ALTER TABLE rule RENAME TO unreadable").await.unwrap();
    submitter.accepted("s@a.example", &["x@b.example", "x@c.example"]).await;
    assert_eq!(worker.dispatch().await.destination, "c.example");
    worker.is_left_alone().await;
    let refused = tokio::time::timeout(LIMIT, replica.admin().await.suspend(order())).await.unwrap();
    assert!(matches!(refused, Err(ApiError::Unavailable(_))), "{refused:?}");
    database.sql("ALTER TABLE unreadable RENAME TO rule").await.unwrap();
    assert!(resume(&replica, destination("b.example")).await);
    assert_eq!(worker.dispatch().await.destination, "b.example");
}

#[tokio::test]
async fn what_cannot_be_a_destination_is_not_suspended() {
    let (_database, replica) = usual(|_| {}).await;
    let order = SuspendOrder { scope: destination("postmaster"), ..order() };
    let refused = replica.admin().await.suspend(order).await.unwrap_err();
    assert!(matches!(&refused, ApiError::Invalid(text) if text.contains("has no dot")), "{refused}");
    assert!(listed(&replica).await.is_empty());
}

/// A database that was restored from a backup has mail that was delivered since.
#[tokio::test]
async fn a_queue_that_starts_paused_attempts_and_gives_up_nothing_until_it_is_resumed() {
    let (database, replica) = usual(|config| config.queue.lifetime = Duration::from_secs(2)).await;
    Submitter::connect(&replica).await.accepted("s@a.example", &["x@b.example"]).await;
    replica.stop().await;
    let mut settings = config(&database);
    settings.queue.start_paused = true;
    let replica = Replica::start(settings).await;
    let mut worker = Worker::connect(&replica).await;
    worker.is_left_alone().await;
    let told = listed(&replica).await.remove(0);
    assert_eq!((&told.scope, told.operator.as_str()), (&Scope::Everything, STARTED_PAUSED));
    // What is accepted meanwhile waits as well; and what was said stays said, though the setting is taken out.
    Submitter::connect(&replica).await.accepted("s@a.example", &["x@c.example"]).await;
    replica.stop().await;
    let replica = Replica::start(config(&database)).await;
    let mut worker = Worker::connect(&replica).await;
    worker.is_left_alone().await;
    assert_eq!(listed(&replica).await, [told]);
    assert_eq!(database.sql("SELECT count(*) FROM event WHERE kind <> 1").await.unwrap(), "0", "though its time is up");
    assert!(resume(&replica, Scope::Everything).await);
    let mut destinations = [worker.dispatch().await.destination, worker.dispatch().await.destination];
    destinations.sort_unstable();
    assert_eq!(destinations, ["a.example", "c.example"], "one is attempted, of the other its sender hears");
}
