//! What operators change about deliveries holds wherever these are owned, and is on record by name.

use std::time::Duration;

use mailtier_api::ApiError;
use mailtier_api::admin::Shown;
use mailtier_api::change::{ChangeAnswer, ChangeOrder, DeliveryChange};
use mailtier_api::filter::{AddressPattern, Filter};
use mailtier_config::Config;
use mailtier_testkit::postgres::TestDatabase;
use mailtier_types::{Domain, EventKind, Mailbox, MessageId, Timestamp};

use crate::pair::Pair;
use crate::submitter::Submitter;
use crate::system::{Replica, config, two, until_shared, usual};
use crate::worker::{Worker, all};

const ALICE: &str = "alice";
/// As it is recorded, for the token of the configuration.
const SIGNED: &str = "root (alice)";

pub(crate) fn order(filter: Filter, change: DeliveryChange) -> ChangeOrder {
    ChangeOrder {
        all: filter.is_empty(),
        filter,
        change,
        operator: ALICE.into(),
        reason: "they asked".into(),
        after: 0,
        dry_run: false,
        show: 0,
    }
}

/// Call by call, to the end.
pub(crate) async fn change(replica: &Replica, filter: Filter, change: DeliveryChange) -> ChangeAnswer {
    let (admin, mut order, mut total) = (replica.admin().await, order(filter, change), ChangeAnswer::default());
    loop {
        let answer = admin.change(order.clone()).await.unwrap();
        total.looked_at += answer.looked_at;
        total.matched += answer.matched;
        total.changed += answer.changed;
        order.after = answer.next;
        if order.after == 0 {
            return total;
        }
    }
}

fn to(destination: &str) -> Filter {
    Filter { destination: Some(Domain::parse(destination).unwrap()), ..Filter::default() }
}

fn of(message: MessageId) -> Filter {
    Filter::of(vec![message])
}

/// Deliveries, and what is held.
const LEFT: &str = "SELECT (SELECT count(*) FROM delivery), (SELECT count(*) FROM held)";

/// Nobody is in no state, or in two.
async fn is_accounted_for(database: &TestDatabase) {
    let mut session = database.store().await.unwrap().session().await.unwrap();
    let tomorrow = Timestamp::from_system(std::time::SystemTime::now()).after(Duration::from_secs(86_400));
    assert_eq!(session.audit(Timestamp::EPOCH, tomorrow, 10).await.unwrap(), []);
    assert_eq!(session.audit_held(10).await.unwrap(), []);
}

async fn kinds(replica: &Replica, message: MessageId) -> Vec<EventKind> {
    let shown = replica.admin().await.show(message, Shown::Nothing).await.unwrap();
    shown.events.iter().map(|event| event.kind).collect()
}

/// As many destinations as make sure that each replica owns some.
fn recipients() -> Vec<String> {
    (0..16).map(|number| format!("x@d{number}.example")).collect()
}

#[tokio::test]
async fn what_is_held_is_attempted_by_nobody_across_restarts_and_takeovers_until_it_is_released() {
    let database = TestDatabase::migrated().await.unwrap();
    let replicas = two(&database, |_| {}).await;
    let recipients = recipients();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    // Before the first attempt, while owners have the content in memory; asked of one replica, whoever owns them.
    let id = Submitter::connect(&replicas[0]).await.accepted("s@a.example", &recipients).await;
    let answer = change(&replicas[1], of(id), DeliveryChange::Hold).await;
    assert_eq!((answer.matched, answer.changed), (16, 16));
    assert_eq!(change(&replicas[0], of(id), DeliveryChange::Hold).await.changed, 0, "they are held already");
    assert_eq!(change(&replicas[0], of(id), DeliveryChange::RetryNow).await.changed, 0, "and not to be hastened");
    let mut pair = Pair::over(database, replicas, |_| {}).await;
    pair.are_left_alone().await;

    let shown = pair.replicas[0].admin().await.show(id, Shown::Nothing).await.unwrap();
    let held = shown.deliveries[3].held.clone().unwrap();
    assert_eq!((held.operator.as_str(), held.reason.as_str()), (SIGNED, "they asked"));
    let event = shown.events.last().unwrap();
    let detail = (event.kind, event.detail.operator.as_deref(), event.detail.reason.as_deref());
    assert_eq!(detail, (EventKind::DeliveryHeld, Some(SIGNED), Some("they asked")));

    let mut pair = pair.restarted().await;
    pair.are_left_alone().await;
    is_accounted_for(&pair.database).await;
    assert_eq!(change(&pair.replicas[0], of(id), DeliveryChange::Release).await.changed, 16);
    assert_eq!(change(&pair.replicas[1], of(id), DeliveryChange::Release).await.changed, 0);
    assert_eq!(pair.deliver(16).await.len(), 16);
    assert_eq!(pair.database.sql(LEFT).await.unwrap(), "0|0");
    is_accounted_for(&pair.database).await;
}

