//! `make scale`: what deep queues take: time until the queue is loaded, its memory, the rates of fresh mail beside it and of
//! draining it. Responsible for the order and the figures; the rows are made by `deep`.

use std::process::Stdio;

use anyhow::Context as _;
use nix::sys::signal::Signal;

use crate::deep::{DeepQueue, FRESH, queue_mib, wait};
use crate::drain;
use crate::harness::Bench;
use crate::mailtier::Mailtier;
use crate::processes;

/// Runs of fresh mail beside a deep queue.
const BESIDE: u32 = 5;

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
    let queue = DeepQueue::of(bench, "scale");
    let system = queue.start()?;
    queue.template(&system)?;
    let (accepted, delivered) = queue.fresh(&system)?;
    println!("an empty queue: fresh mail accepted {accepted:.0}/s, delivered {delivered:.0}/s");
    beside_a_snapshot(&queue, &system, depth.snapshot_runs)?;
    let system = deep(&queue, system, depth.deep, depth.destinations)?;
    let (system, drained) = drain::of_mailtier(&queue, system, depth.deep, depth.drained)?;
    println!("\n{drained}");
    let system = deep(&queue, system, depth.deepest, depth.destinations)?;
    drop(system);
    Ok(())
}

/// Somebody holds a snapshot open, as `pg_dump` does: no dead row can be removed meanwhile.
fn beside_a_snapshot(queue: &DeepQueue<'_>, system: &Mailtier, runs: u32) -> anyhow::Result<()> {
    let mut holder = queue.database.psql()?;
    holder.args(["--command", "BEGIN ISOLATION LEVEL REPEATABLE READ"]);
    holder.args(["--command", "SELECT count(*) FROM delivery", "--command", "SELECT pg_sleep(3600)"]);
    let mut holder = holder.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("cannot start psql")?;
    let sleeping = "FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3600)' AND pid <> pg_backend_pid()";
    let count = format!("SELECT count(*) {sleeping}");
    let held = wait("the snapshot to be held", || Ok(queue.database.sql(&count)? == "1"));
    let rates = held.and_then(|()| (0..runs).map(|_| queue.fresh(system)).collect::<anyhow::Result<Vec<_>>>());
    // Its server process would not notice that it is gone.
    queue.database.sql(&format!("SELECT pg_terminate_backend(pid) {sleeping}"))?;
    processes::stop(&mut holder, Signal::SIGTERM);
    println!("\nbeside a snapshot that is held open, run after run of {FRESH}:");
    for (accepted, delivered) in rates? {
        println!("fresh mail accepted {accepted:.0}/s, delivered {delivered:.0}/s");
    }
    Ok(())
}

/// The queue holds so many for so many destinations, none of them due for a while.
fn deep(queue: &DeepQueue<'_>, system: Mailtier, count: u32, destinations: u32) -> anyhow::Result<Mailtier> {
    queue.fill(count, &format!("'d' || i % {destinations} || '.sink.example'"), "10 + i % 4000", false)?;
    let (system, loaded) = queue.restart(system, count)?;
    let memory = queue_mib(&system);
    println!(
        "\n{count} deferred to {destinations} destinations: loaded in {loaded:.1} s, mailtier-queue {memory:.0} MiB"
    );
    // What was just made is written back meanwhile: the later runs are those of a queue that was there before.
    for _ in 0..BESIDE {
        let (accepted, delivered) = queue.fresh(&system)?;
        println!("fresh mail beside them: accepted {accepted:.0}/s, delivered {delivered:.0}/s");
    }
    println!("mailtier-queue afterwards: {:.0} MiB", queue_mib(&system));
    Ok(system)
}
