//! What results come to.

use std::time::{Duration, SystemTime};

use mailtier_api::admin::Shown;
use mailtier_testkit::postgres::TestDatabase;
use mailtier_types::{
    ByMode, DeliverBy, EnvelopeId, EventKind, Mailbox, MessageId, OriginalRecipient, RecipientRequest, Return,
    ReversePath, Timestamp,
};

use crate::submitter::{CONTENT, Submitter, submission};
use crate::system::{LIMIT, Replica, another, until_told, usual};
use crate::worker::{Worker, all, outcome, result};

/// What history tells of a message, without its acceptance.
async fn story(replica: &Replica, id: MessageId) -> Vec<(EventKind, Vec<String>)> {
    let events = replica.admin().await.show(id, Shown::Nothing).await.unwrap().events;
    let told = events.into_iter().filter(|event| event.kind != EventKind::MessageAccepted);
    told.map(|event| (event.kind, event.recipients.iter().map(ToString::to_string).collect())).collect()
}

fn to(address: &str) -> Vec<String> {
    vec![address.to_owned()]
}

#[tokio::test]
async fn what_is_delivered_leaves_nothing_but_its_history() {
    let (database, replica) = usual(|_| {}).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    let id = submitter.accepted("s@a.example", &["x@b.example", "y@B.example", "z@c.example"]).await;
    let (first, second) = (worker.dispatch().await, worker.dispatch().await);
    assert_eq!((first.message, second.message), (id, id));
    let (b, c) = if first.destination == "b.example" { (first, second) } else { (second, first) };
    assert_eq!((b.recipients.len(), c.recipients.len(), b.attempt), (2, 1, 1));
    assert_eq!(b.body.clone().unwrap().concat(), CONTENT);
    worker.report(all(&b, 250)).await;
    assert_eq!(database.sql("SELECT count(*) FROM body").await.unwrap(), "1", "the other delivery needs it");
    worker.report(all(&c, 250)).await;
    for table in ["delivery", "retry", "body"] {
        assert_eq!(database.sql(&format!("SELECT count(*) FROM {table}")).await.unwrap(), "0", "{table}");
    }
    assert_eq!(story(&replica, id).await.len(), 2);
    let mut session = database.store().await.unwrap().session().await.unwrap();
    let all_time = (Timestamp::EPOCH, Timestamp::from_system(SystemTime::now()));
    assert_eq!(session.audit(all_time.0, all_time.1, 10).await.unwrap(), [], "each recipient is in one state");
    worker.is_left_alone().await;
}

#[tokio::test]
async fn what_is_deferred_is_attempted_again_later() {
    let (_database, replica) = usual(|config| config.queue.retry_first = Duration::from_secs(6)).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    let id = submitter.accepted("s@a.example", &["x@b.example"]).await;
    let first = worker.dispatch().await;
    worker.report(all(&first, 451)).await;
    worker.is_left_alone().await;
    let second = worker.dispatch().await;
    assert_eq!((second.delivery, second.attempt), (first.delivery, 2));
    assert_eq!(second.body.clone().unwrap().concat(), CONTENT, "read again");
    worker.report(all(&second, 250)).await;
    let deferred = (EventKind::AttemptDeferred, to("x@b.example"));
    assert_eq!(story(&replica, id).await, [deferred, (EventKind::RecipientDelivered, to("x@b.example"))]);
}

#[tokio::test]
async fn each_recipient_fares_on_its_own() {
    let (_database, replica) = usual(|config| config.queue.retry_first = Duration::from_millis(100)).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    submitter.accepted("s@a.example", &["x@b.example", "y@b.example", "z@b.example"]).await;
    let first = worker.dispatch().await;
    let outcomes = [250, 451, 550].into_iter().zip(&first.recipients);
    let outcomes = outcomes.map(|(code, recipient)| (vec![recipient.clone()], outcome(code))).collect();
    worker.report(result(&first, outcomes)).await;
    let (one, other) = (worker.dispatch().await, worker.dispatch().await);
    let (notification, again) = if one.sender.is_null() { (one, other) } else { (other, one) };
    assert_eq!(again.recipients, [first.recipients[1].clone()]);
    assert_eq!(notification.sender, ReversePath::Null);
    let text = String::from_utf8(notification.body.clone().unwrap().concat()).unwrap();
    assert!(
        text.contains("Final-Recipient: rfc822; z@b.example") && text.contains("Message-ID: <1@a.example>"),
        "{text}"
    );
    assert!(!text.contains("y@b.example") && !text.contains("x@b.example"), "{text}");

    // The notification comes back as well: nobody is told.
    worker.report(all(&notification, 550)).await;
    worker.report(all(&again, 250)).await;
    worker.is_left_alone().await;
}

