//! What egress pools let out by the day while they warm up, counted for all replicas. Not responsible for what a day
//! allows, nor for using what was taken.

use mailtier_types::{Day, Timestamp};

use crate::error::StoreError;
use crate::session::Session;
use crate::sql;
use crate::wire::Columns as _;

/// Part of a day of a pool's warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Deliveries that the caller may let out; 0 when the day is used up.
    pub granted: u32,
    /// What all replicas have taken of the day.
    pub taken: u64,
}

impl Session {
    /// Takes up to `count` deliveries of what a pool may let out on a day, which is `limit` for all replicas together.
    ///
    /// # Errors
    /// Nothing was taken, or that is not known: then it is lost for the day.
    pub async fn take_allowance(&mut self, pool: &str, day: Day, count: u32, limit: u64) -> Result<Slice, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let query = sqlx::query(sql::TAKE_ALLOWANCE).bind(pool).bind(day.number()).bind(i64::from(count)).bind(limit);
        let rows = self.write(query).await?;
        let row = rows.first().ok_or(StoreError::Corrupt { column: "granted" })?;
        let number = |column: &'static str| row.value::<i64>(column);
        Ok(Slice {
            granted: u32::try_from(number("granted")?).map_err(|_| StoreError::Corrupt { column: "granted" })?,
            taken: u64::try_from(number("taken")?).map_err(|_| StoreError::Corrupt { column: "taken" })?,
        })
    }

    /// Gives back what was taken of a day and not used.
    ///
    /// # Errors
    /// Nothing was given back, or that is not known.
    pub async fn return_allowance(&mut self, pool: &str, day: Day, count: u32) -> Result<(), StoreError> {
        let query = sqlx::query(sql::RETURN_ALLOWANCE).bind(pool).bind(day.number()).bind(i64::from(count));
        self.write(query).await.map(|_| ())
    }

    /// Sweeps what is known of days before a time.
    ///
    /// # Errors
    /// Nothing was swept, or that is not known.
    pub async fn sweep_pool_days(&mut self, before: Timestamp) -> Result<(), StoreError> {
        self.write(sqlx::query(sql::SWEEP_POOL_DAYS).bind(crate::wire::Time(before))).await.map(|_| ())
    }
}
