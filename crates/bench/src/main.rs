//! `make bench`: Mailtier beside a tuned Postfix on the same machine in the same minutes, driven by Postfix's own
//! smtp-source and smtp-sink; `make soak`: many sessions at a time; `make scale`: deep queues. Responsible for the order of
//! the runs; each piece is a module.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]

mod arguments;
mod harness;
mod mailtier;
mod postfix;
mod processes;
mod report;
mod scale;
mod soak;

use clap::Parser as _;

pub(crate) use arguments::Arguments;

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::Builder::new().prefix("mailtier-bench").tempdir_in("/var/tmp")?;
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let tools = postfix::Unpacked::fetch(folder.path())?;
    if arguments.load.soak {
        return soak::run(&arguments, folder.path(), &tools);
    }
    if arguments.depth.scale {
        return scale::run(&arguments, folder.path(), &tools);
    }
    let mut lines = Vec::new();
    for &size_kib in &arguments.sizes {
        lines.push(harness::compare(&arguments, folder.path(), &tools, size_kib)?);
    }
    print!("{}", report::markdown(&arguments, &lines));
    Ok(())
}
