//! `make bench`: relaying end to end, or accepting alone. The ceiling (source straight to sink), Postfix and Mailtier take
//! turns, so that a noisy minute hits each of them. Responsible for the order of the runs and what is read of each.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::harness::{Bench, Connections, Load, SINK_PORT, start_sink};
use crate::mailtier::{self, Mailtier};
use crate::postfix::{self, Postfix};
use crate::processes::{self, Running};
use crate::report;

/// Share of a run that the trial before it takes.
const TRIAL: f64 = 0.25;

/// What is relayed, and how often.
#[derive(Debug, clap::Args)]
pub(crate) struct Relay {
    /// Message sizes, in KiB.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4, 10, 100, 1024])]
    sizes: Vec<u32>,
    /// Runs of each; the median counts.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// How the source's messages reach the system: one table for each.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Connections::Kept])]
    connections: Vec<Connections>,
    /// About how long one run should take, in seconds; sets the number of messages.
    #[arg(long, default_value_t = 8)]
    seconds: u32,
    /// Leaves Postfix out.
    #[arg(long)]
    alone: bool,
}

/// When a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// The sink has had the last message.
    Delivered,
    /// The source has had the last 250; nothing is delivered meanwhile. Mailtier has suspended everything, Postfix puts
    /// each message into its hold queue, which costs it least.
    Accepted,
}

impl Until {
    const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "relay",
            Self::Accepted => "accept",
        }
    }
}

/// What takes its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum System {
    /// The source straight to the sink.
    Ceiling,
    /// The yardstick.
    Postfix,
    /// What is measured.
    Mailtier,
}

impl System {
    /// For tables.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Ceiling => "source to sink",
            Self::Postfix => "Postfix",
            Self::Mailtier => "Mailtier",
        }
    }

    /// Messages of 1 KiB a second on a small machine, to choose the length of the trial by.
    const fn guessed_rate(self) -> f64 {
        match self {
            Self::Ceiling => 4_000.0,
            Self::Postfix => 400.0,
            Self::Mailtier => 2_000.0,
        }
    }
}

/// What one run showed.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Run {
    /// Which system.
    pub(crate) system: System,
    /// The message size.
    pub(crate) size_kib: u32,
    /// How the source connected.
    pub(crate) connections: Connections,
    /// How many were sent.
    pub(crate) messages: u32,
    /// Messages accepted a second, by the source.
    pub(crate) accepted: f64,
    /// Messages delivered a second, from the first to the last; none where nothing is delivered.
    pub(crate) delivered: Option<f64>,
    /// CPU of the system alone, for one message, in microseconds.
    pub(crate) cpu_us: f64,
    /// The same for each of its programs.
    pub(crate) cpu_us_by_program: BTreeMap<String, f64>,
    /// Highest proportional set size seen, in MiB.
    pub(crate) peak_mib: f64,
}

/// One cell of the comparison: what is sent, to what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// Which system.
    pub(crate) system: System,
    /// The message size.
    pub(crate) size_kib: u32,
    /// How the source connects.
    pub(crate) connections: Connections,
    /// How far the messages go.
    pub(crate) until: Until,
}

impl Run {
    /// Messages a second, as far as they go.
    pub(crate) fn rate(&self) -> f64 {
        self.delivered.unwrap_or(self.accepted)
    }
}

/// Runs everything and prints a table for each kind of connection.
pub(crate) fn run(bench: &Bench, relay: &Relay, until: Until) -> anyhow::Result<()> {
    for &connections in &relay.connections {
        let mut sizes = Vec::new();
        for &size_kib in &relay.sizes {
            sizes.push(compare(bench, relay, connections, size_kib, until)?);
        }
        println!("{}", report::table(bench.sessions, connections, relay.runs, &sizes));
    }
    Ok(())
}

/// All runs of one size, in the order in which they were made.
fn compare(
    bench: &Bench,
    relay: &Relay,
    connections: Connections,
    size_kib: u32,
    until: Until,
) -> anyhow::Result<Vec<Run>> {
    let systems = [System::Ceiling, System::Postfix, System::Mailtier];
    let mut turns = Vec::new();
    for system in systems.into_iter().filter(|system| !(relay.alone && *system == System::Postfix)) {
        let case = Case { system, size_kib, connections, until };
        turns.push((case, trial(bench, &bench.programs, case, relay.seconds)?));
    }
    let mut runs = Vec::new();
    for round in 1..=relay.runs {
        for (case, messages) in &turns {
            let run = once(bench, &bench.programs, *case, *messages)?;
            eprintln!("{size_kib} KiB, round {round}: {run:?}");
            bench.raw.keep(until.name(), &run)?;
            runs.push(run);
        }
    }
    Ok(runs)
}

