//! The installation as a whole: which replicas there are, who owns which shard, and how the replica that is asked stands.

use std::net::IpAddr;
use std::time::Duration;

use mailtier_types::{DeliveryId, Epoch, ReplicaId, ShardId, Timestamp, WorkerId};

use crate::admin::AdminClient;
use crate::convert::{delivery_id, replica_id, shard_id, worker_id};
use crate::error::ApiError;
use crate::wire;

/// A replica that lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaView {
    /// Which.
    pub id: ReplicaId,
    /// Where its peers reach it.
    pub address: String,
    /// What is left of its membership, unless it renews it.
    pub lease_left: Duration,
}

/// A shard as all see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardView {
    /// Which.
    pub shard: ShardId,
    /// How often it changed its owner.
    pub epoch: Epoch,
    /// Its owner, and what is left of the lease; absent while nobody owns it.
    pub owner: Option<(ReplicaId, Duration)>,
    /// Nobody owns it, and its next owner needs to ask nobody: it was never owned, or given up with nothing in flight.
    pub is_clean: bool,
}

/// Who owns what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShardMap {
    /// Those that live.
    pub replicas: Vec<ReplicaView>,
    /// All of them, in order.
    pub shards: Vec<ShardView>,
}

impl ShardMap {
    /// How many shards a replica owns.
    #[must_use]
    pub fn owned_by(&self, id: ReplicaId) -> usize {
        self.shards.iter().filter(|shard| shard.owner.is_some_and(|(owner, _)| owner == id)).count()
    }
}

/// A worker that is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerView {
    /// Which.
    pub id: WorkerId,
    /// As it calls itself.
    pub name: String,
    /// How many more deliveries it can take, over all pools.
    pub credit: u64,
    /// How many it has from this replica, or told it of.
    pub in_flight: u64,
}

/// An egress pool, as a replica sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolView {
    /// Its name.
    pub name: String,
    /// Deliveries in memory that are due and belong to it.
    pub ready: u64,
    /// Deliveries that workers attempt through it.
    pub in_flight: u64,
    /// What is left of today's warm-up, as far as the replica knows; absent where it is warm.
    pub allowance_left: Option<u64>,
    /// Somebody has suspended it.
    pub is_suspended: bool,
    /// No worker that is connected serves it: what belongs to it waits.
    pub is_unserved: bool,
}

/// One replica's memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overview {
    /// Shards it owns.
    pub shards: u32,
    /// Of these, those of which it does not know yet what workers have.
    pub taking_over: u32,
    /// Of these, those of which not everything is in its memory.
    pub spilled: u32,
    /// Deliveries that are not due yet.
    pub waiting: u64,
    /// Deliveries that are due.
    pub ready: u64,
    /// Deliveries handed out, or being given up.
    pub in_flight: u64,
    /// The oldest of those that go next in their queues.
    pub oldest_ready: Option<DeliveryId>,
    /// It is leaving.
    pub is_draining: bool,
    /// It may dispatch: its lease is renewed.
    pub is_dispatching: bool,
    /// Connected to it.
    pub workers: Vec<WorkerView>,
    /// Destinations, providers and tenants that are suspended as far as it knows.
    pub suspensions: u32,
    /// Egress pools, in the order of the configuration.
    pub pools: Vec<PoolView>,
    /// Destinations that do not answer.
    pub dead_destinations: u64,
    /// Of these the [`Self::DEAD_SHOWN`] with the most mail.
    pub dead: Vec<DeadView>,
    /// Our addresses that are blocked somewhere.
    pub blocks: u64,
    /// Of these the first [`Self::BLOCKS_SHOWN`].
    pub blocked: Vec<BlockView>,
}

impl Overview {
    /// So many destinations that do not answer are shown.
    pub const DEAD_SHOWN: usize = 20;
    /// So many blocks of our addresses are shown.
    pub const BLOCKS_SHOWN: usize = 100;
}

