//! Real PostgreSQL for tests, run from the system's own binaries: one server per test process, one database per test,
//! made from a migrated template. Durable as in production (`fsync` on). Not responsible for what is in a database.

mod database;
mod pooler;
mod programs;
mod server;

pub use database::TestDatabase;
pub use pooler::Pooler;
pub use server::{PostgresServer, Stop};
