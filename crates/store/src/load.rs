//! Reading deliveries: pages for schedulers, whole rows for dispatch. Not responsible for what to read when.

use mailtier_types::{DeliveryId, ShardId, TenantId};
use sqlx::postgres::PgRow;

use crate::admin::PageBounds;
use crate::error::StoreError;
use crate::model::{Extras, Loaded, StoredDelivery};
use crate::session::Session;
use crate::sql;
use crate::wire::{Columns as _, found_of_page, readable, stored_delivery};

/// A page for a scheduler.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadedPage {
    /// In the order of their ids. May be fewer than the limit, or none, although more follow.
    pub deliveries: Vec<Loaded>,
    /// After which the next page begins; nothing at the end.
    pub next: Option<DeliveryId>,
}

impl Session {
    /// A page of the deliveries of some shards. Last outcomes and senders are read only where they are wanted. A row that
    /// cannot be read is missing, with an error in the log.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn load(
        &mut self,
        bounds: PageBounds,
        shards: &[ShardId],
        extras: Extras,
    ) -> Result<LoadedPage, StoreError> {
        let shards: Vec<i16> = shards.iter().map(|shard| i16::from(shard.number())).collect();
        let query = sqlx::query(sql::LOAD)
            .bind(bounds.after)
            .bind(bounds.before)
            .bind(i64::from(bounds.rows))
            .bind(shards)
            .bind(i64::from(bounds.limit))
            .bind(extras.outcomes)
            .bind(extras.senders);
        let page = found_of_page(self.read(query).await?)?;
        let last =
            page.found.last().filter(|_| page.found.len() >= usize::try_from(bounds.limit).unwrap_or(usize::MAX));
        let next = match last {
            Some(last) => Some(last.delivery_id("id")?),
            None => page.bound.filter(|_| page.looked_at >= u64::from(bounds.rows)),
        };
        Ok(LoadedPage { deliveries: readable(&page.found, loaded), next })
    }

    /// Deliveries with all that a dispatch needs, in the order of their ids. Those that are over are missing; so is one
    /// that cannot be read, with an error in the log.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn fetch(&mut self, deliveries: &[DeliveryId]) -> Result<Vec<StoredDelivery>, StoreError> {
        Ok(readable(&self.fetch_rows(deliveries).await?, stored_delivery))
    }

    /// The rows of deliveries that are not over, whether or not they can be read.
    pub(crate) async fn fetch_rows(&mut self, deliveries: &[DeliveryId]) -> Result<Vec<PgRow>, StoreError> {
        let ids: Vec<i64> = deliveries.iter().map(|delivery| delivery.as_i64()).collect();
        self.read(sqlx::query(sql::FETCH).bind(ids)).await
    }
}

fn loaded(row: &PgRow) -> Result<Loaded, StoreError> {
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
        hosts: row.texts("hosts")?,
    })
}
