//! Settlement: who deletes settles, facts win, opinions lose to newer ones.

use std::time::Duration;

use bytes::Bytes;
use mailtier_store::{Extras, NewMessage, Retry, Session, SettlePlan};
use mailtier_types::{EventKind, Timestamp};

use crate::mail::{accept, bounds, event, finished, loaded, message, now, open, queued, wait_for_a_blocked_statement};

fn retry(mail: &NewMessage, attempts: u16, recipients: &[&str]) -> Retry {
    Retry {
        delivery: mail.id.delivery(0),
        attempts,
        next_attempt_at: Timestamp::from_secs(2_000_000_000 + i64::from(attempts)),
        recipients: recipients.iter().map(|&recipient| recipient.to_owned()).collect(),
        last_outcome: Bytes::from(format!("outcome {attempts}")),
    }
}

async fn settle(session: &mut Session, plan: SettlePlan) {
    let mut settlement = session.begin_settle().await.unwrap();
    settlement.apply(&plan).await.unwrap();
    settlement.commit().await.unwrap();
}

async fn defer(session: &mut Session, retry: Retry) {
    settle(session, SettlePlan { retries: vec![retry], ..SettlePlan::default() }).await;
}

#[tokio::test]
async fn a_delivery_is_finished_by_one_and_its_events_are_stored_once() {
    let (database, _store, mut session) = open().await;
    let mails = [message(&["one.example"]), message(&["two.example"])];
    accept(&mut session, &mails).await;
    let delivered = |mail: &NewMessage| event(mail, 0, EventKind::RecipientDelivered);
    let done = session.finish_delivered(&[finished(&mails[0], 0)], &[delivered(&mails[0])]).await.unwrap();
    assert_eq!(done, [mails[0].id.delivery(0)]);
    let both = [finished(&mails[0], 0), finished(&mails[1], 0)];
    let done = session.finish_delivered(&both, &[delivered(&mails[0]), delivered(&mails[1])]).await.unwrap();
    assert_eq!(done, [mails[1].id.delivery(0)], "the first was settled before");
    let counts = "SELECT (SELECT count(*) FROM event WHERE kind = 3), (SELECT count(*) FROM delivery), \
                  (SELECT count(*) FROM body)";
    assert_eq!(database.sql(counts).await.unwrap(), "2|0|0");
}

#[tokio::test]
async fn the_body_goes_with_the_last_delivery() {
    let (_database, _store, mut session) = open().await;
    let mail = message(&["one.example", "two.example", "three.example"]);
    accept(&mut session, std::slice::from_ref(&mail)).await;
    session.finish_delivered(&[finished(&mail, 1)], &[]).await.unwrap();
    assert!(session.body_chunk(mail.id, 0).await.unwrap().is_some());
    session.finish_delivered(&[finished(&mail, 0), finished(&mail, 2)], &[]).await.unwrap();
    assert!(session.body_chunk(mail.id, 0).await.unwrap().is_none());
}

#[tokio::test]
async fn a_deferral_is_kept_and_an_older_opinion_never_wins() {
    let (_database, _store, mut session) = open().await;
    let mail = message(&["one.example"]);
    accept(&mut session, std::slice::from_ref(&mail)).await;
    let delivery = mail.id.delivery(0);
    defer(&mut session, retry(&mail, 2, &["a@one.example", "b@one.example"])).await;
    defer(&mut session, retry(&mail, 1, &["a@one.example", "b@one.example"])).await;
    let stored = session.fetch(&[delivery]).await.unwrap().remove(0);
    assert_eq!((stored.attempts, stored.last_outcome), (2, Bytes::from_static(b"outcome 2")));
    // A fact about an attempt before: one recipient was delivered after all.
    defer(&mut session, retry(&mail, 2, &["b@one.example"])).await;
    assert_eq!(session.fetch(&[delivery]).await.unwrap()[0].recipients, ["b@one.example"]);
    // The same opinion again, from before that fact.
    defer(&mut session, retry(&mail, 2, &["a@one.example", "b@one.example"])).await;
    assert_eq!(session.fetch(&[delivery]).await.unwrap()[0].recipients, ["b@one.example"]);
    let shard = mail.deliveries[0].shard;
    let plain = session.load(bounds(0, 10), &[shard], Extras::default()).await.unwrap().deliveries;
    assert!(plain[0].last_outcome.is_empty() && plain[0].sender.is_empty(), "they are not wanted");
    let told = loaded(&mut session, &[shard]).await.remove(0);
    assert_eq!(told.last_outcome, Bytes::from_static(b"outcome 2"));
    assert_eq!((told.attempts, told.next_attempt_at), (2, Some(Timestamp::from_secs(2_000_000_002))));
}

#[tokio::test]
async fn a_late_fact_ends_a_deferred_delivery() {
    let (database, _store, mut session) = open().await;
    let mail = message(&["one.example"]);
    accept(&mut session, std::slice::from_ref(&mail)).await;
    defer(&mut session, retry(&mail, 3, &["a@one.example"])).await;
    let delivered = event(&mail, 0, EventKind::RecipientDelivered);
    assert_eq!(session.finish_delivered(&[finished(&mail, 0)], &[delivered]).await.unwrap().len(), 1);
    let counts = "SELECT (SELECT count(*) FROM delivery), (SELECT count(*) FROM retry), (SELECT count(*) FROM body)";
    assert_eq!(database.sql(counts).await.unwrap(), "0|0|0");
}

