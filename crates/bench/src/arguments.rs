//! What the command line says.

use std::path::PathBuf;

use clap::Parser;

use crate::scale::Depth;
use crate::soak::Load;

/// Compares end-to-end relaying with Postfix's.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// The folder with the release build of the programs.
    #[arg(long)]
    pub(crate) programs: PathBuf,
    /// Message sizes, in KiB.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100])]
    pub(crate) sizes: Vec<u32>,
    /// Runs of each; the median counts.
    #[arg(long, default_value_t = 3)]
    pub(crate) runs: usize,
    /// Concurrent sessions.
    #[arg(long, default_value_t = 50)]
    pub(crate) sessions: u32,
    /// One connection for each message instead of many messages per session.
    #[arg(long)]
    pub(crate) reconnect: bool,
    /// About how long one run should take, in seconds; sets the number of messages.
    #[arg(long, default_value_t = 8)]
    pub(crate) seconds: u32,
    /// Leaves Postfix out.
    #[arg(long)]
    pub(crate) alone: bool,
    #[command(flatten)]
    pub(crate) load: Load,
    #[command(flatten)]
    pub(crate) depth: Depth,
}
