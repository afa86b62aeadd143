//! The ids this replica makes for its notifications, with a node number it leases. Not responsible for those of
//! submissions: inbound makes them.

use std::time::{Duration, Instant};

use mailtier_types::{IdSource, MessageId, NodeNumber, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// How long a node number is leased for, and when it is renewed. Numbers of processes that were killed come back after
/// this; there are 1024, so programs that crash in a loop don't use them up. Ids carry their time and the number that was
/// unused for longest is given next, so a number is only ever given again after a time that no clock of ours is wrong by.
pub(crate) const NODE_LEASE: Duration = Duration::from_secs(3600);
pub(crate) const NODE_RENEWAL: Duration = Duration::from_secs(600);
/// No id is made in the last part of a lease.
const SAFETY: Duration = Duration::from_secs(600);

/// The source, empty until a number is leased and after a lease has run out.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    leased: Mutex<Option<Leased>>,
    /// Told of each lease.
    renewed: Notify,
}

#[derive(Debug)]
struct Leased {
    node: NodeNumber,
    source: IdSource,
    until: Instant,
}

impl Ids {
    /// A number was leased (again), asked for at `asked_at`.
    pub(crate) fn leased(&self, node: NodeNumber, asked_at: Instant) {
        let until = asked_at + NODE_LEASE.saturating_sub(SAFETY);
        let mut leased = self.leased.lock();
        match &mut *leased {
            Some(held) if held.node == node => held.until = until,
            _ => *leased = Some(Leased { node, source: IdSource::new(node), until }),
        }
        drop(leased);
        self.renewed.notify_one();
    }

    /// Until a number is held. One task at a time waits.
    pub(crate) async fn until_held(&self) {
        while !self.leased.lock().as_ref().is_some_and(Leased::is_held) {
            self.renewed.notified().await;
        }
    }

    /// Whether a number is held now.
    pub(crate) fn are_held(&self) -> bool {
        self.leased.lock().as_ref().is_some_and(Leased::is_held)
    }

    /// A new id with room for one delivery, while a number is held.
    pub(crate) fn take(&self, now: Timestamp) -> Option<MessageId> {
        let mut leased = self.leased.lock();
        let held = leased.as_mut().filter(|held| held.is_held())?;
        Some(held.source.take(1, now))
    }
}

impl Leased {
    fn is_held(&self) -> bool {
        Instant::now() < self.until
    }
}
