//! What operators see and change.

use std::time::Duration;

use bytes::Bytes;
use mailtier_store::{DeliveryFilter, Retry, Selector, SettlePlan, TraceBy};
use mailtier_types::EventKind;

use crate::mail::{accept, event, finished, message, now, open};

#[tokio::test]
async fn lists_are_pages_of_what_matches() {
    let (_database, _store, mut session) = open().await;
    let mails: Vec<_> = (0..5).map(|_| message(&["one.example", "two.example"])).collect();
    accept(&mut session, &mails).await;
    let all = DeliveryFilter::default();
    let first = session.list(&all, None, 7).await.unwrap();
    assert_eq!(first.deliveries.len(), 7);
    let second = session.list(&all, first.next, 7).await.unwrap();
    assert_eq!((second.deliveries.len(), second.next), (3, None));
    assert!(second.deliveries[0].id > first.deliveries[6].id);

    let only = |destination: &str| DeliveryFilter { destination: Some(destination.to_owned()), ..all.clone() };
    let found = session.list(&only("two.example"), None, 100).await.unwrap();
    assert_eq!(found.deliveries.len(), 5);
    assert!(found.deliveries.iter().all(|delivery| delivery.destination == "two.example"));
    let none = session.list(&only("no.example"), None, 100).await.unwrap();
    assert!(none.deliveries.is_empty() && none.next.is_none());
    let by_recipient = DeliveryFilter { recipient: Some("b@one.example".to_owned()), ..all.clone() };
    assert_eq!(session.list(&by_recipient, None, 100).await.unwrap().deliveries.len(), 5);
    let by_sender = DeliveryFilter { sender: Some("other@example.com".to_owned()), ..all.clone() };
    assert!(session.list(&by_sender, None, 100).await.unwrap().deliveries.is_empty());
    let deferred = DeliveryFilter { deferred_only: true, ..all };
    assert!(session.list(&deferred, None, 100).await.unwrap().deliveries.is_empty());
    assert_eq!(session.show(mails[2].id).await.unwrap().len(), 2);
}

#[tokio::test]
async fn deferred_mail_is_selected_and_made_due() {
    let (_database, _store, mut session) = open().await;
    let mails: Vec<_> = (0..3).map(|_| message(&["one.example", "two.example"])).collect();
    accept(&mut session, &mails).await;
    let later = now().after(Duration::from_secs(3_600));
    let retries = mails.iter().map(|mail| Retry {
        delivery: mail.id.delivery(0),
        attempts: 1,
        next_attempt_at: later,
        recipients: vec!["a@one.example".to_owned()],
        last_outcome: Bytes::new(),
    });
    let plan = SettlePlan { retries: retries.collect(), ..SettlePlan::default() };
    let mut settlement = session.begin_settle().await.unwrap();
    settlement.apply(&plan).await.unwrap();
    settlement.commit().await.unwrap();

    let deferred = DeliveryFilter { deferred_only: true, ..DeliveryFilter::default() };
    assert_eq!(session.list(&deferred, None, 10).await.unwrap().deliveries.len(), 3);
    let pick = Selector::Messages(vec![mails[0].id, mails[2].id]);
    let page = session.select(&pick, None, 3).await.unwrap();
    assert_eq!(page.selected.len(), 3);
    let rest = session.select(&pick, page.next, 3).await.unwrap();
    assert_eq!((rest.selected.len(), rest.next), (1, None));
    assert_eq!(session.select(&Selector::All, None, 100).await.unwrap().selected.len(), 6);
    let there = session.select(&Selector::Destination("one.example".to_owned()), None, 100).await.unwrap();
    let ids: Vec<_> = there.selected.iter().map(|selected| selected.id).collect();
    assert_eq!(ids.len(), 3);

    let due = now();
    assert_eq!(session.retry_now(&ids[..2], due).await.unwrap().len(), 2);
    assert!(session.retry_now(&ids[..2], due).await.unwrap().is_empty(), "they are due already");
    let stored = session.fetch(&ids).await.unwrap();
    assert_eq!(stored.iter().filter(|delivery| delivery.next_attempt_at == Some(due)).count(), 2);
}

