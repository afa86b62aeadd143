//! What is written about a delivery beside it, by operators and by warnings that it is late: it is there for everyone, and
//! goes with the delivery.

use std::time::Duration;

use mailtier_store::{Finished, Held, Hold, Loaded, NewMessage, Reroute, Retry, Session, SettlePlan, Store};
use mailtier_testkit::postgres::TestDatabase;
use mailtier_types::{DeliveryId, EventKind, MessageId, ReplicaId, SHARD_COUNT, ShardId, Timestamp};

use crate::mail::{accept, event, finished, loaded, message, now, open, wait_for_a_blocked_statement};

async fn apply(session: &mut Session, plan: SettlePlan) {
    let mut settlement = session.begin_settle().await.unwrap();
    settlement.apply(&plan).await.unwrap();
    settlement.commit().await.unwrap();
}

fn hold(mail: &NewMessage, ordinal: u16) -> SettlePlan {
    let held = Held { since: now(), operator: "alice".to_owned(), reason: "they asked".to_owned() };
    SettlePlan {
        holds: vec![Hold { delivery: mail.id.delivery(ordinal), held, by_route: false }],
        ..SettlePlan::default()
    }
}

fn reroute(mail: &NewMessage, hosts: &[&str]) -> SettlePlan {
    let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    let reroute = Reroute { deliveries: vec![mail.id.delivery(0)], hosts, due: now() };
    SettlePlan { reroute: Some(reroute), ..SettlePlan::default() }
}

fn retry(mail: &NewMessage) -> Retry {
    Retry {
        delivery: mail.id.delivery(0),
        attempts: 1,
        next_attempt_at: Timestamp::from_secs(2_000_000_000),
        recipients: vec!["a@one.example".to_owned()],
        last_outcome: bytes::Bytes::new(),
    }
}

fn tell(mail: &NewMessage) -> SettlePlan {
    SettlePlan { told: vec![(mail.id.delivery(0), mail.id.made_at())], at: now(), ..SettlePlan::default() }
}

async fn all(session: &mut Session) -> Vec<Loaded> {
    loaded(session, &ShardId::all().collect::<Vec<_>>()).await
}

/// Metrics ask: one of all replicas tells.
#[tokio::test]
async fn the_owner_of_the_first_shard_counts_what_is_held_and_knows_the_oldest() {
    let (_database, store, mut session) = open().await;
    let (owner, other) = (ReplicaId::random(), ReplicaId::random());
    session.take_shards(owner, "a:1", SHARD_COUNT, Duration::from_secs(15)).await.unwrap();
    let census = session.census(owner).await.unwrap().unwrap();
    assert_eq!((census.held, census.oldest), (0, None));
    let (first, second) = (message(&["one.example"]), message(&["two.example"]));
    accept(&mut session, &[first.clone(), second.clone()]).await;
    apply(&mut session, hold(&second, 0)).await;
    let census = session.census(owner).await.unwrap().unwrap();
    assert_eq!((census.held, census.oldest), (1, Some(first.id.delivery(0).min(second.id.delivery(0)))));
    assert_eq!(session.census(other).await.unwrap(), None);
    let open = store.usage();
    let another = store.session().await.unwrap();
    assert_eq!((store.usage().open, store.usage().waiting), (open.open + 1, 0));
    drop(another);
    assert_eq!(store.usage(), open);
}

/// Deliveries, retries, bodies, what is held, and its flags.
const COUNTS: &str = "SELECT (SELECT count(*) FROM delivery), (SELECT count(*) FROM retry), \
                      (SELECT count(*) FROM body), (SELECT count(*) FROM held), (SELECT sum(flags) FROM delivery)";

