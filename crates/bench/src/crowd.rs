//! `make crowd`: many destinations, one of which is flooded and slow. Mail to the others has to be as fast as without the
//! flood: from MAIL to its arrival, a fixed number of messages a second. Responsible for the order and the figures; the
//! rows of the queues are made by `deep`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;

use crate::deep::DeepQueue;
use crate::generator::{self, Clients, Encryption};
use crate::harness::{Bench, SINK_PORT};
use crate::mailtier::{Mailtier, Settings};
use crate::processes::Running as _;
use crate::receiver::{Arrival, Manner, Receiver};
use crate::spread::{Spread, percentile};

/// Where the flooded destination takes its mail.
const SLOW_PORT: u16 = 2627;
/// Sessions that share the fresh mail.
const SESSIONS: u32 = 20;
/// Octets of a fresh message.
const OCTETS: usize = 4096;
/// The last of the fresh mail may take so long.
const PATIENCE: Duration = Duration::from_secs(120);
/// How far the median may go up.
const GOAL: f64 = 0.2;
/// Neighbours in time are no neighbours among the destinations.
const STRIDE: u64 = 7919;

/// How many, how full.
#[derive(Debug, clap::Args)]
pub(crate) struct Crowd {
    /// Destinations, the flooded one among them.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..))]
    destinations: u32,
    /// Messages that wait for the flooded one, all due.
    #[arg(long, default_value_t = 900_000)]
    flood: u32,
    /// Messages that wait for the others, none of them due for a while.
    #[arg(long, default_value_t = 100_000)]
    others: u32,
    /// How long the flooded one takes for each message, in milliseconds.
    #[arg(long, default_value_t = 200)]
    slowness_ms: u64,
    /// Fresh messages a second to the others.
    #[arg(long, default_value_t = 100)]
    rate: u32,
    /// Seconds of one run of fresh mail.
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// Runs without and with the flood.
    #[arg(long, default_value_t = 5)]
    runs: u32,
}

/// What one run of fresh mail showed, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Run {
    flooded: bool,
    messages: usize,
    median: f64,
    p99: f64,
    longest: f64,
    /// Of the flood, delivered meanwhile.
    drained: u64,
}

/// Runs without and with the flood, and prints what they showed.
pub(crate) fn run(bench: &Bench, crowd: &Crowd) -> anyhow::Result<()> {
    let sections =
        format!("[[outbound.routes]]\ndomain = \"flood.sink.example\"\nhosts = [\"127.0.0.1:{SLOW_PORT}\"]\n");
    let settings = Settings { sections, sessions: 20, ..Settings::default() };
    let queue = DeepQueue::with(bench, "crowd", settings);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let system = queue.start()?;
    queue.template(&system)?;
    let (system, without) = one_half(&queue, crowd, &runtime, system, false)?;
    let (_, with) = one_half(&queue, crowd, &runtime, system, true)?;
    let median = |runs: &[Run]| Spread::of(runs.iter().map(|run| run.median));
    let (before, after) = (median(&without), median(&with));
    println!("\nmedian from MAIL to arrival: {before:.1} ms without, {after:.1} ms with the flood:");
    let change = after.median / before.median - 1.0;
    let is_met = if change <= GOAL { "met" } else { "missed" };
    println!("{:+.0} %; goal, at most {:+.0} %: {is_met}", 100.0 * change, 100.0 * GOAL);
    Ok(())
}

