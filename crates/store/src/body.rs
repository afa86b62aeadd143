//! Bodies: chunks ahead of their message, reading them, and removing those that no delivery needs.

use std::collections::HashMap;

use bytes::Bytes;
use mailtier_types::{MessageId, Timestamp};

use crate::columns::chunk_number;
use crate::error::StoreError;
use crate::session::Session;
use crate::sql;
use crate::wire::Columns as _;

/// Chunks looked at by one statement of the sweep, so that none holds a snapshot for long.
const SWEEP_PAGE: i64 = 10_000;

impl Session {
    /// Stores chunks of bodies ahead of their messages. Chunks that are there already stay as they are.
    ///
    /// # Errors
    /// None of them is stored, or that is not known.
    pub async fn put_parts(&mut self, parts: &[(MessageId, u32, Bytes)]) -> Result<(), StoreError> {
        if parts.is_empty() {
            return Ok(());
        }
        let statement = sqlx::query(sql::PUT_PARTS)
            .bind(parts.iter().map(|(id, ..)| id.as_i64()).collect::<Vec<_>>())
            .bind(parts.iter().map(|(_, seq, _)| chunk_number(*seq)).collect::<Vec<_>>())
            .bind(parts.iter().map(|(.., data)| data.as_ref()).collect::<Vec<_>>());
        self.write(statement).await.map(|_| ())
    }

    /// Removes the chunks of an upload that was given up, unless the message was accepted after all.
    ///
    /// # Errors
    /// They may still be there.
    pub async fn drop_body(&mut self, message: MessageId) -> Result<(), StoreError> {
        self.remove_orphans(&[message.as_i64()]).await.map(|_| ())
    }

    /// The bodies of messages, all chunks in order. For small ones: everything is in memory at once.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn bodies(&mut self, messages: &[MessageId]) -> Result<HashMap<MessageId, Vec<Bytes>>, StoreError> {
        let mut bodies: HashMap<MessageId, Vec<Bytes>> = HashMap::with_capacity(messages.len());
        let ids: Vec<i64> = messages.iter().map(|message| message.as_i64()).collect();
        for row in self.read(sqlx::query(sql::BODIES).bind(ids)).await? {
            bodies.entry(row.message_id("message_id")?).or_default().push(row.bytes("data")?);
        }
        Ok(bodies)
    }

    /// One chunk of a body; nothing when the message has none of that number, or no body any more.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn body_chunk(&mut self, message: MessageId, seq: u32) -> Result<Option<Bytes>, StoreError> {
        let query = sqlx::query(sql::BODY_CHUNK).bind(message.as_i64()).bind(chunk_number(seq));
        self.read(query).await?.first().map(|row| row.bytes("data")).transpose()
    }

    /// Removes the bodies of messages made before `made_before` that have no delivery, and returns how many chunks went.
    /// Such are left when the last two deliveries of a message are settled at the same instant, and by uploads that
    /// nobody finished. `made_before` is to leave uploads their time.
    ///
    /// # Errors
    /// Those removed before the error are gone.
    pub async fn sweep_orphan_bodies(&mut self, made_before: Timestamp) -> Result<u64, StoreError> {
        let end = MessageId::first_at(made_before);
        let mut removed = 0;
        let mut after = Some(0);
        while let Some(start) = after {
            let page = sqlx::query(sql::ORPHAN_BODIES).bind(start).bind(end).bind(SWEEP_PAGE);
            let rows = self.read(page).await?;
            after = rows.first().map(|row| row.value::<Option<i64>>("bound")).transpose()?.flatten();
            let found: Result<Vec<Option<i64>>, StoreError> = rows.iter().map(|row| row.value("message_id")).collect();
            let found: Vec<i64> = found?.into_iter().flatten().collect();
            removed += self.remove_orphans(&found).await?;
        }
        Ok(removed)
    }

    /// Removes the chunks of those messages that have no delivery. They are locked first and looked at again in a
    /// statement of its own: an acceptance that holds them is left alone, and one that comes now finds them missing.
    async fn remove_orphans(&mut self, messages: &[i64]) -> Result<u64, StoreError> {
        if messages.is_empty() {
            return Ok(0);
        }
        let mut transaction = self.begin().await?;
        let session = transaction.session();
        let rows = session.write(sqlx::query(sql::LOCK_BODIES).bind(messages.to_vec())).await?;
        let locked: Result<Vec<i64>, StoreError> = rows.iter().map(|row| row.value("message_id")).collect();
        let removed = session.write(sqlx::query(sql::DELETE_ORPHANS).bind(locked?)).await?.len();
        transaction.commit().await?;
        Ok(u64::try_from(removed).unwrap_or(u64::MAX))
    }
}
