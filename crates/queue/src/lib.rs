//! `mailtier-queue`: accepts messages into PostgreSQL, owns shards, schedules their deliveries, hands them to workers,
//! settles what comes back, and answers operators.
//!
//! Not responsible for SMTP, for finding a recipient's host, or for SQL.
//!
//! | module | does |
//! |---|---|
//! | `accept` | makes submissions durable in batches |
//! | `ownership` | holds shards by lease, shares them with other replicas |
//! | `conductor` | the one task that knows the schedule and hands out work |
//! | `dispatch` | the streams to workers |
//! | `load` | reads what is queued into the schedule |
//! | `meanings` | what replies mean, as the operator's file says at the moment |
//! | `settle` | turns results into state, events and notifications, in one transaction each batch |
//! | `allowance` | takes slices of what warm-ups allow by the day |
//! | `peers` | tells other replicas of their deliveries |
//! | `feedback` | signed return paths, and what follows from what comes back to them |
//! | `suppression` | who is on a tenant's suppression list |
//! | `leasing` | limits that all replicas keep to together |
//! | `maintenance` | keeps the tables in shape |
//! | `admin` | answers operators |
//! | `tokens` | knows whose an operator's token is |
//! | `tls_reports` | adds up what TLS sessions came to, and reports it |
//! | `stored` | what a stored delivery says in encoded form |
//!
//! Way of a delivery: `accept` commits it → `conductor` schedules it → `dispatch` carries it to a worker → the result
//! goes to `settle` → after its commit the `conductor` forgets or defers it.

mod accept;
mod accounts;
mod admin;
mod allowance;
mod clock;
mod conductor;
mod database;
mod dispatch;
mod feedback;
mod ids;
mod leasing;
mod load;
mod maintenance;
mod meanings;
mod ownership;
#[cfg(test)]
mod ownership_model;
mod peers;
mod renewal;
mod settle;
mod start;
mod stored;
mod suppression;
mod suspensions;
mod tls_reports;
mod tokens;

pub use start::{StartError, check, migrate, start};
