//! `make drain`: a destination that was away with a great queue comes back. How soon the first delivery is made, and how fast
//! the rest follows, beside the rate of fresh mail; and the same of a Postfix with a smaller queue. Responsible for
//! the order and the figures; the rows are made by `deep`.

use std::fmt;
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde::Serialize;

use crate::deep::{DeepQueue, dispatched, queue_mib, wait};
use crate::harness::{Bench, Connections, Load, start_sink};
use crate::mailtier::Mailtier;
use crate::postfix::{Postfix, Settings};
use crate::processes::{self, Running as _};

/// Messages of one run of Postfix's fresh mail.
const FRESH_OF_POSTFIX: u32 = 5_000;

/// How much.
#[derive(Debug, clap::Args)]
pub(crate) struct Drain {
    /// Deliveries that wait in Mailtier.
    #[arg(long, default_value_t = 1_000_000)]
    deep: u32,
    /// How many of them are waited for. A few are attempted while the tables are filled, when nobody listens yet, and come
    /// ten minutes after the others.
    #[arg(long, default_value_t = 990_000)]
    drained: u32,
    /// Messages that wait in Postfix; its queue is filled by sending them.
    #[arg(long, default_value_t = 50_000)]
    postfix: u32,
    /// Leaves Postfix out.
    #[arg(long)]
    alone: bool,
}

/// What draining showed.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Drained {
    system: &'static str,
    /// What waited.
    waiting: u32,
    /// What was waited for.
    drained: u32,
    /// Seconds from the start to the first delivery; of Postfix, which runs already, from the flush.
    first: f64,
    /// Messages a second from then on.
    rate: f64,
    /// Resident memory of the queue at the end, in MiB; of Postfix all of it, each shared page once.
    mib: f64,
}

/// Runs both and prints what they showed.
pub(crate) fn run(bench: &Bench, drain: &Drain) -> anyhow::Result<()> {
    let queue = DeepQueue::of(bench, "drain");
    let system = queue.start()?;
    queue.template(&system)?;
    let (_, fresh) = queue.fresh(&system)?;
    let (system, drained) = of_mailtier(&queue, system, drain.deep, drain.drained.min(drain.deep))?;
    drop(system);
    show(bench, drained, fresh)?;
    if !drain.alone {
        let (drained, fresh) = of_postfix(bench, drain.postfix)?;
        show(bench, drained, fresh)?;
    }
    Ok(())
}

impl fmt::Display for Drained {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { system, waiting, drained, first, rate, mib } = self;
        writeln!(
            formatter,
            "{system}, {waiting} to one destination that comes back: first delivery after {first:.1} s,"
        )?;
        write!(formatter, "the first {drained} drained at {rate:.0}/s, memory {mib:.0} MiB")
    }
}

fn show(bench: &Bench, drained: Drained, fresh: f64) -> anyhow::Result<()> {
    println!("\n{drained}");
    println!("fresh mail {fresh:.0}/s, so draining is {:.0} % of it", 100.0 * drained.rate / fresh);
    bench.raw.keep("drain", &drained)
}

/// The queue holds so many for one destination, all due: it has just come back.
pub(crate) fn of_mailtier(
    queue: &DeepQueue<'_>,
    system: Mailtier,
    count: u32,
    drained: u32,
) -> anyhow::Result<(Mailtier, Drained)> {
    queue.fill(count, "'back.sink.example'", "-60", true)?;
    let mut sink = start_sink(&queue.bench.tools, Some(drained))?;
    drop(system);
    let started = Instant::now();
    let system = queue.start()?;
    let before = dispatched().unwrap_or_default();
    wait("the first delivery", || Ok(dispatched().unwrap_or_default() > before))?;
    let first = started.elapsed();
    until_ended(&mut sink)?;
    let shown = Drained {
        system: "Mailtier",
        waiting: count,
        drained,
        first: first.as_secs_f64(),
        rate: rate(drained, started.elapsed() - first),
        mib: queue_mib(&system),
    };
    Ok((system, shown))
}

