//! What tests of all crates use.
//!
//! Responsible for the world around the programs: a real PostgreSQL, a name server, peers that speak SMTP, and whole
//! installations of the real programs with a ledger of their mail. Not responsible for any assertion.

pub mod bridge;
pub mod collector;
pub mod fleet;
pub mod installation;
pub mod ledger;
pub mod name_server;
pub mod peer;
pub mod postgres;
