//! Leases the node number that ids are made with, and renews it long before it runs out. Not responsible for ids.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mailtier_api::submit::SubmitClient;
use mailtier_api::{ApiError, Credentials};
use mailtier_types::ReplicaId;
use tokio_util::sync::CancellationToken;

use super::endpoints::Endpoints;
use crate::ids::Ids;

/// How long a replica may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The wait after every replica failed.
const PAUSE: Duration = Duration::from_millis(250);
/// A lease is renewed when this share of it is over.
const RENEW_SHARE: u32 = 3;

/// Keeps [`Ids`] valid.
#[derive(Debug)]
pub(crate) struct LeaseKeeper {
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) credentials: Credentials,
    pub(crate) end: CancellationToken,
}

impl LeaseKeeper {
    pub(crate) async fn run(self) {
        // Made anew at each start: what an earlier process of this host holds is not ours.
        let holder = ReplicaId::random();
        let mut complained = false;
        tokio::select! {
            () = self.endpoints.first() => {}
            () = self.end.cancelled() => return,
        }
        while !self.end.is_cancelled() {
            match self.renew(holder).await {
                Ok(valid_for) => {
                    complained = false;
                    self.endpoints.announce();
                    let _ = tokio::time::timeout(valid_for / RENEW_SHARE, self.end.cancelled()).await;
                }
                Err(error) => {
                    if !std::mem::replace(&mut complained, true) {
                        tracing::warn!(%error, "no queue replica leases a node number");
                    }
                    self.endpoints.changed(PAUSE).await;
                }
            }
        }
    }

    /// Asks one replica after the other.
    async fn renew(&self, holder: ReplicaId) -> Result<Duration, ApiError> {
        let mut last = ApiError::Unavailable("no replica is known".into());
        for url in self.endpoints.urls() {
            let asked_at = Instant::now();
            let answer = async { SubmitClient::connect(&url, &self.credentials).await?.lease_node(holder).await };
            match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
                Ok(Ok(lease)) => {
                    // From when we asked: the replica counts from later.
                    self.ids.lease(lease.node, asked_at + lease.valid_for);
                    return Ok(lease.valid_for);
                }
                Ok(Err(error)) => last = error,
                Err(_) => last = ApiError::Unavailable(format!("{url} does not answer")),
            }
        }
        Err(last)
    }
}
