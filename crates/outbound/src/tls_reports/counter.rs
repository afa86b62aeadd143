//! Where sessions are counted as they come about. Not responsible for which domains want reports, as long as that is not known.

use std::sync::Arc;
use std::time::Duration;

use mailtier_route::HeldAgainst;
use mailtier_telemetry::Meters;
use mailtier_types::text::printable;
use mailtier_types::{Day, Domain, Timestamp, TlsFailure};
use moka::sync::Cache;
use parking_lot::Mutex;

use super::tally::Tally;

/// Domains remembered that want no reports.
const MAX_SILENT: u64 = 100_000;
/// For so long nothing is counted for them.
const SILENT_FOR: Duration = Duration::from_secs(900);
/// The longest reason of a failure that is kept, in octets.
const MAX_REASON_OCTETS: usize = 200;

/// See the module.
pub(crate) struct SessionCounter {
    tally: Mutex<Tally>,
    silent: Cache<Domain, ()>,
    meters: Arc<Meters>,
}

impl std::fmt::Debug for SessionCounter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionCounter").finish_non_exhaustive()
    }
}

impl SessionCounter {
    /// Nothing is counted yet.
    pub(crate) fn new(meters: Arc<Meters>) -> Self {
        let silent = Cache::builder().max_capacity(MAX_SILENT).time_to_live(SILENT_FOR).build();
        Self { tally: Mutex::default(), silent, meters }
    }

    /// Whether sessions with hosts of a domain are counted: unless it is known that it wants no reports.
    pub(crate) fn wants(&self, domain: &Domain) -> bool {
        !self.silent.contains_key(domain)
    }

    /// Counts a session that was as it should be, or failed.
    pub(crate) fn count(&self, against: &HeldAgainst, failure: Option<TlsFailure>, now: Timestamp) {
        let result = if failure.is_some() { "failure" } else { "success" };
        let failure = failure.map(|failure| TlsFailure { reason: one_line(&failure.reason), ..failure });
        let is_counted = self.tally.lock().add(Day::of(now), against, failure);
        let result = if is_counted { result } else { "left_out" };
        self.meters.outbound_tls_sessions.add(1, &Meters::attribute("result", result));
    }

    /// What was counted since the last time.
    pub(super) fn take(&self) -> Tally {
        std::mem::take(&mut *self.tally.lock())
    }

    /// A domain wants no reports.
    pub(super) fn note_silent(&self, domain: Domain) {
        self.silent.insert(domain, ());
    }
}

/// A reason may quote what a host said.
fn one_line(text: &str) -> String {
    let mut line = printable(text).to_string();
    line.truncate(line.floor_char_boundary(MAX_REASON_OCTETS));
    line
}
