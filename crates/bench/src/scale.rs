//! `make scale`: deep queues. Rows are put into the table as if they had been deferred, the system is started upon them,
//! and what that takes is measured: time until the queue is loaded, its memory, the rates of fresh mail beside it and of
//! draining it. Responsible for the rows and the figures.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::Signal;

use crate::database::Database;
use crate::harness::{Bench, Connections, Load, start_sink};
use crate::mailtier::{self, Mailtier, Settings};
use crate::processes::{self, Running as _};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(900);
/// Messages of one run of fresh mail.
const FRESH: u32 = 20_000;
/// Such runs beside a deep queue.
const BESIDE: u32 = 5;
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Settings of the sessions that prepare the tables.
const QUICKLY: &str = "SET synchronous_commit = off; SET work_mem = '256MB'; ";

/// How deep.
#[derive(Debug, clap::Args)]
pub(crate) struct Depth {
    /// Deliveries of the deep queues.
    #[arg(long, default_value_t = 1_000_000)]
    deep: u32,
    /// Deliveries of the deepest.
    #[arg(long, default_value_t = 5_000_000)]
    deepest: u32,
    /// Destinations among which they are spread.
    #[arg(long, default_value_t = 100_000)]
    destinations: u32,
    /// Runs of fresh mail while a snapshot of the database is held open.
    #[arg(long, default_value_t = 6)]
    snapshot_runs: u32,
    /// Deliveries whose draining is measured.
    #[arg(long, default_value_t = 100_000)]
    drained: u32,
}

/// Runs everything and prints what it showed.
pub(crate) fn run(bench: &Bench, depth: &Depth) -> anyhow::Result<()> {
    let bench = DeepQueue::of(bench);
    let system = bench.start()?;
    bench.template(&system)?;
    let (accepted, delivered) = bench.fresh(&system)?;
    println!("an empty queue: fresh mail accepted {accepted:.0}/s, delivered {delivered:.0}/s");
    bench.beside_a_snapshot(&system, depth.snapshot_runs)?;
    let system = bench.deep(system, depth.deep, depth.destinations)?;
    let system = bench.drain(system, depth.deep, depth.drained)?;
    let system = bench.deep(system, depth.deepest, depth.destinations)?;
    drop(system);
    Ok(())
}

struct DeepQueue<'a> {
    bench: &'a Bench,
    folder: PathBuf,
    database: Database,
}

impl<'a> DeepQueue<'a> {
    fn of(bench: &'a Bench) -> Self {
        let folder = bench.folder.join("scale");
        Self { bench, database: Database::of(&folder), folder }
    }

    fn start(&self) -> anyhow::Result<Mailtier> {
        let settings = Settings { sessions: self.bench.sessions, ..Settings::default() };
        Mailtier::start(&self.bench.programs, &self.folder, &settings)
    }

    /// One message that nobody takes: its rows are copied.
    fn template(&self, system: &Mailtier) -> anyhow::Result<()> {
        self.send(system.port(), 1)?;
        wait("the template to be deferred", || Ok(self.database.sql("SELECT count(*) FROM retry")? == "1"))?;
        self.database.sql(
            "CREATE TABLE template AS SELECT d.*, b.data, r.last_outcome FROM delivery d
             JOIN body b ON b.message_id = d.message_id JOIN retry r ON r.delivery_id = d.id;
             DELETE FROM delivery; DELETE FROM retry; DELETE FROM body",
        )?;
        Ok(())
    }

    /// Somebody holds a snapshot open, as `pg_dump` does: no dead row can be removed meanwhile.
    fn beside_a_snapshot(&self, system: &Mailtier, runs: u32) -> anyhow::Result<()> {
        let mut holder = self.database.psql()?;
        holder.args(["--command", "BEGIN ISOLATION LEVEL REPEATABLE READ"]);
        holder.args(["--command", "SELECT count(*) FROM delivery", "--command", "SELECT pg_sleep(3600)"]);
        let mut holder = holder.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("cannot start psql")?;
        let sleeping = "FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3600)' AND pid <> pg_backend_pid()";
        let held =
            wait("the snapshot to be held", || Ok(self.database.sql(&format!("SELECT count(*) {sleeping}"))? == "1"));
        let rates = held.and_then(|()| (0..runs).map(|_| self.fresh(system)).collect::<anyhow::Result<Vec<_>>>());
        // Its server process would not notice that it is gone.
        self.database.sql(&format!("SELECT pg_terminate_backend(pid) {sleeping}"))?;
        processes::stop(&mut holder, Signal::SIGTERM);
        println!("\nbeside a snapshot that is held open, run after run of {FRESH}:");
        for (accepted, delivered) in rates? {
            println!("fresh mail accepted {accepted:.0}/s, delivered {delivered:.0}/s");
        }
        Ok(())
    }

    /// The queue holds so many for so many destinations, none of them due for a while.
    fn deep(&self, system: Mailtier, count: u32, destinations: u32) -> anyhow::Result<Mailtier> {
        self.fill(count, &format!("'d' || i % {destinations} || '.sink.example'"), "10 + i % 4000", false)?;
        let (system, loaded) = self.restart(system, count)?;
        let memory = queue_mib(&system);
        println!(
            "\n{count} deferred to {destinations} destinations: loaded in {loaded:.1} s, mailtier-queue {memory:.0} MiB"
        );
        // What was just made is written back meanwhile: the later runs are those of a queue that was there before.
        for _ in 0..BESIDE {
            let (accepted, delivered) = self.fresh(&system)?;
            println!("fresh mail beside them: accepted {accepted:.0}/s, delivered {delivered:.0}/s");
        }
        println!("mailtier-queue afterwards: {:.0} MiB", queue_mib(&system));
        Ok(system)
    }