#[tokio::test]
async fn a_result_reported_twice_counts_once() {
    let (database, replica) = usual(|_| {}).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    let id = submitter.accepted("s@a.example", &["x@b.example"]).await;
    let first = worker.dispatch().await;
    worker.send(all(&first, 550)).await;
    worker.send(all(&first, 550)).await;
    worker.report(all(&first, 550)).await;
    let notification = worker.dispatch().await;
    assert_eq!(notification.recipients[0].as_str(), "s@a.example");
    worker.report(all(&notification, 250)).await;
    worker.is_left_alone().await;
    assert_eq!(story(&replica, id).await, [(EventKind::RecipientFailed, to("x@b.example"))]);
    assert_eq!(database.sql("SELECT count(*) FROM event WHERE kind = 1").await.unwrap(), "2");
}

#[tokio::test]
async fn what_was_not_attempted_is_handed_out_again_uncounted() {
    let (_database, replica) = usual(|_| {}).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    submitter.accepted("s@a.example", &["x@b.example"]).await;
    let first = worker.dispatch().await;
    worker.send(result(&first, Vec::new())).await;
    let again = worker.dispatch().await;
    assert_eq!((again.delivery, again.attempt), (first.delivery, 1));
    assert!(!worker.was_confirmed(&first), "it may keep a result of the same attempt");
}

#[tokio::test]
async fn what_waits_too_long_is_returned() {
    let change = |config: &mut mailtier_config::Config| {
        config.queue.lifetime = Duration::from_secs(2);
        config.queue.retry_first = Duration::from_secs(3600);
        config.queue.retry_max = Duration::from_secs(3600);
    };
    let (_database, replica) = usual(change).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    let id = submitter.accepted("s@a.example", &["x@b.example"]).await;
    let first = worker.dispatch().await;
    worker.report(all(&first, 451)).await;
    let notification = worker.dispatch().await;
    assert!(notification.sender.is_null());
    let story = story(&replica, id).await;
    assert_eq!(story.last(), Some(&(EventKind::RecipientExpired, to("x@b.example"))));
}

