//! The conductor: one task that alone knows the schedule of this replica's shards. Because one owner decides, limits and
//! fairness are exact and need no lock.
//!
//! Responsible for which delivery goes to which worker when, for what a new owner must learn before it dispatches, and
//! for what becomes of deliveries whose worker is gone. Not responsible for reading or writing the database, nor for
//! streams: those are tasks of their own that speak with the conductor in [`Command`]s.

mod cache;
mod dispatching;
mod flights;
mod gauges;
mod handle;
mod overview;
mod pools;
mod results;
mod shards;
mod slices;
mod sources;
mod suspects;
mod task;
#[cfg(test)]
mod tests;
mod workers;

/// How metrics call what belongs to no provider, or not to one that is known yet.
pub(crate) const OTHER_PROVIDER: &str = "other";

pub(crate) use handle::{Command, Committed, Conductor, Content, Fence, Fetched, FetchedRow, Place, Renewed, Wanted};
pub(crate) use pools::domain_of;
pub(crate) use task::{ConductorTask, Outlets, Settings};
