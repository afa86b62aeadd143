//! Lost connections, cancelled calls and crashes: what is said about a write is true.

use std::time::Duration;

use mailtier_config::{DatabaseConfig, Secret};
use mailtier_store::{SettlePlan, Store, StoreError};
use mailtier_testkit::postgres::{PostgresServer, Stop};

use crate::mail::{accept, again, finished, message, now, open, queued, wait_for_a_blocked_statement};

#[tokio::test]
async fn a_write_whose_connection_is_lost_has_an_unknown_outcome() {
    let (database, store, mut session) = open().await;
    let mail = message(&["one.example"]);
    let mut holder = store.session().await.unwrap();
    let mut blocking = holder.begin_settle().await.unwrap();
    blocking.apply(&SettlePlan { dsns: vec![mail.clone()], ..SettlePlan::default() }).await.unwrap();
    let accepting = tokio::spawn({
        let mail = again(&mail);
        async move { (session.accept(&[mail]).await, session) }
    });
    let pid = wait_for_a_blocked_statement(&database).await;
    database.sql(&format!("SELECT pg_terminate_backend({pid})")).await.unwrap();
    let (result, mut session) = accepting.await.unwrap();
    let error = result.unwrap_err();
    assert!(error.is_unknown() && error.is_transient(), "{error:?}");
    assert!(!session.is_usable());
    assert!(matches!(session.fetch(&[]).await, Err(StoreError::SessionSpent)));
    blocking.rollback().await.unwrap();
    // The caller does what it is told: the same again on another session.
    accept(&mut store.session().await.unwrap(), &[again(&mail)]).await;
    assert_eq!(queued(&mut holder).await, [mail.id.delivery(0)]);
}

#[tokio::test]
async fn a_question_whose_connection_is_lost_has_changed_nothing() {
    let (database, _store, mut session) = open().await;
    let others = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                  WHERE datname = current_database() AND pid <> pg_backend_pid()";
    database.sql(others).await.unwrap();
    let error = session.fetch(&[message(&["one.example"]).id.delivery(0)]).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
}

#[tokio::test]
async fn a_cancelled_call_leaves_a_session_that_refuses_work() {
    let (database, store, mut session) = open().await;
    let mail = message(&["one.example"]);
    accept(&mut session, std::slice::from_ref(&mail)).await;
    let mut holder = store.session().await.unwrap();
    let mut blocking = holder.begin_settle().await.unwrap();
    blocking.lock(&[mail.id.delivery(0)]).await.unwrap();
    let over = [finished(&mail, 0)];
    tokio::select! {
        result = session.finish_delivered(&over, &[]) => panic!("not blocked: {result:?}"),
        _ = wait_for_a_blocked_statement(&database) => {}
    }
    assert!(!session.is_usable());
    assert!(matches!(session.begin_settle().await, Err(StoreError::SessionSpent)));
    blocking.rollback().await.unwrap();
}

#[tokio::test]
async fn a_settlement_that_is_dropped_changes_nothing() {
    let (_database, store, mut session) = open().await;
    let mail = message(&["one.example"]);
    accept(&mut session, std::slice::from_ref(&mail)).await;
    let mut settlement = session.begin_settle().await.unwrap();
    settlement.lock(&[mail.id.delivery(0)]).await.unwrap();
    settlement.apply(&SettlePlan { finished: vec![finished(&mail, 0)], ..SettlePlan::default() }).await.unwrap();
    drop(settlement);
    assert!(!session.is_usable(), "nobody works in its transaction");
    drop(session);
    let mut other = store.session().await.unwrap();
    let mut settlement = other.begin_settle().await.unwrap();
    assert_eq!(settlement.lock(&[mail.id.delivery(0)]).await.unwrap().len(), 1, "the lock is free again");
    settlement.rollback().await.unwrap();
    assert_eq!(queued(&mut other).await, [mail.id.delivery(0)]);
}

#[tokio::test]
async fn sessions_are_limited_and_come_free_again() {
    let (database, _store, _session) = open().await;
    let mut config = database.config();
    config.max_connections = 1;
    let store = Store::connect(&config).await.unwrap();
    let mut sessions = Vec::new();
    for _ in 0..5 {
        sessions.push(store.session().await.unwrap());
    }
    let waiting = tokio::spawn(async move { store.session().await.map(drop) });
    sessions.pop();
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_was_accepted_survives_a_crash_of_the_server() {
    let mut server = tokio::task::spawn_blocking(PostgresServer::start).await.unwrap().unwrap();
    let config = DatabaseConfig { url: Some(Secret::new(server.url("postgres"))), ..DatabaseConfig::default() };
    Store::migrate(&config, now()).await.unwrap();
    let store = Store::connect(&config).await.unwrap();
    let mut session = store.session().await.unwrap();
    let mails: Vec<_> = (0..50).map(|_| message(&["one.example"])).collect();
    accept(&mut session, &mails).await;
    let server = tokio::task::spawn_blocking(move || {
        server.stop(Stop::Crash).unwrap();
        server.restart().unwrap();
        server
    });
    let _server = server.await.unwrap();
    let error = session.accept(&[message(&["two.example"])]).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    let mut session = store.session().await.unwrap();
    assert_eq!(queued(&mut session).await.len(), 50);
    let hour = Duration::from_secs(3_600);
    assert!(session.audit(now().before(hour), now().after(hour), 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_connection_that_was_given_back_is_lent_again_while_it_can_be_used() {
    let (database, store, session) = open().await;
    let backends = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mailtier-queue' \
                    AND datname = current_database()";
    let connections = async || database.sql(backends).await.unwrap().trim().to_owned();
    let body = async |mut session: mailtier_store::Session| {
        session.body_chunk(message(&["one.example"]).id, 0).await.map(|_| session)
    };
    drop(session);
    let lent = body(store.borrow().await.unwrap()).await.unwrap();
    assert_eq!(store.usage().open, 1);
    store.give_back(lent);
    assert_eq!((store.usage().open, connections().await.as_str()), (1, "1"), "it waits for its next use");
    // Two at a time are two connections, of which one has served before; a new one takes the place of one that waits.
    let (first, second) =
        (body(store.borrow().await.unwrap()).await.unwrap(), body(store.borrow().await.unwrap()).await.unwrap());
    assert_eq!(store.usage().open, 2);
    store.give_back(first);
    let fresh = store.session().await.unwrap();
    assert_eq!(store.usage().open, 2);
    drop(fresh);
    // One that was cut while it waited is found broken by whoever borrows it next, and is not kept again.
    store.give_back(second);
    let others = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                  WHERE datname = current_database() AND pid <> pg_backend_pid()";
    database.sql(others).await.unwrap();
    let mut broken = store.borrow().await.unwrap();
    let error = broken.body_chunk(message(&["one.example"]).id, 0).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    store.give_back(broken);
    assert_eq!(store.usage().open, 0);
    body(store.borrow().await.unwrap()).await.unwrap();
}
