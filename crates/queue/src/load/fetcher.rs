//! Reads deliveries that are about to be dispatched, many at once.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use mailtier_store::{Session, Store, StoreError, StoredDelivery};
use mailtier_telemetry::Meters;
use mailtier_types::{DeliveryId, MessageId};
use tokio::sync::mpsc;

use crate::accept::content_of;
use crate::conductor::{Command, Conductor, Fetched};
use crate::database::Connector;

/// Requests taken together.
const REQUESTS: usize = 64;
/// Octets of bodies read together.
const BODY_BYTES: u64 = 16 << 20;

/// The loop.
#[derive(Debug)]
pub(crate) struct Fetcher {
    /// What is wanted.
    pub(crate) wanted: mpsc::UnboundedReceiver<Vec<DeliveryId>>,
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
            let ids: Vec<DeliveryId> = requests.drain(..).flatten().collect();
            let fetched = match connector.session().await {
                Ok(session) => fetch(session, &ids, self.inline_bytes).await,
                Err(error) => Err(error),
            };
            match fetched {
                Ok(fetched) => {
                    connector.recovered();
                    self.conductor.send(Command::Fetched(fetched));
                }
                Err(error) => {
                    connector.trouble(&error).await;
                    self.conductor.send(Command::FetchFailed(ids));
                }
            }
        }
    }
}

async fn fetch(session: &mut Session, ids: &[DeliveryId], inline_bytes: u64) -> Result<Vec<Fetched>, StoreError> {
    let stored = session.fetch(ids).await?;
    let bodies = inline_bodies(session, &stored, inline_bytes).await?;
    let mut contents: HashMap<DeliveryId, _> = stored
        .iter()
        .filter_map(|row| match content_of(row, bodies.get(&row.message).cloned()) {
            Ok(content) => Some((row.id, Arc::new(content))),
            Err(error) => {
                tracing::error!(delivery = %row.id, %error, "a stored delivery cannot be read; it is left alone");
                None
            }
        })
        .collect();
    Ok(ids.iter().map(|id| Fetched { id: *id, content: contents.remove(id) }).collect())
}

/// The bodies that travel along. What would be too much together is left to be fetched by the workers.
async fn inline_bodies(
    session: &mut Session,
    stored: &[StoredDelivery],
    inline_bytes: u64,
) -> Result<HashMap<MessageId, Vec<Bytes>>, StoreError> {
    let (mut messages, mut left) = (Vec::new(), BODY_BYTES);
    for row in stored {
        let size = mailtier_api::decode_options(&row.options).map_or(u64::MAX, |options| options.size_bytes);
        if size <= inline_bytes && size <= left && !messages.contains(&row.message) {
            left -= size;
            messages.push(row.message);
        }
    }
    if messages.is_empty() { Ok(HashMap::new()) } else { session.bodies(&messages).await }
}