/// The queue is filled while nothing is to be delivered, and flushed when that has changed. Beside it the rate of fresh mail.
fn of_postfix(bench: &Bench, count: u32) -> anyhow::Result<(Drained, f64)> {
    let folder = bench.folder.join("postfix-drain");
    let settings = |main: &str| Settings { sessions: bench.sessions, main: main.to_owned(), ..Settings::default() };
    let load = Load { sessions: bench.sessions, messages: count, size_kib: 1, connections: Connections::Kept };
    let deferring = Postfix::start(&bench.tools, &folder, &settings("defer_transports = smtp\n"))?;
    load.send(&bench.tools, deferring.port())?;
    let deferred = folder.join("queue").join("deferred");
    wait("Postfix to have deferred everything", || Ok(files_below(&deferred)? == count))?;
    let port = deferring.port();
    drop(deferring);
    // Its children end a little later than it, and would be taken for the next one.
    wait("Postfix to end", || Ok(TcpStream::connect(("127.0.0.1", port)).is_err()))?;
    let postfix = Postfix::start(&bench.tools, &folder, &settings(""))?;
    let mut sink = start_sink(&bench.tools, Some(count))?;
    let log = folder.join("postfix.log");
    let logged = fs::metadata(&log)?.len();
    let mut started = Instant::now();
    // The queue manager may begin a little later than the port is there.
    wait("Postfix to flush its queue", || {
        started = Instant::now();
        is_flushed(bench, &folder)
    })?;
    wait("Postfix's first delivery", || Ok(is_sent(&log, logged)))?;
    let first = started.elapsed();
    until_ended(&mut sink)?;
    let shown = Drained {
        system: "Postfix",
        waiting: count,
        drained: count,
        first: first.as_secs_f64(),
        rate: rate(count, started.elapsed() - first),
        mib: processes::memory(postfix.pid()) as f64 / 1_048_576.0,
    };
    let mut sink = start_sink(&bench.tools, Some(FRESH_OF_POSTFIX))?;
    let fresh = Load { messages: FRESH_OF_POSTFIX, ..load };
    let (_, delivered) = fresh.relay(&bench.tools, postfix.port(), &mut sink)?;
    Ok((shown, rate(FRESH_OF_POSTFIX, delivered)))
}

/// Asks for all of the queue at once; Postfix may not be there yet.
fn is_flushed(bench: &Bench, folder: &Path) -> anyhow::Result<bool> {
    let config = folder.join("config");
    let mut postqueue = bench.tools.command("postqueue");
    postqueue.arg("-c").arg(&config).arg("-f").env("MAIL_CONFIG", &config);
    Ok(postqueue.stdout(Stdio::null()).stderr(Stdio::null()).status()?.success())
}

/// Whether a delivery was logged behind these octets.
fn is_sent(log: &Path, behind: u64) -> bool {
    let content = fs::read(log).unwrap_or_default();
    let new = content.get(usize::try_from(behind).unwrap_or(usize::MAX)..).unwrap_or_default();
    String::from_utf8_lossy(new).contains("status=sent")
}

/// Postfix spreads its deferred messages over folders.
fn files_below(folder: &Path) -> anyhow::Result<u32> {
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // What has just moved on is no longer there.
        let Ok(kind) = entry.file_type() else { continue };
        count += if kind.is_dir() { files_below(&entry.path())? } else { 1 };
    }
    Ok(count)
}

fn until_ended(sink: &mut std::process::Child) -> anyhow::Result<()> {
    let ended = wait("the sink to have its messages", || Ok(sink.try_wait()?.is_some()));
    if ended.is_err() {
        processes::stop(sink, Signal::SIGTERM);
    }
    ended
}

fn rate(count: u32, time: Duration) -> f64 {
    f64::from(count) / time.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_counted_in_all_folders() {
        let folder = tempfile::tempdir().unwrap();
        for (below, name) in [("", "a"), ("1", "b"), ("1", "c"), ("2/3", "d")] {
            let below = folder.path().join(below);
            fs::create_dir_all(&below).unwrap();
            fs::write(below.join(name), "x").unwrap();
        }
        assert_eq!(files_below(folder.path()).unwrap(), 4);
    }

    #[test]
    fn only_what_was_logged_since_is_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let before = "smtp[1]: A: status=sent (250 ok)\n";
        fs::write(&log, before).unwrap();
        assert!(is_sent(&log, 0));
        assert!(!is_sent(&log, before.len() as u64));
        fs::write(&log, format!("{before}smtp[1]: B: status=sent (250 ok)\n")).unwrap();
        assert!(is_sent(&log, before.len() as u64));
    }
}