/// The queue as it is with or without the flood, and all runs on it.
fn one_half(
    queue: &DeepQueue<'_>,
    crowd: &Crowd,
    runtime: &tokio::runtime::Runtime,
    system: Mailtier,
    flooded: bool,
) -> anyhow::Result<(Mailtier, Vec<Run>)> {
    let Crowd { destinations, flood, others, .. } = *crowd;
    let flood = if flooded { flood } else { 0 };
    let destination =
        format!("CASE WHEN i <= {flood} THEN 'flood' ELSE 'd' || i % {} END || '.sink.example'", destinations - 1);
    let due_in = format!("CASE WHEN i <= {flood} THEN -60 ELSE 10 + i % 4000 END");
    queue.fill(flood + others, &destination, &due_in, true)?;
    let (arrivals, mut heard) = unbounded_channel();
    let receive = |port, slowness, arrivals| Receiver::start(port, Manner { slowness, arrivals, ..Manner::default() });
    let inside = runtime.enter();
    let _receiver = receive(SINK_PORT, Duration::ZERO, Some(arrivals))?;
    let slow = receive(SLOW_PORT, Duration::from_millis(crowd.slowness_ms), None)?;
    drop(inside);
    let (system, loaded) = queue.restart(system, flood + others)?;
    println!("\n{flood} to one of {destinations} destinations, {others} to the others, loaded in {loaded:.1} s:");
    let mut runs = Vec::new();
    for number in 0..crowd.runs {
        let drained = slow.received();
        let fresh = Fresh { crowd, run: format!("{}{number}", if flooded { "w" } else { "o" }), port: system.port() };
        let latencies = runtime.block_on(fresh.latencies(&mut heard))?;
        let run = Run {
            flooded,
            messages: latencies.len(),
            median: percentile(&latencies, 0.5),
            p99: percentile(&latencies, 0.99),
            longest: percentile(&latencies, 1.0),
            drained: slow.received() - drained,
        };
        println!(
            "{} fresh messages: median {:.1} ms, p99 {:.1} ms, longest {:.1} ms; {} of the flood delivered meanwhile",
            run.messages, run.median, run.p99, run.longest, run.drained
        );
        queue.bench.raw.keep("crowd", &run)?;
        runs.push(run);
    }
    Ok((system, runs))
}

/// One run of fresh mail.
struct Fresh<'a> {
    crowd: &'a Crowd,
    /// What its recipients begin with.
    run: String,
    port: u16,
}

impl Fresh<'_> {
    /// How long each message took from MAIL to its arrival, in milliseconds.
    async fn latencies(&self, heard: &mut UnboundedReceiver<Arrival>) -> anyhow::Result<Vec<f64>> {
        let clients = Arc::new(Clients::of(self.port, Encryption::Off)?);
        let messages = u64::from(self.crowd.rate) * u64::from(self.crowd.seconds);
        let begin = Instant::now();
        let mut sessions = JoinSet::new();
        for session in 0..u64::from(SESSIONS) {
            let numbers = (session..messages).step_by(SESSIONS as usize);
            let due = |number: u64| begin + Duration::from_secs(1).mul_f64(number as f64 / f64::from(self.crowd.rate));
            let others = u64::from(self.crowd.destinations - 1);
            let name = |number: u64| (format!("{}x{number}", self.run), number * STRIDE % others);
            let letters: Vec<Letter> = numbers.map(|number| Letter::of(name(number), due(number))).collect();
            sessions.spawn(session_of(Arc::clone(&clients), letters));
        }
        let mut begun = HashMap::new();
        while let Some(ended) = sessions.join_next().await {
            begun.extend(ended??);
        }
        let mut latencies = Vec::with_capacity(begun.len());
        // What else arrives was in the queue before.
        while !begun.is_empty() {
            let next = tokio::time::timeout(PATIENCE, heard.recv()).await;
            let next = next.with_context(|| format!("{} messages did not arrive", begun.len()))?;
            let (recipient, arrived) = next.context("the receiver has ended")?;
            if let Some(begun) = begun.remove(&recipient) {
                latencies.push(arrived.saturating_duration_since(begun).as_secs_f64() * 1000.0);
            }
        }
        Ok(latencies)
    }
}

/// A message and when it is sent.
#[derive(Debug)]
struct Letter {
    local_part: String,
    recipient: String,
    due: Instant,
}

impl Letter {
    fn of((local_part, destination): (String, u64), due: Instant) -> Self {
        let recipient = format!("{local_part}@d{destination}.sink.example");
        Self { local_part, recipient, due }
    }
}

/// Sends each when it is due, and says when that was.
async fn session_of(clients: Arc<Clients>, letters: Vec<Letter>) -> anyhow::Result<Vec<(String, Instant)>> {
    let mut connection = clients.open().await?;
    let body = generator::content(OCTETS);
    let mut begun = Vec::with_capacity(letters.len());
    for letter in letters {
        tokio::time::sleep_until(letter.due.into()).await;
        begun.push((letter.local_part, Instant::now()));
        generator::deliver(&mut connection, &letter.recipient, &body).await?;
    }
    connection.quit().await;
    Ok(begun)
}
