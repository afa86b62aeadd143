//! Users, failed logins and known recipients. Not responsible for passwords: what is kept of them comes from the caller.

use std::fmt;
use std::time::Duration;

use mailtier_types::{TenantId, Timestamp};
use sqlx::postgres::PgRow;

use crate::error::StoreError;
use crate::session::Session;
use crate::sql;
use crate::wire::{Columns as _, Time};

/// A user.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredAccount {
    /// What the user logs in with.
    pub name: String,
    /// Whose user it is.
    pub tenant: TenantId,
    /// argon2id, as a PHC string.
    pub password_hash: String,
    /// Of SCRAM-SHA-256.
    pub scram_salt: Vec<u8>,
    /// Of SCRAM-SHA-256.
    pub scram_iterations: u32,
    /// Of SCRAM-SHA-256.
    pub scram_stored_key: Vec<u8>,
    /// Of SCRAM-SHA-256.
    pub scram_server_key: Vec<u8>,
    /// Addresses the user may send from: `user@example.com`, `@example.com` or `*`.
    pub senders: Vec<String>,
    /// Whether the user may log in.
    pub enabled: bool,
    /// When any of this was changed last.
    pub changed_at: Timestamp,
}

/// What the user logs in with is not shown.
impl fmt::Debug for StoredAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredAccount")
            .field("name", &self.name)
            .field("tenant", &self.tenant)
            .field("senders", &self.senders)
            .field("enabled", &self.enabled)
            .finish_non_exhaustive()
    }
}

/// A user as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRow {
    /// What the user logs in with.
    pub name: String,
    /// Whose user it is.
    pub tenant: TenantId,
    /// Addresses the user may send from.
    pub senders: Vec<String>,
    /// Whether the user may log in.
    pub enabled: bool,
    /// When any of this was changed last.
    pub changed_at: Timestamp,
}

/// What is known before a login is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginFacts {
    /// The user; absent where there is none.
    pub account: Option<StoredAccount>,
    /// Failed logins of the account since the window began.
    pub account_failures: u32,
    /// Failed logins of the client.
    pub client_failures: u32,
}

/// A known recipient, or a domain's, and who gets its mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressRow {
    /// `user@example.com` or `@example.com`.
    pub pattern: String,
    /// Empty: the recipient itself.
    pub targets: Vec<String>,
}

