//! When a connection is to be made anew, although nothing is wrong with it: soon after our own certificate has changed, and
//! before the other side's ends. Spread at random, so that a fleet does not do it at one moment. Not responsible for doing
//! it without losing anything.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::ClusterTls;
use super::material::Validity;

/// After a change of our own certificate connections are made anew within this time.
const SPREAD: Duration = Duration::from_secs(30);
/// And within this share of what is left of the certificate that they were made with.
const SPREAD_SHARE: u32 = 10;
/// The part of what is left of the other side's certificate after which a connection is made anew, at least and at most.
const LEAST_PART: f64 = 0.8;
const MOST_PART: f64 = 0.95;
/// What is left for less than this is no reason to connect again: it would be as little then.
const LEAST_LEFT: Duration = Duration::from_secs(20);

/// When the connection of a client is to be made anew; never one without TLS.
#[derive(Clone, Debug, Default)]
pub struct Renewal(Option<Arc<Watched>>);

#[derive(Debug)]
struct Watched {
    tls: Arc<ClusterTls>,
    connection: Mutex<Connection>,
}

/// What is known of the last connection that was made.
#[derive(Clone, Copy, Debug)]
struct Connection {
    generation: u64,
    /// When our own certificate, as it was then, ends.
    own_end: Option<SystemTime>,
    /// When it is to be made anew because of the other side's certificate.
    due: Option<Instant>,
}

impl Renewal {
    /// Of connections that are made with `tls`.
    #[must_use]
    pub fn with(tls: Arc<ClusterTls>) -> Self {
        let connection = Connection { generation: tls.generation(), own_end: None, due: None };
        Self(Some(Arc::new(Watched { tls, connection: Mutex::new(connection) })))
    }

    /// A connection was made, by what was `generation` when it began.
    pub(super) fn connected(&self, generation: u64, own: Option<Validity>, peer: Option<Validity>) {
        let Some(watched) = &self.0 else { return };
        let left = peer.and_then(|peer| peer.until.duration_since(SystemTime::now()).ok());
        let due = left.and_then(|left| lasts(left, rand::random())).map(|lasts| Instant::now() + lasts);
        *watched.connection.lock() = Connection { generation, own_end: own.map(|own| own.until), due };
    }

    /// Whether a connection that is needed anyway is better made anew.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.0.as_ref().is_some_and(|watched| {
            let connection = *watched.connection.lock();
            watched.tls.generation() != connection.generation || connection.due.is_some_and(|due| due <= Instant::now())
        })
    }

    /// Waits until the connection is to be made anew.
    pub async fn due(&self) {
        let Some(watched) = &self.0 else { return std::future::pending().await };
        let connection = *watched.connection.lock();
        let mut changes = watched.tls.changes();
        let changed = async { changes.wait_for(|generation| *generation != connection.generation).await.is_ok() };
        let peer_ends = async {
            match connection.due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = changed => {
                let left = connection.own_end.and_then(|end| end.duration_since(SystemTime::now()).ok());
                let spread = left.map_or(Duration::ZERO, |left| (left / SPREAD_SHARE).min(SPREAD));
                tokio::time::sleep(spread.mul_f64(rand::random())).await;
            }
            () = peer_ends => {}
        }
    }
}

/// How long a connection lasts when so much is left of the other side's certificate; nothing where it lasts to the end.
fn lasts(left: Duration, random: f64) -> Option<Duration> {
    let part = random.mul_add(MOST_PART - LEAST_PART, LEAST_PART);
    (left >= LEAST_LEFT).then(|| left.mul_f64(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_ends_well_before_the_other_sides_certificate() {
        let of = |left: u64, random: f64| lasts(Duration::from_secs(left), random).map(|lasts| lasts.as_secs());
        assert_eq!((of(1000, 0.0), of(1000, 1.0)), (Some(800), Some(950)));
        assert_eq!(of(10, 0.5), None, "the next one would have no more");
    }
}
