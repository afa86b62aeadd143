//! Connections kept for the next message to the same address, and the bound on how many there are.
//!
//! Responsible for which connection is reused, how often, for how long it may idle, and for QUIT when it is let go. Not
//! responsible for opening one, nor for what is said on it.

mod idle;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use mailtier_route::{Authority, Encryption, Target, TlsDemand};
use mailtier_transport::client::Connection;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use crate::egress::EgressPool;
use idle::Idle;

/// Connections said QUIT to in the background at a time: beyond it they are just closed.
const MAX_QUITTING: usize = 256;
/// How often idle connections are looked over.
const REAP_EVERY: Duration = Duration::from_secs(1);

/// What makes two connections interchangeable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// Under which rules it was opened.
    generation: u64,
    /// Which egress pool: who the remote takes us for.
    egress: usize,
    place: Place,
    tls: TlsDemand,
    /// Where TLS is a must, since the host was asked for by it.
    host: Option<String>,
    /// Whose mail it carries alone: we are logged in for it, have shown a certificate, began in TLS, or speak LMTP.
    route: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    Address(SocketAddr),
    /// Of this machine.
    Socket(Arc<PathBuf>),
}

impl Key {
    /// Connections of an egress pool to this target.
    pub(crate) fn of((generation, egress): (u64, &EgressPool), target: &Target, route: Option<usize>) -> Self {
        let host = (target.tls.encryption == Encryption::Required).then(|| target.host.clone());
        let place = Place::Address(SocketAddr::new(target.address, target.port));
        Self { generation, egress: egress.number, place, tls: target.tls.clone(), host, route }
    }

    /// Connections to this socket.
    pub(crate) fn of_socket(
        (generation, egress): (u64, &EgressPool),
        path: &Arc<PathBuf>,
        route: Option<usize>,
    ) -> Self {
        let tls = TlsDemand::anyone(Encryption::Off, Authority::Operator);
        let place = Place::Socket(Arc::clone(path));
        Self { generation, egress: egress.number, place, tls, host: None, route }
    }
}

/// Bounds of what is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionLimits {
    /// Connections at a time, busy and idle.
    pub(crate) connections: usize,
    /// Idle connections to one address.
    pub(crate) idle_per_key: usize,
    /// How long a connection may idle.
    pub(crate) idle_timeout: Duration,
    /// Transactions over one connection.
    pub(crate) deliveries: u32,
}

/// The permission to hold one connection.
#[derive(Debug)]
pub(crate) struct Slot {
    _permit: OwnedSemaphorePermit,
}

/// A connection in use.
#[derive(Debug)]
pub(crate) struct Leased {
    pub(crate) connection: Connection,
    /// Our address, where an egress pool named one.
    pub(crate) source: Option<IpAddr>,
    /// It carried a transaction before, so it may be dead without anyone's fault.
    pub(crate) reused: bool,
    deliveries: u32,
    slot: Slot,
}

impl Leased {
    /// A connection just opened.
    pub(crate) fn new(connection: Connection, source: Option<IpAddr>, slot: Slot) -> Self {
        Self { connection, source, reused: false, deliveries: 0, slot }
    }

    /// Its slot, for a new connection in its place.
    pub(crate) fn into_slot(self) -> Slot {
        self.slot
    }
}

/// All connections of the worker.
pub(crate) struct Connections {
    /// The most there may be at a time.
    most: usize,
    limits: ArcSwap<ConnectionLimits>,
    idle: Mutex<Idle>,
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    quitting: TaskTracker,
}

impl Connections {
    /// None yet.
    pub(crate) fn new(limits: ConnectionLimits) -> Self {
        Self {
            most: limits.connections,
            limits: ArcSwap::from_pointee(limits),
            idle: Mutex::new(Idle::default()),
            slots: Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS))),
            waiting: AtomicUsize::new(0),
            quitting: TaskTracker::new(),
        }
    }

    /// Keeps to other limits from now on, but for how many there may be, and lets go of those that idle: they were opened
    /// under other rules.
    pub(crate) fn renew(&self, limits: ConnectionLimits) {
        self.limits.store(Arc::new(limits));
        let all = self.idle.lock().expire(Instant::now());
        all.into_iter().for_each(|leased| self.quit(leased));
    }

    /// An idle connection that still stands, of those that suit the one used last.
    pub(crate) fn take(&self, key: &Key, suits: impl Fn(&Leased) -> bool) -> Option<Leased> {
        loop {
            let oldest = Instant::now().checked_sub(self.limits.load().idle_timeout);
            let mut leased = self.idle.lock().take(key, oldest, &suits)?;
            if leased.connection.is_alive() {
                leased.reused = true;
                return Some(leased);
            }
        }
    }

    /// Waits until one more connection may be opened. An idle one gives way.
    pub(crate) async fn slot(&self) -> Option<Slot> {
        if let Ok(permit) = Arc::clone(&self.slots).try_acquire_owned() {
            return Some(Slot { _permit: permit });
        }
        let longest_idle = self.idle.lock().evict();
        drop(longest_idle);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting(&self.waiting);
        let permit = Arc::clone(&self.slots).acquire_owned().await.ok();
        drop(waiting);
        permit.map(|permit| Slot { _permit: permit })
    }

    /// Keeps a connection whose transaction is over for the next one, or closes it where it has done enough or others
    /// wait for a slot.
    pub(crate) fn park(&self, key: Key, mut leased: Leased) {
        leased.deliveries += 1;
        let limits = **self.limits.load();
        let is_wanted = self.waiting.load(Ordering::Relaxed) == 0
            && leased.deliveries < limits.deliveries
            && !leased.connection.is_spent()
            && !limits.idle_timeout.is_zero();
        let refused = if is_wanted {
            self.idle.lock().put(key, leased, Instant::now(), limits.idle_per_key)
        } else {
            Some(leased)
        };
        if let Some(leased) = refused {
            self.quit(leased);
        }
    }

    /// Lets go of connections that have idled too long, until they are dropped.
    pub(crate) async fn reap(&self) {
        let mut beat = tokio::time::interval(REAP_EVERY);
        loop {
            beat.tick().await;
            if let Some(before) = Instant::now().checked_sub(self.limits.load().idle_timeout) {
                let expired = self.idle.lock().expire(before);
                expired.into_iter().for_each(|leased| self.quit(leased));
            }
        }
    }

    /// Connections, busy and idle.
    pub(crate) fn open(&self) -> usize {
        self.most.saturating_sub(self.slots.available_permits())
    }

    /// Says QUIT to every idle connection and waits for the answers.
    pub(crate) async fn close(&self) {
        let all = self.idle.lock().expire(Instant::now());
        all.into_iter().for_each(|leased| self.quit(leased));
        self.quitting.close();
        self.quitting.wait().await;
    }

    /// RFC 5321 §4.1.1.10: a client says QUIT before it closes. Nobody waits for it.
    pub(crate) fn quit(&self, leased: Leased) {
        if self.quitting.len() < MAX_QUITTING {
            self.quitting.spawn(async move {
                let Leased { connection, slot, .. } = leased;
                connection.quit().await;
                drop(slot);
            });
        }
    }
}

/// Counts one waiter less when it goes, also when it is dropped while it waits.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
