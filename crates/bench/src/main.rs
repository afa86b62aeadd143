//! `make bench`: Mailtier beside a tuned Postfix on the same machine in the same minutes, driven by Postfix's own
//! smtp-source and smtp-sink; `make soak`: many sessions at a time. Responsible for the order of the runs; each piece is
//! a module.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]

mod harness;
mod mailtier;
mod postfix;
mod processes;
mod report;
mod soak;

use std::path::PathBuf;

use clap::Parser;

/// Compares end-to-end relaying with Postfix's.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// The folder with the release build of the programs.
    #[arg(long)]
    programs: PathBuf,
    /// Message sizes, in KiB.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100])]
    sizes: Vec<u32>,
    /// Runs of each; the median counts.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Concurrent sessions.
    #[arg(long, default_value_t = 50)]
    sessions: u32,
    /// One connection for each message instead of many messages per session.
    #[arg(long)]
    reconnect: bool,
    /// About how long one run should take, in seconds; sets the number of messages.
    #[arg(long, default_value_t = 8)]
    seconds: u32,
    /// Leaves Postfix out.
    #[arg(long)]
    alone: bool,
    #[command(flatten)]
    load: soak::Load,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::Builder::new().prefix("mailtier-bench").tempdir_in("/var/tmp")?;
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let tools = postfix::Unpacked::fetch(folder.path())?;
    if arguments.load.soak {
        return soak::run(&arguments, folder.path(), &tools);
    }
    let mut lines = Vec::new();
    for &size_kib in &arguments.sizes {
        lines.push(harness::compare(&arguments, folder.path(), &tools, size_kib)?);
    }
    print!("{}", report::markdown(&arguments, &lines));
    Ok(())
}
