//! The proof of the second invariant, of a running system too: each accepted recipient is in exactly one state. Pages of
//! messages, each in one snapshot, so that no statement takes longer the longer the history is.

use mailtier_types::{MessageId, Timestamp};

use crate::error::StoreError;
use crate::session::Session;
use crate::sql;
use crate::wire::{Columns as _, Time};

/// A recipient that is not in exactly one state: it breaks the second invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unaccounted {
    /// Of which message.
    pub message: MessageId,
    /// Who.
    pub recipient: String,
    /// True: still queued although over. False: neither queued nor over.
    pub queued: bool,
}

/// What one page showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// Messages that were looked at.
    pub messages: u64,
    /// Their recipients.
    pub recipients: u64,
    /// What is wrong with them.
    pub unaccounted: Vec<Unaccounted>,
    /// The message after which the next page begins; absent at the end.
    pub next: Option<MessageId>,
}

/// Messages of one page.
const PAGE_MESSAGES: i64 = 5_000;
/// Findings of one page that are named: where there are more, something is wrong with everything.
const PAGE_FINDINGS: i64 = 10_000;

impl Session {
    /// Looks at a page of the messages made from `from` (or after `after`, where that is given) up to `until`. Retention
    /// bounds how far back there are any.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn audit_page(
        &mut self,
        from: Timestamp,
        after: Option<MessageId>,
        until: Timestamp,
    ) -> Result<AuditPage, StoreError> {
        let after_id = after.map_or_else(|| MessageId::first_at(from) - 1, MessageId::as_i64);
        let query = sqlx::query(sql::AUDIT)
            .bind(after_id)
            .bind(MessageId::first_at(until).saturating_sub(1))
            .bind(Time(after.map_or(from, MessageId::made_at)))
            .bind(Time(until))
            .bind(PAGE_MESSAGES)
            .bind(PAGE_FINDINGS);
        let rows = self.read(query).await?;
        let mut page = AuditPage::default();
        for row in &rows {
            let count = |name| row.value::<i64>(name).map(|count| u64::try_from(count).unwrap_or_default());
            (page.messages, page.recipients) = (count("messages")?, count("recipients")?);
            if row.value::<i64>("messages")? >= PAGE_MESSAGES {
                page.next = Some(row.message_id("last")?);
            }
            if row.value::<Option<i64>>("message_id")?.is_some() {
                page.unaccounted.push(Unaccounted {
                    message: row.message_id("message_id")?,
                    recipient: row.value("recipient")?,
                    queued: row.value("queued")?,
                });
            }
        }
        Ok(page)
    }

    /// All pages from `from` up to `until`, for as long as there are fewer than `limit` findings.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn audit(
        &mut self,
        from: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<Unaccounted>, StoreError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = self.audit_page(from, after, until).await?;
            found.extend(page.unaccounted);
            after = page.next;
            if after.is_none() || found.len() >= limit {
                found.truncate(limit);
                return Ok(found);
            }
        }
    }
}
