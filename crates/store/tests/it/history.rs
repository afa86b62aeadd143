//! What happened, of one message and of those that are searched for.

use std::time::Duration;

use bytes::Bytes;
use mailtier_store::{HistoryPage, HistoryStretch, NewEvent, NewMessage, Session, SettlePlan, Sought, StoredEvent};
use mailtier_types::{EventKind, Timestamp};

use crate::mail::{accept, event, finished, message, now, open};

const DAY: Duration = Duration::from_secs(86_400);
/// Longer than any test.
const LONG: Duration = Duration::from_secs(60);

async fn happened(session: &mut Session, plan: &SettlePlan) {
    let mut settlement = session.begin_settle().await.unwrap();
    settlement.apply(plan).await.unwrap();
    settlement.commit().await.unwrap();
}

fn kinds(events: &[StoredEvent]) -> Vec<EventKind> {
    events.iter().map(|event| event.kind).collect()
}

/// From a moment in the future back to this.
fn since(since: Timestamp, limit: u32) -> HistoryStretch {
    HistoryStretch { since, until: now().after(Duration::from_secs(1)), limit, within: LONG }
}

async fn of_address(session: &mut Session, address: &str, stretch: HistoryStretch) -> HistoryPage {
    session.search_history(Sought::Address(address), stretch).await.unwrap()
}

/// Four messages to two recipients each; the second was deferred a day ago, says its history, and is delivered.
async fn some_history(session: &mut Session) -> Vec<NewMessage> {
    let mails: Vec<_> = (0..4).map(|_| message(&["one.example"])).collect();
    accept(session, &mails).await;
    let yesterday = now().before(Duration::from_secs(80_000));
    let deferral = NewEvent { at: yesterday, ..event(&mails[1], 0, EventKind::AttemptDeferred) };
    let delivered = event(&mails[1], 0, EventKind::RecipientDelivered);
    let over = vec![finished(&mails[1], 0)];
    happened(session, &SettlePlan { finished: over, events: vec![deferral, delivered], ..SettlePlan::default() }).await;
    mails
}

#[tokio::test]
async fn the_history_of_a_message_is_told_in_the_order_of_time() {
    let (_database, _store, mut session) = open().await;
    let mails = some_history(&mut session).await;
    let at_first = session.trace(mails[0].id, now().before(DAY), 100).await.unwrap();
    assert_eq!(at_first.len(), 1);
    assert_eq!((at_first[0].kind, at_first[0].at), (EventKind::MessageAccepted, mails[0].id.made_at()));
    assert_eq!((&at_first[0].detail, at_first[0].delivery), (&mails[0].accepted.detail, None));
    let told = [EventKind::AttemptDeferred, EventKind::MessageAccepted, EventKind::RecipientDelivered];
    assert_eq!(kinds(&session.trace(mails[1].id, now().before(DAY * 2), 100).await.unwrap()), told);
    let newest = session.trace(mails[1].id, now().before(DAY * 2), 2).await.unwrap();
    assert_eq!(kinds(&newest), told[1..], "the newest when there are too many");
}

#[tokio::test]
async fn the_history_of_an_address_is_searched_backwards() {
    let (_database, _store, mut session) = open().await;
    some_history(&mut session).await;
    let reach = now().before(DAY * 2);
    let all = of_address(&mut session, "b@one.example", since(reach, 100)).await;
    assert_eq!((all.events.len(), all.looked_back_to), (6, reach));
    assert_eq!(kinds(&all.events)[5], EventKind::AttemptDeferred, "the oldest is the last");
    let half = now().before(DAY / 2);
    assert_eq!(of_address(&mut session, "b@one.example", since(half, 100)).await.events.len(), 5, "since then only");
    assert_eq!(of_address(&mut session, "sender@example.com", since(half, 100)).await.events.len(), 5);
    assert!(of_address(&mut session, "nobody@one.example", since(reach, 100)).await.events.is_empty());
}

/// However few are asked for at a time, and although several have the same time.
#[tokio::test]
async fn a_search_goes_on_where_it_has_stopped() {
    let (_database, _store, mut session) = open().await;
    let mails: Vec<_> = (0..6).map(|_| message(&["one.example"])).collect();
    accept(&mut session, &mails).await;
    let at = |seconds| now().before(Duration::from_secs(seconds));
    let moments = [at(7200), at(3600), at(60)];
    let deferrals = mails.iter().zip(moments.iter().cycle());
    let events =
        deferrals.map(|(mail, at)| NewEvent { at: *at, ..event(mail, 0, EventKind::AttemptDeferred) }).collect();
    happened(&mut session, &SettlePlan { events, ..SettlePlan::default() }).await;
    let (reach, mut told) = (at(86_400), Vec::new());
    let mut stretch = HistoryStretch { until: at(30), ..since(reach, 3) };
    while stretch.until > reach {
        let page = of_address(&mut session, "a@one.example", stretch).await;
        assert!(page.looked_back_to < stretch.until && page.events.len() <= 3, "{page:?}");
        told.extend(page.events.iter().map(|event| (event.at, event.message)));
        stretch.until = page.looked_back_to;
    }
    assert!(told.is_sorted_by(|one, other| one.0 >= other.0), "{told:?}");
    told.sort_unstable();
    told.dedup();
    assert_eq!(told.len(), 6);
    // A statement is made all the same, so that whoever goes on gets further.
    let hurried = HistoryStretch { within: Duration::ZERO, ..since(reach, 100) };
    let page = of_address(&mut session, "nobody@one.example", hurried).await;
    assert!(page.looked_back_to < hurried.until && page.looked_back_to > reach);
}

#[tokio::test]
async fn acceptances_are_found_by_what_is_stored_of_their_message() {
    let (_database, _store, mut session) = open().await;
    let mut mails: Vec<_> = (0..3).map(|_| message(&["one.example"])).collect();
    mails[1].accepted.detail = Bytes::from_static(b"\x01\x00<1@a.example>\xff");
    accept(&mut session, &mails).await;
    let reach = now().before(DAY);
    let found = session.search_history(Sought::Octets(b"<1@a.example>"), since(reach, 10)).await.unwrap();
    assert_eq!(found.events.iter().map(|event| event.message).collect::<Vec<_>>(), [mails[1].id]);
    let none = session.search_history(Sought::Octets(b"<2@a.example>"), since(reach, 10)).await.unwrap();
    assert_eq!((none.events.len(), none.looked_back_to), (0, reach));
}