/// A destination that does not answer: one delivery at a time is tried once in a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadView {
    /// Its name.
    pub destination: String,
    /// Where an operator sends the mail that is meant; none: its own way.
    pub hosts: Vec<String>,
    /// Deliveries in memory.
    pub deliveries: u64,
    /// Until when nothing is attempted.
    pub until: Timestamp,
}

/// One of our addresses, which is blocked for mail to a destination, or to all of a provider: it is not used there for a
/// time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockView {
    /// Which.
    pub address: IpAddr,
    /// By whom: a destination, or the name of a provider.
    pub by: String,
    /// It is a provider.
    pub is_provider: bool,
    /// Until when.
    pub until: Timestamp,
}

/// How the replica that was asked stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Which.
    pub replica: ReplicaId,
    /// What it has in memory.
    pub overview: Overview,
}

impl AdminClient {
    /// Who owns what.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn shard_map(&self) -> Result<ShardMap, ApiError> {
        self.asked(self.wire().show_shards(wire::ShowShardsRequest {})).await?.try_into()
    }

    /// How the replica stands.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn status(&self) -> Result<Status, ApiError> {
        self.asked(self.wire().show_status(wire::ShowStatusRequest {})).await?.try_into()
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl From<ShardMap> for wire::ShowShardsReply {
    fn from(map: ShardMap) -> Self {
        let replica = |replica: ReplicaView| wire::ReplicaView {
            replica_id: replica.id.as_bytes().to_vec().into(),
            address: replica.address,
            lease_left_us: micros(replica.lease_left),
        };
        let shard = |shard: ShardView| {
            let (owner, lease_left) = shard.owner.unzip();
            wire::ShardView {
                shard: u32::from(shard.shard.number()),
                epoch: shard.epoch.0,
                owner: owner.map(|owner| owner.as_bytes().to_vec().into()).unwrap_or_default(),
                lease_left_us: lease_left.map_or(0, micros),
                is_clean: shard.is_clean,
            }
        };
        Self {
            replicas: map.replicas.into_iter().map(replica).collect(),
            shards: map.shards.into_iter().map(shard).collect(),
        }
    }
}

impl TryFrom<wire::ShowShardsReply> for ShardMap {
    type Error = ApiError;

    fn try_from(reply: wire::ShowShardsReply) -> Result<Self, ApiError> {
        let replica = |view: wire::ReplicaView| {
            Ok(ReplicaView {
                id: replica_id(&view.replica_id)?,
                address: view.address,
                lease_left: Duration::from_micros(view.lease_left_us),
            })
        };
        let shard = |view: wire::ShardView| {
            let owner =
                Some(&view.owner).filter(|owner| !owner.is_empty()).map(|owner| replica_id(owner)).transpose()?;
            Ok(ShardView {
                shard: shard_id(view.shard)?,
                epoch: Epoch(view.epoch),
                owner: owner.map(|owner| (owner, Duration::from_micros(view.lease_left_us))),
                is_clean: view.is_clean,
            })
        };
        Ok(Self {
            replicas: reply.replicas.into_iter().map(replica).collect::<Result<_, ApiError>>()?,
            shards: reply.shards.into_iter().map(shard).collect::<Result<_, ApiError>>()?,
        })
    }
}

