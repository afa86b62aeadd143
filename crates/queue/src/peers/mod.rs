//! Other replicas: hints to the owners of what was committed here, and hints from others; the word that there are shards
//! to take. All of these may be lost; nothing waits for them. Not responsible for limits that are leased (`leasing`), but
//! for being asked for them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mailtier_api::peer::{Hint, PeerClient};
use mailtier_api::server::PeerHandler;
use mailtier_api::{ApiError, Credentials};
use mailtier_telemetry::Meters;
use mailtier_types::{SHARD_COUNT, ShardId, SliceLease, SliceReport};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use crate::conductor::{Command, Conductor};
use crate::leasing::Leasing;

/// For connecting to an owner, and for one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// Batches taken together.
const BATCHES: usize = 64;

/// Who owns what: the address of each shard's owner, empty where that is this replica or nobody.
pub(crate) type ShardMap = Vec<String>;

/// A map that names nobody.
pub(crate) fn empty_map() -> ShardMap {
    vec![String::new(); usize::from(SHARD_COUNT)]
}

/// Where others reach this replica: where it listens, but for one that listens everywhere, which is no place. That one
/// goes by its system's name, which container engines give to their name servers.
pub(crate) fn reached_at(bound: SocketAddr, system: &str) -> String {
    match bound.ip().is_unspecified() && !system.is_empty() {
        true => format!("{system}:{}", bound.port()),
        false => bound.to_string(),
    }
}

/// The loop that tells owners.
#[derive(Debug)]
pub(crate) struct HintSender {
    /// What to tell.
    pub(crate) hints: mpsc::Receiver<Vec<Hint>>,
    /// Whom.
    pub(crate) map: watch::Receiver<ShardMap>,
    /// To show them.
    pub(crate) credentials: Credentials,
    /// Metrics.
    pub(crate) meters: Arc<Meters>,
}

impl HintSender {
    /// Runs until nobody has anything to tell any more.
    pub(crate) async fn run(mut self) {
        let mut owners: HashMap<String, mpsc::Sender<Vec<Hint>>> = HashMap::new();
        let mut telling = JoinSet::new();
        let mut batches = Vec::new();
        while self.hints.recv_many(&mut batches, BATCHES).await > 0 {
            owners.retain(|address, _| self.map.borrow().contains(address));
            for (address, hints) in self.by_owner(batches.drain(..).flatten()) {
                let owner = owners.entry(address).or_insert_with_key(|address| {
                    let (sender, hints) = mpsc::channel(BATCHES);
                    telling.spawn(tell(address.clone(), hints, self.credentials.clone(), Arc::clone(&self.meters)));
                    sender
                });
                // One that does not listen finds the deliveries by itself.
                let _ = owner.try_send(hints);
            }
            while telling.try_join_next().is_some() {}
        }
    }

    fn by_owner(&self, hints: impl Iterator<Item = Hint>) -> HashMap<String, Vec<Hint>> {
        let map = self.map.borrow();
        let mut owners: HashMap<String, Vec<Hint>> = HashMap::new();
        for hint in hints {
            let owner = map.get(ShardId::of(&hint.destination).index()).filter(|owner| !owner.is_empty());
            if let Some(owner) = owner {
                owners.entry(owner.clone()).or_default().push(hint);
            }
        }
        owners
    }
}

/// Tells one owner, until it owns nothing any more; one that is away keeps nobody else waiting.
async fn tell(address: String, mut hints: mpsc::Receiver<Vec<Hint>>, credentials: Credentials, meters: Arc<Meters>) {
    let mut connected: Option<PeerClient> = None;
    let mut batches = Vec::new();
    while hints.recv_many(&mut batches, BATCHES).await > 0 {
        let hints: Vec<Hint> = batches.drain(..).flatten().collect();
        let count = hints.len() as u64;
        let call = async {
            let client = match connected.take().filter(|client| !client.renewal().is_due()) {
                Some(client) => client,
                None => PeerClient::connect(&credentials.url_of(&address), &credentials).await?,
            };
            client.hint(hints).await.map(|()| client)
        };
        let late = || ApiError::Unavailable("no answer in time".to_owned());
        match tokio::time::timeout(CALL_TIMEOUT, call).await.unwrap_or_else(|_| Err(late())) {
            Ok(client) => {
                connected = Some(client);
                meters.queue_hints.add(count, &[]);
            }
            Err(error) => tracing::debug!(address, %error, "hints lost; their owner finds the deliveries by itself"),
        }
    }
}

/// Tells other replicas that there are shards to take, all at once: a hint of nothing. One that does not hear it finds
/// them with its next renewal.
pub(crate) async fn announce_free_shards(addresses: Vec<String>, credentials: Credentials) {
    let mut calls = JoinSet::new();
    for address in addresses {
        let credentials = credentials.clone();
        calls.spawn(async move {
            let call = async {
                PeerClient::connect(&credentials.url_of(&address), &credentials).await?.hint(Vec::new()).await
            };
            match tokio::time::timeout(CALL_TIMEOUT, call).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(address, %error, "not told of free shards"),
                Err(_) => tracing::debug!(address, "not told of free shards: no answer in time"),
            }
        });
    }
    while calls.join_next().await.is_some() {}
}

/// Takes hints of others, and leases them limits.
#[derive(Debug)]
pub(crate) struct PeerService {
    /// Told of them.
    pub(crate) conductor: Conductor,
    /// Told that there are shards to take.
    pub(crate) shards_free: Arc<Notify>,
    /// Leases.
    pub(crate) leasing: Arc<Leasing>,
}

impl PeerHandler for PeerService {
    async fn hint(&self, hints: Vec<Hint>) -> Result<(), ApiError> {
        if hints.is_empty() {
            self.shards_free.notify_one();
        } else {
            self.conductor.send(Command::Hinted(hints));
        }
        Ok(())
    }

    async fn lease(&self, report: SliceReport) -> Option<SliceLease> {
        self.leasing.lease(&report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_reached_by_name() {
        let reached = |bound: &str, system: &str| reached_at(bound.parse().unwrap(), system);
        assert_eq!(reached("0.0.0.0:7070", "3f2c9a7be001"), "3f2c9a7be001:7070");
        assert_eq!(reached("[::]:7070", "queue-1"), "queue-1:7070");
        assert_eq!(reached("127.0.0.1:7070", "queue-1"), "127.0.0.1:7070");
        assert_eq!(reached("0.0.0.0:7070", ""), "0.0.0.0:7070");
    }
}
