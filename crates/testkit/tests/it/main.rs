//! What users see, on the real programs: one binary, so that it links once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail loudly"
)]

mod chaos;
mod clients;
mod cluster;
mod cluster_tls;
mod compose;
mod crash_matrix;
mod databases;
mod every_key;
mod exhausted;
mod feedback;
mod floods;
mod leases;
mod life_cycle;
mod loads;
mod mail;
mod metrics;
mod owners;
#[path = "../../../dns/tests/suite/programs.rs"]
mod programs;
mod reload;
mod restored;
mod servers;
mod service_manager;
mod session;
mod shaping;
#[path = "../../../outbound/tests/suite/signed.rs"]
mod signed;
mod telemetry;
