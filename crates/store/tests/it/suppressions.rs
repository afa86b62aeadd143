//! Suppression lists: who is on one, who takes whose place, and what is written beside an acceptance.

use std::time::Duration;

use bytes::Bytes;
use mailtier_store::{AsidePlan, NewMessage, NewSuppression, Original, Session, SuppressionPage, SuppressionSource};
use mailtier_types::{EventKind, TenantId, Timestamp};

use crate::mail::{accept, event, message, now, open, queued};

const HOUR: Duration = Duration::from_secs(3_600);
const TENANT: TenantId = TenantId(7);

fn at() -> Timestamp {
    Timestamp::from_millis(now().as_millis())
}

fn suppression(address: &str, source: SuppressionSource, at: Timestamp, lasting: Option<Duration>) -> NewSuppression {
    NewSuppression {
        tenant: TENANT,
        address: address.to_owned(),
        source,
        reason: format!("{source:?}"),
        message: None,
        created_by: "alice".to_owned(),
        created_at: at,
        expires_at: lasting.map(|lasting| at.after(lasting)),
    }
}

/// Whose word counts for an address.
async fn source(session: &mut Session, address: &str, at: Timestamp) -> Option<String> {
    let found = session.find_suppressed(&[(TENANT, address.to_owned())], at).await.unwrap();
    found.into_iter().next().map(|one| one.source)
}

#[tokio::test]
async fn a_rule_takes_nobodys_place_whose_word_counts_more_while_it_is_in_force() {
    use SuppressionSource::{Bounce, Complaint, Failure, Operator};
    let (_database, _store, mut session) = open().await;
    for (number, (first, second, counts)) in [
        (Failure, Bounce, Bounce),
        (Bounce, Complaint, Complaint),
        (Complaint, Bounce, Complaint),
        (Operator, Complaint, Operator),
        (Complaint, Operator, Operator),
        (Operator, Operator, Operator),
    ]
    .into_iter()
    .enumerate()
    {
        let (address, at) = (format!("u{number}@b.example"), at());
        assert_eq!(session.suppress(&[suppression(&address, first, at, Some(HOUR))]).await.unwrap(), 1);
        session.suppress(&[suppression(&address, second, at, None)]).await.unwrap();
        assert_eq!(source(&mut session, &address, at).await.as_deref(), Some(counts.word()), "{first:?} {second:?}");
        // Once its time is over, anybody takes its place.
        let over = format!("over{number}@b.example");
        session.suppress(&[suppression(&over, first, at, Some(HOUR))]).await.unwrap();
        session.suppress(&[suppression(&over, second, at.after(HOUR), None)]).await.unwrap();
        assert_eq!(source(&mut session, &over, at.after(HOUR)).await.as_deref(), Some(second.word()));
    }
}

#[tokio::test]
async fn a_list_is_read_by_pages_and_means_nothing_when_its_time_is_over() {
    let (database, _store, mut session) = open().await;
    let at = at();
    assert_eq!(session.suppressing_tenants().await.unwrap(), []);
    let of = |tenant, address: &str, lasting| NewSuppression {
        tenant: TenantId(tenant),
        ..suppression(address, SuppressionSource::Operator, at, lasting)
    };
    let all = [
        of(9, "a@b.example", None),
        of(7, "b@b.example", Some(HOUR)),
        of(7, "a@b.example", None),
        // Said twice in one order: the last counts.
        of(7, "b@b.example", Some(2 * HOUR)),
    ];
    assert_eq!(session.suppress(&all).await.unwrap(), 3);
    assert_eq!(session.suppressing_tenants().await.unwrap(), [TenantId(7), TenantId(9)]);
    let page = |tenant: Option<i32>, after, limit| SuppressionPage {
        tenant: tenant.map(TenantId),
        address: None,
        after,
        limit,
    };
    let mut told = async |page: &SuppressionPage<'_>, now| {
        let found = session.suppressions(page, now).await.unwrap();
        found.iter().map(|one| format!("{} {}", one.tenant.0, one.address)).collect::<Vec<_>>()
    };
    let first = told(&page(None, None, 2), at).await;
    assert_eq!(first, ["7 a@b.example", "7 b@b.example"]);
    assert_eq!(told(&page(None, Some((TENANT, "b@b.example")), 2), at).await, ["9 a@b.example"]);
    assert_eq!(told(&page(Some(9), None, 9), at).await, ["9 a@b.example"]);
    let one = SuppressionPage { address: Some("a@b.example"), ..page(None, None, 9) };
    assert_eq!(told(&one, at).await, ["7 a@b.example", "9 a@b.example"]);
    assert_eq!(told(&page(Some(7), None, 9), at.after(2 * HOUR)).await, ["7 a@b.example"], "the other is over");

    session.sweep_suppressions(at.after(HOUR)).await.unwrap();
    assert_eq!(database.sql("SELECT count(*) FROM suppression").await.unwrap(), "3");
    session.sweep_suppressions(at.after(2 * HOUR)).await.unwrap();
    assert_eq!(database.sql("SELECT count(*) FROM suppression").await.unwrap(), "2");
    assert!(session.unsuppress(TENANT, "a@b.example", at).await.unwrap());
    assert!(!session.unsuppress(TENANT, "a@b.example", at).await.unwrap());
    assert_eq!(session.suppressing_tenants().await.unwrap(), [TenantId(9)]);
}

