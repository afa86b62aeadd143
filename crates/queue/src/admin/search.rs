//! Looking through all that is queued for what fits a filter, in the order of ids, a bounded part in each call: whoever
//! asks goes on from where the call before has ended. Not responsible for what is done with what is found.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mailtier_api::ApiError;
use mailtier_api::filter::Filter;
use mailtier_schedule::Rules;
use mailtier_store::{DeliveryFilter, PageBounds, Session, StoredDelivery};
use mailtier_types::MessageId;
use mailtier_types::id::MAX_FANOUT;

use super::known::Known;
use super::matching::{self, Matcher};
use super::{suspend, trouble};

/// Deliveries that one call looks at, at the most.
const ROWS_A_CALL: u64 = 100_000;
/// A call begins no further page after that.
const TIME_A_CALL: Duration = Duration::from_secs(1);
/// Deliveries that one page, which is one statement, looks at.
pub(super) const ROWS_A_PAGE: u32 = 2_000;

/// What searching needs to know of the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Searching {
    known: Known,
}

impl Searching {
    pub(crate) const fn new(known: Known) -> Self {
        Self { known }
    }

    /// Whose exchangers are whose.
    pub(super) fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.known.now().rules)
    }

    /// One call's search for what fits a filter, after this id; 0 from the beginning.
    ///
    /// # Errors
    /// [`ApiError::Invalid`]: the filter names a provider that is not configured.
    pub(super) fn begin(&self, filter: &Filter, after: i64) -> Result<Search, ApiError> {
        let rules = self.rules();
        if let Some(name) = &filter.provider {
            let known: Vec<&str> = rules.providers.iter().map(|provider| provider.name.as_str()).collect();
            suspend::judge_provider(name, &known)?;
        }
        Ok(Search::new(filter, after, rules))
    }
}

/// One call's part of a search.
#[derive(Debug)]
pub(super) struct Search {
    columns: DeliveryFilter,
    matcher: Matcher,
    /// In their order; empty: any.
    messages: Vec<MessageId>,
    after: i64,
    before: i64,
    looked_at: u64,
    deadline: Instant,
}

impl Search {
    fn new(filter: &Filter, after: i64, rules: Arc<Rules>) -> Self {
        let mut messages = filter.messages.clone();
        messages.sort_unstable();
        messages.dedup();
        // Ids tell when they were made.
        let since = filter.accepted_since.map_or(0, |since| MessageId::first_at(since) - 1);
        Self {
            columns: matching::columns(filter),
            matcher: Matcher::new(filter, rules),
            messages,
            after: after.max(since),
            before: filter.accepted_before.map_or(i64::MAX, MessageId::first_at),
            looked_at: 0,
            deadline: Instant::now() + TIME_A_CALL,
        }
    }

    /// The next of what fits, at least one and at most so many; nothing when the call has looked at its part, or at all.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) async fn page(
        &mut self,
        session: &mut Session,
        at_most: u32,
    ) -> Result<Option<Vec<StoredDelivery>>, ApiError> {
        let mut is_first = self.looked_at == 0;
        while let Some((after, before)) = self.range() {
            if !is_first && (self.looked_at >= ROWS_A_CALL || Instant::now() >= self.deadline) {
                return Ok(None);
            }
            is_first = false;
            // Where more is to be compared, most of what the database finds may not be meant.
            let limit = if self.matcher.is_needed() { ROWS_A_PAGE } else { at_most.min(ROWS_A_PAGE) };
            let bounds = PageBounds { after, before, rows: ROWS_A_PAGE, limit };
            let page = session.list(&self.columns, bounds).await.map_err(|error| trouble(&error))?;
            self.looked_at += page.looked_at;
            self.after = page.next.map_or(before - 1, |next| next.as_i64());
            let found = self.meant(page.deliveries, at_most);
            if !found.is_empty() {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Of a page's rows, the first that are meant. When those are all that may be returned the search goes on behind them.
    fn meant(&mut self, rows: Vec<StoredDelivery>, at_most: u32) -> Vec<StoredDelivery> {
        let at_most = usize::try_from(at_most).unwrap_or(usize::MAX);
        let is_named =
            |row: &StoredDelivery| self.messages.is_empty() || self.messages.binary_search(&row.message).is_ok();
        let mut found: Vec<_> = rows.into_iter().filter(|row| is_named(row) && self.matcher.fits(row)).collect();
        if found.len() > at_most {
            found.truncate(at_most);
            self.after = found.last().map_or(self.after, |last| last.id.as_i64());
        }
        found
    }

    /// Between which ids to look next, both exclusive: all that is left, or where the next of the named messages has its
    /// deliveries.
    fn range(&self) -> Option<(i64, i64)> {
        let (after, before) = if self.messages.is_empty() {
            (self.after, self.before)
        } else {
            let end = |message: &MessageId| message.as_i64().saturating_add(i64::from(MAX_FANOUT));
            let next = self.messages.iter().find(|message| end(message) - 1 > self.after)?;
            (self.after.max(next.as_i64() - 1), self.before.min(end(next)))
        };
        (before - after > 1).then_some((after, before))
    }

    /// Where the next call goes on; 0 when everything has been looked at.
    pub(super) fn next(&self) -> i64 {
        self.range().map_or(0, |_| self.after)
    }

    /// How many deliveries this call has looked at.
    pub(super) const fn looked_at(&self) -> u64 {
        self.looked_at
    }
}

#[cfg(test)]
mod tests {
    use mailtier_types::Timestamp;

    use super::*;

    fn id(number: i64) -> MessageId {
        MessageId::from_i64(number).unwrap()
    }

    fn search(filter: &Filter, after: i64) -> Search {
        Search::new(filter, after, Arc::new(Rules::plain(1)))
    }

    #[test]
    fn ages_bound_what_is_looked_at() {
        let (since, before) = (Timestamp::from_secs(1_800_000_000), Timestamp::from_secs(1_800_000_001));
        let filter = Filter { accepted_since: Some(since), accepted_before: Some(before), ..Filter::default() };
        let (first, end) = (MessageId::first_at(since), MessageId::first_at(before));
        assert_eq!(search(&filter, 0).range(), Some((first - 1, end)));
        assert_eq!(search(&filter, first + 7).range(), Some((first + 7, end)));
        assert_eq!((search(&filter, end - 1).range(), search(&filter, end - 1).next()), (None, 0));
        assert_eq!(search(&Filter::default(), 0).range(), Some((0, i64::MAX)));
        assert_eq!(search(&Filter::default(), 9).next(), 9);
    }

    #[test]
    fn named_messages_are_looked_for_where_their_deliveries_are() {
        let filter = Filter::of(vec![id(1_000_000), id(5000), id(1_000_000)]);
        assert_eq!(search(&filter, 0).range(), Some((4999, 5000 + 4096)));
        assert_eq!(search(&filter, 6000).range(), Some((6000, 5000 + 4096)));
        assert_eq!(search(&filter, 5000 + 4095).range(), Some((999_999, 1_000_000 + 4096)));
        assert_eq!(search(&filter, 1_000_000 + 4095).range(), None);
        let newer = Filter { accepted_since: Some(Timestamp::from_secs(1_800_000_000)), ..filter };
        assert_eq!(search(&newer, 0).range(), None);
    }
}
