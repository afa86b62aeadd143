//! Event partitions.

use std::time::Duration;

use mailtier_types::{IdSource, NodeNumber};

use crate::mail::{accept, again, connect, message_with_id, now, open};

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn partitions_are_made_ahead_once_and_take_over_what_came_too_early() {
    let (database, _store, mut session) = open().await;
    assert!(session.ensure_event_partitions(now(), 7).await.unwrap().is_empty(), "the migration made them");
    let early = now().after(DAY * 20);
    let mail = message_with_id(IdSource::new(NodeNumber::new(5).unwrap()).take(1, early), &["one.example"]);
    accept(&mut session, std::slice::from_ref(&mail)).await;
    assert_eq!(database.sql("SELECT count(*) FROM event_default").await.unwrap(), "1");
    let made = session.ensure_event_partitions(early, 2).await.unwrap();
    assert_eq!(made.len(), 4, "yesterday to the day after tomorrow: {made:?}");
    assert_eq!(database.sql("SELECT count(*) FROM event_default").await.unwrap(), "0");
    assert_eq!(database.sql(&format!("SELECT count(*) FROM {}", made[1])).await.unwrap(), "1");
    assert_eq!(session.accept(&[again(&mail)]).await.unwrap().known, [mail.id], "it is remembered where it is now");
}

#[tokio::test]
async fn replicas_that_make_partitions_at_once_agree() {
    let (_database, store, _session) = open().await;
    let soon = now().after(DAY * 30);
    let make = |store: mailtier_store::Store| async move {
        store.session().await.unwrap().ensure_event_partitions(soon, 3).await.unwrap().len()
    };
    let (a, b) = tokio::join!(make(store.clone()), make(store.clone()));
    assert_eq!(a + b, 5);
}

#[tokio::test]
async fn partitions_are_dropped_when_their_day_is_over_and_not_before() {
    let (database, _store, mut session) = open().await;
    let long_ago = now().before(DAY * 40);
    let made = session.ensure_event_partitions(long_ago, 1).await.unwrap();
    assert_eq!(made.len(), 3);
    let dropped = session.drop_event_partitions(now().before(DAY * 39)).await.unwrap();
    assert_eq!(dropped, made[..2], "of the third, some is younger");
    assert_eq!(session.drop_event_partitions(now().before(DAY * 14)).await.unwrap(), made[2..]);
    let left = database.sql("SELECT count(*) FROM pg_inherits WHERE inhparent = 'event'::regclass").await.unwrap();
    assert_eq!(left, "10", "yesterday, today, seven ahead and the default");
}

#[tokio::test]
async fn a_reader_of_history_delays_a_drop_but_is_not_waited_for() {
    let (database, _store, mut session) = open().await;
    session.ensure_event_partitions(now().before(DAY * 40), 0).await.unwrap();
    let mut reader = connect(&database).await;
    for text in ["BEGIN", "SELECT count(*) FROM event"] {
        sqlx::raw_sql(text).execute(&mut reader).await.unwrap();
    }
    let error = session.drop_event_partitions(now().before(DAY * 14)).await.unwrap_err();
    assert!(error.is_transient(), "to be tried again: {error:?}");
    drop(session);
    sqlx::raw_sql("COMMIT").execute(&mut reader).await.unwrap();
    let mut session = database.store().await.unwrap().session().await.unwrap();
    assert_eq!(session.drop_event_partitions(now().before(DAY * 14)).await.unwrap().len(), 2);
}
