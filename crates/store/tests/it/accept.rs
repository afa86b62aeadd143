//! Acceptance: once each, whoever submits it, however often, at whatever moment.

use bytes::Bytes;
use mailtier_store::{Accepted, Refusal, SettlePlan};
use mailtier_types::{EventKind, ShardId};

use crate::mail::{
    accept, again, event, finished, loaded, message, message_with_id, new_id, now, open, queued,
    wait_for_a_blocked_statement,
};

#[tokio::test]
async fn what_is_accepted_can_be_loaded_fetched_and_read() {
    let (_database, _store, mut session) = open().await;
    let messages = [message(&["one.example", "two.example"]), message(&["one.example"])];
    accept(&mut session, &messages).await;

    let shard = ShardId::of("one.example");
    let loaded = loaded(&mut session, &[shard]).await;
    assert_eq!(loaded.len(), 2, "only the shards asked for: {loaded:?}");
    assert_eq!((loaded[0].id, loaded[0].shard, loaded[0].priority), (messages[0].id.delivery(0), shard, -3));
    assert_eq!((loaded[0].attempts, loaded[0].next_attempt_at), (0, None));

    let fetched = session.fetch(&[messages[0].id.delivery(1)]).await.unwrap();
    let expected = &messages[0].deliveries[1];
    assert_eq!(fetched[0].message, messages[0].id);
    assert_eq!(fetched[0].recipients, expected.recipients);
    assert_eq!((&fetched[0].options, fetched[0].expires_at), (&expected.options, expected.expires_at));

    let bodies = session.bodies(&[messages[0].id, messages[1].id]).await.unwrap();
    assert_eq!(bodies[&messages[1].id], [Bytes::from(format!("body of {}", messages[1].id))]);
}

#[tokio::test]
async fn a_message_submitted_twice_is_accepted_once() {
    let (_database, _store, mut session) = open().await;
    let first = message(&["one.example", "two.example"]);
    accept(&mut session, std::slice::from_ref(&first)).await;
    let other = message(&["three.example"]);
    // With and without the hint, alone and beside mail that is new.
    let accepted = session.accept(&[again(&first), other.clone()]).await.unwrap();
    assert_eq!(accepted, Accepted { refused: vec![], known: vec![first.id] });
    let accepted = session.accept(std::slice::from_ref(&first)).await.unwrap();
    assert_eq!(accepted.known, [first.id]);
    assert_eq!(queued(&mut session).await, [first.id.delivery(0), first.id.delivery(1), other.id.delivery(0)]);
}

#[tokio::test]
async fn a_message_is_not_revived_after_its_delivery() {
    let (_database, _store, mut session) = open().await;
    let mail = message(&["one.example"]);
    accept(&mut session, std::slice::from_ref(&mail)).await;
    let events = [event(&mail, 0, EventKind::RecipientDelivered)];
    assert_eq!(session.finish_delivered(&[finished(&mail, 0)], &events).await.unwrap(), [mail.id.delivery(0)]);
    for late in [again(&mail), mail.clone()] {
        assert_eq!(session.accept(&[late]).await.unwrap().known, [mail.id]);
        assert!(queued(&mut session).await.is_empty());
    }
}

#[tokio::test]
async fn a_second_submission_waits_for_the_first_and_sees_how_it_ends() {
    let (database, store, mut session) = open().await;
    for (commits, delivered_meanwhile) in [(true, false), (true, true), (false, false)] {
        let mail = message(&["one.example", "two.example"]);
        let mut first = store.session().await.unwrap();
        let mut transaction = first.begin_settle().await.unwrap();
        transaction.apply(&SettlePlan { dsns: vec![mail.clone()], ..SettlePlan::default() }).await.unwrap();
        if delivered_meanwhile {
            let over = vec![finished(&mail, 0), finished(&mail, 1)];
            transaction.apply(&SettlePlan { finished: over, ..SettlePlan::default() }).await.unwrap();
        }
        let second = {
            let (store, mail) = (store.clone(), again(&mail));
            tokio::spawn(async move { store.session().await?.accept(&[mail]).await })
        };
        wait_for_a_blocked_statement(&database).await;
        if commits {
            transaction.commit().await.unwrap()
        } else {
            transaction.rollback().await.unwrap()
        }
        let accepted = second.await.unwrap().unwrap();
        assert_eq!(accepted.known.contains(&mail.id), commits, "it says whose acceptance it was");
        assert!(accepted.refused.is_empty());
        let left = queued(&mut session).await;
        let count = left.iter().filter(|id| [mail.id.delivery(0), mail.id.delivery(1)].contains(id)).count();
        assert_eq!(count, if delivered_meanwhile { 0 } else { 2 }, "commits {commits}");
    }
}

