//! How the installation and this replica stand.

use std::time::Duration;

use mailtier_api::ApiError;
use mailtier_api::overview::{ReplicaView, ShardMap, ShardView, Status};
use mailtier_store::{LiveMember, ShardOwner};
use tokio::sync::oneshot;

use super::{AdminService, trouble};
use crate::conductor::Command;

/// How long the conductor may take for an answer: it answers between two rounds.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

impl AdminService {
    pub(super) async fn shards(&self) -> Result<ShardMap, ApiError> {
        self.work(|_, mut session| async move {
            let members = session.members().await.map_err(|error| trouble(&error))?;
            let shards = session.shard_map().await.map_err(|error| trouble(&error))?;
            let replica =
                |LiveMember { member, lease_left }| ReplicaView { id: member.id, address: member.address, lease_left };
            let shard = |owner: ShardOwner| ShardView {
                shard: owner.shard,
                epoch: owner.epoch,
                owner: owner.owner.zip(owner.lease_left),
                is_clean: owner.is_clean,
            };
            Ok(ShardMap {
                replicas: members.into_iter().map(replica).collect(),
                shards: shards.into_iter().map(shard).collect(),
            })
        })
        .await
    }

    /// Needs no database: an operator who asks because that is away is answered.
    pub(super) async fn own_status(&self) -> Result<Status, ApiError> {
        let (answer, overview) = oneshot::channel();
        self.changer.conductor.send(Command::Overview(answer));
        match tokio::time::timeout(ANSWERED_WITHIN, overview).await {
            Ok(Ok(overview)) => Ok(Status { replica: self.me, overview }),
            Ok(Err(_)) => Err(ApiError::Unavailable("the queue is stopping".to_owned())),
            Err(_) => Err(ApiError::Unavailable("the conductor is busy and does not answer".to_owned())),
        }
    }
}
