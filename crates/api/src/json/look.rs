//! How much is queued, who owns what, and how a replica stands.

use mailtier_types::{DeliveryId, ReplicaId};

use super::shape::shape;
use super::{At, millis};
use crate::counts::{self, CountReply};
use crate::overview::{self, BlockView, DeadView, PoolView, ReplicaView, ShardMap, ShardView, WorkerView};

shape! {
    answer
    /// What is counted of deliveries that have something in common.
    Group {
        /// What that is; null where there is nothing such: never attempted, nobody's exchanger.
        key: Option<String>,
        /// How many.
        deliveries: u64,
        /// Their recipients, those that are left.
        recipients: u64,
        /// Of their messages; one that goes to several destinations counts for each.
        size_bytes: u64,
        /// When the oldest was accepted; null where there are none.
        oldest: Option<At>,
        /// The recipients by the age of their message in minutes: under 5, under 10, 20, 40, 80, 160, 320, 640, 1280, and
        /// more.
        recipients_by_age: Vec<u64>,
    }

    answer
    /// A part of a count. Parts that follow may have more of the same groups: add them up.
    Count {
        /// In no order.
        groups: Vec<Group>,
        /// To be given as `after` for the next part; null at the end.
        next: Option<String>,
        /// Deliveries that were looked at.
        looked_at: u64,
    }

    answer
    /// A queue replica that lives.
    Replica {
        /// Which.
        replica: String,
        /// Where its peers reach it.
        address: String,
        /// How many it owns.
        shards: u64,
        /// What is left of its membership, unless it renews it.
        lease_left_ms: u64,
    }

    answer
    /// A shard.
    Shard {
        /// Its number.
        shard: u8,
        /// How often it changed its owner.
        epoch: i64,
        /// The replica that owns it; null while none does.
        owner: Option<String>,
        /// What is left of the owner's lease.
        lease_left_ms: Option<u64>,
        /// None owns it, and nothing of it is in anybody's hands.
        clean: bool,
    }

    answer
    /// Who owns what.
    Shards {
        /// Those that live.
        replicas: Vec<Replica>,
        /// All shards, in order.
        shards: Vec<Shard>,
    }

    answer
    /// A worker that is connected.
    Worker {
        /// Which.
        worker: String,
        /// As it calls itself.
        name: String,
        /// How many more deliveries it can take, over all pools.
        credit: u64,
        /// How many it has.
        in_flight: u64,
    }

    answer
    /// How the replica that was asked stands.
    Status {
        /// Which.
        replica: String,
        /// Shards it owns.
        shards: u64,
        /// Of these, those of which it does not know yet what workers have.
        taking_over: u64,
        /// Of these, those of which not everything is in its memory.
        spilled: u64,
        /// It is leaving.
        draining: bool,
        /// Its lease is renewed, so that it may dispatch.
        dispatching: bool,
        /// Deliveries in memory that are not due yet.
        waiting: u64,
        /// Deliveries in memory that are due.
        ready: u64,
        /// Deliveries handed out, or being given up.
        in_flight: u64,
        /// When the oldest of those that go next in their queues was accepted.
        oldest_ready: Option<At>,
        /// How many suspensions are in force here.
        suspensions: u64,
        /// Connected to it.
        workers: Vec<Worker>,
        /// The egress pools of its configuration, `default` first.
        pools: Vec<Pool>,
        /// How many destinations do not answer.
        dead_destinations: u64,
        /// Of these the 20 with the most mail.
        dead: Vec<Dead>,
        /// How many of our addresses are blocked, once for each destination or provider that blocks one.
        blocks: u64,
        /// Of these the first 100.
        blocked: Vec<Block>,
    }

    answer
    /// One of our addresses, which is not used for mail to a destination, or to all of a provider, for a time.
    Block {
        /// Which.
        address: String,
        /// The destination that blocks it.
        #[serde(skip_serializing_if = "Option::is_none")]
        destination: Option<String>,
        /// The provider that blocks it.
        #[serde(skip_serializing_if = "Option::is_none")]
        provider: Option<String>,
        /// Until when.
        until: At,
    }

    answer
    /// A destination that does not answer, as the replica that was asked has it.
    Dead {
        /// Its name.
        destination: String,
        /// Where an operator sends the mail that is meant; none: its own way.
        hosts: Vec<String>,
        /// Deliveries in memory.
        deliveries: u64,
        /// Until when nothing is attempted.
        until: At,
    }

    answer
    /// An egress pool, as the replica that was asked sees it.
    Pool {
        /// Its name.
        pool: String,
        /// Deliveries in memory that are due and belong to it.
        ready: u64,
        /// Deliveries that workers attempt through it.
        in_flight: u64,
        /// What is left of today's warm-up, as far as this replica knows; null where it is warm.
        allowance_left: Option<u64>,
        /// It is suspended.
        suspended: bool,
        /// A worker that is connected serves it; where none does, what belongs to it waits.
        served: bool,
    }
}

