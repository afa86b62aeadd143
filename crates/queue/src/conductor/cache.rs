//! Contents just accepted, kept for their first attempt within a bound of octets. What does not fit any more is read
//! from the database when its turn comes. Pure.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use mailtier_types::DeliveryId;

use super::handle::Content;

/// What an entry costs besides its body, and what a recipient costs besides its text.
const ENTRY_BYTES: usize = 512;
const RECIPIENT_BYTES: usize = 48;

/// The cache.
#[derive(Debug)]
pub(super) struct Cache {
    limit_bytes: usize,
    bytes: usize,
    contents: HashMap<DeliveryId, Arc<Content>>,
    /// In the order of their arrival; taken ones are still in it.
    order: VecDeque<DeliveryId>,
}

impl Cache {
    pub(super) fn new(limit_bytes: usize) -> Self {
        Self { limit_bytes, bytes: 0, contents: HashMap::new(), order: VecDeque::new() }
    }

    /// Keeps a content; the oldest go while there is too much.
    pub(super) fn insert(&mut self, id: DeliveryId, content: Arc<Content>) {
        let bytes = cost(&content);
        if bytes > self.limit_bytes {
            return;
        }
        if self.contents.insert(id, content).is_none() {
            self.bytes += bytes;
            self.order.push_back(id);
        }
        while self.bytes > self.limit_bytes {
            let Some(oldest) = self.order.pop_front() else { break };
            self.take(oldest);
        }
        if self.order.len() > 2 * self.contents.len() + 64 {
            self.order.retain(|id| self.contents.contains_key(id));
        }
    }

    /// Takes a content out.
    pub(super) fn take(&mut self, id: DeliveryId) -> Option<Arc<Content>> {
        let content = self.contents.remove(&id)?;
        self.bytes = self.bytes.saturating_sub(cost(&content));
        Some(content)
    }
}

fn cost(content: &Content) -> usize {
    let recipients: usize = content.recipients.iter().map(|recipient| RECIPIENT_BYTES + recipient.as_str().len()).sum();
    let body: usize = content.body.iter().flatten().map(Bytes::len).sum();
    ENTRY_BYTES + content.options.len() + recipients + body
}

#[cfg(test)]
mod tests {
    use mailtier_types::{MessageId, ReversePath, Timestamp};

    use super::*;

    fn content(bytes: usize) -> Arc<Content> {
        Arc::new(Content {
            reports_success: false,
            message: MessageId::from_i64(1).unwrap(),
            fanout: 1,
            sender: ReversePath::Null,
            recipients: Vec::new(),
            options: Bytes::new(),
            traceparent: None,
            received_at: Timestamp::EPOCH,
            body: Some(vec![Bytes::from(vec![0; bytes])]),
            hosts: Vec::new(),
        })
    }

    fn id(number: i64) -> DeliveryId {
        DeliveryId::from_i64(number).unwrap()
    }

    #[test]
    fn the_oldest_go_when_there_is_too_much() {
        let mut cache = Cache::new(3 * (1000 + ENTRY_BYTES));
        for number in 1..=4 {
            cache.insert(id(number), content(1000));
        }
        assert!(cache.take(id(1)).is_none());
        assert!((2..=4).all(|number| cache.take(id(number)).is_some()));
        assert_eq!(cache.bytes, 0);
    }

    #[test]
    fn what_was_taken_leaves_nothing_behind() {
        let mut cache = Cache::new(1 << 20);
        for number in 1..=100_000 {
            cache.insert(id(number), content(100));
            assert!(cache.take(id(number)).is_some());
        }
        assert!(cache.order.len() < 1000, "{}", cache.order.len());
    }

    #[test]
    fn one_that_is_larger_than_all_is_not_kept() {
        let mut cache = Cache::new(1000);
        cache.insert(id(1), content(2000));
        assert!(cache.take(id(1)).is_none());
    }
}
