//! Contents just accepted, kept for their first attempt within a bound of octets and of time. What does not fit, or has
//! become old, is read from the database when its turn comes: an operator may have changed it, and the word of that may
//! have been lost. Pure.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mailtier_types::{DeliveryId, Epoch};

use super::handle::Content;

/// What an entry costs besides its body, and what a recipient costs besides its text.
const ENTRY_BYTES: usize = 512;
const RECIPIENT_BYTES: usize = 48;
/// Older contents are read again.
const FRESH_FOR: Duration = Duration::from_secs(10);

/// The cache.
#[derive(Debug)]
pub(super) struct Cache {
    limit_bytes: usize,
    bytes: usize,
    contents: HashMap<DeliveryId, Kept>,
    /// In the order of their arrival; taken ones are still in it.
    order: VecDeque<DeliveryId>,
}

/// One content.
#[derive(Debug)]
struct Kept {
    content: Arc<Content>,
    since: Instant,
    /// In which its shard was owned: what was kept before another owner had it may be old, however short that was.
    epoch: Epoch,
}

impl Cache {
    pub(super) fn new(limit_bytes: usize) -> Self {
        Self { limit_bytes, bytes: 0, contents: HashMap::new(), order: VecDeque::new() }
    }

    /// Keeps a content of a shard that is owned in this epoch; the oldest go while there is too much.
    pub(super) fn insert(&mut self, id: DeliveryId, content: Arc<Content>, epoch: Epoch, now: Instant) {
        let bytes = cost(&content);
        if bytes > self.limit_bytes {
            return;
        }
        self.drop(id);
        self.contents.insert(id, Kept { content, since: now, epoch });
        self.bytes += bytes;
        self.order.push_back(id);
        while self.bytes > self.limit_bytes {
            let Some(oldest) = self.order.pop_front() else { break };
            self.drop(oldest);
        }
        if self.order.len() > 2 * self.contents.len() + 64 {
            self.order.retain(|id| self.contents.contains_key(id));
        }
    }

    /// Takes a content out, to be used in this epoch now: nothing where it may be old.
    pub(super) fn take(&mut self, id: DeliveryId, epoch: Epoch, now: Instant) -> Option<Arc<Content>> {
        let kept = self.remove(id)?;
        (kept.epoch == epoch && now.saturating_duration_since(kept.since) < FRESH_FOR).then_some(kept.content)
    }

    /// Forgets a content.
    pub(super) fn drop(&mut self, id: DeliveryId) {
        self.remove(id);
    }

    fn remove(&mut self, id: DeliveryId) -> Option<Kept> {
        let kept = self.contents.remove(&id)?;
        self.bytes = self.bytes.saturating_sub(cost(&kept.content));
        Some(kept)
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
            was_held: false,
            last: None,
        })
    }

    fn id(number: i64) -> DeliveryId {
        DeliveryId::from_i64(number).unwrap()
    }

    #[test]
    fn the_oldest_go_when_there_is_too_much() {
        let (mut cache, now) = (Cache::new(3 * (1000 + ENTRY_BYTES)), Instant::now());
        for number in 1..=4 {
            cache.insert(id(number), content(1000), Epoch(1), now);
        }
        assert!(cache.take(id(1), Epoch(1), now).is_none());
        assert!((2..=4).all(|number| cache.take(id(number), Epoch(1), now).is_some()));
        assert_eq!(cache.bytes, 0);
    }

    #[test]
    fn what_was_taken_leaves_nothing_behind() {
        let (mut cache, now) = (Cache::new(1 << 20), Instant::now());
        for number in 1..=100_000 {
            cache.insert(id(number), content(100), Epoch(1), now);
            assert!(cache.take(id(number), Epoch(1), now).is_some());
        }
        assert!(cache.order.len() < 1000, "{}", cache.order.len());
    }

    #[test]
    fn one_that_is_larger_than_all_is_not_kept() {
        let (mut cache, now) = (Cache::new(1000), Instant::now());
        cache.insert(id(1), content(2000), Epoch(1), now);
        assert!(cache.take(id(1), Epoch(1), now).is_none());
    }

    #[test]
    fn what_may_be_old_is_not_used() {
        let (mut cache, now) = (Cache::new(1 << 20), Instant::now());
        for (epoch, later, is_used) in [
            (Epoch(1), Duration::from_secs(9), true),
            (Epoch(1), Duration::from_secs(10), false),
            (Epoch(2), Duration::ZERO, false),
        ] {
            cache.insert(id(1), content(1), Epoch(1), now);
            assert_eq!(cache.take(id(1), epoch, now + later).is_some(), is_used, "{epoch:?} {later:?}");
            assert_eq!((cache.bytes, cache.contents.len()), (0, 0));
        }
    }
}