#[tokio::test]
async fn a_killed_owner_takes_no_hold_with_it() {
    let (database, replica) = usual(|_| {}).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    submitter.accepted("s@a.example", &["x@b.example"]).await;
    let dispatch = worker.dispatch().await;
    assert_eq!(change(&replica, to("b.example"), DeliveryChange::Hold).await.changed, 1);
    replica.kill();
    worker.vanish();
    let other = Replica::start(config(&database)).await;
    let mut worker = Worker::connect(&other).await;
    worker.is_left_alone().await;
    // The one that was under way when it was held ended with a delivery: a fact.
    worker.report(all(&dispatch, 250)).await;
    assert_eq!(database.sql(LEFT).await.unwrap(), "0|0");
    is_accounted_for(&database).await;
}

#[tokio::test]
async fn an_attempt_under_way_counts_for_what_is_held_meanwhile() {
    let (database, replica) = usual(|config| config.queue.retry_first = Duration::from_secs(1)).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    let id = submitter.accepted("s@a.example", &["x@b.example", "x@c.example", "x@d.example"]).await;
    let mut dispatches = Vec::new();
    for _ in 0..3 {
        dispatches.push(worker.dispatch().await);
    }
    dispatches.sort_unstable_by_key(|dispatch| dispatch.delivery);
    assert_eq!(change(&replica, of(id), DeliveryChange::Hold).await.changed, 3);
    for (dispatch, code) in dispatches.iter().zip([451, 550, 250]) {
        worker.report(all(dispatch, code)).await;
    }
    assert_eq!(worker.dispatch().await.destination, "a.example", "the sender is told of the failure");
    worker.is_left_alone().await;
    assert_eq!(database.sql("SELECT count(*) FROM held").await.unwrap(), "1", "the deferred one");
    is_accounted_for(&database).await;
    // Its owner has forgotten it, and what it is told of the release does not say how often it was attempted.
    assert_eq!(change(&replica, of(id), DeliveryChange::Release).await.changed, 1);
    let again = worker.dispatch().await;
    assert_eq!((again.delivery, again.attempt), (dispatches[0].delivery, 2));
    worker.report(all(&again, 451)).await;
    assert_eq!(database.sql("SELECT attempts FROM retry").await.unwrap(), "2", "and the attempt is believed");
}

#[tokio::test]
async fn the_time_on_hold_does_not_count_for_the_lifetime() {
    let (database, replica) = usual(|config| config.queue.lifetime = Duration::from_secs(3)).await;
    let mut submitter = Submitter::connect(&replica).await;
    let id = submitter.accepted("s@a.example", &["x@b.example"]).await;
    assert_eq!(change(&replica, of(id), DeliveryChange::Hold).await.changed, 1);
    let mut looks = tokio::time::interval(Duration::from_millis(100));
    let over = "SELECT now() > (SELECT expires_at + interval '1 s' FROM delivery)";
    while database.sql(over).await.unwrap() != "t" {
        looks.tick().await;
    }
    assert_eq!(kinds(&replica, id).await, [EventKind::MessageAccepted, EventKind::DeliveryHeld], "not given up");
    assert_eq!(change(&replica, of(id), DeliveryChange::Release).await.changed, 1);
    let mut worker = Worker::connect(&replica).await;
    let dispatch = worker.dispatch().await;
    assert_eq!(dispatch.destination, "b.example", "it has time left");
    worker.report(all(&dispatch, 451)).await;
    assert_eq!(worker.dispatch().await.destination, "a.example", "and comes to its end when that is over");
    assert_eq!(kinds(&replica, id).await.last(), Some(&EventKind::RecipientExpired));
    is_accounted_for(&database).await;
}