/// A message that is read and not delivered, with what follows.
fn plan(message: &NewMessage) -> AsidePlan {
    let read = NewMessage { deliveries: Vec::new(), body: None, ..message.clone() };
    AsidePlan {
        messages: vec![read],
        events: vec![event(message, 0, EventKind::BounceReceived)],
        suppressions: vec![suppression("user@b.example", SuppressionSource::Bounce, at(), None)],
    }
}

async fn counts(database: &mailtier_testkit::postgres::TestDatabase) -> String {
    let of = |table: &str| format!("(SELECT count(*) FROM {table})");
    let tables = ["event", "delivery", "body", "suppression"].map(of).join(", ");
    database.sql(&format!("SELECT concat_ws(' ', {tables})")).await.unwrap()
}

#[tokio::test]
async fn an_acceptance_and_what_follows_from_it_are_there_together_or_not_at_all() {
    let (database, _store, mut session) = open().await;
    let message = message(&["b.example"]);
    let mut transaction = session.begin_aside().await.unwrap();
    transaction.write(&plan(&message)).await.unwrap();
    assert_eq!(counts(&database).await, "0 0 0 0", "nobody sees it before it is committed");
    transaction.rollback().await.unwrap();
    assert_eq!(counts(&database).await, "0 0 0 0");

    let mut transaction = session.begin_aside().await.unwrap();
    transaction.write(&plan(&message)).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(counts(&database).await, "2 0 0 1");
    assert!(session.is_accepted(&message).await.unwrap());

    let mut transaction = session.begin_aside().await.unwrap();
    let error = transaction.write(&plan(&message)).await.unwrap_err();
    assert!(error.is_duplicate_key(), "{error}");
    transaction.rollback().await.unwrap();
    assert_eq!(counts(&database).await, "2 0 0 1", "it is accepted once");
}

#[tokio::test]
async fn the_chunks_of_a_message_that_is_read_are_gone_and_those_of_a_delivery_stay() {
    let (database, _store, mut session) = open().await;
    let (read, delivered) = (message(&["b.example"]), message(&["b.example", "c.example"]));
    for message in [&read, &delivered] {
        session.put_parts(&[(message.id, 0, Bytes::from_static(b"part"))]).await.unwrap();
    }
    let mut transaction = session.begin_aside().await.unwrap();
    assert!(transaction.lock_parts(read.id, 1).await.unwrap() && !transaction.lock_parts(read.id, 2).await.unwrap());
    assert_eq!(transaction.first_chunk(read.id).await.unwrap().unwrap(), "part");
    let going = NewMessage {
        deliveries: delivered.deliveries[1..].to_vec(),
        body: Some((1, Bytes::from_static(b"last"))),
        ..delivered.clone()
    };
    let mut plan = plan(&read);
    plan.messages.push(going);
    transaction.write(&plan).await.unwrap();
    transaction.commit().await.unwrap();
    let left = database.sql("SELECT string_agg(seq::text, ' ' ORDER BY seq) FROM body").await.unwrap();
    assert_eq!(left, "0 1", "those of the other alone");
    assert_eq!(queued(&mut session).await, [delivered.id.delivery(1)]);
}

#[tokio::test]
async fn what_was_accepted_is_found_by_its_id() {
    let (_database, _store, mut session) = open().await;
    let (known, unknown) = (message(&["b.example"]), message(&["c.example"]));
    accept(&mut session, std::slice::from_ref(&known)).await;
    let mut transaction = session.begin_aside().await.unwrap();
    let recipients = vec!["a@b.example".to_owned(), "b@b.example".to_owned()];
    let original = Original { sender: "sender@example.com".to_owned(), recipients };
    assert_eq!(transaction.original(known.id).await.unwrap(), Some(original));
    assert_eq!(transaction.original(unknown.id).await.unwrap(), None);
    transaction.rollback().await.unwrap();
}
