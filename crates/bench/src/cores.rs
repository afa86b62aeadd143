//! `make cores`: each tier has so much CPU and no more. What relaying then reaches, what the model says of it, and how well
//! what was measured with little CPU tells what more of it will do. Responsible for the runs and the model.
//!
//! The model: each message costs each tier some CPU, so a tier with so many cores takes `cores / cpu` messages a second, and
//! the system what the tier takes that has the least to give. On one machine all tiers and what drives them share its cores
//! beside that.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use crate::harness::{Bench, Connections, Load, start_sink};
use crate::mailtier::{Mailtier, Settings};
use crate::processes::{self, Running as _};
use crate::quota::Quota;
use crate::relay::{per_message_us, remove};
use crate::tiers;

/// What has a control group of its own.
const TIERS: [&str; 4] = ["mailtier-inbound", "mailtier-queue", "mailtier-outbound", "postgres"];
/// Messages before each run, which count for nothing but its length.
const WARM_UP: u32 = 2_000;
/// How far the model may be from what is measured.
const GOAL: f64 = 0.2;
/// What sets the limit where no tier does.
const MACHINE: &str = "the machine";

/// How much CPU, how much mail.
#[derive(Debug, clap::Args)]
pub(crate) struct Cores {
    /// Cores of each tier, PostgreSQL among them; what one size shows predicts the next.
    #[arg(long, value_delimiter = ',', default_values_t = [0.0625, 0.125, 0.25, 0.5, 1.0, 2.0])]
    cores: Vec<f64>,
    /// Message size, in KiB.
    #[arg(long, default_value_t = 4)]
    size_kib: u32,
    /// About how long one run should take, in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u32,
}

/// What one size showed.
#[derive(Clone, Debug, Serialize)]
struct Size {
    cores: f64,
    /// Messages accepted a second.
    accepted: f64,
    /// Messages delivered a second.
    delivered: f64,
    /// CPU for one message by program, in microseconds.
    cpu_us_by_program: BTreeMap<String, f64>,
    /// The same of smtp-source and smtp-sink.
    outside_cpu_us: f64,
    /// Share of the time in which a tier had used up its CPU.
    throttled: BTreeMap<String, f64>,
    /// Threads of each program.
    threads: BTreeMap<String, u32>,
}

/// What the model says of a size.
#[derive(Clone, Debug, PartialEq)]
struct Prediction {
    rate: f64,
    /// What sets the limit.
    bound_by: String,
}

