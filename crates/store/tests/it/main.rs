//! The store against a real PostgreSQL: what callers rely on when several of them, and crashes, get in each other's way.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail loudly")]

mod accept;
mod admin;
mod body;
mod held;
mod history;
mod load;
mod mail;
mod maintenance;
mod ownership;
mod plans;
mod pools;
mod rules;
mod schema;
mod settle;
mod suppressions;
mod tls;
mod tokens;
mod trouble;
