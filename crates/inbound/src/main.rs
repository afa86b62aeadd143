//! The program `mailtier-inbound`. Everything it does is in the library.

use std::process::ExitCode;

use mailtier_service::Program;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const INBOUND: Program = Program {
    name: "mailtier-inbound",
    about: "Receives mail over SMTP and hands it to the queue",
    http_listen: |config| config.inbound.http_listen,
    threads: |config| config.inbound.threads,
    reads: &["cluster", "inbound", "feedback", "suppression", "telemetry"],
    check: |config| Ok(mailtier_inbound::check(config)?),
    start: |context| Box::pin(async { Ok(mailtier_inbound::start(context).await?) }),
    subcommands: &[],
};

fn main() -> ExitCode {
    mailtier_service::run(&INBOUND)
}
