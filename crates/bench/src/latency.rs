//! `make bench-latency`: how long a message takes on a system that has little to do. Messages are sent one after the other at
//! a fixed rate, and what counts is when each has arrived at the sink. Responsible for the pace and the figures.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::arrivals::Arrivals;
use crate::client::{Client, Sent};
use crate::harness::Bench;
use crate::mailtier::{self, Mailtier};
use crate::postfix::{self, Postfix};
use crate::processes::Running as _;
use crate::relay::{System, remove};
use crate::spread::{Spread, percentile};

/// How long the last message may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many, how fast.
#[derive(Debug, clap::Args)]
pub(crate) struct Pace {
    /// Messages a second.
    #[arg(long, default_value_t = 20)]
    rate: u32,
    /// Messages of one run that count.
    #[arg(long, default_value_t = 400)]
    messages: usize,
    /// Messages before them that do not, while caches and connections are made.
    #[arg(long, default_value_t = 40)]
    warm_up: usize,
    /// The message size, in KiB.
    #[arg(long, default_value_t = 4)]
    size_kib: usize,
    /// Runs of each; the median counts.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Leaves Postfix out.
    #[arg(long)]
    alone: bool,
}

/// What one run showed, in milliseconds. Negative where the sink has the message before the client has its 250.
#[derive(Debug, Serialize)]
struct Run {
    system: System,
    messages: usize,
    /// From the client's 250 to the arrival.
    from_accepted: Figures,
    /// From MAIL FROM to the arrival.
    from_began: Figures,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Figures {
    median: f64,
    p99: f64,
    max: f64,
}

impl Figures {
    fn of(values: &[f64]) -> Self {
        let [median, p99, max] = [0.5, 0.99, 1.0].map(|share| percentile(values, share));
        Self { median, p99, max }
    }
}

/// Runs everything and prints a table.
pub(crate) fn run(bench: &Bench, pace: &Pace) -> anyhow::Result<()> {
    let systems = [System::Ceiling, System::Postfix, System::Mailtier];
    let mut runs = Vec::new();
    for round in 1..=pace.runs {
        for system in systems.into_iter().filter(|system| !(pace.alone && *system == System::Postfix)) {
            let run = once(bench, pace, system)?;
            eprintln!("round {round}: {run:?}");
            bench.raw.keep("latency", &run)?;
            runs.push(run);
        }
    }
    println!(
        "{} messages/s of {} KiB, {} a run, median (lowest to highest) of {} runs, in ms\n",
        pace.rate, pace.size_kib, pace.messages, pace.runs
    );
    println!("| system | from | median | p99 | max |\n|---|---|---|---|---|");
    for system in systems {
        let of: Vec<&Run> = runs.iter().filter(|run| run.system == system).collect();
        row(system, "250 to arrival", of.iter().map(|run| run.from_accepted));
        row(system, "MAIL FROM to arrival", of.iter().map(|run| run.from_began));
    }
    Ok(())
}

fn row(system: System, from: &str, figures: impl Iterator<Item = Figures> + Clone) {
    if figures.clone().next().is_none() {
        return;
    }
    let spread = |value: fn(Figures) -> f64| Spread::of(figures.clone().map(value));
    let [median, p99, max] = [spread(|all| all.median), spread(|all| all.p99), spread(|all| all.max)];
    println!("| {} | {from} | {median:.2} | {p99:.2} | {max:.2} |", system.words());
}

/// A system of its own for each run, and a sink of its own.
fn once(bench: &Bench, pace: &Pace, system: System) -> anyhow::Result<Run> {
    let mut sink = Arrivals::listen(0)?;
    let (sink_port, folder) = (sink.port(), bench.folder.join("run"));
    let run = match system {
        System::Ceiling => paced(pace, system, sink_port, &mut sink),
        System::Postfix => {
            let settings = postfix::Settings { sink_port, ..postfix::Settings::default() };
            let running = Postfix::start(&bench.tools, &folder, &settings)?;
            paced(pace, system, running.port(), &mut sink)
        }
        System::Mailtier => {
            let settings = mailtier::Settings { sink_port, ..mailtier::Settings::default() };
            let running = Mailtier::start(&bench.programs, &folder, &settings)?;
            paced(pace, system, running.port(), &mut sink)
        }
    };
    remove(folder)?;
    run
}

/// Sends at the rate; where a message takes longer than its share of the time, the next ones catch up.
fn paced(pace: &Pace, system: System, port: u16, sink: &mut Arrivals) -> anyhow::Result<Run> {
    let mut client = Client::open(port)?;
    let every = Duration::from_secs(1) / pace.rate.max(1);
    let total = pace.warm_up + pace.messages;
    let mut due = Instant::now();
    let mut sent = Vec::with_capacity(total);
    for number in 0..total {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        due += every;
        sent.push(client.send(number, "recipient@sink.example", pace.size_kib * 1024)?);
    }
    let arrived = sink.wait(total, PATIENCE)?;
    let (mut from_accepted, mut from_began) = (Vec::new(), Vec::new());
    for (number, Sent { began, accepted }) in sent.into_iter().enumerate().skip(pace.warm_up) {
        if let Some(&at) = arrived.get(&number) {
            from_accepted.push(signed_ms(accepted, at));
            from_began.push(signed_ms(began, at));
        }
    }
    Ok(Run {
        system,
        messages: from_began.len(),
        from_accepted: Figures::of(&from_accepted),
        from_began: Figures::of(&from_began),
    })
}

fn signed_ms(from: Instant, to: Instant) -> f64 {
    let later = to.saturating_duration_since(from).as_secs_f64();
    let earlier = from.saturating_duration_since(to).as_secs_f64();
    (later - earlier) * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrival_before_the_reply_is_negative() {
        let now = Instant::now();
        let later = now + Duration::from_millis(3);
        assert!((signed_ms(now, later) - 3.0).abs() < 1e-6);
        assert!((signed_ms(later, now) + 3.0).abs() < 1e-6);
    }
}
