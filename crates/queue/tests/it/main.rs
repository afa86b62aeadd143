//! The queue as its submitters, its workers, other replicas and operators meet it: a real PostgreSQL, real gRPC.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what helps a test may fail loudly"
)]

mod accept;
mod accounts;
mod admin;
mod changes;
mod damaged;
mod delivery;
mod http;
mod late;
mod limits;
mod looking;
mod ownership;
mod pair;
mod pools;
mod quarantine;
mod reload;
mod routed;
mod sources;
mod submitter;
mod suspensions;
mod system;
mod tls_reports;
mod tokens;
mod worker;
