//! The worker against a queue over gRPC, a name server and mail servers, all on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod bodies;
mod certificates;
mod dns;
mod egress;
mod extensions;
mod fallback;
mod hooks;
mod identity;
mod lmtp;
mod logins;
mod ownership;
mod peer;
mod pools;
mod posts;
#[path = "../../../dns/tests/suite/programs.rs"]
mod programs;
mod queue;
mod reload;
mod resolving;
mod return_paths;
mod routes;
mod sessions;
mod signed;
mod tls;
mod transcripts;
#[path = "../../../dns/tests/suite/tree.rs"]
mod tree;
mod web;
mod world;
