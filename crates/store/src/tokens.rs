//! Operators' tokens. Not responsible for what a token lets its bearer do, nor for their secrets: digests come from the
//! caller.

use std::fmt;

use mailtier_types::Timestamp;
use sqlx::postgres::PgRow;

use crate::error::StoreError;
use crate::session::Session;
use crate::sql;
use crate::wire::{Columns as _, Time};

/// The most tokens there can be: every replica keeps all of them.
pub const MAX_TOKENS: u32 = 1000;

/// A token.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredToken {
    /// What it is called.
    pub name: String,
    /// `viewer`, `operator` or `admin`; a newer schema may know more.
    pub role: String,
    /// Whether contents may be read with it.
    pub content: bool,
    /// SHA-256 of its secret.
    pub digest: [u8; 32],
    /// The operator who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When it was shown last, to within some minutes.
    pub last_used_at: Option<Timestamp>,
    /// From when it is refused; absent: it is good until it is deleted.
    pub expires_at: Option<Timestamp>,
}

/// The digest is not shown: nothing needs it.
impl fmt::Debug for StoredToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredToken").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

/// What became of a token that was to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenMade {
    /// It is there.
    Made,
    /// There is one of this name.
    Exists,
    /// There are [`MAX_TOKENS`].
    TooMany,
}

impl Session {
    /// Makes a token.
    ///
    /// # Errors
    /// Nothing is changed, or that is not known.
    pub async fn make_token(&mut self, token: &StoredToken) -> Result<TokenMade, StoreError> {
        let query = sqlx::query(sql::MAKE_TOKEN)
            .bind(&token.name)
            .bind(&token.role)
            .bind(token.content)
            .bind(token.digest.as_slice())
            .bind(&token.created_by)
            .bind(Time(token.created_at))
            .bind(token.expires_at.map(Time))
            .bind(i64::from(MAX_TOKENS));
        let rows = self.write(query).await?;
        let row = rows.first().ok_or(StoreError::Corrupt { column: "made" })?;
        Ok(match (row.value("made")?, row.value("existed")?) {
            (true, _) => TokenMade::Made,
            (false, true) => TokenMade::Exists,
            (false, false) => TokenMade::TooMany,
        })
    }

    /// All tokens, in the order of their names.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn tokens(&mut self) -> Result<Vec<StoredToken>, StoreError> {
        self.read(sqlx::query(sql::TOKENS)).await?.iter().map(stored_token).collect()
    }

    /// Revokes a token; false where there is none.
    ///
    /// # Errors
    /// Nothing is changed, or that is not known.
    pub async fn delete_token(&mut self, name: &str) -> Result<bool, StoreError> {
        Ok(!self.write(sqlx::query(sql::DELETE_TOKEN).bind(name)).await?.is_empty())
    }

    /// Notes when a token was shown.
    ///
    /// # Errors
    /// Nothing is changed, or that is not known.
    pub async fn token_used(&mut self, name: &str, at: Timestamp) -> Result<(), StoreError> {
        self.write(sqlx::query(sql::TOKEN_USED).bind(name).bind(Time(at))).await.map(|_| ())
    }
}

fn stored_token(row: &PgRow) -> Result<StoredToken, StoreError> {
    let digest: Vec<u8> = row.value("digest")?;
    Ok(StoredToken {
        name: row.value("name")?,
        role: row.value("role")?,
        content: row.value("content")?,
        digest: digest.try_into().map_err(|_| StoreError::Corrupt { column: "digest" })?,
        created_by: row.value("created_by")?,
        created_at: row.time("created_at")?,
        last_used_at: row.time_or_none("last_used_at")?,
        expires_at: row.time_or_none("expires_at")?,
    })
}
