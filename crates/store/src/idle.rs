//! Connections between two uses. Making one costs the database a process and a login, milliseconds of CPU for both, so
//! what reads a body now and then lends one that others have used. Not responsible for how many there may be.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::PgConnection;

/// A connection that nobody needed for this long is closed: a burst leaves none behind, and few are found broken.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// Connections that wait for their next use; the last used is lent first, so that those too many grow old.
#[derive(Debug, Default)]
pub(crate) struct Idle(Mutex<Vec<(PgConnection, Instant)>>);

impl Idle {
    pub(crate) fn take(&self) -> Option<PgConnection> {
        self.close_old();
        self.0.lock().pop().map(|(connection, _)| connection)
    }

    pub(crate) fn keep(&self, connection: PgConnection) {
        self.0.lock().push((connection, Instant::now()));
    }

    /// Closes what has waited too long; says how many are left.
    pub(crate) fn close_old(&self) -> usize {
        let mut connections = self.0.lock();
        connections.retain(|(_, since)| since.elapsed() < KEPT_FOR);
        connections.len()
    }
}