/// Finds the number of messages with which a run takes about so long. What a trial shows counts for nothing else: it has
/// cold caches and a start-up that weighs too much.
pub(crate) fn trial(bench: &Bench, programs: &Path, case: Case, seconds: u32) -> anyhow::Result<u32> {
    let guessed = case.system.guessed_rate() / (1.0 + f64::from(case.size_kib) / 20.0);
    let few = f64::from(2 * bench.sessions);
    let tried = (guessed * f64::from(seconds) * TRIAL).max(few);
    let run = once(bench, programs, case, tried as u32)?;
    let messages = (run.rate() * f64::from(seconds)).max(few);
    eprintln!("{} KiB, {}: {messages:.0} messages a run", case.size_kib, case.system.words());
    Ok(messages as u32)
}

/// Starts the system, Mailtier of these `programs`, with an empty queue, relays so many messages and throws its data away.
pub(crate) fn once(bench: &Bench, programs: &Path, case: Case, messages: u32) -> anyhow::Result<Run> {
    let folder = bench.folder.join("run");
    let run = match case.system {
        System::Ceiling => measure(bench, case, messages, None),
        System::Postfix => {
            let main = match case.until {
                Until::Delivered => String::new(),
                Until::Accepted => "smtpd_client_restrictions = check_client_access static:HOLD\n".to_owned(),
            };
            let settings = postfix::Settings { sessions: bench.sessions, main, ..postfix::Settings::default() };
            let system = Postfix::start(&bench.tools, &folder, &settings)?;
            measure(bench, case, messages, Some(&system))
        }
        System::Mailtier => {
            let queue = match case.until {
                Until::Delivered => String::new(),
                Until::Accepted => "start_paused = true\n".to_owned(),
            };
            let settings = mailtier::Settings { sessions: bench.sessions, queue, ..mailtier::Settings::default() };
            let system = Mailtier::start(programs, &folder, &settings)?;
            measure(bench, case, messages, Some(&system))
        }
    };
    remove(folder)?;
    run
}

/// Throws away what a system has kept.
pub(crate) fn remove(folder: PathBuf) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn measure(bench: &Bench, case: Case, messages: u32, system: Option<&dyn Running>) -> anyhow::Result<Run> {
    let Case { system: which, size_kib, connections, until } = case;
    let load = Load { sessions: bench.sessions, messages, size_kib, connections };
    let root = system.map(Running::pid);
    let before = root.map(processes::cpu_by_program).unwrap_or_default();
    let (peak, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let (accepted, delivered) = std::thread::scope(|scope| {
        scope.spawn(|| watch_memory(root, &peak, &done));
        let result = send(bench, &load, system.map(Running::port), until);
        done.store(true, Ordering::Relaxed);
        result
    })?;
    let after = root.map(processes::cpu_by_program).unwrap_or_default();
    let cpu_us_by_program = per_message_us(&before, &after, messages);
    let rate = |time: Duration| f64::from(messages) / time.as_secs_f64();
    Ok(Run {
        system: which,
        size_kib,
        connections,
        messages,
        accepted: rate(accepted),
        delivered: delivered.map(rate),
        cpu_us: cpu_us_by_program.values().fold(0.0, |sum, each| sum + each),
        cpu_us_by_program,
        peak_mib: peak.load(Ordering::Relaxed) as f64 / 1_048_576.0,
    })
}

/// How long it took until all was accepted and, where that is waited for, delivered.
fn send(bench: &Bench, load: &Load, port: Option<u16>, until: Until) -> anyhow::Result<(Duration, Option<Duration>)> {
    if let (Some(port), Until::Accepted) = (port, until) {
        let started = Instant::now();
        load.send(&bench.tools, port)?;
        return Ok((started.elapsed(), None));
    }
    let mut sink = start_sink(&bench.tools, port.map(|_| load.messages))?;
    let (accepted, delivered) = load.relay(&bench.tools, port.unwrap_or(SINK_PORT), &mut sink)?;
    Ok((accepted, Some(delivered)))
}

/// CPU for one message, by program, in microseconds.
pub(crate) fn per_message_us(
    before: &BTreeMap<String, Duration>,
    after: &BTreeMap<String, Duration>,
    messages: u32,
) -> BTreeMap<String, f64> {
    let used = |(program, after): (&String, &Duration)| {
        let before = before.get(program).copied().unwrap_or_default();
        (program.clone(), after.saturating_sub(before).as_secs_f64() * 1e6 / f64::from(messages))
    };
    after.iter().map(used).collect()
}

fn watch_memory(root: Option<u32>, peak: &AtomicU64, done: &AtomicBool) {
    let Some(root) = root else { return };
    while !done.load(Ordering::Relaxed) {
        peak.fetch_max(processes::memory(root), Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_before_does_not_count() {
        let used = |queue: u64, postgres: u64| {
            BTreeMap::from([
                ("mailtier-queue".to_owned(), Duration::from_millis(queue)),
                ("postgres".to_owned(), Duration::from_millis(postgres)),
            ])
        };
        let before = BTreeMap::from([("mailtier-queue".to_owned(), Duration::from_millis(30))]);
        let each = per_message_us(&before, &used(130, 50), 1000);
        assert!((each["mailtier-queue"] - 100.0).abs() < 1e-6);
        assert!((each["postgres"] - 50.0).abs() < 1e-6);
    }
}
