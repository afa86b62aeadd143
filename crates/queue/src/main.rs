//! The `mailtier-queue` program: see the library of this crate.

use std::process::ExitCode;

use mailtier_service::{Program, Subcommand, run};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PROGRAM: Program = Program {
    name: "mailtier-queue",
    about: "The queue of Mailtier: accepts, schedules, settles",
    http_listen: |config| config.queue.http_listen,
    threads: |config| config.queue.threads,
    reads: &["cluster", "database", "queue", "feedback", "suppression", "tls_reports", "telemetry"],
    check: |config| Ok(mailtier_queue::check(config)?),
    start: |context| Box::pin(async { Ok(mailtier_queue::start(context).await?) }),
    subcommands: &[Subcommand {
        name: "migrate",
        about: "Brings the database's schema to the newest this program knows, and ends",
        run: |config| Box::pin(async move { Ok(mailtier_queue::migrate(&config).await?) }),
    }],
};

fn main() -> ExitCode {
    run(&PROGRAM)
}
