//! What Mailtier can do on this machine, measured: `relay` beside a tuned Postfix in the same minutes, driven by Postfix's
//! own smtp-source and smtp-sink; `accept`: the same while nothing is delivered; `latency`: single messages; `pair`: two builds
//! of Mailtier in turn; `soak`: many sessions at a time; `scale`: deep queues. Each is a module with arguments of
//! its own; what they have in common is in `harness`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]

mod arguments;
mod arrivals;
mod client;
mod database;
mod harness;
mod latency;
mod mailtier;
mod pair;
mod postfix;
mod processes;
mod profile;
mod raw;
mod relay;
mod report;
mod scale;
mod soak;
mod spread;

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
        Measurement::Scale(depth) => scale::run(&bench, depth),
    }
}