    /// The queue holds so many for one destination, all due: it has just come back.
    fn drain(&self, system: Mailtier, count: u32, drained: u32) -> anyhow::Result<Mailtier> {
        self.fill(count, "'back.sink.example'", "-60", true)?;
        let mut sink = start_sink(&self.bench.tools, Some(drained))?;
        drop(system);
        let started = Instant::now();
        let system = self.start()?;
        let before = dispatched().unwrap_or_default();
        wait("the first delivery", || Ok(dispatched().unwrap_or_default() > before))?;
        let first = started.elapsed();
        let is_drained = wait("the sink to have its messages", || Ok(sink.try_wait()?.is_some()));
        if is_drained.is_err() {
            processes::stop(&mut sink, Signal::SIGTERM);
        }
        is_drained?;
        let rate = f64::from(drained) / (started.elapsed() - first).as_secs_f64();
        println!(
            "\n{count} to one destination that comes back: first delivery {:.1} s after the start,",
            first.as_secs_f64()
        );
        println!("the first {drained} drained at {rate:.0}/s, mailtier-queue {:.0} MiB", queue_mib(&system));
        Ok(system)
    }

    /// Replaces what is queued by copies of the template; `destination` and `due_in` (seconds) are expressions of `i`.
    fn fill(&self, count: u32, destination: &str, due_in: &str, with_bodies: bool) -> anyhow::Result<()> {
        let started = Instant::now();
        // One in 50 ms before the template, each as if it were a message of its own.
        let id = "t.id - ((50 * i::bigint) << 22)";
        let series = format!("FROM template t, generate_series(1, {count}) AS i");
        let bodies = format!("INSERT INTO body SELECT {id}, 0, t.data {series};");
        self.database.sql(&format!(
            "{QUICKLY} TRUNCATE delivery, retry, body;
             INSERT INTO delivery (id, message_id, expires_at, tenant_id, shard, priority, destination, sender, recipients,
                                   options)
             SELECT {id}, {id}, now() + interval '5 days', 0, abs(hashtext({destination})) % 256, 0, {destination}, t.sender,
                    ARRAY['recipient@' || {destination}], t.options {series};
             INSERT INTO retry (delivery_id, next_attempt_at, attempts, recipients, last_outcome)
             SELECT {id}, now() + interval '1 second' * ({due_in}) + interval '5 minutes' * (({due_in} > 0)::int), 1,
                    ARRAY['recipient@' || {destination}], t.last_outcome {series};
             {}",
            if with_bodies { bodies.as_str() } else { "" }
        ))?;
        self.database.sql("VACUUM ANALYZE delivery, retry, body")?;
        self.database.sql("CHECKPOINT")?;
        eprintln!("{count} rows made in {:.0} s", started.elapsed().as_secs_f64());
        Ok(())
    }

    /// Starts anew, and waits until the queue has loaded so many, or as many as its memory has room for.
    fn restart(&self, system: Mailtier, count: u32) -> anyhow::Result<(Mailtier, f64)> {
        drop(system);
        let started = Instant::now();
        let system = self.start()?;
        let mut last = (0.0, Instant::now());
        wait("the queue to load", || {
            let scheduled = mailtier::queue_metric("mailtier_queue_scheduled").unwrap_or_default();
            if scheduled > last.0 {
                last = (scheduled, Instant::now());
            }
            // With less than all, what does not grow any more is all that there is room for.
            let is_full = last.0 > 0.0 && last.1.elapsed() > Duration::from_secs(5);
            Ok(scheduled >= f64::from(count) || is_full)
        })?;
        if last.0 < f64::from(count) {
            println!("\nin memory: {:.0} of {count}", last.0);
        }
        Ok((system, (last.1 - started).as_secs_f64()))
    }

    /// Fresh mail, one destination of its own: accepted and delivered a second.
    fn fresh(&self, system: &Mailtier) -> anyhow::Result<(f64, f64)> {
        let mut sink = start_sink(&self.bench.tools, Some(FRESH))?;
        let load = Load { sessions: self.bench.sessions, messages: FRESH, size_kib: 1, connections: Connections::Kept };
        let (accepted, delivered) = load.relay(&self.bench.tools, system.port(), &mut sink)?;
        Ok((f64::from(FRESH) / accepted.as_secs_f64(), f64::from(FRESH) / delivered.as_secs_f64()))
    }

    fn send(&self, port: u16, messages: u32) -> anyhow::Result<()> {
        let mut source = self.bench.tools.command("smtp-source");
        source.args(["-m", &messages.to_string(), "-l", "1024", "-f", "sender@source.example"]);
        let output =
            source.args(["-t", "recipient@template.example"]).arg(format!("inet:127.0.0.1:{port}")).output()?;
        if !output.status.success() {
            bail!("smtp-source: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}

fn wait(what: &str, mut is_there: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let started = Instant::now();
    while !is_there()? {
        if started.elapsed() > PATIENCE {
            bail!("waited in vain for {what}");
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

fn queue_mib(system: &Mailtier) -> f64 {
    processes::resident_kib(system.pid(), "mailtier-queue") as f64 / 1024.0
}

fn dispatched() -> Option<f64> {
    mailtier::queue_metric("mailtier_queue_dispatched_total")
}
