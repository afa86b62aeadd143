//! One comparison: the ceiling (source straight to sink), Postfix and Mailtier in turn, as often as asked. A run ends
//! when the sink has taken the last message; smtp-sink ends by itself then.

use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::Signal;

use crate::Arguments;
use crate::mailtier::Mailtier;
use crate::postfix::{Postfix, Unpacked};
use crate::processes::{self, Running};

/// Where the sink listens.
pub(crate) const SINK_PORT: u16 = 2626;
/// Longest run.
const RUN_LIMIT: Duration = Duration::from_secs(300);
/// A rate to choose the number of messages by, for the ceiling, Postfix and Mailtier; measured before by hand.
const GUESSED_RATES: [u32; 3] = [10_000, 800, 4_000];

/// What one run showed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Run {
    /// Messages accepted a second, by the source.
    pub(crate) accepted: f64,
    /// Messages delivered a second, from the first to the last.
    pub(crate) delivered: f64,
    /// CPU of the system alone, in seconds per 1000 messages.
    pub(crate) cpu_per_thousand: f64,
    /// Highest proportional set size seen, in MiB.
    pub(crate) peak_mib: f64,
}

/// The medians of one size.
#[derive(Debug)]
pub(crate) struct Comparison {
    /// The message size.
    pub(crate) size_kib: u32,
    /// Source straight to sink.
    pub(crate) ceiling: Vec<Run>,
    /// The yardstick.
    pub(crate) postfix: Vec<Run>,
    /// The system.
    pub(crate) mailtier: Vec<Run>,
}

/// Runs all three in turn.
pub(crate) fn compare(
    arguments: &Arguments,
    folder: &Path,
    tools: &Unpacked,
    size_kib: u32,
) -> anyhow::Result<Comparison> {
    let mut comparison = Comparison { size_kib, ceiling: Vec::new(), postfix: Vec::new(), mailtier: Vec::new() };
    let count = |rate: u32| rate * arguments.seconds / (1 + size_kib / 20);
    for round in 0..arguments.runs {
        let place = |name: &str| folder.join(format!("{name}-{size_kib}-{round}"));
        let [ceiling, postfix, mailtier] = GUESSED_RATES.map(count);
        comparison.ceiling.push(run(arguments, tools, size_kib, ceiling, None)?);
        if !arguments.alone {
            let system = Postfix::start(tools, &place("postfix-run"), SINK_PORT, arguments.sessions)?;
            comparison.postfix.push(run(arguments, tools, size_kib, postfix, Some(&system))?);
        }
        let system = Mailtier::start(&arguments.programs, &place("mailtier"), SINK_PORT, arguments.sessions)?;
        comparison.mailtier.push(run(arguments, tools, size_kib, mailtier, Some(&system))?);
        eprintln!("{size_kib} KiB, round {}: {comparison:?}", round + 1);
    }
    Ok(comparison)
}

fn run(
    arguments: &Arguments,
    tools: &Unpacked,
    size_kib: u32,
    messages: u32,
    system: Option<&dyn Running>,
) -> anyhow::Result<Run> {
    let mut sink = start_sink(tools, system.map(|_| messages))?;
    let port = system.map_or(SINK_PORT, Running::port);
    let cpu_before = system.map(|system| processes::cpu(system.pid())).unwrap_or_default();
    let (peak, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let started = Instant::now();
    let root = system.map(Running::pid);
    let (accepted, delivered) = std::thread::scope(|scope| {
        scope.spawn(|| watch_memory(root, &peak, &done));
        let result = drive(arguments, tools, size_kib, messages, port, &mut sink, started);
        done.store(true, Ordering::Relaxed);
        result
    })?;
    let cpu = system.map(|system| processes::cpu(system.pid())).unwrap_or_default().saturating_sub(cpu_before);
    Ok(Run {
        accepted: f64::from(messages) / accepted.as_secs_f64(),
        delivered: f64::from(messages) / delivered.as_secs_f64(),
        cpu_per_thousand: cpu.as_secs_f64() * 1000.0 / f64::from(messages),
        peak_mib: peak.load(Ordering::Relaxed) as f64 / 1_048_576.0,
    })
}

/// Times until the source had its last 250, and until the sink had its last message.
pub(crate) fn drive(
    arguments: &Arguments,
    tools: &Unpacked,
    size_kib: u32,
    messages: u32,
    port: u16,
    sink: &mut Child,
    started: Instant,
) -> anyhow::Result<(Duration, Duration)> {
    let mut source = tools.command("smtp-source");
    source
        .args(["-s", &arguments.sessions.to_string(), "-m", &messages.to_string()])
        .args(["-l", &(size_kib * 1024).to_string()])
        .args(["-f", "sender@source.example", "-t", "recipient@sink.example"]);
    if !arguments.reconnect {
        source.arg("-d");
    }
    let output = source.arg(format!("inet:127.0.0.1:{port}")).output().context("cannot start smtp-source")?;
    if !output.status.success() {
        bail!("smtp-source: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let accepted = started.elapsed();
    if port == SINK_PORT {
        processes::stop(sink, Signal::SIGTERM);
        return Ok((accepted, accepted));
    }
    while sink.try_wait()?.is_none() {
        if started.elapsed() > RUN_LIMIT {
            processes::stop(sink, Signal::SIGTERM);
            bail!("the sink has not had all {messages} messages after {RUN_LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok((accepted, started.elapsed()))
}

/// With `messages`, a sink that ends by itself after so many; the source would take that for a lost connection, so
/// without a system between them the sink is stopped when the source has ended.
pub(crate) fn start_sink(tools: &Unpacked, messages: Option<u32>) -> anyhow::Result<Child> {
    let mut sink = tools.command("smtp-sink");
    if let Some(messages) = messages {
        sink.args(["-M", &messages.to_string()]);
    }
    if nix::unistd::geteuid().is_root() {
        sink.args(["-u", "nobody"]);
    }
    let mut child = sink
        .arg(format!("inet:127.0.0.1:{SINK_PORT}"))
        .arg("1024")
        .stdout(Stdio::null())
        .spawn()
        .context("cannot start smtp-sink")?;
    processes::wait_for_port(SINK_PORT, Duration::from_secs(5), || child.try_wait().ok().flatten().is_none())?;
    Ok(child)
}

fn watch_memory(root: Option<u32>, peak: &AtomicU64, done: &AtomicBool) {
    let Some(root) = root else { return };
    while !done.load(Ordering::Relaxed) {
        peak.fetch_max(processes::memory(root), Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(500));
    }
}
