//! What Mailtier can do on this machine, measured. Each measurement is a subcommand and a module with arguments of its own;
//! `arguments` says what each is, and what they have in common is in `harness`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]

mod arguments;
mod arrivals;
mod certificates;
mod client;
mod cores;
mod crowd;
mod database;
mod deep;
mod drain;
mod encrypted;
mod generator;
mod harness;
mod idle;
mod latency;
mod mailtier;
mod pair;
mod postfix;
mod processes;
mod profile;
mod quota;
mod raw;
mod receiver;
mod relay;
mod report;
mod scale;
mod soak;
mod spread;
mod tiers;

use clap::Parser as _;

use arguments::{Arguments, Measurement};
use harness::Bench;
use relay::Until;

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::Builder::new().prefix("mailtier-bench").tempdir_in("/var/tmp")?;
    let bench = Bench::prepare(arguments.common, folder.path())?;
    match &arguments.measurement {
        Measurement::Relay(relay) => relay::run(&bench, relay, Until::Delivered),
        Measurement::Accept(relay) => relay::run(&bench, relay, Until::Accepted),
        Measurement::Latency(pace) => latency::run(&bench, pace),
        Measurement::Pair(pair) => pair::run(&bench, pair),
        Measurement::Profile(profile) => profile::run(&bench, profile),
        Measurement::Soak(load) => soak::run(&bench, load),
        Measurement::Idle(idle) => idle::run(&bench, idle),
        Measurement::Scale(depth) => scale::run(&bench, depth),
        Measurement::Drain(drain) => drain::run(&bench, drain),
        Measurement::Crowd(crowd) => crowd::run(&bench, crowd),
        Measurement::Tls(tls) => encrypted::run(&bench, tls),
        Measurement::Cores(cores) => cores::run(&bench, cores),
    }
}
