//! Reading deliveries: pages for schedulers, whole rows for dispatch. Not responsible for what to read when.

use mailtier_types::{DeliveryId, ShardId, TenantId};

use crate::error::StoreError;
use crate::model::{Extras, Loaded, StoredDelivery};
use crate::session::Session;
use crate::sql;
use crate::wire::{Columns as _, stored_delivery};

impl Session {
    /// A page of the deliveries of some shards, in the order of their ids, which are above `after`. Fewer than `limit`
    /// rows mean that this was the last page. Last outcomes and senders are read only where they are wanted.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn load(
        &mut self,
        after: i64,
        shards: &[ShardId],
        limit: u32,
        extras: Extras,
    ) -> Result<Vec<Loaded>, StoreError> {
        let shards: Vec<i16> = shards.iter().map(|shard| i16::from(shard.number())).collect();
        let query = sqlx::query(sql::LOAD)
            .bind(after)
            .bind(shards)
            .bind(i64::from(limit))
            .bind(extras.outcomes)
            .bind(extras.senders);
        let rows = self.read(query).await?;
        rows.iter()
            .map(|row| {
                Ok(Loaded {
                    id: row.delivery_id("id")?,
                    shard: row.shard()?,
                    tenant: TenantId(row.value("tenant_id")?),
                    priority: row.value("priority")?,
                    expires_at: row.time("expires_at")?,
                    destination: row.value("destination")?,
                    sender: row.value("sender")?,
                    attempts: row.count("attempts")?,
                    next_attempt_at: row.time_or_none("next_attempt_at")?,
                    last_outcome: row.bytes("last_outcome")?,
                    told_at: row.time_or_none("told_at")?,
                    is_held: row.value("is_held")?,
                })
            })
            .collect()
    }

    /// Deliveries with all that a dispatch needs, in the order of their ids. Those that are over are missing.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn fetch(&mut self, deliveries: &[DeliveryId]) -> Result<Vec<StoredDelivery>, StoreError> {
        let ids: Vec<i64> = deliveries.iter().map(|delivery| delivery.as_i64()).collect();
        self.read(sqlx::query(sql::FETCH).bind(ids)).await?.iter().map(stored_delivery).collect()
    }
}