impl From<Status> for wire::ShowStatusReply {
    fn from(status: Status) -> Self {
        let Overview { shards, taking_over, spilled, waiting, ready, in_flight, .. } = status.overview;
        let worker = |worker: WorkerView| wire::WorkerView {
            worker_id: worker.id.as_bytes().to_vec().into(),
            name: worker.name,
            credit: worker.credit,
            in_flight: worker.in_flight,
        };
        Self {
            replica_id: status.replica.as_bytes().to_vec().into(),
            shards,
            taking_over,
            spilled,
            waiting,
            ready,
            in_flight,
            oldest_ready: status.overview.oldest_ready.map_or(0, DeliveryId::as_i64),
            is_draining: status.overview.is_draining,
            is_dispatching: status.overview.is_dispatching,
            workers: status.overview.workers.into_iter().map(worker).collect(),
            suspensions: status.overview.suspensions,
            pools: status.overview.pools.into_iter().map(Into::into).collect(),
            dead_destinations: status.overview.dead_destinations,
            dead: status.overview.dead.into_iter().map(Into::into).collect(),
            blocks: status.overview.blocks,
            blocked: status.overview.blocked.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<DeadView> for wire::DeadDestination {
    fn from(view: DeadView) -> Self {
        let DeadView { destination, hosts, deliveries, until } = view;
        Self { destination, hosts, deliveries, until_us: until.as_micros() }
    }
}

impl From<wire::DeadDestination> for DeadView {
    fn from(view: wire::DeadDestination) -> Self {
        let wire::DeadDestination { destination, hosts, deliveries, until_us } = view;
        Self { destination, hosts, deliveries, until: Timestamp::from_micros(until_us) }
    }
}

impl From<BlockView> for wire::BlockedAddress {
    fn from(view: BlockView) -> Self {
        let BlockView { address, by, is_provider, until } = view;
        Self { address: address.to_string(), by, is_provider, until_us: until.as_micros() }
    }
}

impl TryFrom<wire::BlockedAddress> for BlockView {
    type Error = ApiError;

    fn try_from(view: wire::BlockedAddress) -> Result<Self, ApiError> {
        let wire::BlockedAddress { address, by, is_provider, until_us } = view;
        let address = address.parse().map_err(|error| ApiError::invalid("address", error))?;
        Ok(Self { address, by, is_provider, until: Timestamp::from_micros(until_us) })
    }
}

impl From<PoolView> for wire::PoolView {
    fn from(view: PoolView) -> Self {
        let PoolView { name, ready, in_flight, allowance_left, is_suspended, is_unserved } = view;
        Self { name, ready, in_flight, allowance_left, is_suspended, is_unserved }
    }
}

impl From<wire::PoolView> for PoolView {
    fn from(view: wire::PoolView) -> Self {
        let wire::PoolView { name, ready, in_flight, allowance_left, is_suspended, is_unserved } = view;
        Self { name, ready, in_flight, allowance_left, is_suspended, is_unserved }
    }
}

impl TryFrom<wire::ShowStatusReply> for Status {
    type Error = ApiError;

    fn try_from(reply: wire::ShowStatusReply) -> Result<Self, ApiError> {
        let worker = |view: wire::WorkerView| {
            let id = worker_id(&view.worker_id)?;
            Ok(WorkerView { id, name: view.name, credit: view.credit, in_flight: view.in_flight })
        };
        let oldest_ready = Some(reply.oldest_ready).filter(|id| *id != 0).map(delivery_id).transpose()?;
        let overview = Overview {
            shards: reply.shards,
            taking_over: reply.taking_over,
            spilled: reply.spilled,
            waiting: reply.waiting,
            ready: reply.ready,
            in_flight: reply.in_flight,
            oldest_ready,
            is_draining: reply.is_draining,
            is_dispatching: reply.is_dispatching,
            workers: reply.workers.into_iter().map(worker).collect::<Result<_, ApiError>>()?,
            suspensions: reply.suspensions,
            pools: reply.pools.into_iter().map(Into::into).collect(),
            dead_destinations: reply.dead_destinations,
            dead: reply.dead.into_iter().map(Into::into).collect(),
            blocks: reply.blocks,
            blocked: reply.blocked.into_iter().map(TryInto::try_into).collect::<Result<_, ApiError>>()?,
        };
        Ok(Self { replica: replica_id(&reply.replica_id)?, overview })
    }
}

impl Overview {
    /// When the oldest of those that go next in their queues was accepted.
    #[must_use]
    pub fn oldest_ready_at(&self) -> Option<Timestamp> {
        self.oldest_ready.map(DeliveryId::made_at)
    }
}