#[tokio::test]
async fn what_is_held_says_so_until_it_is_released() {
    let (database, _store, mut session) = open().await;
    let mail = message(&["one.example", "two.example"]);
    accept(&mut session, std::slice::from_ref(&mail)).await;
    let ids: Vec<DeliveryId> = (0..2).map(|ordinal| mail.id.delivery(ordinal)).collect();
    apply(&mut session, hold(&mail, 1)).await;
    let marks: Vec<bool> = all(&mut session).await.iter().map(|row| row.is_held).collect();
    assert_eq!(marks, [false, true]);
    for rows in [session.fetch(&ids).await.unwrap(), session.show(mail.id).await.unwrap()] {
        assert_eq!(rows[0].held, None);
        let held = rows[1].held.clone().unwrap();
        assert_eq!((held.operator.as_str(), held.reason.as_str()), ("alice", "they asked"));
    }
    let later = mail.deliveries[1].expires_at.after(Duration::from_secs(60));
    apply(&mut session, SettlePlan { releases: vec![(ids[1], later)], ..SettlePlan::default() }).await;
    let row = session.fetch(&ids).await.unwrap().remove(1);
    assert_eq!((row.held, row.expires_at), (None, later));
    assert!(all(&mut session).await.iter().all(|row| !row.is_held));
    assert_eq!(database.sql(COUNTS).await.unwrap(), "2|0|1|0|0");
}

#[tokio::test]
async fn a_changed_way_lasts_over_attempts_until_it_is_changed_back() {
    let (database, _store, mut session) = open().await;
    let mail = message(&["one.example"]);
    accept(&mut session, std::slice::from_ref(&mail)).await;
    let id = mail.id.delivery(0);
    apply(&mut session, reroute(&mail, &["relay.example:2525", "[2001:db8::1]:25"])).await;
    let row = session.fetch(&[id]).await.unwrap().remove(0);
    assert_eq!(row.hosts, ["relay.example:2525", "[2001:db8::1]:25"]);
    assert_eq!((row.attempts, &row.recipients), (0, &mail.deliveries[0].recipients));
    apply(&mut session, SettlePlan { retries: vec![retry(&mail)], ..SettlePlan::default() }).await;
    let row = session.fetch(&[id]).await.unwrap().remove(0);
    assert_eq!((row.attempts, row.hosts.len(), row.recipients.len()), (1, 2, 1));
    apply(&mut session, reroute(&mail, &[])).await;
    let row = session.fetch(&[id]).await.unwrap().remove(0);
    assert_eq!((row.hosts.len(), row.next_attempt_at), (0, Some(Timestamp::from_secs(2_000_000_000))));
    assert_eq!(database.sql(COUNTS).await.unwrap(), "1|1|1|0|0");
}

#[tokio::test]
async fn the_fast_way_leaves_alone_what_an_operator_has_touched() {
    let (database, _store, mut session) = open().await;
    let mails = [message(&["one.example"]), message(&["one.example", "two.example"]), message(&["one.example"])];
    accept(&mut session, &mails).await;
    apply(&mut session, hold(&mails[0], 0)).await;
    apply(&mut session, hold(&mails[1], 1)).await;
    apply(&mut session, reroute(&mails[2], &["relay.example"])).await;
    let all = [finished(&mails[0], 0), finished(&mails[1], 0), finished(&mails[1], 1), finished(&mails[2], 0)];
    let events = [
        event(&mails[0], 0, EventKind::RecipientDelivered),
        event(&mails[1], 0, EventKind::RecipientDelivered),
        event(&mails[1], 1, EventKind::RecipientDelivered),
        event(&mails[2], 0, EventKind::RecipientDelivered),
    ];
    assert_eq!(session.finish_delivered(&all, &events).await.unwrap(), [mails[1].id.delivery(0)]);
    assert_eq!(database.sql("SELECT count(*) FROM event WHERE kind = 3").await.unwrap(), "1");
    assert_eq!(database.sql(COUNTS).await.unwrap(), "3|1|3|2|4", "with their bodies");
    // The other way takes everything with it.
    let left = vec![all[0], all[2], all[3]];
    apply(&mut session, SettlePlan { finished: left, ..SettlePlan::default() }).await;
    assert_eq!(database.sql(COUNTS).await.unwrap(), "0|0|0|0|");
    assert_eq!(session.audit_held(10).await.unwrap(), []);
}

