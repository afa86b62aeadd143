//! A row that cannot be read stands in nobody's way: the others are seen and changed, and it can be found and removed.

use mailtier_api::admin::{ListRequest, Shown, TraceBy, TraceRequest};
use mailtier_api::change::{ChangeOrder, DeliveryChange};
use mailtier_api::counts::{CountRequest, GroupBy};
use mailtier_api::filter::Filter;
use mailtier_types::{EventKind, MessageId, ReversePath};

use crate::changes::{change, order};
use crate::submitter::Submitter;
use crate::system::{Replica, another, usual};
use crate::worker::Worker;

/// How each of these is damaged, and what is said of it.
const DAMAGES: [(&str, &str); 4] = [
    ("sender = 'nobody'", "sender: \"nobody\": "),
    ("recipients = ARRAY['x@bad.example', 'no one@bad.example']", "recipient: \"no one@bad.example\": "),
    ("options = '\\xff'", "options: "),
    ("sender = 'x@', recipients = ARRAY['x']", "sender: \"x@\": "),
];

/// A message that can be read, one of each damage, and another that can be read.
async fn some_mail(replica: &Replica, database: &mailtier_testkit::postgres::TestDatabase) -> Vec<MessageId> {
    let mut submitter = Submitter::connect(replica).await;
    let mut ids = vec![submitter.accepted("s@a.example", &["x@good.example"]).await];
    for (damage, _) in DAMAGES {
        let id = submitter.accepted("s@a.example", &["x@bad.example"]).await;
        database.sql(&format!("UPDATE delivery SET {damage} WHERE message_id = {}", id.as_i64())).await.unwrap();
        ids.push(id);
    }
    ids.push(submitter.accepted("s@a.example", &["x@good.example"]).await);
    ids
}

#[tokio::test]
async fn a_damaged_delivery_is_shown_as_far_as_it_can_be_read_and_hides_no_other() {
    let (database, replica) = usual(|_| {}).await;
    let (ids, admin) = (some_mail(&replica, &database).await, replica.admin().await);
    let page = admin.list(ListRequest { limit: 100, ..ListRequest::default() }).await.unwrap();
    assert_eq!(page.deliveries.iter().map(|view| view.message).collect::<Vec<_>>(), ids);
    for (view, (_, told)) in page.deliveries[1..].iter().zip(DAMAGES) {
        assert!(view.unreadable[0].starts_with(told), "{:?}", view.unreadable);
        assert_eq!(view.destination, "bad.example");
    }
    let [sender, recipients, options] = [1, 2, 3].map(|place| &page.deliveries[place]);
    assert_eq!((&sender.sender, sender.recipients.len(), sender.size_bytes > 0), (&ReversePath::Null, 1, true));
    assert_eq!((recipients.sender.as_str(), recipients.recipients[0].as_str()), ("s@a.example", "x@bad.example"));
    assert_eq!((options.sender.as_str(), options.size_bytes), ("s@a.example", 0));
    for good in [&page.deliveries[0], &page.deliveries[5]] {
        assert!(good.unreadable.is_empty() && good.size_bytes > 0, "{good:?}");
    }
    let count = CountRequest { by: GroupBy::Destination, filter: Filter::default(), after: 0, at: None };
    let counted = admin.count(count).await.unwrap().groups;
    assert_eq!(counted.iter().map(|group| group.deliveries).sum::<u64>(), 6);
    for id in &ids {
        let shown = admin.show(*id, Shown::Content).await.unwrap();
        assert_eq!((shown.deliveries.len(), shown.events.len(), shown.content.is_empty()), (1, 1, false));
    }
}

