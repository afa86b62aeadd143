//! What operators see and change.

use std::time::Duration;

use bytes::Bytes;
use mailtier_store::{DeliveryFilter, PageBounds, Retry, SettlePlan};
use mailtier_types::{EventKind, TenantId};

use crate::mail::{accept, bounds, event, finished, message, now, open};

type Change = fn(&mut DeliveryFilter);

#[tokio::test]
async fn lists_are_pages_of_what_matches() {
    let (_database, _store, mut session) = open().await;
    let mails: Vec<_> = (0..5).map(|_| message(&["one.example", "two.example"])).collect();
    accept(&mut session, &mails).await;
    let all = DeliveryFilter::default();
    let first = session.list(&all, bounds(0, 7)).await.unwrap();
    assert_eq!((first.deliveries.len(), first.looked_at), (7, 7));
    let second = session.list(&all, bounds(first.next.unwrap().as_i64(), 7)).await.unwrap();
    assert_eq!((second.deliveries.len(), second.next, second.looked_at), (3, None, 3));
    assert!(second.deliveries[0].id > first.deliveries[6].id);

    let cases: [(Change, usize); 14] = [
        (|_| {}, 10),
        (|filter| filter.tenant = Some(TenantId(7)), 10),
        (|filter| filter.tenant = Some(TenantId(0)), 0),
        (|filter| filter.destination = Some("two.example".to_owned()), 5),
        (|filter| filter.destination = Some("no.example".to_owned()), 0),
        (|filter| filter.sender = Some("sender@example.com".to_owned()), 10),
        (|filter| filter.sender = Some(String::new()), 0),
        (|filter| filter.sender_domain = Some("example.com".to_owned()), 10),
        (|filter| filter.sender_domain = Some("ple.com".to_owned()), 0),
        (|filter| filter.recipient = Some("b@one.example".to_owned()), 5),
        (|filter| filter.recipient_domain = Some("two.example".to_owned()), 5),
        (|filter| filter.recipient_domain = Some("example".to_owned()), 0),
        (|filter| filter.min_attempts = 1, 0),
        (|filter| filter.max_attempts = 0, 10),
    ];
    for (place, (change, expected)) in cases.into_iter().enumerate() {
        let mut filter = all.clone();
        change(&mut filter);
        let found = session.list(&filter, bounds(0, 100)).await.unwrap();
        assert_eq!((found.deliveries.len(), found.looked_at, found.next), (expected, 10, None), "{place}");
    }
    assert_eq!(session.show(mails[2].id).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_page_looks_at_so_many_and_has_a_bounded_size() {
    let (database, _store, mut session) = open().await;
    let mails: Vec<_> = (0..6).map(|_| message(&["one.example"])).collect();
    accept(&mut session, &mails).await;
    let nobody = DeliveryFilter { tenant: Some(TenantId(0)), ..DeliveryFilter::default() };
    let in_vain = session.list(&nobody, PageBounds { rows: 4, ..bounds(0, 100) }).await.unwrap();
    assert_eq!((in_vain.deliveries.len(), in_vain.looked_at, in_vain.next), (0, 4, Some(mails[3].id.delivery(0))));
    let until = PageBounds { before: mails[2].id.as_i64(), ..bounds(mails[0].id.as_i64(), 100) };
    let between = session.list(&DeliveryFilter::default(), until).await.unwrap();
    assert_eq!((between.deliveries.len(), between.deliveries[0].message, between.next), (1, mails[1].id, None));
    database
        .sql("UPDATE delivery SET recipients = ARRAY(SELECT n || '@one.example' FROM generate_series(1, 9000) n)")
        .await
        .unwrap();
    let large = session.list(&DeliveryFilter::default(), bounds(0, 100)).await.unwrap();
    assert_eq!((large.deliveries.len(), large.looked_at, large.next), (3, 3, Some(mails[2].id.delivery(0))));
}

#[tokio::test]
async fn deferred_mail_is_made_due() {
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

    let deferred = DeliveryFilter { min_attempts: 1, recipient: Some("a@one.example".into()), ..Default::default() };
    assert_eq!(session.list(&deferred, bounds(0, 10)).await.unwrap().deliveries.len(), 3);
    let reached = DeliveryFilter { min_attempts: 1, recipient: Some("b@one.example".into()), ..Default::default() };
    assert!(session.list(&reached, bounds(0, 10)).await.unwrap().deliveries.is_empty(), "who is not left is not found");
    let ids: Vec<_> = mails.iter().map(|mail| mail.id.delivery(0)).collect();
    let due = now();
    let hastened = Some((ids[..2].to_vec(), due));
    let mut settlement = session.begin_settle().await.unwrap();
    settlement.apply(&SettlePlan { hastened, ..SettlePlan::default() }).await.unwrap();
    settlement.commit().await.unwrap();
    let stored = session.fetch(&ids).await.unwrap();
    assert_eq!(stored.iter().filter(|delivery| delivery.next_attempt_at == Some(due)).count(), 2);
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