#[tokio::test]
async fn two_replicas_given_the_same_mail_at_once_accept_it_once() {
    let (database, store, mut session) = open().await;
    let mut other = store.session().await.unwrap();
    for _ in 0..20 {
        let here: Vec<_> = (0..40).map(|_| message(&["one.example", "two.example"])).collect();
        // The same in another order and beside other mail.
        let mut there: Vec<_> = here.iter().rev().map(again).collect();
        there.insert(7, message(&["three.example"]));
        let (a, b) = tokio::join!(session.accept(&here), other.accept(&there));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert!(a.refused.is_empty() && b.refused.is_empty());
        assert_eq!(a.known.len() + b.known.len(), 40, "each is new to one and known to the other");
    }
    let counts = "SELECT (SELECT count(*) FROM delivery), (SELECT count(*) FROM event), (SELECT count(*) FROM body)";
    assert_eq!(database.sql(counts).await.unwrap(), "1620|820|820");
}

#[tokio::test]
async fn an_id_that_other_mail_has_is_refused_and_the_rest_is_stored() {
    let (_database, _store, mut session) = open().await;
    let theirs = message(&["one.example", "two.example"]);
    accept(&mut session, std::slice::from_ref(&theirs)).await;
    let mut same_id = message_with_id(theirs.id, &["one.example", "two.example"]);
    same_id.accepted.detail = Bytes::from_static(b"received by someone else");
    // An id within the other's range, as a node number used twice makes it.
    let second = mailtier_types::MessageId::from_i64(theirs.id.as_i64() + 1).unwrap();
    let overlapping = message_with_id(second, &["three.example"]);
    let fine = message(&["four.example"]);
    let accepted = session.accept(&[overlapping.clone(), same_id.clone(), fine.clone()]).await.unwrap();
    assert!(accepted.known.is_empty());
    let mut refused = accepted.refused;
    refused.sort_by_key(|(id, _)| *id);
    assert_eq!(refused, [(same_id.id, Refusal::IdTaken), (overlapping.id, Refusal::IdTaken)]);
    assert_eq!(queued(&mut session).await, [theirs.id.delivery(0), theirs.id.delivery(1), fine.id.delivery(0)]);
    let body = session.body_chunk(theirs.id, 0).await.unwrap().unwrap();
    assert_eq!(body, Bytes::from(format!("body of {}", theirs.id)), "theirs is as it was");
}

#[tokio::test]
async fn one_message_that_cannot_be_stored_does_not_hold_up_the_others() {
    let (_database, _store, mut session) = open().await;
    let mut batch: Vec<_> = (0..9).map(|_| message(&["one.example"])).collect();
    batch[4].deliveries[0].destination = "nul\0.example".to_owned();
    let accepted = session.accept(&batch).await.unwrap();
    assert_eq!(accepted.refused, [(batch[4].id, Refusal::NotStorable)]);
    assert_eq!(queued(&mut session).await.len(), 8);
}

#[tokio::test]
async fn a_message_whose_clock_is_wrong_is_accepted_once_too() {
    let (_database, _store, mut session) = open().await;
    let day = std::time::Duration::from_secs(86_400);
    let years_off = [now().before(day * 300), now().after(day * 300)];
    for at in years_off {
        // Ids of one source only grow, so these are made by a source of their own.
        let node = mailtier_types::NodeNumber::new(9).unwrap();
        let mail = message_with_id(mailtier_types::IdSource::new(node).take(1, at), &["one.example"]);
        accept(&mut session, std::slice::from_ref(&mail)).await;
        assert_eq!(session.accept(&[again(&mail)]).await.unwrap().known, [mail.id]);
    }
}

#[tokio::test]
async fn a_body_that_came_in_parts_is_accepted_only_whole() {
    let (_database, _store, mut session) = open().await;
    let id = new_id(1);
    let mut mail = message_with_id(id, &["one.example"]);
    mail.body = Some((2, Bytes::from_static(b"last")));
    let part = |seq: u32| (id, seq, Bytes::from(format!("part {seq}")));
    session.put_parts(&[part(0)]).await.unwrap();
    let accepted = session.accept(std::slice::from_ref(&mail)).await.unwrap();
    assert_eq!(accepted.refused, [(id, Refusal::PartsMissing)]);
    assert!(queued(&mut session).await.is_empty());
    // The upload is repeated from its beginning.
    session.put_parts(&[part(0), part(1)]).await.unwrap();
    accept(&mut session, std::slice::from_ref(&mail)).await;
    let bodies = session.bodies(&[id]).await.unwrap();
    assert_eq!(bodies[&id], ["part 0", "part 1", "last"].map(Bytes::from_static_str));
    assert_eq!(session.accept(&[again(&mail)]).await.unwrap().known, [id]);
}

trait FromStaticStr {
    fn from_static_str(text: &'static str) -> Bytes;
}

impl FromStaticStr for Bytes {
    fn from_static_str(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }
}