#[tokio::test]
async fn a_filter_leaves_a_damaged_delivery_alone_and_its_id_does_not() {
    let (database, replica) = usual(|_| {}).await;
    let (ids, admin) = (some_mail(&replica, &database).await, replica.admin().await);
    let tried = ChangeOrder { dry_run: true, show: 10, ..order(Filter::default(), DeliveryChange::Delete) };
    let tried = admin.change(tried).await.unwrap();
    assert_eq!(tried.first.iter().map(|view| view.message).collect::<Vec<_>>(), [ids[0], ids[5]]);
    let to_bad = Filter { destination: "bad.example".parse().ok(), ..Filter::default() };
    assert_eq!(change(&replica, to_bad, DeliveryChange::Delete).await.changed, 0);
    assert_eq!(change(&replica, Filter::default(), DeliveryChange::Hold).await.changed, 2, "on past what is damaged");
    assert_eq!(database.sql("SELECT count(*) FROM held").await.unwrap(), "2");

    let damaged = || Filter::of(ids[1..5].to_vec());
    assert_eq!(change(&replica, damaged(), DeliveryChange::Hold).await.changed, 4);
    assert_eq!(change(&replica, damaged(), DeliveryChange::Delete).await.changed, 4);
    assert_eq!(database.sql("SELECT count(*) FROM delivery").await.unwrap(), "2");
    // Its history has what was damaged, and can be read all the same.
    let events = admin.show(ids[1], Shown::Nothing).await.unwrap().events;
    let kinds = [EventKind::MessageAccepted, EventKind::DeliveryHeld, EventKind::RecipientRemoved];
    assert_eq!(events.iter().map(|event| event.kind).collect::<Vec<_>>(), kinds);
    assert!(events[0].unreadable.is_empty() && events[2].unreadable[0].starts_with("sender: \"nobody\": "));
}

/// Of such a row not even the columns can be read.
#[tokio::test]
async fn a_row_that_is_no_delivery_delays_no_other_and_hides_none() {
    // The first cannot be loaded, the second can be and not fetched.
    let damages = [
        "INSERT INTO retry (delivery_id, next_attempt_at, attempts, recipients, last_outcome) \
         SELECT id, now(), -1, recipients, '' FROM delivery WHERE destination = 'bad.example'",
        "UPDATE delivery SET recipients = ARRAY[NULL] WHERE destination = 'bad.example'",
    ];
    for damage in damages {
        let (database, replica) = usual(|_| {}).await;
        let mut submitter = Submitter::connect(&replica).await;
        for recipient in ["x@b.example", "x@bad.example", "x@c.example"] {
            submitter.accepted("s@a.example", &[recipient]).await;
        }
        database.sql(damage).await.unwrap();
        replica.stop().await;
        let replica = another(&database, |_| {}).await;
        let page = replica.admin().await.list(ListRequest { limit: 10, ..ListRequest::default() }).await.unwrap();
        assert_eq!(page.deliveries.len(), 2, "{damage}");
        let mut worker = Worker::connect(&replica).await;
        let mut dispatched = [worker.dispatch().await.destination, worker.dispatch().await.destination];
        dispatched.sort_unstable();
        assert_eq!(dispatched, ["b.example", "c.example"], "{damage}");
        worker.is_left_alone().await;
    }
}

#[tokio::test]
async fn a_damaged_event_hides_no_other() {
    let (database, replica) = usual(|_| {}).await;
    let mut submitter = Submitter::connect(&replica).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(submitter.accepted("s@a.example", &["x@b.example"]).await);
    }
    let damage = format!("UPDATE event SET detail = '\\xff', sender = '@' WHERE message_id = {}", ids[1].as_i64());
    database.sql(&damage).await.unwrap();
    let by = TraceBy::Address("x@b.example".into());
    let request = TraceRequest { by, limit: 10, since: None, until: None };
    let told = replica.admin().await.trace(request).await.unwrap().events;
    assert_eq!(told.iter().map(|event| event.message).collect::<Vec<_>>(), ids);
    assert_eq!(told.iter().map(|event| event.unreadable.len()).collect::<Vec<_>>(), [0, 2, 0]);
}
