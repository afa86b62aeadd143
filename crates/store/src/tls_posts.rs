//! Reports that workers post over HTTPS. Not responsible for what stands in them.

use bytes::Bytes;
use mailtier_types::{Timestamp, WorkerId};

use crate::aside::AsideTx;
use crate::error::StoreError;
use crate::session::Session;
use crate::sql;
use crate::wire::{Columns as _, Time};

/// A report to be posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsPost {
    /// Which.
    pub id: i64,
    /// Where.
    pub uri: String,
    /// What.
    pub body: Bytes,
}

/// What follows from a post that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostFailed {
    /// It will be tried again.
    TriedAgain,
    /// Its time is over.
    GivenUp,
    /// Somebody else has it.
    NotHeld,
}

impl AsideTx<'_> {
    /// Has a body posted to these places, from `now` until `expires_at`.
    ///
    /// # Errors
    /// The transaction is over.
    pub async fn put_tls_posts(
        &mut self,
        domain: &str,
        uris: &[&str],
        body: &[u8],
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        let query = sqlx::query(sql::PUT_TLS_POSTS).bind(domain).bind(uris).bind(body).bind(Time(now));
        self.session().write(query.bind(Time(expires_at))).await.map(|_| ())
    }
}

impl Session {
    /// Gives posts that are due to a worker.
    ///
    /// # Errors
    /// None is given, or that is not known: then they are given again when the lease is over.
    pub async fn take_tls_posts(
        &mut self,
        holder: WorkerId,
        until: Timestamp,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<TlsPost>, StoreError> {
        let query = sqlx::query(sql::TAKE_TLS_POSTS)
            .bind(Time(now))
            .bind(holder.uuid())
            .bind(Time(until))
            .bind(i64::from(limit));
        let rows = self.write(query).await?;
        let read = |row| -> Result<TlsPost, StoreError> {
            let row: &sqlx::postgres::PgRow = row;
            Ok(TlsPost { id: row.value("id")?, uri: row.value("uri")?, body: row.bytes("body")? })
        };
        rows.iter().map(read).collect()
    }

    /// A post was taken; false where somebody else has it.
    ///
    /// # Errors
    /// That is not noted, or not known.
    pub async fn drop_tls_post(&mut self, id: i64, holder: WorkerId) -> Result<bool, StoreError> {
        let query = sqlx::query(sql::DROP_TLS_POST).bind(id).bind(holder.uuid());
        Ok(!self.write(query).await?.is_empty())
    }

    /// A post failed.
    ///
    /// # Errors
    /// That is not noted, or not known.
    pub async fn retry_tls_post(
        &mut self,
        id: i64,
        holder: WorkerId,
        now: Timestamp,
    ) -> Result<PostFailed, StoreError> {
        let holder = holder.uuid();
        let rows = self.write(sqlx::query(sql::RETRY_TLS_POST).bind(id).bind(holder).bind(Time(now))).await?;
        let Some(row) = rows.first() else { return Ok(PostFailed::NotHeld) };
        Ok(if row.value("over")? { PostFailed::GivenUp } else { PostFailed::TriedAgain })
    }

    /// Sweeps what was counted, reported and posted on days before a time.
    ///
    /// # Errors
    /// Nothing was swept, or that is not known.
    pub async fn sweep_tls(&mut self, before: Timestamp, now: Timestamp) -> Result<(), StoreError> {
        self.write(sqlx::query(sql::SWEEP_TLS).bind(Time(before)).bind(Time(now))).await.map(|_| ())
    }
}