/// Runs every size and prints what it showed beside what was to be expected.
pub(crate) fn run(bench: &Bench, cores: &Cores) -> anyhow::Result<()> {
    let machine = std::thread::available_parallelism()?.get() as f64;
    println!("{} sessions, messages of {} KiB, a machine of {machine} cores\n", bench.sessions, cores.size_kib);
    println!(
        "| cores of each tier | accepted /s | delivered /s | predicted | off by | bound by | inbound | queue | outbound | PostgreSQL | source and sink |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let (mut before, mut furthest): (Option<Size>, f64) = (None, 0.0);
    for &each in &cores.cores {
        let size = once(bench, cores, each)?;
        let predicted = before.as_ref().map(|before| before.predict(each, machine));
        let off = predicted.as_ref().map(|predicted| predicted.rate / size.delivered - 1.0);
        if let (Some(predicted), Some(off)) = (&predicted, off)
            && predicted.bound_by != MACHINE
        {
            furthest = furthest.max(off.abs());
        }
        println!("{}", row(&size, predicted.as_ref(), off));
        eprintln!("{size:?}, the model of it: {:?}", size.predict(each, machine));
        bench.raw.keep("cores", &size)?;
        before = Some(size);
    }
    let is_met = if furthest <= GOAL { "met" } else { "missed" };
    println!(
        "\nwhere a tier sets the limit, the furthest prediction is off by {:.0} %; goal, at most {:.0} %: {is_met}",
        100.0 * furthest,
        100.0 * GOAL
    );
    if let Some(last) = before {
        println!("threads: {:?}", last.threads);
    }
    Ok(())
}

impl Size {
    /// What so many cores for each tier will do, each message costing what it did here.
    fn predict(&self, cores: f64, machine: f64) -> Prediction {
        let per_second = |cores: f64, us: f64| if us > 0.0 { cores * 1e6 / us } else { f64::INFINITY };
        let tiers = TIERS.map(|tier| {
            let us = self.cpu_us_by_program.get(tier).copied().unwrap_or_default();
            (per_second(cores.min(machine), us), tier)
        });
        let all: f64 = self.cpu_us_by_program.values().sum::<f64>() + self.outside_cpu_us;
        let least = tiers.into_iter().chain([(per_second(machine, all), MACHINE)]).min_by(|a, b| a.0.total_cmp(&b.0));
        let (rate, bound_by) = least.unwrap_or((0.0, "nothing"));
        Prediction { rate, bound_by: bound_by.to_owned() }
    }
}

fn row(size: &Size, predicted: Option<&Prediction>, off: Option<f64>) -> String {
    let us = |tier: &str| format!("{:.0}", size.cpu_us_by_program.get(tier).copied().unwrap_or_default());
    let none = || "–".to_owned();
    format!(
        "| {} | {:.0} | {:.0} | {} | {} | {} | {} | {:.0} |",
        size.cores,
        size.accepted,
        size.delivered,
        predicted.map_or_else(none, |predicted| format!("{:.0}", predicted.rate)),
        off.map_or_else(none, |off| format!("{:+.0} %", 100.0 * off)),
        predicted.map_or_else(none, |predicted| predicted.bound_by.clone()),
        TIERS.map(us).join(" | "),
        size.outside_cpu_us,
    )
}

/// A system whose tiers have so much CPU, from an empty queue to the last message of a run.
fn once(bench: &Bench, cores: &Cores, each: f64) -> anyhow::Result<Size> {
    let groups = TIERS.map(|tier| Quota::of(tier, each).map(|quota| (tier, quota)));
    let groups = groups.into_iter().collect::<anyhow::Result<BTreeMap<_, _>>>()?;
    let entrance = |name: &str| groups.get(name).map(Quota::entrance).unwrap_or_default();
    let programs = tiers::wrapped(&bench.programs, &bench.folder.join(format!("cores-{each}")), entrance)?;
    let folder = bench.folder.join("run");
    let settings = Settings { sessions: bench.sessions, ..Settings::default() };
    let system = Mailtier::start(&programs, &folder, &settings)?;
    // Each process of PostgreSQL is a child of its first, and of its group; those that are there already follow.
    for postgres in processes::pids_of(system.pid(), "postgres") {
        groups.get("postgres").context("no group of PostgreSQL")?.take(postgres)?;
    }
    let load = |messages| Load {
        sessions: bench.sessions,
        messages,
        size_kib: cores.size_kib,
        connections: Connections::Kept,
    };
    let relay = |messages| -> anyhow::Result<(Duration, Duration)> {
        let mut sink = start_sink(&bench.tools, Some(messages))?;
        load(messages).relay(&bench.tools, system.port(), &mut sink)
    };
    let (_, warm) = relay(WARM_UP)?;
    let messages = (f64::from(WARM_UP) / warm.as_secs_f64() * f64::from(cores.seconds)) as u32;
    let periods =
        || -> BTreeMap<&str, (u64, u64)> { groups.iter().map(|(tier, group)| (*tier, group.periods())).collect() };
    let before = (processes::cpu_by_program(system.pid()), processes::own_cpu(), periods());
    let (accepted, delivered) = relay(messages)?;
    let own = processes::own_cpu().saturating_sub(before.1);
    let after = processes::cpu_by_program(system.pid());
    let rate = |time: Duration| f64::from(messages) / time.as_secs_f64();
    let throttled =
        periods().into_iter().map(|(tier, now)| (tier.to_owned(), share(before.2.get(tier), now))).collect();
    let size = Size {
        cores: each,
        accepted: rate(accepted),
        delivered: rate(delivered),
        cpu_us_by_program: per_message_us(&before.0, &after, messages),
        outside_cpu_us: own.as_secs_f64() * 1e6 / f64::from(messages),
        throttled,
        threads: tiers::PROGRAMS.iter().map(|name| ((*name).to_owned(), threads(system.pid(), name))).collect(),
    };
    drop(system);
    remove(folder)?;
    Ok(size)
}

/// Of the periods since then, those in which the share was used up.
fn share(before: Option<&(u64, u64)>, now: (u64, u64)) -> f64 {
    let (periods, throttled) = before.copied().unwrap_or_default();
    let passed = now.0.saturating_sub(periods);
    if passed == 0 { 0.0 } else { now.1.saturating_sub(throttled) as f64 / passed as f64 }
}

/// Threads of the program of this name.
fn threads(root: u32, name: &str) -> u32 {
    let of = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("Threads:"))?.trim().parse::<u32>().ok()
    };
    processes::pids_of(root, name).iter().filter_map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size() -> Size {
        let cpu = [("mailtier-inbound", 50.0), ("mailtier-queue", 100.0), ("postgres", 40.0), ("mailtier", 0.0)];
        Size {
            cores: 0.5,
            accepted: 5000.0,
            delivered: 4900.0,
            cpu_us_by_program: cpu.map(|(program, us)| (program.to_owned(), us)).into(),
            outside_cpu_us: 60.0,
            throttled: BTreeMap::new(),
            threads: BTreeMap::new(),
        }
    }

    #[test]
    fn the_tier_with_the_least_to_give_sets_the_rate() {
        let predicted = size().predict(0.5, 16.0);
        assert_eq!(predicted, Prediction { rate: 5000.0, bound_by: "mailtier-queue".to_owned() });
        // All together cost 250 µs.
        let predicted = size().predict(1.0, 2.0);
        assert_eq!(predicted, Prediction { rate: 8000.0, bound_by: "the machine".to_owned() });
    }

    #[test]
    fn a_row_shows_what_was_expected_beside_what_was_measured() {
        let size = size();
        let predicted = size.predict(0.5, 16.0);
        let text = row(&size, Some(&predicted), Some(predicted.rate / size.delivered - 1.0));
        assert_eq!(text, "| 0.5 | 5000 | 4900 | 5000 | +2 % | mailtier-queue | 50 | 100 | 0 | 40 | 60 |");
        assert!(row(&size, None, None).starts_with("| 0.5 | 5000 | 4900 | – | – | – |"));
    }

    #[test]
    fn only_periods_of_the_run_count() {
        assert!((share(Some(&(100, 90)), (200, 140)) - 0.5).abs() < f64::EPSILON);
        assert!(share(Some(&(100, 90)), (100, 90)).abs() < f64::EPSILON);
    }
}
