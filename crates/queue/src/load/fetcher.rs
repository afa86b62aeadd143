//! Reads deliveries that are about to be dispatched, or that somebody has changed, many at once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use mailtier_api::ApiError;
use mailtier_schedule::{Entry, PoolClass};
use mailtier_store::{Session, Store, StoreError, StoredDelivery};
use mailtier_telemetry::Meters;
use mailtier_types::{DeliveryId, MessageId, Options, ReversePath};
use tokio::sync::mpsc;

use crate::accept::content_of;
use crate::clock;
use crate::conductor::{Command, Conductor, Content, Fetched, FetchedRow, Place, Wanted, domain_of};
use crate::database::Connector;
use crate::stored::due;

/// Requests taken together.
const REQUESTS: usize = 64;
/// Octets of bodies read together.
const BODY_BYTES: u64 = 16 << 20;

/// The loop.
#[derive(Debug)]
pub(crate) struct Fetcher {
    /// What is wanted.
    pub(crate) wanted: mpsc::UnboundedReceiver<Vec<Wanted>>,
    /// The database.
    pub(crate) store: Store,
    /// Told what was read.
    pub(crate) conductor: Conductor,
    /// Bodies up to this size travel with their delivery.
    pub(crate) inline_bytes: u64,
    /// Metrics.
    pub(crate) meters: Arc<Meters>,
}

impl Fetcher {
    /// Runs until nobody can ask any more.
    pub(crate) async fn run(mut self) {
        let mut connector = Connector::new(self.store.clone(), Arc::clone(&self.meters), "fetch");
        let mut requests = Vec::new();
        while self.wanted.recv_many(&mut requests, REQUESTS).await > 0 {
            let wanted: Vec<Wanted> = requests.drain(..).flatten().collect();
            let fetched = match connector.session().await {
                Ok(session) => fetch(session, &wanted, self.inline_bytes).await,
                Err(error) => Err(error),
            };
            match fetched {
                Ok(fetched) => {
                    connector.recovered();
                    self.conductor.send(Command::Fetched(fetched));
                }
                Err(error) => {
                    connector.trouble(&error).await;
                    self.conductor.send(Command::FetchFailed(wanted));
                }
            }
        }
    }
}

async fn fetch(session: &mut Session, wanted: &[Wanted], inline_bytes: u64) -> Result<Vec<Fetched>, StoreError> {
    let ids: Vec<DeliveryId> = wanted.iter().map(|wanted| wanted.id).collect();
    let stored = session.fetch(&ids).await?;
    let dispatched: HashSet<DeliveryId> =
        wanted.iter().filter(|wanted| wanted.for_dispatch).map(|wanted| wanted.id).collect();
    let is_sent = |row: &&StoredDelivery| row.held.is_none() && dispatched.contains(&row.id);
    let sent: Vec<(&StoredDelivery, Options)> = stored
        .iter()
        .filter(is_sent)
        .filter_map(|row| Some((row, readable(row, mailtier_api::decode_options(&row.options))?)))
        .collect();
    let bodies = inline_bodies(session, &sent, inline_bytes).await?;
    let with_content = |(row, options): (&StoredDelivery, Options)| {
        let content = content_of(row, options, bodies.get(&row.message).cloned());
        Some((row.id, Arc::new(readable(row, content)?)))
    };
    let contents: HashMap<DeliveryId, Arc<Content>> = sent.into_iter().filter_map(with_content).collect();
    let rows: HashMap<DeliveryId, &StoredDelivery> = stored.iter().map(|row| (row.id, row)).collect();
    let fetched = |wanted: &Wanted| {
        let row = rows.get(&wanted.id).map(|row| FetchedRow {
            entry: entry_of(row),
            is_held: row.held.is_some(),
            place: (!wanted.for_dispatch).then(|| place_of(row)),
            content: contents.get(&wanted.id).filter(|_| wanted.for_dispatch).map(Arc::clone),
        });
        Fetched { wanted: *wanted, row }
    };
    Ok(wanted.iter().map(fetched).collect())
}

/// What was read of a delivery; one that cannot be read is left alone.
fn readable<T>(row: &StoredDelivery, read: Result<T, ApiError>) -> Option<T> {
    read.inspect_err(|error| {
        tracing::error!(delivery = %row.id, %error, "a stored delivery cannot be read; it is left alone");
    })
    .ok()
}

fn entry_of(row: &StoredDelivery) -> Entry {
    Entry {
        id: row.id,
        shard: row.shard,
        tenant: row.tenant,
        // The conductor knows both: this, and when the sender is told that it is late.
        class: PoolClass::default(),
        priority: row.priority,
        attempts: row.attempts,
        due: due(row.id, row.next_attempt_at, clock::now()),
        expires_at: row.expires_at,
        warn_at: None,
    }
}

fn place_of(row: &StoredDelivery) -> Place {
    let sender = ReversePath::parse(&row.sender).unwrap_or(ReversePath::Null);
    Place {
        destination: row.destination.clone(),
        hosts: row.hosts.clone(),
        sender_domain: domain_of(&sender).to_owned(),
        is_told: row.told_at.is_some(),
    }
}

/// The bodies that travel along. What would be too much together is left to be fetched by the workers.
async fn inline_bodies(
    session: &mut Session,
    sent: &[(&StoredDelivery, Options)],
    inline_bytes: u64,
) -> Result<HashMap<MessageId, Vec<Bytes>>, StoreError> {
    let (mut messages, mut left) = (Vec::new(), BODY_BYTES);
    for (row, options) in sent {
        let size = options.size_bytes;
        if size <= inline_bytes && size <= left && !messages.contains(&row.message) {
            left -= size;
            messages.push(row.message);
        }
    }
    if messages.is_empty() { Ok(HashMap::new()) } else { session.bodies(&messages).await }
}
