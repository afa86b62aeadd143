//! Messages for tests.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use mailtier_store::{Extras, Finished, Loaded, NewDelivery, NewEvent, NewMessage, PageBounds, Session, Store};
use mailtier_testkit::postgres::TestDatabase;
use mailtier_types::{DeliveryId, EventKind, IdSource, MessageId, NodeNumber, ShardId, TenantId, Timestamp};
use sqlx::{Connection as _, PgConnection};

static IDS: Mutex<Option<IdSource>> = Mutex::new(None);

pub(crate) fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

pub(crate) fn new_id(fanout: u16) -> MessageId {
    new_id_at(fanout, now())
}

pub(crate) fn new_id_at(fanout: u16, at: Timestamp) -> MessageId {
    let mut ids = IDS.lock().unwrap();
    ids.get_or_insert_with(|| IdSource::new(NodeNumber::new(1).unwrap())).take(fanout, at)
}

/// A message to these destinations, two recipients each.
pub(crate) fn message(destinations: &[&str]) -> NewMessage {
    message_with_id(new_id(u16::try_from(destinations.len()).unwrap()), destinations)
}

pub(crate) fn message_with_id(id: MessageId, destinations: &[&str]) -> NewMessage {
    let recipients = |destination: &str| vec![format!("a@{destination}"), format!("b@{destination}")];
    let deliveries = destinations.iter().zip(0..).map(|(destination, ordinal)| NewDelivery {
        id: id.delivery(ordinal),
        shard: ShardId::of(destination),
        tenant: TenantId(7),
        priority: -3,
        expires_at: id.made_at().after(Duration::from_secs(432_000)),
        destination: (*destination).to_owned(),
        sender: "sender@example.com".to_owned(),
        recipients: recipients(destination),
        options: Bytes::from_static(b"options"),
    });
    NewMessage {
        hold_until: None,
        id,
        resubmission: false,
        deliveries: deliveries.collect(),
        body: Some((0, Bytes::from(format!("body of {id}")))),
        accepted: NewEvent {
            at: id.made_at(),
            kind: EventKind::MessageAccepted,
            message: id,
            delivery: None,
            tenant: TenantId(7),
            attempt: 0,
            sender: "sender@example.com".to_owned(),
            recipients: destinations.iter().flat_map(|destination| recipients(destination)).collect(),
            detail: Bytes::from(format!("received {id}")),
        },
    }
}

pub(crate) fn again(message: &NewMessage) -> NewMessage {
    NewMessage { resubmission: true, ..message.clone() }
}

pub(crate) fn finished(message: &NewMessage, ordinal: u16) -> Finished {
    let fanout = u16::try_from(message.deliveries.len()).unwrap();
    Finished { delivery: message.id.delivery(ordinal), message: message.id, fanout }
}

pub(crate) fn event(message: &NewMessage, ordinal: u16, kind: EventKind) -> NewEvent {
    let delivery = &message.deliveries[usize::from(ordinal)];
    NewEvent {
        at: now(),
        kind,
        message: message.id,
        delivery: Some(delivery.id),
        tenant: delivery.tenant,
        attempt: 1,
        sender: delivery.sender.clone(),
        recipients: delivery.recipients.clone(),
        detail: Bytes::from_static(b"detail"),
    }
}

pub(crate) async fn open() -> (TestDatabase, Store, Session) {
    let database = TestDatabase::migrated().await.unwrap();
    let store = database.store().await.unwrap();
    let session = store.session().await.unwrap();
    (database, store, session)
}

/// Accepts messages all of which are new.
pub(crate) async fn accept(session: &mut Session, messages: &[NewMessage]) {
    let accepted = session.accept(messages).await.unwrap();
    assert!(accepted.refused.is_empty() && accepted.known.is_empty(), "{accepted:?}");
}

/// A page that looks at no more than it may return.
pub(crate) const fn bounds(after: i64, limit: u32) -> PageBounds {
    PageBounds { after, before: i64::MAX, rows: limit, limit }
}

/// The first page of the deliveries of some shards, with all that can be wanted.
pub(crate) async fn loaded(session: &mut Session, shards: &[ShardId]) -> Vec<Loaded> {
    let extras = Extras { outcomes: true, senders: true };
    session.load(bounds(0, 100_000), shards, extras).await.unwrap().deliveries
}

pub(crate) async fn queued(session: &mut Session) -> Vec<DeliveryId> {
    let all: Vec<ShardId> = ShardId::all().collect();
    loaded(session, &all).await.iter().map(|loaded| loaded.id).collect()
}

/// Waits until some statement of the database waits for a lock of another.
pub(crate) async fn wait_for_a_blocked_statement(database: &TestDatabase) -> i32 {
    let question = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
                    AND wait_event_type = 'Lock' AND pid <> pg_backend_pid() LIMIT 1";
    let started = Instant::now();
    loop {
        if let Ok(pid) = database.sql(question).await.unwrap().parse() {
            return pid;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "nothing waits for a lock");
    }
}

/// A connection beside the store's, for what the store does not do.
pub(crate) async fn connect(database: &TestDatabase) -> PgConnection {
    PgConnection::connect(&database.url()).await.unwrap()
}
