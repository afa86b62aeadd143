//! How long answers are kept: each as long as it says. Not responsible for how much is kept.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::Expiry;

/// What is true for a time.
pub(crate) trait Lives {
    /// For how long from when it was learnt.
    fn lifetime(&self) -> Duration;
}

/// Keeps each entry of a cache for its own lifetime.
pub(crate) struct Lifetimes;

impl<K, V: Lives> Expiry<K, Arc<V>> for Lifetimes {
    fn expire_after_create(&self, _: &K, value: &Arc<V>, _: Instant) -> Option<Duration> {
        Some(value.lifetime())
    }

    fn expire_after_update(&self, _: &K, value: &Arc<V>, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(value.lifetime())
    }
}
