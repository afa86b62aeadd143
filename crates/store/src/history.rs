//! What happened: of one message by its indexes, of others by searching a stretch of time. History has no index of
//! addresses or fields, because each would cost every message on its way; a search is bounded by time instead, and goes on
//! where it has stopped.

use std::time::{Duration, Instant};

use mailtier_types::{MessageId, Timestamp};

use crate::error::StoreError;
use crate::model::StoredEvent;
use crate::session::Session;
use crate::sql;
use crate::wire::{Time, stored_event};

/// What is searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sought<'a> {
    /// Events of an address, as sender or recipient. It is compared as it was stored, which is
    /// [`mailtier_types::Mailbox`]'s canonical form.
    Address(&'a str),
    /// Acceptances with these octets among what is stored of the message's facts.
    Octets(&'a [u8]),
}

/// Where to search, and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryStretch {
    /// Nothing before this.
    pub since: Timestamp,
    /// Nothing at or after this.
    pub until: Timestamp,
    /// So many events at the most, at least 1.
    pub limit: u32,
    /// No further statement is begun after so long.
    pub within: Duration,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryPage {
    /// Newest first.
    pub events: Vec<StoredEvent>,
    /// Everything since then was searched; the search goes on before it.
    pub looked_back_to: Timestamp,
}

/// The stretch of time of the first statement of a search. What there is in one varies by many orders of magnitude, so the
/// next ones are twice as long while that takes no time, and half as long when it takes too much.
const FIRST_STRETCH: Duration = Duration::from_secs(10);
/// The shortest stretch.
const SHORTEST_STRETCH: Duration = Duration::from_secs(1);
/// A statement that took less was too short, and one that took more too long.
const QUICK: Duration = Duration::from_millis(100);
const SLOW: Duration = Duration::from_millis(400);

impl Session {
    /// The newest `limit` events of a message since `since`, oldest first.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn trace(
        &mut self,
        message: MessageId,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let query = sqlx::query(sql::TRACE_MESSAGE).bind(message.as_i64()).bind(Time(since)).bind(i64::from(limit));
        let mut events = self.read(query).await?.iter().map(stored_event).collect::<Result<Vec<_>, _>>()?;
        events.reverse();
        Ok(events)
    }

    /// Searches a stretch of history, from its end backwards, until there is enough, or time is up.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn search_history(
        &mut self,
        sought: Sought<'_>,
        stretch: HistoryStretch,
    ) -> Result<HistoryPage, StoreError> {
        let limit = usize::try_from(stretch.limit).unwrap_or(usize::MAX);
        let began = Instant::now();
        let mut transaction = self.begin().await?;
        let session = transaction.session();
        session.read(sqlx::query(sql::ALLOW_SCANS)).await?;
        let mut page = HistoryPage { events: Vec::new(), looked_back_to: stretch.until };
        let mut length = FIRST_STRETCH;
        while page.looked_back_to > stretch.since {
            let asked = Instant::now();
            let (start, end) = (page.looked_back_to.before(length).max(stretch.since), page.looked_back_to);
            let wanted = limit - page.events.len();
            let found = session.search_once(sought, start, end, wanted).await?;
            let is_full = found.len() >= wanted;
            page.events.extend(found);
            page.looked_back_to = start;
            if is_full {
                page.end_with_the_whole_of_a_moment();
                break;
            }
            length = match asked.elapsed() {
                took if took < QUICK => length.saturating_mul(2),
                took if took > SLOW => (length / 2).max(SHORTEST_STRETCH),
                _ => length,
            };
            if began.elapsed() >= stretch.within {
                break;
            }
        }
        transaction.rollback().await?;
        Ok(page)
    }

    async fn search_once(
        &mut self,
        sought: Sought<'_>,
        start: Timestamp,
        end: Timestamp,
        wanted: usize,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let query = match sought {
            Sought::Address(address) => sqlx::query(sql::TRACE_ADDRESS).bind(address),
            Sought::Octets(octets) => sqlx::query(sql::TRACE_FIELD).bind(octets),
        };
        let wanted = i64::try_from(wanted).unwrap_or(i64::MAX);
        let rows = self.read(query.bind(Time(start)).bind(Time(end)).bind(wanted)).await?;
        rows.iter().map(stored_event).collect()
    }
}

impl HistoryPage {
    /// There may be more events at the moment of the last: they are left to whoever goes on, all of them, so that none is
    /// told twice or left out. Where there is no other moment, what is told of it has to do.
    fn end_with_the_whole_of_a_moment(&mut self) {
        let Some(last) = self.events.last().map(|event| event.at) else { return };
        let others = self.events.iter().take_while(|event| event.at > last).count();
        if others > 0 {
            self.events.truncate(others);
            self.looked_back_to = Timestamp::from_micros(last.as_micros() + 1);
        } else {
            self.looked_back_to = last;
        }
    }
}
