//! The ids this process gives to messages. Not responsible for leasing the node number they are made with.

use std::time::Instant;

use mailtier_types::{IdSource, MessageId, NodeNumber, Timestamp};
use parking_lot::Mutex;

/// Makes ids while a node number is leased, and none otherwise: two processes with one number could give two messages
/// the same id, and the queue would take the second for the first.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    leased: Mutex<Option<Leased>>,
}

#[derive(Debug)]
struct Leased {
    node: NodeNumber,
    source: IdSource,
    valid_until: Instant,
}

impl Ids {
    /// The number is ours until then, by our own clock.
    pub(crate) fn lease(&self, node: NodeNumber, valid_until: Instant) {
        let mut leased = self.leased.lock();
        match leased.as_mut() {
            Some(leased) if leased.node == node => leased.valid_until = valid_until,
            _ => *leased = Some(Leased { node, source: IdSource::new(node), valid_until }),
        }
    }

    /// Whether ids can be made at this time.
    pub(crate) fn are_valid(&self, at: Instant) -> bool {
        self.leased.lock().as_ref().is_some_and(|leased| at < leased.valid_until)
    }

    /// An id for a message to `fanout` destinations; nothing without a valid lease.
    pub(crate) fn take(&self, fanout: u16, now: Timestamp, at: Instant) -> Option<MessageId> {
        let mut leased = self.leased.lock();
        let leased = leased.as_mut().filter(|leased| at < leased.valid_until)?;
        Some(leased.source.take(fanout, now))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_lease_no_ids() {
        let (ids, start) = (Ids::default(), Instant::now());
        let now = Timestamp::from_secs(1_800_000_000);
        assert_eq!(ids.take(1, now, start), None);
        ids.lease(NodeNumber::new(7).unwrap(), start + Duration::from_secs(10));
        let first = ids.take(3, now, start).unwrap();
        assert_eq!(ids.take(1, now, start + Duration::from_secs(10)), None, "the lease has run out");
        ids.lease(NodeNumber::new(7).unwrap(), start + Duration::from_secs(20));
        let second = ids.take(1, now, start + Duration::from_secs(11)).unwrap();
        assert!(second.as_i64() >= first.as_i64() + 3, "a renewed lease goes on where it was");
        ids.lease(NodeNumber::new(8).unwrap(), start + Duration::from_secs(30));
        assert_eq!(ids.take(1, now, start).unwrap().as_i64() >> 12 & 1023, 8);
    }
}