/// A delivery of which such a plan and its end are settled at the same instant: the end waits for the plan, sees that it
/// was there and leaves the delivery alone.
async fn settled_while(plan: impl Fn(&NewMessage) -> SettlePlan) -> (TestDatabase, Store) {
    let (database, store, mut session) = open().await;
    let mail = message(&["one.example"]);
    accept(&mut session, std::slice::from_ref(&mail)).await;
    let mut order = session.begin_settle().await.unwrap();
    assert_eq!(order.lock(&[mail.id.delivery(0)]).await.unwrap().len(), 1);
    let settling = {
        let (store, over) = (store.clone(), finished(&mail, 0));
        let delivered = event(&mail, 0, EventKind::RecipientDelivered);
        tokio::spawn(async move {
            let mut session = store.session().await.unwrap();
            session.finish_delivered(&[over], &[delivered]).await.unwrap()
        })
    };
    wait_for_a_blocked_statement(&database).await;
    order.apply(&plan(&mail)).await.unwrap();
    order.commit().await.unwrap();
    assert_eq!(settling.await.unwrap(), []);
    (database, store)
}

#[tokio::test]
async fn nothing_is_left_behind_of_an_order_that_crosses_a_delivery() {
    let (database, _store) = settled_while(|mail| hold(mail, 0)).await;
    assert_eq!(database.sql(COUNTS).await.unwrap(), "1|0|1|1|1");
    let (database, _store) = settled_while(|mail| reroute(mail, &["relay.example"])).await;
    assert_eq!(database.sql(COUNTS).await.unwrap(), "1|1|1|0|2");
}

#[tokio::test]
async fn nothing_is_left_behind_of_a_warning_that_crosses_a_delivery() {
    let (database, store) = settled_while(tell).await;
    assert_eq!(database.sql(COUNTS).await.unwrap(), "1|1|1|0|4");
    // As such a settlement goes on.
    let mut session = store.session().await.unwrap();
    let row = all(&mut session).await.remove(0);
    assert!(row.told_at.is_some() && row.attempts == 0, "{row:?}");
    let (delivery, message) = (row.id, MessageId::from_i64(row.id.as_i64()).unwrap());
    let finished = vec![Finished { delivery, message, fanout: 1 }];
    apply(&mut session, SettlePlan { finished, ..SettlePlan::default() }).await;
    assert_eq!(database.sql(COUNTS).await.unwrap(), "0|0|0|0|");
}

#[tokio::test]
async fn a_warning_of_what_was_attempted_leaves_the_delivery_as_it_is() {
    let (database, _store, mut session) = open().await;
    let mail = message(&["one.example"]);
    accept(&mut session, std::slice::from_ref(&mail)).await;
    let retry = retry(&mail);
    apply(&mut session, SettlePlan { retries: vec![retry.clone()], ..tell(&mail) }).await;
    let row = all(&mut session).await.remove(0);
    assert!(row.told_at.is_some(), "{row:?}");
    assert_eq!((row.attempts, row.next_attempt_at), (1, Some(retry.next_attempt_at)));
    assert_eq!(database.sql(COUNTS).await.unwrap(), "1|1|1|0|0");
}

#[tokio::test]
async fn the_audit_finds_what_is_held_and_no_delivery() {
    let (database, _store, mut session) = open().await;
    let mail = message(&["one.example"]);
    accept(&mut session, std::slice::from_ref(&mail)).await;
    apply(&mut session, hold(&mail, 0)).await;
    assert_eq!(session.audit_held(10).await.unwrap(), []);
    let audited = session.audit(now().before(Duration::from_secs(60)), now().after(Duration::from_secs(60)), 10).await;
    assert_eq!(audited.unwrap(), [], "what is held is in the system");
    database.sql("DELETE FROM delivery").await.unwrap();
    assert_eq!(session.audit_held(10).await.unwrap(), [mail.id.delivery(0)]);
}
