//! Inbound as its clients and its queue meet it: real sockets on both sides, a queue that does what a test needs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what helps a test may fail loudly"
)]

mod attacks;
mod client;
mod delivery;
#[path = "../../../smtp/tests/dialogue/mod.rs"]
mod dialogue;
mod dialogues;
mod limits;
mod listeners;
mod logins;
mod queue;
mod recipients;
mod reload;
mod replicas;
mod reports;
mod suppression;
mod system;