#[tokio::test]
async fn a_failure_its_event_and_its_notification_are_one_transaction() {
    let (database, _store, mut session) = open().await;
    let mail = message(&["one.example"]);
    accept(&mut session, std::slice::from_ref(&mail)).await;
    let plan = || SettlePlan {
        finished: vec![finished(&mail, 0)],
        events: vec![event(&mail, 0, EventKind::RecipientFailed)],
        dsns: vec![message(&["origin.example"])],
        ..SettlePlan::default()
    };
    let mut settlement = session.begin_settle().await.unwrap();
    assert_eq!(settlement.lock(&[mail.id.delivery(0)]).await.unwrap().len(), 1);
    settlement.apply(&plan()).await.unwrap();
    settlement.rollback().await.unwrap();
    let counts = "SELECT (SELECT count(*) FROM event WHERE kind = 4), \
                  (SELECT string_agg(destination, ',') FROM delivery), (SELECT count(*) FROM body)";
    assert_eq!(database.sql(counts).await.unwrap(), "0|one.example|1", "given up: nothing has changed");
    settle(&mut session, plan()).await;
    assert_eq!(database.sql(counts).await.unwrap(), "1|origin.example|1");
}

#[tokio::test]
async fn of_two_settlements_of_a_delivery_the_second_sees_what_the_first_did() {
    let (database, store, mut session) = open().await;
    for ends in [true, false] {
        let mail = message(&["one.example"]);
        accept(&mut session, std::slice::from_ref(&mail)).await;
        let delivery = mail.id.delivery(0);
        let mut first = session.begin_settle().await.unwrap();
        assert_eq!(first.lock(&[delivery]).await.unwrap().len(), 1);
        let second = {
            let store = store.clone();
            tokio::spawn(async move {
                let mut session = store.session().await?;
                let mut settlement = session.begin_settle().await?;
                let locked = settlement.lock(&[delivery]).await?;
                settlement.rollback().await?;
                Ok::<_, mailtier_store::StoreError>(locked)
            })
        };
        wait_for_a_blocked_statement(&database).await;
        let plan = if ends {
            SettlePlan { finished: vec![finished(&mail, 0)], ..SettlePlan::default() }
        } else {
            SettlePlan { retries: vec![retry(&mail, 5, &["b@one.example"])], ..SettlePlan::default() }
        };
        first.apply(&plan).await.unwrap();
        first.commit().await.unwrap();
        let locked = second.await.unwrap().unwrap();
        if ends {
            assert!(locked.is_empty(), "only one ends it: {locked:?}");
        } else {
            assert_eq!((locked[0].attempts, locked[0].recipients.as_slice()), (5, &["b@one.example".to_owned()][..]));
        }
    }
}

#[tokio::test]
async fn two_settlements_of_the_last_two_deliveries_leave_the_body_to_the_sweeper() {
    let (_database, store, mut session) = open().await;
    let mut other = store.session().await.unwrap();
    let mail = message(&["one.example", "two.example"]);
    let waiting = message(&["three.example"]);
    accept(&mut session, &[mail.clone(), waiting.clone()]).await;
    let mut here = session.begin_settle().await.unwrap();
    let mut there = other.begin_settle().await.unwrap();
    let plan = |ordinal| SettlePlan { finished: vec![finished(&mail, ordinal)], ..SettlePlan::default() };
    here.apply(&plan(0)).await.unwrap();
    there.apply(&plan(1)).await.unwrap();
    here.commit().await.unwrap();
    there.commit().await.unwrap();
    assert_eq!(queued(&mut session).await, [waiting.id.delivery(0)]);
    assert!(session.body_chunk(mail.id, 0).await.unwrap().is_some(), "each saw the other's delivery");

    let past = mail.id.made_at().before(Duration::from_secs(1));
    assert_eq!(session.sweep_orphan_bodies(past).await.unwrap(), 0, "younger than asked for");
    assert_eq!(session.sweep_orphan_bodies(now().after(Duration::from_secs(60))).await.unwrap(), 1);
    assert!(session.body_chunk(mail.id, 0).await.unwrap().is_none());
    assert!(session.body_chunk(waiting.id, 0).await.unwrap().is_some(), "its delivery waits");
}

#[tokio::test]
async fn settlers_that_race_never_lose_a_body_or_deadlock() {
    let (database, store, mut session) = open().await;
    let mails: Vec<_> = (0..200).map(|_| message(&["one.example", "two.example"])).collect();
    accept(&mut session, &mails).await;
    let tasks: Vec<_> = (0..4_u16)
        .map(|task| {
            let (store, mails) = (store.clone(), mails.clone());
            tokio::spawn(async move {
                let mut session = store.session().await.unwrap();
                let mut ended = 0;
                // Every delivery is given to two tasks, in opposite orders.
                let mut rows: Vec<_> = mails.iter().map(|mail| (mail, task % 2)).collect();
                if task >= 2 {
                    rows.reverse();
                }
                for chunk in rows.chunks(7) {
                    let over: Vec<_> = chunk.iter().map(|(mail, ordinal)| finished(mail, *ordinal)).collect();
                    let events: Vec<_> = chunk
                        .iter()
                        .map(|(mail, ordinal)| event(mail, *ordinal, EventKind::RecipientDelivered))
                        .collect();
                    ended += session.finish_delivered(&over, &events).await.unwrap().len();
                }
                ended
            })
        })
        .collect();
    let mut ended = 0;
    for task in tasks {
        ended += task.await.unwrap();
    }
    assert_eq!(ended, 400, "each delivery was ended by exactly one");
    assert_eq!(database.sql("SELECT count(*) FROM event WHERE kind = 3").await.unwrap(), "400");
    session.sweep_orphan_bodies(now().after(Duration::from_secs(60))).await.unwrap();
    assert_eq!(database.sql("SELECT count(*) FROM body").await.unwrap(), "0");
}
