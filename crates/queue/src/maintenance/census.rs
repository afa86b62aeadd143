//! How the queue as a whole stands, and how many connections to the database there are, in numbers. Of all replicas the
//! owner of shard 0 tells what is one for all; the others say 0, so that sums and maxima are right. Not responsible for
//! what is in memory, which is the conductor's.

use mailtier_store::{Census, Store};
use mailtier_telemetry::Meters;
use mailtier_types::Timestamp;

/// Tells what was counted; nothing where another replica counts.
pub(super) fn tell(census: Option<Census>, meters: &Meters, now: Timestamp) {
    let Census { held, stored, oldest } = census.unwrap_or_default();
    meters.queue_depth.record(held, &Meters::attribute("state", "held"));
    meters.queue_stored.record(stored, &[]);
    let age = oldest.map_or(0.0, |oldest| now.since(oldest.made_at()).as_secs_f64());
    meters.queue_oldest_message.record(age, &[]);
}

/// Tells how many connections there are.
pub(super) fn tell_usage(store: &Store, meters: &Meters) {
    let usage = store.usage();
    meters.queue_database_sessions.record(u64::from(usage.open), &[]);
    meters.queue_database_sessions_max.record(u64::from(usage.limit), &[]);
    meters.queue_database_sessions_waiting.record(u64::from(usage.waiting), &[]);
}
