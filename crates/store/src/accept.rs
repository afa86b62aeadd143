//! Acceptance: making messages durable, once each. Not responsible for gathering them, nor for the reply.
//!
//! One statement writes a batch, plain inserts only. `event_accepted_once` refuses a message that was accepted before, by
//! whomever and however long ago within the retention of events, even one whose deliveries are over; and it makes a
//! second submission wait for a first that is still being committed. Such a refusal fails the whole statement, so the
//! batch is halved until the message stands alone, and is then compared with what is stored.

use mailtier_crashpoint::{Point, reach_waiting};
use mailtier_types::MessageId;

use crate::columns::{bind_messages, chunk_number};
use crate::error::StoreError;
use crate::model::{Accepted, NewMessage, Refusal};
use crate::session::Session;
use crate::sql;
use crate::wire::{Columns as _, Time, joined};

/// A message that was accepted before, as far as it tells whether another is the same.
struct Known {
    id: MessageId,
    sender: String,
    recipients: String,
    detail: bytes::Bytes,
}

impl Known {
    fn is(&self, message: &NewMessage) -> bool {
        self.id == message.id
            && self.sender == message.accepted.sender
            && self.recipients == joined(&message.accepted.recipients)
            && self.detail == message.accepted.detail
    }
}

impl Session {
    /// Makes messages durable: bodies, deliveries and accepted events, all in one transaction and one round trip. An id
    /// is accepted once, however often and wherever it is submitted, until its accepted event's retention ends.
    ///
    /// # Errors
    /// None of them need be stored, or, with [`StoreError::Unknown`], that is not known: give the same again.
    pub async fn accept(&mut self, messages: &[NewMessage]) -> Result<Accepted, StoreError> {
        let mut accepted = Accepted::default();
        // One order for all, so that no two acceptances of the same messages wait for each other.
        let mut batch: Vec<&NewMessage> = messages.iter().collect();
        batch.sort_unstable_by_key(|message| message.id);
        if batch.iter().any(|message| message.resubmission) {
            batch = self.without_known(batch, &mut accepted).await?;
        }
        let (uploaded, batch): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|message| has_parts(message) || message.hold_until.is_some());
        for message in uploaded {
            self.accept_uploaded(message, &mut accepted).await?;
        }
        self.accept_batch(&batch, &mut accepted).await?;
        Ok(accepted)
    }

    /// Takes out resubmissions that are known already: after an outage there are many, and each would halve a batch.
    async fn without_known<'m>(
        &mut self,
        batch: Vec<&'m NewMessage>,
        accepted: &mut Accepted,
    ) -> Result<Vec<&'m NewMessage>, StoreError> {
        let suspects: Vec<&NewMessage> = batch.iter().copied().filter(|message| message.resubmission).collect();
        let known = self.accepted_before(&suspects).await?;
        Ok(batch.into_iter().filter(|message| !note_if_known(message, &known, accepted)).collect())
    }

    /// Whether this very message was accepted before.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn is_accepted(&mut self, message: &NewMessage) -> Result<bool, StoreError> {
        Ok(self.accepted_before(&[message]).await?.iter().any(|known| known.is(message)))
    }

    async fn accept_batch(&mut self, batch: &[&NewMessage], accepted: &mut Accepted) -> Result<(), StoreError> {
        let mut waiting = vec![batch];
        while let Some(part) = waiting.pop() {
            let error = match self.insert(part).await {
                Ok(()) => continue,
                Err(error) => error,
            };
            let halves = part.split_at(part.len() / 2);
            match (part, error) {
                (_, error) if !error.is_duplicate_key() && !error.is_data_error() => return Err(error),
                ([message], error) => self.explain(message, &error, accepted).await?,
                _ => waiting.extend([halves.1, halves.0]),
            }
        }
        Ok(())
    }

    /// A message with chunks before its last, which are locked against the sweeper while it is accepted; or one that is
    /// held, whose time is written with it.
    async fn accept_uploaded(&mut self, message: &NewMessage, accepted: &mut Accepted) -> Result<(), StoreError> {
        let parts = message.body.as_ref().map_or(0, |(seq, _)| *seq);
        let mut transaction = self.begin().await?;
        let lock = sqlx::query(sql::LOCK_PARTS).bind(message.id.as_i64()).bind(chunk_number(parts));
        let present = transaction.session().write(lock).await?.len();
        if u32::try_from(present) != Ok(parts) {
            transaction.rollback().await?;
            return self.refuse_unless_known(message, Refusal::PartsMissing, accepted).await;
        }
        let written = match transaction.session().insert(&[message]).await {
            Ok(()) => transaction.session().hold(message).await,
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => transaction.commit().await,
            Err(error) if error.is_duplicate_key() || error.is_data_error() => {
                transaction.rollback().await?;
                self.explain(message, &error, accepted).await
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn insert(&mut self, messages: &[&NewMessage]) -> Result<(), StoreError> {
        if messages.is_empty() {
            return Ok(());
        }
        let statement = bind_messages(sqlx::query(sql::ACCEPT), messages);
        reach_waiting(Point::AcceptSent, self.write(statement)).await.map(|_| ())
    }

    /// Writes until when a message is held.
    pub(crate) async fn hold(&mut self, message: &NewMessage) -> Result<(), StoreError> {
        let Some(until) = message.hold_until else { return Ok(()) };
        let ids: Vec<i64> = message.deliveries.iter().map(|delivery| delivery.id.as_i64()).collect();
        let recipients: Vec<String> = message.deliveries.iter().map(|delivery| joined(&delivery.recipients)).collect();
        self.write(sqlx::query(sql::HOLD).bind(ids).bind(recipients).bind(Time(until))).await.map(|_| ())
    }

    /// Why a message on its own was refused.
    async fn explain(
        &mut self,
        message: &NewMessage,
        error: &StoreError,
        accepted: &mut Accepted,
    ) -> Result<(), StoreError> {
        let refusal = if error.is_data_error() { Refusal::NotStorable } else { Refusal::IdTaken };
        self.refuse_unless_known(message, refusal, accepted).await
    }

    async fn refuse_unless_known(
        &mut self,
        message: &NewMessage,
        refusal: Refusal,
        accepted: &mut Accepted,
    ) -> Result<(), StoreError> {
        let known = self.accepted_before(&[message]).await?;
        if !note_if_known(message, &known, accepted) {
            accepted.refused.push((message.id, refusal));
        }
        Ok(())
    }

    async fn accepted_before(&mut self, messages: &[&NewMessage]) -> Result<Vec<Known>, StoreError> {
        let times = || messages.iter().map(|message| message.id.made_at());
        let (Some(first), Some(last)) = (times().min(), times().max()) else { return Ok(Vec::new()) };
        let query = sqlx::query(sql::ACCEPTED_BEFORE)
            .bind(messages.iter().map(|message| message.id.as_i64()).collect::<Vec<_>>())
            .bind(Time(first))
            .bind(Time(last));
        let rows = self.read(query).await?;
        rows.iter()
            .map(|row| {
                Ok(Known {
                    id: row.message_id("message_id")?,
                    sender: row.value("sender")?,
                    recipients: row.value("recipients")?,
                    detail: row.bytes("detail")?,
                })
            })
            .collect()
    }
}

fn has_parts(message: &NewMessage) -> bool {
    message.body.as_ref().is_some_and(|(seq, _)| *seq > 0)
}

fn note_if_known(message: &NewMessage, known: &[Known], accepted: &mut Accepted) -> bool {
    let found = known.iter().any(|known| known.is(message));
    if found {
        accepted.known.push(message.id);
    }
    found
}
