//! `make bench-tls`: what TLS costs. The same clients send to the same receiver, first in clear, then with TLS to the
//! outside (STARTTLS on both sides), between the tiers (certificates on both ends), and with both; they take turns.
//! Responsible for the order of the runs and what is read of each.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::ValueEnum as _;
use mailtier_tls::CertificateFiles;
use serde::Serialize;

use crate::certificates;
use crate::generator::{self, Clients, Encryption};
use crate::harness::{Bench, Connections};
use crate::mailtier::{Mailtier, Settings};
use crate::processes::{self, Running as _};
use crate::receiver::{Manner, Receiver};
use crate::relay::{per_message_us, remove};
use crate::spread::Spread;
use crate::tiers;

/// Longest wait for the last messages of a run.
const PATIENCE: Duration = Duration::from_secs(300);
/// Messages before each run that count for nothing: the destination's concurrency grows, and sessions can be resumed after
/// them.
const WARM_UP: u64 = 1_000;
/// The share of the rate in clear that is asked of TLS to the outside.
const GOAL: f64 = 0.6;

/// How much, how often, in which ways.
#[derive(Debug, clap::Args)]
pub(crate) struct Tls {
    /// Messages of one run.
    #[arg(long, default_value_t = 30_000)]
    messages: u64,
    /// Their size, in KiB.
    #[arg(long, default_value_t = 4)]
    size_kib: u32,
    /// Runs of each; the median counts.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// How the messages reach the system: one table for each.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Connections::Kept, Connections::OnePerMessage])]
    connections: Vec<Connections>,
    /// Where there is TLS.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Place::value_variants().iter().copied())]
    places: Vec<Place>,
    /// Each connection of a client is the first of a new one: no session is resumed.
    #[arg(long)]
    strangers: bool,
}

/// Where there is TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Place {
    /// Nowhere.
    Nowhere,
    /// Towards clients and towards the receiver.
    Outside,
    /// Between the tiers.
    Inside,
    /// On each of these ways.
    Everywhere,
}

impl Place {
    const fn is_outside(self) -> bool {
        matches!(self, Self::Outside | Self::Everywhere)
    }

    const fn is_inside(self) -> bool {
        matches!(self, Self::Inside | Self::Everywhere)
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Nowhere => "in clear",
            Self::Outside => "STARTTLS on both sides",
            Self::Inside => "mutual TLS between the tiers",
            Self::Everywhere => "both",
        }
    }
}

/// What one run showed.
#[derive(Debug, Serialize)]
struct Run {
    place: Place,
    connections: Connections,
    strangers: bool,
    size_kib: u32,
    messages: u64,
    /// Messages accepted a second.
    accepted: f64,
    /// Messages delivered a second.
    delivered: f64,
    /// Connections that outbound made to the receiver, before the run and in it.
    receiver_connections: u64,
    /// CPU for one message by program, in microseconds.
    cpu_us_by_program: BTreeMap<String, f64>,
    /// The same of the clients and the receiver.
    outside_cpu_us: f64,
}

impl Run {
    fn cpu_us(&self) -> f64 {
        self.cpu_us_by_program.values().sum()
    }
}

/// Runs everything and prints a table for each kind of connection.
pub(crate) fn run(bench: &Bench, tls: &Tls) -> anyhow::Result<()> {
    let ways = Ways {
        bench,
        tls,
        certificate: certificates::self_made(&bench.folder)?,
        wrapped: tiers::with_certificates(
            &bench.programs,
            &bench.folder.join("tls-programs"),
            &bench.folder.join("ca"),
        )?,
    };
    for &connections in &tls.connections {
        let mut runs = Vec::new();
        for round in 1..=tls.runs {
            for &place in &tls.places {
                let run = ways.once(place, connections)?;
                eprintln!("round {round}: {run:?}");
                bench.raw.keep("tls", &run)?;
                runs.push(run);
            }
        }
        println!("{}", table(bench.sessions, tls, connections, &runs));
    }
    Ok(())
}

/// What all runs have in common.
struct Ways<'a> {
    bench: &'a Bench,
    tls: &'a Tls,
    certificate: CertificateFiles,
    /// The programs with certificates for each other.
    wrapped: PathBuf,
}

