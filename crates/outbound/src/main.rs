//! The program mailtier-outbound. Everything it does is in the library of this crate.

use std::process::ExitCode;

use mailtier_service::{Program, run};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PROGRAM: Program = Program {
    name: "mailtier-outbound",
    about: "Delivers the mail of the queue to remote hosts over SMTP.",
    http_listen: |config| config.outbound.http_listen,
    threads: |config| config.outbound.threads,
    reads: &["cluster", "outbound", "tls_reports", "telemetry", "queue.worker_grace", "inbound.hostname"],
    check: |config| Ok(mailtier_outbound::check(config)?),
    start: |context| Box::pin(async { Ok(mailtier_outbound::start(context).await?) }),
    subcommands: &[],
};

fn main() -> ExitCode {
    run(&PROGRAM)
}
