//! Operators' rules for the whole installation. Not responsible for what they mean: owners apply them in memory.

use mailtier_types::Timestamp;
use sqlx::postgres::PgRow;

use crate::error::StoreError;
use crate::session::Session;
use crate::sql;
use crate::wire::{Columns as _, Time};

/// The most rules there can be: every replica keeps all of them, and reads them every few seconds.
pub const MAX_RULES: u32 = 10_000;

/// What a rule says is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleAction {
    /// Nothing new is attempted.
    Suspend,
}

impl RuleAction {
    const fn word(self) -> &'static str {
        match self {
            Self::Suspend => "suspend",
        }
    }
}

/// What a rule is about, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleKey {
    /// `destination`, `provider`, `tenant` or `everything`; a newer program may know more.
    pub kind: String,
    /// Its name, or its number as text.
    pub name: String,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRule {
    /// About what.
    pub key: RuleKey,
    /// In the operator's words.
    pub reason: String,
    /// The operator.
    pub created_by: String,
    /// When it was given last.
    pub created_at: Timestamp,
    /// From when it means nothing any more; absent: not before it is deleted.
    pub expires_at: Option<Timestamp>,
}

impl StoredRule {
    /// Whether it means something at this time.
    #[must_use]
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|expires_at| expires_at > now)
    }
}

impl Session {
    /// Makes a rule, or replaces the one about the same. False where there are [`MAX_RULES`] others.
    ///
    /// # Errors
    /// Nothing is changed, or that is not known.
    pub async fn put_rule(&mut self, action: RuleAction, rule: &StoredRule) -> Result<bool, StoreError> {
        let query = sqlx::query(sql::PUT_RULE)
            .bind(action.word())
            .bind(&rule.key.kind)
            .bind(&rule.key.name)
            .bind(&rule.reason)
            .bind(&rule.created_by)
            .bind(Time(rule.created_at))
            .bind(rule.expires_at.map(Time))
            .bind(i64::from(MAX_RULES));
        Ok(!self.write(query).await?.is_empty())
    }

    /// Ends a rule; false where there is none in force.
    ///
    /// # Errors
    /// Nothing is changed, or that is not known.
    pub async fn delete_rule(&mut self, action: RuleAction, key: &RuleKey, now: Timestamp) -> Result<bool, StoreError> {
        let query = sqlx::query(sql::DELETE_RULE).bind(action.word()).bind(&key.kind).bind(&key.name).bind(Time(now));
        self.write(query).await?.first().map_or(Ok(false), |row| row.value("in_force"))
    }

    /// All rules in force, in the order of what they are about.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn rules(&mut self, action: RuleAction, now: Timestamp) -> Result<Vec<StoredRule>, StoreError> {
        let beginning = RuleKey { kind: String::new(), name: String::new() };
        self.rules_between(action, now, &beginning, None).await
    }

    /// A page of the rules in force, those after `after`; from the beginning where that is empty.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn rules_after(
        &mut self,
        action: RuleAction,
        now: Timestamp,
        after: &RuleKey,
        limit: u32,
    ) -> Result<Vec<StoredRule>, StoreError> {
        self.rules_between(action, now, after, Some(i64::from(limit))).await
    }

    async fn rules_between(
        &mut self,
        action: RuleAction,
        now: Timestamp,
        after: &RuleKey,
        limit: Option<i64>,
    ) -> Result<Vec<StoredRule>, StoreError> {
        let query =
            sqlx::query(sql::RULES).bind(action.word()).bind(Time(now)).bind(&after.kind).bind(&after.name).bind(limit);
        self.read(query).await?.iter().map(stored_rule).collect()
    }

    /// Sweeps rules whose time was over at `now`.
    ///
    /// # Errors
    /// Nothing was swept, or that is not known.
    pub async fn sweep_rules(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.write(sqlx::query(sql::SWEEP_RULES).bind(Time(now))).await.map(|_| ())
    }
}

fn stored_rule(row: &PgRow) -> Result<StoredRule, StoreError> {
    Ok(StoredRule {
        key: RuleKey { kind: row.value("kind")?, name: row.value("name")? },
        reason: row.value("reason")?,
        created_by: row.value("created_by")?,
        created_at: row.time("created_at")?,
        expires_at: row.time_or_none("expires_at")?,
    })
}
