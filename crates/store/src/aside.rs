//! Acceptance of messages that are looked into while they are accepted: what comes back about another message, and what is
//! not sent to all its recipients. Everything that follows is written in the transaction of the acceptance. Not responsible
//! for deciding.

use bytes::Bytes;
use mailtier_crashpoint::{Point, reach, reach_waiting};
use mailtier_types::MessageId;

use crate::columns::{bind_events, chunk_number};
use crate::error::StoreError;
use crate::model::{NewEvent, NewMessage};
use crate::session::{Session, Transaction};
use crate::sql;
use crate::suppressions::NewSuppression;
use crate::wire::{Columns as _, Time};

/// What is known of a message that was accepted before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    /// Its reverse-path without angle brackets.
    pub sender: String,
    /// As they were accepted.
    pub recipients: Vec<String>,
}

/// What an acceptance writes, all of it or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AsidePlan {
    /// The message, and notifications that follow. A message without deliveries leaves no body behind.
    pub messages: Vec<NewMessage>,
    /// What happened beside the acceptances.
    pub events: Vec<NewEvent>,
    /// Who is put on suppression lists.
    pub suppressions: Vec<NewSuppression>,
}

/// An acceptance under way. Dropped without [`commit`](Self::commit) or [`rollback`](Self::rollback) it comes to nothing, and
/// its session is spent.
#[derive(Debug)]
pub struct AsideTx<'a> {
    transaction: Transaction<'a>,
}

impl Session {
    /// Begins an acceptance.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn begin_aside(&mut self) -> Result<AsideTx<'_>, StoreError> {
        Ok(AsideTx { transaction: self.begin().await? })
    }
}

impl AsideTx<'_> {
    /// For what else belongs to the same transaction.
    pub(crate) const fn session(&mut self) -> &mut Session {
        self.transaction.session()
    }

    /// Locks the uploaded chunks of a message against the sweeper; false where some are missing.
    ///
    /// # Errors
    /// The acceptance is over.
    pub async fn lock_parts(&mut self, message: MessageId, parts: u32) -> Result<bool, StoreError> {
        let lock = sqlx::query(sql::LOCK_PARTS).bind(message.as_i64()).bind(chunk_number(parts));
        let present = self.transaction.session().write(lock).await?.len();
        Ok(u32::try_from(present) == Ok(parts))
    }

    /// The first chunk of an uploaded body.
    ///
    /// # Errors
    /// It cannot be read; the acceptance is over.
    pub async fn first_chunk(&mut self, message: MessageId) -> Result<Option<Bytes>, StoreError> {
        self.transaction.session().body_chunk(message, 0).await
    }

    /// A message that was accepted before; nothing where the history has forgotten it.
    ///
    /// # Errors
    /// It cannot be read; the acceptance is over.
    pub async fn original(&mut self, message: MessageId) -> Result<Option<Original>, StoreError> {
        let at = Time(message.made_at());
        let query = sqlx::query(sql::ACCEPTED_BEFORE).bind(vec![message.as_i64()]).bind(at).bind(at);
        let rows = self.transaction.session().read(query).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let recipients: String = row.value("recipients")?;
        Ok(Some(Original { sender: row.value("sender")?, recipients: recipients.lines().map(str::to_owned).collect() }))
    }

    /// Writes a plan.
    ///
    /// # Errors
    /// The acceptance is over; [`StoreError::is_duplicate_key`]: the message was accepted before.
    pub async fn write(&mut self, plan: &AsidePlan) -> Result<(), StoreError> {
        let session = self.transaction.session();
        let messages: Vec<&NewMessage> = plan.messages.iter().collect();
        session.insert(&messages).await?;
        for message in messages {
            if message.deliveries.is_empty() {
                session.write(sqlx::query(sql::DROP_BODY).bind(message.id.as_i64())).await?;
            } else {
                session.hold(message).await?;
            }
        }
        reach(Point::AsideAccepted);
        if !plan.events.is_empty() {
            session.write(bind_events(sqlx::query(sql::RECORD), &plan.events)).await?;
        }
        session.suppress(&plan.suppressions).await?;
        reach(Point::AsideWritten);
        Ok(())
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// Nothing is stored, or, with [`StoreError::Unknown`], that is not known: give the same again.
    pub async fn commit(self) -> Result<(), StoreError> {
        reach_waiting(Point::AsideSent, self.transaction.commit()).await
    }

    /// Gives it up and leaves the session usable.
    ///
    /// # Errors
    /// The connection is lost, and the acceptance with it.
    pub async fn rollback(self) -> Result<(), StoreError> {
        self.transaction.rollback().await
    }
}