#[tokio::test]
async fn history_is_found_by_message_and_by_address() {
    let (_database, _store, mut session) = open().await;
    let day = Duration::from_secs(86_400);
    let mails: Vec<_> = (0..4).map(|_| message(&["one.example"])).collect();
    accept(&mut session, &mails).await;
    let at_first = session.trace(&TraceBy::Message(mails[1].id), now().before(day), now(), 100).await.unwrap();
    assert_eq!(at_first.len(), 1);
    assert_eq!((at_first[0].kind, at_first[0].at), (EventKind::MessageAccepted, mails[1].id.made_at()));
    assert_eq!((&at_first[0].detail, at_first[0].delivery), (&mails[1].accepted.detail, None));

    let yesterday = now().before(Duration::from_secs(80_000));
    let deferral = mailtier_store::NewEvent { at: yesterday, ..event(&mails[1], 0, EventKind::AttemptDeferred) };
    let delivered = event(&mails[1], 0, EventKind::RecipientDelivered);
    let over = vec![finished(&mails[1], 0)];
    let plan = SettlePlan { finished: over, events: vec![deferral, delivered], ..SettlePlan::default() };
    let mut settlement = session.begin_settle().await.unwrap();
    settlement.apply(&plan).await.unwrap();
    settlement.commit().await.unwrap();

    let kinds = |events: &[mailtier_store::StoredEvent]| events.iter().map(|event| event.kind).collect::<Vec<_>>();
    let story = session.trace(&TraceBy::Message(mails[1].id), now().before(day * 2), now(), 100).await.unwrap();
    let told = [EventKind::AttemptDeferred, EventKind::MessageAccepted, EventKind::RecipientDelivered];
    assert_eq!(kinds(&story), told, "in the order of time");
    let by = TraceBy::Address("b@one.example".to_owned());
    assert_eq!(session.trace(&by, now().before(day * 2), now(), 100).await.unwrap().len(), 6);
    assert_eq!(session.trace(&by, now().before(day / 2), now(), 100).await.unwrap().len(), 5, "since then only");
    let newest = session.trace(&by, now().before(day * 2), now(), 2).await.unwrap();
    assert_eq!(kinds(&newest)[1], EventKind::RecipientDelivered, "the newest when there are too many");
    let by_sender = TraceBy::Address("sender@example.com".to_owned());
    assert_eq!(session.trace(&by_sender, now().before(day), now(), 100).await.unwrap().len(), 6);
    let nobody = TraceBy::Address("nobody@one.example".to_owned());
    assert!(session.trace(&nobody, now().before(day * 30), now(), 100).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_audit_finds_who_is_nowhere_or_twice() {
    let (database, _store, mut session) = open().await;
    let hour = Duration::from_secs(3_600);
    let mails: Vec<_> = (0..4).map(|_| message(&["one.example", "two.example"])).collect();
    accept(&mut session, &mails).await;
    session
        .finish_delivered(&[finished(&mails[0], 1)], &[event(&mails[0], 1, EventKind::RecipientDelivered)])
        .await
        .unwrap();
    let (from, until) = (now().before(hour), now().after(hour));
    assert!(session.audit(from, until, 100).await.unwrap().is_empty(), "all is accounted for");
    let lost = mails[2].id.delivery(1).as_i64();
    database.sql(&format!("DELETE FROM delivery WHERE id = {lost}")).await.unwrap();
    let plan = SettlePlan { events: vec![event(&mails[3], 0, EventKind::RecipientFailed)], ..SettlePlan::default() };
    let mut settlement = session.begin_settle().await.unwrap();
    settlement.apply(&plan).await.unwrap();
    settlement.commit().await.unwrap();
    let found = session.audit(from, until, 100).await.unwrap();
    let mut found: Vec<_> = found.iter().map(|one| (one.message, one.recipient.as_str(), one.queued)).collect();
    found.sort_unstable();
    let expected = [
        (mails[2].id, "a@two.example", false),
        (mails[2].id, "b@two.example", false),
        (mails[3].id, "a@one.example", true),
        (mails[3].id, "b@one.example", true),
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn the_audit_goes_through_page_after_page() {
    let (database, _store, mut session) = open().await;
    let mail = message(&["one.example"]);
    accept(&mut session, std::slice::from_ref(&mail)).await;
    let at = mail.id.made_at();
    // Twelve thousand more, a millisecond apart, of which nothing else is known.
    let others = format!(
        "INSERT INTO event (at, message_id, tenant_id, kind, attempt, sender, recipients, detail)
         SELECT at - i * interval '1 millisecond', message_id - (i::bigint << 22), 0, 1, 0, '', '{{x@b.example}}', ''
         FROM event, generate_series(1, 12000) AS i WHERE message_id = {}",
        mail.id.as_i64()
    );
    database.sql(&others).await.unwrap();
    let (from, until) = (at.before(Duration::from_secs(3600)), at.after(Duration::from_secs(1)));
    let first = session.audit_page(from, None, until).await.unwrap();
    assert_eq!((first.messages, first.recipients, first.unaccounted.len()), (5000, 5000, 5000));
    let all = session.audit(from, until, u32::MAX).await.unwrap();
    let messages: std::collections::HashSet<_> = all.iter().map(|one| one.message).collect();
    assert_eq!((all.len(), messages.len()), (12_000, 12_000), "each once");
    assert_eq!(session.audit(from, until, 10).await.unwrap().len(), 10);
    let late = at.before(Duration::from_secs(2));
    assert_eq!(session.audit(late, until, u32::MAX).await.unwrap().len(), 2000, "those since then");
}
