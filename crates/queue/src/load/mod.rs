//! Reading: what is queued into the schedule, and what is about to be dispatched. Each loop has a session of its own.

mod fetcher;
mod loader;
mod turns;

use mailtier_types::ShardId;

pub(crate) use fetcher::Fetcher;
pub(crate) use loader::Loader;

/// Why the table is walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Shards have become ours.
    Takeover,
    /// To find what no hint told of.
    CatchUp,
    /// To find what was committed very late.
    Reconcile,
    /// To read what had no room.
    Refill,
}

/// A walk over the rows of some shards, in the order of ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Walk {
    /// Why.
    pub(crate) purpose: Purpose,
    /// Of which.
    pub(crate) shards: Vec<ShardId>,
    /// From behind this id.
    pub(crate) after: i64,
}
