//! The queue as a whole, as only the tables know it. Not responsible for when it is counted.

use mailtier_types::{DeliveryId, ReplicaId};

use crate::error::StoreError;
use crate::session::Session;
use crate::sql;
use crate::wire::Columns as _;

/// What the tables tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Deliveries that are held.
    pub held: u64,
    /// All deliveries, as the server's statistics estimate them.
    pub stored: u64,
    /// The oldest.
    pub oldest: Option<DeliveryId>,
}

impl Session {
    /// Counts, where this replica owns shard 0: one of all replicas does. Costs in proportion to what is held.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn census(&mut self, me: ReplicaId) -> Result<Option<Census>, StoreError> {
        let rows = self.read(sqlx::query(sql::CENSUS).bind(me.uuid())).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let count = |number: Option<i64>| u64::try_from(number.unwrap_or_default()).unwrap_or_default();
        let oldest = row.value::<Option<i64>>("oldest")?;
        let oldest = oldest.map(DeliveryId::from_i64).transpose();
        Ok(Some(Census {
            held: count(row.value("held")?),
            stored: count(row.value("stored")?),
            oldest: oldest.map_err(|_| StoreError::Corrupt { column: "oldest" })?,
        }))
    }
}
