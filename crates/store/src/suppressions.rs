//! Suppression lists. Not responsible for who is put on one, nor for what becomes of mail to them.

use mailtier_types::{MessageId, TenantId, Timestamp};
use sqlx::postgres::PgRow;

use crate::error::StoreError;
use crate::session::Session;
use crate::sql;
use crate::wire::{Columns as _, Time};

/// Why somebody is on a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SuppressionSource {
    /// A delivery failed.
    Failure,
    /// One that was taken came back.
    Bounce,
    /// Somebody did not want it.
    Complaint,
    /// An operator put it there.
    Operator,
}

impl SuppressionSource {
    /// The word that is stored.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Bounce => "bounce",
            Self::Complaint => "complaint",
            Self::Operator => "operator",
        }
    }
}

/// Somebody to be put on a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSuppression {
    /// Whose list.
    pub tenant: TenantId,
    /// In lower case.
    pub address: String,
    /// Why.
    pub source: SuppressionSource,
    /// The same for people, one line; may be empty.
    pub reason: String,
    /// What it follows from.
    pub message: Option<MessageId>,
    /// Who says so.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// From when it means nothing any more; absent: not before it is taken off.
    pub expires_at: Option<Timestamp>,
}

/// Somebody on a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSuppression {
    /// Whose list.
    pub tenant: TenantId,
    /// In lower case.
    pub address: String,
    /// The word of a [`SuppressionSource`]; a newer program may know more.
    pub source: String,
    /// In the words of whoever put it there.
    pub reason: String,
    /// What it follows from.
    pub message: Option<MessageId>,
    /// Who said so.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// From when it means nothing any more.
    pub expires_at: Option<Timestamp>,
}

/// Somebody who was looked for and is on a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppressed {
    /// Whose list.
    pub tenant: TenantId,
    /// In lower case.
    pub address: String,
    /// The word of a [`SuppressionSource`].
    pub source: String,
    /// In the words of whoever put it there.
    pub reason: String,
}

/// Which recipients are wanted, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuppressionPage<'a> {
    /// Of this tenant alone.
    pub tenant: Option<TenantId>,
    /// This one alone, in lower case.
    pub address: Option<&'a str>,
    /// After this one.
    pub after: Option<(TenantId, &'a str)>,
    /// At the most.
    pub limit: u32,
}

impl Session {
    /// Puts recipients on lists; how many that changed. Of several with the same address the last counts.
    ///
    /// # Errors
    /// Nothing is changed, or that is not known.
    pub async fn suppress(&mut self, suppressions: &[NewSuppression]) -> Result<u64, StoreError> {
        let each = each_once(suppressions);
        if each.is_empty() {
            return Ok(0);
        }
        let query = sqlx::query(sql::SUPPRESS)
            .bind(each.iter().map(|one| one.tenant.0).collect::<Vec<_>>())
            .bind(each.iter().map(|one| one.address.as_str()).collect::<Vec<_>>())
            .bind(each.iter().map(|one| one.source.word()).collect::<Vec<_>>())
            .bind(each.iter().map(|one| one.reason.as_str()).collect::<Vec<_>>())
            .bind(each.iter().map(|one| one.message.map_or(0, MessageId::as_i64)).collect::<Vec<_>>())
            .bind(each.iter().map(|one| one.created_by.as_str()).collect::<Vec<_>>())
            .bind(each.iter().map(|one| Time(one.created_at)).collect::<Vec<_>>())
            .bind(each.iter().map(|one| one.expires_at.map(Time)).collect::<Vec<_>>());
        Ok(self.write(query).await?.len() as u64)
    }

    /// Takes a recipient off a list; false where it is not there.
    ///
    /// # Errors
    /// Nothing is changed, or that is not known.
    pub async fn unsuppress(&mut self, tenant: TenantId, address: &str, now: Timestamp) -> Result<bool, StoreError> {
        let query = sqlx::query(sql::UNSUPPRESS).bind(tenant.0).bind(address).bind(Time(now));
        self.write(query).await?.first().map_or(Ok(false), |row| row.value("in_force"))
    }

    /// A page of who is on lists, in the order of tenants and addresses.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn suppressions(
        &mut self,
        page: &SuppressionPage<'_>,
        now: Timestamp,
    ) -> Result<Vec<StoredSuppression>, StoreError> {
        let (after_tenant, after_address) = page.after.map_or((-1, ""), |(tenant, address)| (tenant.0, address));
        let query = sqlx::query(sql::SUPPRESSIONS)
            .bind(Time(now))
            .bind(after_tenant)
            .bind(after_address)
            .bind(page.tenant.map(|tenant| tenant.0))
            .bind(page.address)
            .bind(i64::from(page.limit));
        self.read(query).await?.iter().map(stored_suppression).collect()
    }

    /// Which of some recipients, in lower case, are on lists.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn find_suppressed(
        &mut self,
        wanted: &[(TenantId, String)],
        now: Timestamp,
    ) -> Result<Vec<Suppressed>, StoreError> {
        let query = sqlx::query(sql::FIND_SUPPRESSED)
            .bind(wanted.iter().map(|(tenant, _)| tenant.0).collect::<Vec<_>>())
            .bind(wanted.iter().map(|(_, address)| address.as_str()).collect::<Vec<_>>())
            .bind(Time(now));
        let read = |row: &PgRow| {
            Ok(Suppressed {
                tenant: TenantId(row.value("tenant_id")?),
                address: row.value("address")?,
                source: row.value("source")?,
                reason: row.value("reason")?,
            })
        };
        self.read(query).await?.iter().map(read).collect()
    }

    /// The tenants that have anybody on their lists.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn suppressing_tenants(&mut self) -> Result<Vec<TenantId>, StoreError> {
        let rows = self.read(sqlx::query(sql::SUPPRESSING_TENANTS)).await?;
        rows.iter().map(|row| Ok(TenantId(row.value("tenant_id")?))).collect()
    }

    /// Sweeps recipients whose time on a list was over at `now`.
    ///
    /// # Errors
    /// Nothing was swept, or that is not known.
    pub async fn sweep_suppressions(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.write(sqlx::query(sql::SWEEP_SUPPRESSIONS).bind(Time(now))).await.map(|_| ())
    }
}

/// One statement changes a row once.
fn each_once(suppressions: &[NewSuppression]) -> Vec<&NewSuppression> {
    let mut each: Vec<&NewSuppression> = suppressions.iter().rev().collect();
    each.sort_by_key(|one| (one.tenant, &one.address));
    each.dedup_by_key(|one| (one.tenant, &one.address));
    each
}

fn stored_suppression(row: &PgRow) -> Result<StoredSuppression, StoreError> {
    let message: Option<i64> = row.value("message_id")?;
    Ok(StoredSuppression {
        tenant: TenantId(row.value("tenant_id")?),
        address: row.value("address")?,
        source: row.value("source")?,
        reason: row.value("reason")?,
        message: message
            .map(MessageId::from_i64)
            .transpose()
            .map_err(|_| StoreError::Corrupt { column: "message_id" })?,
        created_by: row.value("created_by")?,
        created_at: row.time("created_at")?,
        expires_at: row.time_or_none("expires_at")?,
    })
}
