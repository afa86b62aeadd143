//! Deliveries as tests have them.

use std::time::Duration;

use mailtier_schedule::{Entry, PoolClass};
use mailtier_types::{DeliveryId, ShardId, TenantId, Timestamp};

/// When tests begin.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
pub(crate) const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// One that nothing is particular about, given up a week after the tests began.
pub(crate) fn entry(destination: &str, number: i64, due: Timestamp) -> Entry {
    Entry {
        id: DeliveryId::from_i64(number).unwrap(),
        shard: ShardId::of(destination),
        tenant: TenantId(0),
        class: PoolClass::default(),
        priority: 0,
        attempts: 0,
        due,
        expires_at: NOW.after(WEEK),
        warn_at: None,
    }
}
