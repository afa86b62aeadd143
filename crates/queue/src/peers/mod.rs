//! Other replicas: hints to the owners of what was committed here, and hints from others. Hints may be lost; nothing
//! waits for them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mailtier_api::ApiError;
use mailtier_api::peer::{Hint, PeerClient};
use mailtier_api::server::PeerHandler;
use mailtier_config::Secret;
use mailtier_telemetry::Meters;
use mailtier_types::{SHARD_COUNT, ShardId};
use tokio::sync::{mpsc, watch};

use crate::conductor::{Command, Conductor};

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

/// The loop that tells owners.
#[derive(Debug)]
pub(crate) struct HintSender {
    /// What to tell.
    pub(crate) hints: mpsc::Receiver<Vec<Hint>>,
    /// Whom.
    pub(crate) map: watch::Receiver<ShardMap>,
    /// To show them.
    pub(crate) token: Option<Secret>,
    /// Metrics.
    pub(crate) meters: Arc<Meters>,
}

impl HintSender {
    /// Runs until nobody has anything to tell any more.
    pub(crate) async fn run(mut self) {
        let mut clients: HashMap<String, PeerClient> = HashMap::new();
        let mut batches = Vec::new();
        while self.hints.recv_many(&mut batches, BATCHES).await > 0 {
            for (address, hints) in self.by_owner(batches.drain(..).flatten()) {
                let count = hints.len() as u64;
                match self.tell(&mut clients, &address, hints).await {
                    Ok(()) => self.meters.queue_hints.add(count, &[]),
                    Err(error) => {
                        tracing::debug!(address, %error, "hints lost; their owner finds the deliveries by itself");
                        clients.remove(&address);
                    }
                }
            }
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

    async fn tell(
        &self,
        clients: &mut HashMap<String, PeerClient>,
        address: &str,
        hints: Vec<Hint>,
    ) -> Result<(), ApiError> {
        let call = async {
            let client = match clients.get(address) {
                Some(client) => client.clone(),
                None => {
                    let client = PeerClient::connect(&format!("http://{address}"), self.token.as_ref()).await?;
                    clients.insert(address.to_owned(), client.clone());
                    client
                }
            };
            client.hint(hints).await
        };
        let late = || ApiError::Unavailable("no answer in time".to_owned());
        tokio::time::timeout(CALL_TIMEOUT, call).await.map_err(|_| late())?
    }
}

/// Takes hints of others.
#[derive(Debug)]
pub(crate) struct PeerService {
    /// Told of them.
    pub(crate) conductor: Conductor,
}

impl PeerHandler for PeerService {
    async fn hint(&self, hints: Vec<Hint>) -> Result<(), ApiError> {
        self.conductor.send(Command::Hinted(hints));
        Ok(())
    }
}