impl From<&counts::Group> for Group {
    fn from(group: &counts::Group) -> Self {
        Self {
            key: Some(&group.key).filter(|key| !key.is_empty()).cloned(),
            deliveries: group.deliveries,
            recipients: group.recipients,
            size_bytes: group.octets,
            oldest: (group.deliveries > 0).then_some(At(group.oldest)),
            recipients_by_age: group.by_age.to_vec(),
        }
    }
}

impl From<&CountReply> for Count {
    fn from(reply: &CountReply) -> Self {
        Self {
            groups: reply.groups.iter().map(Into::into).collect(),
            next: DeliveryId::from_i64(reply.next).ok().map(|id| id.to_string()),
            looked_at: reply.looked_at,
        }
    }
}

impl Replica {
    /// A replica, beside who owns what.
    fn new(view: &ReplicaView, map: &ShardMap) -> Self {
        Self {
            replica: view.id.to_string(),
            address: view.address.clone(),
            shards: map.owned_by(view.id) as u64,
            lease_left_ms: millis(view.lease_left),
        }
    }
}

impl From<&ShardView> for Shard {
    fn from(view: &ShardView) -> Self {
        let (owner, lease_left): (Option<ReplicaId>, _) = view.owner.unzip();
        Self {
            shard: view.shard.number(),
            epoch: view.epoch.0,
            owner: owner.map(|owner| owner.to_string()),
            lease_left_ms: lease_left.map(millis),
            clean: view.is_clean,
        }
    }
}

impl From<&ShardMap> for Shards {
    fn from(map: &ShardMap) -> Self {
        Self {
            replicas: map.replicas.iter().map(|view| Replica::new(view, map)).collect(),
            shards: map.shards.iter().map(Into::into).collect(),
        }
    }
}

impl From<&WorkerView> for Worker {
    fn from(view: &WorkerView) -> Self {
        Self { worker: view.id.to_string(), name: view.name.clone(), credit: view.credit, in_flight: view.in_flight }
    }
}

impl From<&overview::Status> for Status {
    fn from(status: &overview::Status) -> Self {
        let overview = &status.overview;
        Self {
            replica: status.replica.to_string(),
            shards: overview.shards.into(),
            taking_over: overview.taking_over.into(),
            spilled: overview.spilled.into(),
            draining: overview.is_draining,
            dispatching: overview.is_dispatching,
            waiting: overview.waiting,
            ready: overview.ready,
            in_flight: overview.in_flight,
            oldest_ready: overview.oldest_ready_at().map(At),
            suspensions: overview.suspensions.into(),
            workers: overview.workers.iter().map(Into::into).collect(),
            pools: overview.pools.iter().map(Into::into).collect(),
            dead_destinations: overview.dead_destinations,
            dead: overview.dead.iter().map(Into::into).collect(),
            blocks: overview.blocks,
            blocked: overview.blocked.iter().map(Into::into).collect(),
        }
    }
}

impl From<&BlockView> for Block {
    fn from(view: &BlockView) -> Self {
        let by = || view.by.clone();
        Self {
            address: view.address.to_string(),
            destination: (!view.is_provider).then(by),
            provider: view.is_provider.then(by),
            until: At(view.until),
        }
    }
}

impl From<&DeadView> for Dead {
    fn from(view: &DeadView) -> Self {
        Self {
            destination: view.destination.clone(),
            hosts: view.hosts.clone(),
            deliveries: view.deliveries,
            until: At(view.until),
        }
    }
}

impl From<&PoolView> for Pool {
    fn from(view: &PoolView) -> Self {
        Self {
            pool: view.name.clone(),
            ready: view.ready,
            in_flight: view.in_flight,
            allowance_left: view.allowance_left,
            suspended: view.is_suspended,
            served: !view.is_unserved,
        }
    }
}
