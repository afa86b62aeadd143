//! Decides when: what an outcome means for the next attempt, and which delivery goes next.
//!
//! Responsible for the classification of outcomes, back-off, expiry, concurrency per destination, fairness, and for the
//! bounded memory in which a queue replica keeps the deliveries it owns. Not responsible for storing, sending or
//! settling anything. It reads no clock: every function that needs the time is given it, so that thirty days of retries
//! pass in milliseconds.

mod allowance;
mod avoidance;
mod backoff;
mod classification;
mod classify;
mod entry;
mod health;
mod leasing;
mod memory;
mod pools;
mod rate;
mod retry;
mod rules;
mod scheduler;

pub use allowance::AllowanceWish;
pub use avoidance::{Avoidance, Blocked, Blocker};
pub use backoff::RetryPolicy;
pub use classification::{Action, Classification, ClassificationError, Judgement, Verdict, Whom};
pub use classify::{Next, classify};
pub use entry::{Correction, Counts, Entry, Insert, Limits, Ready};
pub use health::{Feedback, feedback};
pub use leasing::{Answer, Lessee, Lessor, View};
pub use pools::{Pool, PoolId, PoolRule, Pools, WarmUp};
pub use rate::Rate;
pub use retry::RetryRules;
pub use rules::{DestinationLimits, GroupLimits, Provider, Rules};
pub use scheduler::{
    Backlog, DeadDestination, Hosts, PoolClass, PoolStanding, ProviderStanding, Scheduler, Standing, Suspended,
    place_name,
};
