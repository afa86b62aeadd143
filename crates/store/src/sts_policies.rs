//! Policies of MTA-STS that outlive the workers that fetched them (RFC 8461 §5.1). Not responsible for what they mean.

use mailtier_types::Timestamp;

use crate::error::StoreError;
use crate::session::Session;
use crate::sql;
use crate::wire::{Columns as _, Time};

/// Policies that are kept; beyond these the ones fetched longest ago go.
pub const MAX_STS_POLICIES: u32 = 100_000;

/// A policy as it was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredStsPolicy {
    /// The id of its record then.
    pub id: String,
    /// As it is served.
    pub text: String,
    /// When.
    pub fetched_at: Timestamp,
    /// From when it holds no more.
    pub expires_at: Timestamp,
}

impl Session {
    /// Keeps a policy of a domain, unless a newer one is kept.
    ///
    /// # Errors
    /// It is not kept, or that is not known.
    pub async fn keep_sts_policy(&mut self, domain: &str, policy: &StoredStsPolicy) -> Result<(), StoreError> {
        let query = sqlx::query(sql::KEEP_STS_POLICY)
            .bind(domain)
            .bind(policy.id.as_str())
            .bind(policy.text.as_str())
            .bind(Time(policy.fetched_at))
            .bind(Time(policy.expires_at));
        self.write(query).await.map(|_| ())
    }

    /// The policy of a domain that holds now.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn find_sts_policy(
        &mut self,
        domain: &str,
        now: Timestamp,
    ) -> Result<Option<StoredStsPolicy>, StoreError> {
        let rows = self.read(sqlx::query(sql::FIND_STS_POLICY).bind(domain).bind(Time(now))).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(StoredStsPolicy {
            id: row.value("id")?,
            text: row.value("text")?,
            fetched_at: row.time("fetched_at")?,
            expires_at: row.time("expires_at")?,
        }))
    }

    /// Sweeps policies that hold no more, and those beyond [`MAX_STS_POLICIES`].
    ///
    /// # Errors
    /// Nothing was swept, or that is not known.
    pub async fn sweep_sts_policies(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let query = sqlx::query(sql::SWEEP_STS_POLICIES).bind(Time(now)).bind(i64::from(MAX_STS_POLICIES));
        self.write(query).await.map(|_| ())
    }
}