#[tokio::test]
async fn what_an_operator_gives_up_comes_back_with_his_reason_held_or_not() {
    let (database, replica) = usual(|_| {}).await;
    let mut submitter = Submitter::connect(&replica).await;
    let held = submitter.accepted("s@a.example", &["x@b.example", "x@c.example"]).await;
    submitter.accepted("", &["x@b.example"]).await;
    let other = submitter.accepted("s@a.example", &["y@b.example"]).await;
    assert_eq!(change(&replica, of(held), DeliveryChange::Hold).await.changed, 2);
    assert_eq!(change(&replica, to("b.example"), DeliveryChange::Bounce).await.changed, 3);
    for id in [held, other] {
        let shown = replica.admin().await.show(id, Shown::Nothing).await.unwrap();
        let failed: Vec<_> = shown.events.iter().filter(|event| event.kind == EventKind::RecipientFailed).collect();
        assert_eq!(failed.len(), 1);
        let outcome = failed[0].detail.outcome.as_ref().unwrap();
        assert_eq!((outcome.status().to_string().as_str(), outcome.to_string().as_str()), ("5.7.0", "they asked"));
        assert_eq!(failed[0].detail.operator.as_deref(), Some(SIGNED));
        assert!(failed[0].detail.dsn.is_some());
    }
    // The null sender is told nothing; what goes to c.example is still held.
    let mut worker = Worker::connect(&replica).await;
    for _ in 0..2 {
        let notification = worker.dispatch().await;
        assert_eq!(notification.recipients[0].as_str(), "s@a.example");
        let content = String::from_utf8(notification.body.as_ref().unwrap().concat()).unwrap();
        assert!(
            content.contains("Status: 5.7.0") && content.contains("they asked") && !content.contains("Last-Attempt"),
            "{content}"
        );
        worker.report(all(&notification, 250)).await;
    }
    worker.is_left_alone().await;
    assert_eq!(database.sql(LEFT).await.unwrap(), "1|1");
    assert_eq!(change(&replica, of(held), DeliveryChange::Delete).await.changed, 1);
    assert_eq!(database.sql(LEFT).await.unwrap(), "0|0");
    assert_eq!(kinds(&replica, held).await.last(), Some(&EventKind::RecipientRemoved));
    assert_eq!(database.sql("SELECT count(*) FROM body").await.unwrap(), "0");
    is_accounted_for(&database).await;
}

#[tokio::test]
async fn what_is_given_up_for_one_recipient_goes_on_for_the_others_of_its_delivery() {
    let (database, replica) = usual(|_| {}).await;
    let mut submitter = Submitter::connect(&replica).await;
    let id = submitter.accepted("s@a.example", &["x@b.example", "y@b.example", "z@b.example"]).await;
    let recipient = |address: &str| Some(AddressPattern::recipient(address).unwrap());
    let only = |address: &str| Filter { recipient: recipient(address), ..of(id) };
    assert_eq!(change(&replica, only("x@b.example"), DeliveryChange::Delete).await.changed, 1);
    assert_eq!(change(&replica, only("y@b.example"), DeliveryChange::Bounce).await.changed, 1);
    assert_eq!(change(&replica, only("y@b.example"), DeliveryChange::Bounce).await.matched, 0);
    is_accounted_for(&database).await;
    let mut worker = Worker::connect(&replica).await;
    let mut dispatched = [worker.dispatch().await, worker.dispatch().await];
    dispatched.sort_by_key(|dispatch| dispatch.destination.clone());
    let [notification, rest] = &dispatched;
    assert_eq!(rest.recipients, [Mailbox::parse("z@b.example").unwrap()]);
    let content = String::from_utf8(notification.body.as_ref().unwrap().concat()).unwrap();
    assert!(content.contains("y@b.example") && !content.contains("Final-Recipient: rfc822; x@b.example"), "{content}");
    worker.report(all(notification, 250)).await;
    worker.report(all(rest, 250)).await;
    assert_eq!(change(&replica, only("@b.example"), DeliveryChange::Delete).await.matched, 0);
    is_accounted_for(&database).await;
}

