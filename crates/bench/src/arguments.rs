//! What the command line says. Each measurement has its own arguments, beside its module.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::{cores, crowd, drain, encrypted, idle, latency, pair, profile, relay, scale, soak};

/// Measures Mailtier, beside Postfix where that says something.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) measurement: Measurement,
}

/// What every measurement knows.
#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// The folder with the release build of the programs.
    #[arg(long, global = true, default_value = "target/release")]
    pub(crate) programs: PathBuf,
    /// Concurrent sessions of the source.
    #[arg(long, global = true, default_value_t = 50)]
    pub(crate) sessions: u32,
    /// A file to which the numbers of each run are added, a line of JSON each.
    #[arg(long, global = true)]
    pub(crate) raw: Option<PathBuf>,
}

/// What can be measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Measurement {
    /// Relaying end to end beside Postfix: rates, CPU and memory.
    Relay(relay::Relay),
    /// The same while nothing is being delivered: how fast messages are accepted.
    Accept(relay::Relay),
    /// How long single messages take, beside Postfix.
    Latency(latency::Pace),
    /// Two builds of Mailtier in turn: what a change has brought.
    Pair(pair::Pair),
    /// Where the time goes: samples, system calls, statements.
    Profile(profile::Profile),
    /// Many sessions at a time: idle ones, then active ones.
    Soak(soak::Load),
    /// Idle sessions, in clear and in TLS: what each takes of memory.
    Idle(idle::Idle),
    /// Deep queues: loading, memory, fresh mail beside them, draining.
    Scale(scale::Depth),
    /// A destination that comes back: how soon and how fast its queue drains, beside Postfix's.
    Drain(drain::Drain),
    /// Mail to many destinations while one of them is flooded.
    Crowd(crowd::Crowd),
    /// What TLS costs, to the outside and between the tiers.
    Tls(encrypted::Tls),
    /// Relaying with so much CPU for each tier, and a model of it.
    Cores(cores::Cores),
}