impl Ways<'_> {
    /// Starts the system with an empty queue, sends so many messages through it and throws its data away.
    fn once(&self, place: Place, connections: Connections) -> anyhow::Result<Run> {
        let folder = self.bench.folder.join("run");
        let programs = if place.is_inside() { &self.wrapped } else { &self.bench.programs };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let certificate = place.is_outside().then(|| self.certificate.clone());
        let receiver = runtime.block_on(async { Receiver::start(0, Manner { certificate, ..Manner::default() }) })?;
        let system = Mailtier::start(programs, &folder, &self.settings(place, receiver.port()))?;
        let run = runtime.block_on(self.measure(&system, &receiver, place, connections));
        drop(system);
        remove(folder)?;
        run
    }

    fn settings(&self, place: Place, sink_port: u16) -> Settings {
        let common = Settings { sink_port, sessions: self.bench.sessions, ..Settings::default() };
        if !place.is_outside() {
            return common;
        }
        let CertificateFiles { certificate, key } = &self.certificate;
        let (certificate, key) = (certificate.display(), key.display());
        Settings {
            inbound: format!("tls_certificate = \"{certificate}\"\ntls_key = \"{key}\"\n"),
            outbound: "tls = \"opportunistic\"\n".to_owned(),
            ..common
        }
    }

    async fn measure(
        &self,
        system: &Mailtier,
        receiver: &Receiver,
        place: Place,
        connections: Connections,
    ) -> anyhow::Result<Run> {
        let encryption = match (place.is_outside(), self.tls.strangers) {
            (false, _) => Encryption::Off,
            (true, false) => Encryption::Resumed,
            (true, true) => Encryption::Fresh,
        };
        let clients = Clients::of(system.port(), encryption)?;
        let load = generator::Load {
            sessions: self.bench.sessions,
            messages: WARM_UP,
            octets: usize::try_from(self.tls.size_kib)? * 1024,
            reconnect: connections == Connections::OnePerMessage,
        };
        generator::send(&clients, load).await?;
        receiver.wait_for(WARM_UP, PATIENCE).await?;
        let before = (processes::cpu_by_program(system.pid()), processes::own_cpu());
        let started = Instant::now();
        let accepted = generator::send(&clients, generator::Load { messages: self.tls.messages, ..load }).await?;
        receiver.wait_for(WARM_UP + self.tls.messages, PATIENCE).await?;
        let delivered = started.elapsed();
        let own = processes::own_cpu().saturating_sub(before.1);
        let after = processes::cpu_by_program(system.pid());
        if receiver.encrypted() != if place.is_outside() { receiver.received() } else { 0 } {
            bail!("{} of {} messages arrived in TLS", receiver.encrypted(), receiver.received());
        }
        let messages = self.tls.messages;
        let rate = |time: Duration| messages as f64 / time.as_secs_f64();
        Ok(Run {
            place,
            connections,
            strangers: self.tls.strangers,
            size_kib: self.tls.size_kib,
            messages,
            accepted: rate(accepted),
            delivered: rate(delivered),
            receiver_connections: receiver.connections(),
            cpu_us_by_program: per_message_us(&before.0, &after, u32::try_from(messages)?),
            outside_cpu_us: own.as_secs_f64() * 1e6 / messages as f64,
        })
    }
}

fn table(sessions: u32, tls: &Tls, connections: Connections, runs: &[Run]) -> String {
    let spread =
        |place: Place, value: &dyn Fn(&Run) -> f64| Spread::of(runs.iter().filter(|run| run.place == place).map(value));
    let clear = spread(Place::Nowhere, &|run| run.delivered).median;
    let mut lines = vec![
        format!(
            "{sessions} sessions, {}{}, {} messages of {} KiB, median (lowest to highest) of {} runs; CPU in µs a message\n",
            connections.words(),
            if tls.strangers { ", no session resumed" } else { "" },
            tls.messages,
            tls.size_kib,
            tls.runs
        ),
        "| TLS | accepted /s | delivered /s | of clear | inbound | queue | outbound | PostgreSQL | all | clients and receiver |"
            .to_owned(),
        "|---|---|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    for &place in &tls.places {
        let delivered = spread(place, &|run| run.delivered);
        let programs = tiers::PROGRAMS.into_iter().chain(["postgres"]).map(|program| {
            let cpu = spread(place, &|run| run.cpu_us_by_program.get(program).copied().unwrap_or_default());
            format!("{:.0}", cpu.median)
        });
        lines.push(format!(
            "| {} | {:.0} | {delivered} | {} | {} | {:.0} | {:.0} |",
            place.words(),
            spread(place, &|run| run.accepted).median,
            if clear > 0.0 { format!("{:.0} %", 100.0 * delivered.median / clear) } else { "–".to_owned() },
            programs.collect::<Vec<_>>().join(" | "),
            spread(place, &Run::cpu_us).median,
            spread(place, &|run| run.outside_cpu_us).median,
        ));
    }
    let outside = spread(Place::Outside, &|run| run.delivered).median;
    if clear > 0.0 && outside > 0.0 {
        let is_met = if outside >= GOAL * clear { "met" } else { "missed" };
        lines.push(format!("\ngoal for STARTTLS on both sides, {:.0} % of clear: {is_met}", 100.0 * GOAL));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        tls: Tls,
    }

    fn run(place: Place, delivered: f64) -> Run {
        Run {
            place,
            connections: Connections::Kept,
            strangers: false,
            size_kib: 4,
            messages: 10,
            accepted: delivered,
            delivered,
            receiver_connections: 1,
            cpu_us_by_program: BTreeMap::from([("mailtier-inbound".to_owned(), 50.0), ("postgres".to_owned(), 25.0)]),
            outside_cpu_us: 12.0,
        }
    }

    #[test]
    fn the_ratio_is_that_of_the_medians() {
        let tls = Line::parse_from(["tls"]).tls;
        let mut runs: Vec<Run> = [1000.0, 900.0, 5000.0].map(|rate| run(Place::Nowhere, rate)).into();
        runs.extend([590.0, 100.0, 700.0].map(|rate| run(Place::Outside, rate)));
        let text = table(50, &tls, Connections::Kept, &runs);
        let row = "| STARTTLS on both sides | 590 | 590 (100 to 700) | 59 % | 50 | 0 | 0 | 25 | 75 | 12 |";
        assert!(text.lines().any(|line| line == row), "{text}");
        assert!(text.ends_with("60 % of clear: missed"), "{text}");
        runs.extend([650.0, 660.0].map(|rate| run(Place::Outside, rate)));
        assert!(table(50, &tls, Connections::Kept, &runs).ends_with("60 % of clear: met"));
    }
}