#[tokio::test]
async fn a_changed_way_travels_with_every_attempt_until_it_is_changed_back() {
    fn soon(config: &mut Config) {
        config.queue.retry_first = Duration::from_secs(1);
    }
    let (database, replica) = usual(soon).await;
    let mut same = config(&database);
    soon(&mut same);
    let other = Replica::start(same).await;
    until_shared(&database).await;
    let recipients = recipients();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let id = Submitter::connect(&replica).await.accepted("s@a.example", &recipients).await;
    let way = DeliveryChange::reroute(&["relay.example:2525", "[2001:db8::1]:25"]).unwrap();
    // While the contents are in memory for the first attempt.
    assert_eq!(change(&other, of(id), way.clone()).await.changed, 16);
    assert_eq!(change(&other, of(id), way.clone()).await.changed, 0);
    let DeliveryChange::Reroute(hosts) = way else { panic!("it is a way") };
    let mut pair = Pair::over(database, [replica, other], soon).await;
    for _ in 0..16 {
        let (place, dispatch) = pair.dispatch().await;
        assert_eq!(dispatch.hosts, hosts);
        // The first of them again, with the fast way to the end for the others.
        let code = if dispatch.destination == "d0.example" { 451 } else { 250 };
        pair.workers[place].report(all(&dispatch, code)).await;
    }
    let (place, dispatch) = pair.dispatch().await;
    assert_eq!((&dispatch.hosts, dispatch.attempt), (&hosts, 2));
    pair.workers[place].report(all(&dispatch, 451)).await;
    let mut pair = pair.restarted().await;
    let shown = pair.replicas[0].admin().await.show(id, Shown::Nothing).await.unwrap();
    assert_eq!(shown.deliveries[0].hosts, hosts);
    // What is under way goes on as it was; the next goes its own way.
    let (place, third) = pair.dispatch().await;
    assert_eq!((&third.hosts, third.attempt), (&hosts, 3));
    assert_eq!(change(&pair.replicas[0], of(id), DeliveryChange::Reroute(Vec::new())).await.changed, 1);
    pair.workers[place].report(all(&third, 451)).await;
    assert_eq!(change(&pair.replicas[1], of(id), DeliveryChange::RetryNow).await.changed, 1);
    let (place, dispatch) = pair.dispatch().await;
    assert!(dispatch.hosts.is_empty() && dispatch.attempt == 4, "{dispatch:?}");
    pair.workers[place].report(all(&dispatch, 250)).await;
    assert_eq!(
        pair.database.sql("SELECT (SELECT count(*) FROM retry), (SELECT count(*) FROM body)").await.unwrap(),
        "0|0"
    );
    is_accounted_for(&pair.database).await;
}

#[tokio::test]
async fn a_change_can_be_tried_and_goes_on_where_it_was_left() {
    let (database, replica) = usual(|_| {}).await;
    let mut submitter = Submitter::connect(&replica).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(submitter.accepted("s@a.example", &["x@b.example"]).await);
    }
    let admin = replica.admin().await;
    let trial = ChangeOrder { dry_run: true, show: 2, ..order(Filter::default(), DeliveryChange::Hold) };
    let answer = admin.change(trial.clone()).await.unwrap();
    assert_eq!((answer.matched, answer.changed, answer.next), (5, 5, 0));
    let first: Vec<MessageId> = answer.first.iter().map(|view| view.message).collect();
    assert_eq!(first, ids[..2]);
    assert_eq!(database.sql("SELECT (SELECT count(*) FROM held), (SELECT count(*) FROM event)").await.unwrap(), "0|5");
    let rest = ChangeOrder { after: ids[2].as_i64(), ..order(Filter::default(), DeliveryChange::Hold) };
    let answer = admin.change(rest).await.unwrap();
    assert_eq!((answer.matched, answer.changed, answer.next, answer.first.len()), (2, 2, 0, 0));
    let answer = admin.change(trial).await.unwrap();
    assert_eq!((answer.matched, answer.changed), (5, 3), "two are held already");
    let none = admin.change(ChangeOrder { all: false, ..order(Filter::default(), DeliveryChange::Delete) }).await;
    assert!(matches!(&none, Err(ApiError::Invalid(text)) if text.contains("or all")), "{none:?}");
}

/// More than one batch, over deliveries of which some end meanwhile.
#[tokio::test]
async fn many_are_changed_in_batches_while_mail_flows() {
    let (database, replica) = usual(|_| {}).await;
    let mut submitter = Submitter::connect(&replica).await;
    let names: Vec<String> = (0..1300).map(|number| format!("x@d{number}.example")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let id = submitter.accepted("s@a.example", &names).await;
    let mut worker = Worker::connect(&replica).await;
    let holding = change(&replica, of(id), DeliveryChange::Hold);
    let delivering = async {
        let mut delivered = 0;
        while delivered < 50 {
            let dispatch = worker.dispatch().await;
            worker.report(all(&dispatch, 250)).await;
            delivered += 1;
        }
    };
    let (answer, ()) = tokio::join!(holding, delivering);
    assert!(answer.changed >= 1200 && answer.changed <= 1300, "{answer:?}");
    is_accounted_for(&database).await;
    let held: u64 = database.sql("SELECT count(*) FROM held").await.unwrap().parse().unwrap();
    assert_eq!(change(&replica, of(id), DeliveryChange::Release).await.changed, held);
    let events = "SELECT (SELECT count(*) FROM event WHERE kind = 7), (SELECT count(*) FROM event WHERE kind = 8)";
    let told = database.sql(events).await.unwrap();
    assert_eq!(told, format!("{}|{held}", answer.changed), "each is on record");
    is_accounted_for(&database).await;
}
