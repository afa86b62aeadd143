//! Event partitions: made ahead of time, dropped when their retention ends. Not responsible for when.

use mailtier_types::Timestamp;
use sqlx::postgres::PgRow;

use crate::error::StoreError;
use crate::session::Session;
use crate::sql;
use crate::wire::{Columns as _, Time};

impl Session {
    /// Makes the event partitions from yesterday to `ahead_days` after today (UTC) that are missing, and returns their
    /// names.
    ///
    /// # Errors
    /// Those made before the error stay.
    pub async fn ensure_event_partitions(
        &mut self,
        now: Timestamp,
        ahead_days: u16,
    ) -> Result<Vec<String>, StoreError> {
        let mut made = Vec::new();
        loop {
            let mut transaction = self.begin().await?;
            let session = transaction.session();
            session.read(sqlx::query(sql::PARTITION_LOCK)).await?;
            let missing = sqlx::query(sql::MISSING_PARTITIONS).bind(Time(now)).bind(i32::from(ahead_days));
            let Some(day) = session.read(missing).await?.into_iter().next() else {
                transaction.rollback().await?;
                return Ok(made);
            };
            let name: String = day.value("name")?;
            session.batch(filled(sql::DDL_MAKE_PARTITION, &day, &["name", "first", "next"])?).await?;
            transaction.commit().await?;
            made.push(name);
        }
    }

    /// Drops the event partitions that end at or before `before`, and returns their names.
    ///
    /// # Errors
    /// Those dropped before the error are gone. A lock that is not free within a second is such an error; it is to be
    /// tried again later.
    pub async fn drop_event_partitions(&mut self, before: Timestamp) -> Result<Vec<String>, StoreError> {
        let mut dropped = Vec::new();
        loop {
            let mut transaction = self.begin().await?;
            let session = transaction.session();
            session.read(sqlx::query(sql::PARTITION_LOCK)).await?;
            let old = sqlx::query(sql::OLD_PARTITIONS).bind(Time(before));
            let Some(day) = session.read(old).await?.into_iter().next() else {
                transaction.rollback().await?;
                return Ok(dropped);
            };
            let name: String = day.value("name")?;
            session.batch(filled(sql::DDL_DROP_PARTITION, &day, &["name"])?).await?;
            transaction.commit().await?;
            dropped.push(name);
        }
    }
}

/// A statement with the columns of a row in the places named after them. They are made of digits and fixed words by the
/// statement that the row comes from.
fn filled(template: &str, row: &PgRow, columns: &[&'static str]) -> Result<String, StoreError> {
    let mut text = template.to_owned();
    for name in columns {
        text = text.replace(&format!("{{{name}}}"), &row.value::<String>(name)?);
    }
    Ok(text)
}
