//! Who owns which shard, which replicas live, and who makes ids with which node number. All leases are compared with the
//! database's clock, the only one that all replicas share; an owner stops earlier, by its own monotonic clock.

use std::time::Duration;

use mailtier_crashpoint::{Point, reach_waiting};
use mailtier_types::{Epoch, NodeNumber, ReplicaId, ShardId};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::error::StoreError;
use crate::session::Session;
use crate::sql;
use crate::wire::Columns as _;

/// A live replica.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Which.
    pub id: ReplicaId,
    /// Where its peers reach it.
    pub address: String,
    /// Its share of the shards, in relation to the others'.
    pub weight: f32,
}

/// A shard and the epoch in which it is owned.
pub type OwnedShard = (ShardId, Epoch);

/// A shard that was just taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenShard {
    /// Which.
    pub shard: ShardId,
    /// Its new epoch.
    pub epoch: Epoch,
    /// Nobody owned it before, or its last owner gave it up with nothing in flight.
    pub clean: bool,
}

/// A shard as all see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardOwner {
    /// Which.
    pub shard: ShardId,
    /// How often it changed its owner.
    pub epoch: Epoch,
    /// Its owner; absent while nobody owns it, or its owner's lease has run out.
    pub owner: Option<ReplicaId>,
    /// Where its owner is reached; empty without one.
    pub address: String,
    /// What is left of its owner's lease.
    pub lease_left: Option<Duration>,
    /// Nobody owns it, and its next owner needs to ask nobody.
    pub is_clean: bool,
}

/// A replica that lives, as all see it.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveMember {
    /// Which, where, and its share.
    pub member: Member,
    /// What is left of its membership.
    pub lease_left: Duration,
}

impl Session {
    /// Says that this replica lives, for as long as `lease`, and returns all that live, this one included.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn heartbeat(
        &mut self,
        me: ReplicaId,
        address: &str,
        weight: f32,
        lease: Duration,
    ) -> Result<Vec<Member>, StoreError> {
        let query = sqlx::query(sql::HEARTBEAT).bind(me.uuid()).bind(address).bind(weight).bind(micros(lease));
        let rows = self.write(query).await?;
        rows.iter().map(member).collect()
    }

    /// Says that this replica leaves; its shards are to be released before.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn leave(&mut self, me: ReplicaId) -> Result<(), StoreError> {
        self.write(sqlx::query(sql::LEAVE).bind(me.uuid())).await.map(|_| ())
    }

    /// Takes at most `want` shards that nobody owns.
    ///
    /// # Errors
    /// The database cannot be reached; some may be taken, the next renewal tells.
    pub async fn take_shards(
        &mut self,
        me: ReplicaId,
        address: &str,
        want: u16,
        lease: Duration,
    ) -> Result<Vec<TakenShard>, StoreError> {
        let query =
            sqlx::query(sql::TAKE_SHARDS).bind(me.uuid()).bind(address).bind(i64::from(want)).bind(micros(lease));
        reach_waiting(Point::TakeSent, self.write(query))
            .await?
            .iter()
            .map(|row| {
                let (shard, epoch) = owned_shard(row)?;
                Ok(TakenShard { shard, epoch, clean: row.value("clean")? })
            })
            .collect()
    }

    /// Renews the lease of every shard this replica owns and returns them; one that is not among them is lost.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn renew(&mut self, me: ReplicaId, lease: Duration) -> Result<Vec<OwnedShard>, StoreError> {
        let query = sqlx::query(sql::RENEW).bind(me.uuid()).bind(micros(lease));
        self.write(query).await?.iter().map(owned_shard).collect()
    }

    /// Gives shards up, so that others take them at once; `clean` when nothing of them is in flight.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn release(&mut self, me: ReplicaId, shards: &[ShardId], clean: bool) -> Result<(), StoreError> {
        let shards: Vec<i16> = shards.iter().map(|shard| i16::from(shard.number())).collect();
        self.write(sqlx::query(sql::RELEASE).bind(me.uuid()).bind(shards).bind(clean)).await.map(|_| ())
    }

    /// All shards and their owners.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn shard_map(&mut self) -> Result<Vec<ShardOwner>, StoreError> {
        let rows = self.read(sqlx::query(sql::SHARD_MAP)).await?;
        rows.iter()
            .map(|row| {
                Ok(ShardOwner {
                    shard: row.shard()?,
                    epoch: Epoch(row.value("epoch")?),
                    owner: row.value::<Option<Uuid>>("owner")?.map(ReplicaId::from_uuid),
                    address: row.value("address")?,
                    lease_left: row.value::<Option<i64>>("lease_left_us")?.map(from_micros),
                    is_clean: row.value("is_clean")?,
                })
            })
            .collect()
    }

    /// All replicas that live.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn members(&mut self) -> Result<Vec<LiveMember>, StoreError> {
        let rows = self.read(sqlx::query(sql::MEMBERS)).await?;
        let live = |row: &PgRow| {
            let lease_left = from_micros(row.value("lease_left_us")?);
            Ok(LiveMember { member: member(row)?, lease_left })
        };
        rows.iter().map(live).collect()
    }

    /// Leases a node number to a holder, or renews the one it has. The number longest unused is given, so that ids of a
    /// holder whose clock ran ahead are not made again.
    ///
    /// # Errors
    /// [`StoreError::NoNodeNumber`], or the database cannot be reached.
    pub async fn lease_node(&mut self, holder: Uuid, lease: Duration) -> Result<NodeNumber, StoreError> {
        let rows = self.write(sqlx::query(sql::LEASE_NODE).bind(holder).bind(micros(lease))).await?;
        let number = rows.first().ok_or(StoreError::NoNodeNumber)?.count("number")?;
        NodeNumber::new(number).map_err(|_| StoreError::Corrupt { column: "number" })
    }
}

fn member(row: &PgRow) -> Result<Member, StoreError> {
    Ok(Member {
        id: ReplicaId::from_uuid(row.value("owner")?),
        address: row.value("address")?,
        weight: row.value("weight")?,
    })
}

fn from_micros(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

fn owned_shard(row: &PgRow) -> Result<OwnedShard, StoreError> {
    Ok((row.shard()?, Epoch(row.value("epoch")?)))
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