/// The database refuses every event about this recipient, but its acceptance.
async fn refuse_poison(database: &TestDatabase) {
    database
        .sql(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
             $$BEGIN IF NEW.recipients[1] LIKE 'poison@%' AND NEW.kind <> 1 THEN \
             RAISE EXCEPTION 'poison'; END IF; RETURN NEW; END$$; \
             CREATE TRIGGER refuse BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        .await
        .unwrap();
}

/// A result that the database refuses stops nobody else's.
#[tokio::test]
async fn what_cannot_be_settled_is_set_aside() {
    let (database, replica) = usual(|_| {}).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    refuse_poison(&database).await;
    for recipient in ["w@b.example", "x@b.example", "poison@b.example", "y@b.example", "z@b.example"] {
        submitter.accepted("s@a.example", &[recipient]).await;
    }
    let mut others = Vec::new();
    for _ in 0..5 {
        let dispatch = worker.dispatch().await;
        worker.send(all(&dispatch, 250)).await;
        if dispatch.recipients[0].as_str() != "poison@b.example" {
            others.push(mailtier_api::work::Settled { delivery: dispatch.delivery, attempt: 1 });
        }
    }
    for settled in others {
        worker.until_settled(settled).await;
    }
    let left = database.sql("SELECT recipients[1] FROM delivery").await.unwrap();
    assert_eq!(left, "poison@b.example", "kept, within {LIMIT:?}");
    worker.is_left_alone().await;
}

/// More than may be at the settler at a time.
#[tokio::test]
async fn however_much_is_set_aside_the_rest_expires_and_all_of_it_is_settled_when_it_can_be() {
    let (database, replica) = usual(|config| config.queue.bounce_lifetime = Duration::from_secs(1)).await;
    refuse_poison(&database).await;
    let mut submitter = Submitter::connect(&replica).await;
    let poison: Vec<String> = (0..1000).map(|number| format!("poison@d{number}.example")).collect();
    submitter.accepted("", &poison.iter().map(String::as_str).collect::<Vec<_>>()).await;
    submitter.accepted("", &["x@b.example"]).await;
    until_told(&database, "SELECT count(*) FROM event WHERE kind = 5", "1").await;
    assert_eq!(database.sql("SELECT count(*) FROM delivery").await.unwrap(), "1000");

    database.sql("DROP TRIGGER refuse ON event").await.unwrap();
    until_told(&database, "SELECT count(*) FROM delivery", "0").await;
    assert_eq!(database.sql("SELECT count(*) FROM event WHERE kind = 5").await.unwrap(), "1001");
}

#[tokio::test]
async fn what_needs_a_notification_waits_for_a_number_and_keeps_nothing_else_waiting() {
    let database = TestDatabase::migrated().await.unwrap();
    let lease = |holder, until| format!("UPDATE node SET holder = {holder}, lease_until = {until}");
    database.sql(&lease("gen_random_uuid()", "now() + interval '1 h'")).await.unwrap();
    let replica = another(&database, |_| {}).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    submitter.accepted("s@a.example", &["x@b.example"]).await;
    submitter.accepted("s@a.example", &["y@b.example"]).await;
    let (failed, delivered) = (worker.dispatch().await, worker.dispatch().await);
    worker.send(all(&failed, 550)).await;
    worker.report(all(&delivered, 250)).await;
    assert!(!worker.was_confirmed(&failed));
    database.sql(&lease("NULL", "'-infinity'")).await.unwrap();
    let notification = worker.dispatch().await;
    assert!(notification.sender.is_null() && worker.was_confirmed(&failed));
}

/// What is attempted first may lead to a notification.
#[tokio::test]
async fn a_replica_has_a_number_to_make_ids_with_before_it_has_shards() {
    let database = TestDatabase::migrated().await.unwrap();
    database
        .sql(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
             $$BEGIN IF NOT EXISTS (SELECT FROM node WHERE holder IS NOT NULL) THEN \
             RAISE EXCEPTION 'no number'; END IF; RETURN NEW; END$$; \
             CREATE TRIGGER refuse BEFORE UPDATE ON shard FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        .await
        .unwrap();
    another(&database, |_| {}).await;
}

#[tokio::test]
async fn what_is_held_is_not_attempted_before_its_time() {
    let (database, replica) = usual(|_| {}).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    let now = Timestamp::from_system(SystemTime::now());
    let mut held = submission("s@a.example", &["x@b.example", "y@c.example"]);
    held.envelope.options.release_at = Some(now.after(Duration::from_secs(6)));
    let id = held.id;
    assert_eq!(submitter.submit(held).await.result, Ok(()));
    assert_eq!(database.sql("SELECT count(*) FROM retry WHERE attempts = 0").await.unwrap(), "2", "known to the table");
    worker.is_left_alone().await;
    let (first, second) = (worker.dispatch().await, worker.dispatch().await);
    assert_eq!((first.message, first.attempt, second.attempt), (id, 1, 1));
    assert!(Timestamp::from_system(SystemTime::now()) >= now.after(Duration::from_secs(6)));
    assert_eq!(first.body.clone().unwrap().concat(), CONTENT);
    worker.report(all(&first, 250)).await;
    worker.report(all(&second, 250)).await;
    for table in ["delivery", "retry", "body"] {
        assert_eq!(database.sql(&format!("SELECT count(*) FROM {table}")).await.unwrap(), "0", "{table}");
    }
}

#[tokio::test]
async fn a_time_limit_of_the_sender_ends_a_delivery_and_success_is_told_where_it_was_asked_for() {
    let (_database, replica) = usual(|_| {}).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    let now = Timestamp::from_system(SystemTime::now());
    let mut limited = submission("s@a.example", &["x@b.example"]);
    let by = DeliverBy { at: now.after(Duration::from_secs(3)), mode: ByMode::Return, trace: false };
    limited.envelope.options.deliver_by = Some(by);
    assert_eq!(submitter.submit(limited).await.result, Ok(()));
    let first = worker.dispatch().await;
    worker.report(all(&first, 451)).await;
    let notice = worker.dispatch().await;
    assert_eq!((notice.destination.as_str(), &notice.sender), ("a.example", &ReversePath::Null));
    let content = String::from_utf8(notice.body.clone().unwrap().concat()).unwrap();
    assert!(content.contains("Action: failed\r\nStatus: 5.4.7\r\n"), "{content}");
    worker.report(all(&notice, 250)).await;

    let mut asked = submission("s@a.example", &["x@b.example"]);
    asked.envelope.options.envelope_id = Some(EnvelopeId::new("QQ+1").unwrap());
    asked.envelope.options.ret = Some(Return::Full);
    let recipient = Mailbox::parse("x@b.example").unwrap();
    let notify = Some("SUCCESS,FAILURE".parse().unwrap());
    let original = Some(OriginalRecipient::new("rfc822", "list@a.example").unwrap());
    asked.envelope.options.requests = vec![RecipientRequest { recipient, notify, original }];
    let mut failing = asked.clone();
    failing.id = submission("s@a.example", &["x@b.example"]).id;
    assert_eq!(submitter.submit(asked).await.result, Ok(()));
    let delivery = worker.dispatch().await;
    worker.report(all(&delivery, 250)).await;
    let notice = worker.dispatch().await;
    let content = String::from_utf8(notice.body.clone().unwrap().concat()).unwrap();
    for line in ["Original-Envelope-Id: QQ+1", "Original-Recipient: rfc822; list@a.example", "Action: relayed"] {
        assert!(content.contains(&format!("{line}\r\n")), "{line}: {content}");
    }
    worker.report(all(&notice, 250)).await;
    assert_eq!(submitter.submit(failing).await.result, Ok(()));
    let delivery = worker.dispatch().await;
    worker.report(all(&delivery, 550)).await;
    let notice = worker.dispatch().await;
    let content = notice.body.clone().unwrap().concat();
    let whole = [b"Content-Type: message/rfc822\r\n\r\n", CONTENT].concat();
    assert!(content.windows(whole.len()).any(|window| window == whole), "{}", String::from_utf8_lossy(&content));
}