impl Session {
    /// What is known of a user and of recent failures, those within `window` before `now`.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn login_facts(
        &mut self,
        name: &str,
        client: &str,
        now: Timestamp,
        window: Duration,
    ) -> Result<LoginFacts, StoreError> {
        let query = sqlx::query(sql::ACCOUNT).bind(name).bind(client).bind(Time(now.before(window)));
        let rows = self.read(query).await?;
        let row = rows.first().ok_or(StoreError::Corrupt { column: "account" })?;
        let count = |column| row.value::<i32>(column).map(|count| u32::try_from(count).unwrap_or(0));
        let is_known = row.value::<Option<String>>("name")?.is_some();
        Ok(LoginFacts {
            account: if is_known { Some(stored_account(row)?) } else { None },
            account_failures: count("account_failures")?,
            client_failures: count("client_failures")?,
        })
    }

    /// Counts a failed login of an account and of a client.
    ///
    /// # Errors
    /// Nothing was counted, or that is not known.
    pub async fn login_failed(
        &mut self,
        name: &str,
        client: &str,
        now: Timestamp,
        window: Duration,
    ) -> Result<(), StoreError> {
        let query =
            sqlx::query(sql::LOGIN_FAILED).bind(name).bind(client).bind(Time(now)).bind(Time(now.before(window)));
        self.write(query).await.map(|_| ())
    }

    /// Sweeps failures whose window was over before `before`.
    ///
    /// # Errors
    /// Nothing was swept, or that is not known.
    pub async fn forget_login_failures(&mut self, before: Timestamp) -> Result<(), StoreError> {
        self.write(sqlx::query(sql::FORGET_LOGIN_FAILURES).bind(Time(before))).await.map(|_| ())
    }

    /// Makes a user, or changes one; its failed logins are forgotten.
    ///
    /// # Errors
    /// Nothing is changed, or that is not known.
    pub async fn put_account(&mut self, account: &StoredAccount) -> Result<(), StoreError> {
        let iterations = i32::try_from(account.scram_iterations).unwrap_or(i32::MAX);
        let query = sqlx::query(sql::PUT_ACCOUNT)
            .bind(&account.name)
            .bind(account.tenant.0)
            .bind(&account.password_hash)
            .bind(&account.scram_salt)
            .bind(iterations)
            .bind(&account.scram_stored_key)
            .bind(&account.scram_server_key)
            .bind(&account.senders)
            .bind(account.enabled)
            .bind(Time(account.changed_at));
        self.write(query).await?;
        self.write(sqlx::query(sql::UNLOCK_LOGIN).bind(&account.name)).await.map(|_| ())
    }

    /// A page of users after `after`, in the order of their names.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn accounts(&mut self, after: &str, limit: u32) -> Result<Vec<AccountRow>, StoreError> {
        let rows = self.read(sqlx::query(sql::ACCOUNTS).bind(after).bind(i64::from(limit))).await?;
        rows.iter()
            .map(|row| {
                Ok(AccountRow {
                    name: row.value("name")?,
                    tenant: TenantId(row.value("tenant_id")?),
                    senders: row.value("senders")?,
                    enabled: row.value("enabled")?,
                    changed_at: row.value::<Time>("changed_at")?.0,
                })
            })
            .collect()
    }

    /// Removes a user; false where there is none.
    ///
    /// # Errors
    /// Nothing is changed, or that is not known.
    pub async fn delete_account(&mut self, name: &str) -> Result<bool, StoreError> {
        Ok(!self.write(sqlx::query(sql::DELETE_ACCOUNT).bind(name)).await?.is_empty())
    }

    /// A secret of the installation.
    ///
    /// # Errors
    /// It cannot be read, or there is none of this name.
    pub async fn secret(&mut self, name: &str) -> Result<Vec<u8>, StoreError> {
        let rows = self.read(sqlx::query(sql::SECRET).bind(name)).await?;
        rows.first().ok_or(StoreError::Corrupt { column: "secret" })?.value("value")
    }

    /// Which of these patterns are known, and who gets their mail.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn find_addresses(&mut self, patterns: &[String]) -> Result<Vec<AddressRow>, StoreError> {
        self.read(sqlx::query(sql::FIND_ADDRESSES).bind(patterns)).await?.iter().map(address_row).collect()
    }

    /// A page of recipients after `after`, in the order of their patterns.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn addresses(&mut self, after: &str, limit: u32) -> Result<Vec<AddressRow>, StoreError> {
        self.read(sqlx::query(sql::ADDRESSES).bind(after).bind(i64::from(limit)))
            .await?
            .iter()
            .map(address_row)
            .collect()
    }

    /// Makes a recipient known, or changes who gets its mail.
    ///
    /// # Errors
    /// Nothing is changed, or that is not known.
    pub async fn put_address(&mut self, row: &AddressRow, now: Timestamp) -> Result<(), StoreError> {
        self.write(sqlx::query(sql::PUT_ADDRESS).bind(&row.pattern).bind(&row.targets).bind(Time(now)))
            .await
            .map(|_| ())
    }

    /// Forgets a recipient; false where there is none.
    ///
    /// # Errors
    /// Nothing is changed, or that is not known.
    pub async fn delete_address(&mut self, pattern: &str) -> Result<bool, StoreError> {
        Ok(!self.write(sqlx::query(sql::DELETE_ADDRESS).bind(pattern)).await?.is_empty())
    }
}

fn stored_account(row: &PgRow) -> Result<StoredAccount, StoreError> {
    Ok(StoredAccount {
        name: row.value("name")?,
        tenant: TenantId(row.value("tenant_id")?),
        password_hash: row.value("password_hash")?,
        scram_salt: row.value("scram_salt")?,
        scram_iterations: u32::try_from(row.value::<i32>("scram_iterations")?).unwrap_or(1),
        scram_stored_key: row.value("scram_stored_key")?,
        scram_server_key: row.value("scram_server_key")?,
        senders: row.value("senders")?,
        enabled: row.value("enabled")?,
        changed_at: row.value::<Time>("changed_at")?.0,
    })
}

fn address_row(row: &PgRow) -> Result<AddressRow, StoreError> {
    Ok(AddressRow { pattern: row.value("pattern")?, targets: row.value("targets")? })
}
