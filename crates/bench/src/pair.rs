//! `make bench-compare`: two builds of Mailtier relay in turn on the same machine, so that what differs is what the code
//! does. Which of the two begins alternates. Responsible for the pairs and their ratios.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::harness::{Bench, Connections};
use crate::relay::{self, Case, Run, System, Until};
use crate::spread::Spread;

/// What is compared, and how often.
#[derive(Debug, clap::Args)]
pub(crate) struct Pair {
    /// The folder with the programs of the other build, which the ratios are against.
    #[arg(long)]
    before: PathBuf,
    /// Message sizes, in KiB.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4, 10, 100])]
    sizes: Vec<u32>,
    /// Pairs of runs of each size.
    #[arg(long, default_value_t = 6)]
    pairs: usize,
    /// How the source's messages reach the system.
    #[arg(long, value_enum, default_value_t = Connections::Kept)]
    connections: Connections,
    /// About how long one run should take, in seconds.
    #[arg(long, default_value_t = 8)]
    seconds: u32,
}

/// A run of one of the two.
#[derive(Debug, Serialize)]
struct Turn<'a> {
    build: &'static str,
    pair: usize,
    #[serde(flatten)]
    run: &'a Run,
}

/// One of the figures that are compared.
struct Figure {
    name: &'static str,
    of: fn(&Run) -> f64,
}

const FIGURES: [Figure; 7] = [
    Figure { name: "accepted /s", of: |run| run.accepted },
    Figure { name: "delivered /s", of: |run| run.rate() },
    Figure { name: "CPU, µs a message", of: |run| run.cpu_us },
    Figure { name: "inbound", of: |run| cpu_of(run, "mailtier-inbound") },
    Figure { name: "queue", of: |run| cpu_of(run, "mailtier-queue") },
    Figure { name: "outbound", of: |run| cpu_of(run, "mailtier-outbound") },
    Figure { name: "PostgreSQL", of: |run| cpu_of(run, "postgres") },
];

fn cpu_of(run: &Run, program: &str) -> f64 {
    run.cpu_us_by_program.get(program).copied().unwrap_or_default()
}

/// Runs everything and prints a table.
pub(crate) fn run(bench: &Bench, pair: &Pair) -> anyhow::Result<()> {
    println!(
        "{} sessions, {}, median (lowest to highest) of {} pairs; the ratio is after / before of each pair\n",
        bench.sessions,
        pair.connections.words(),
        pair.pairs
    );
    println!("| size | figure | before | after | ratio |\n|---|---|---|---|---|");
    for &size_kib in &pair.sizes {
        let case = Case { system: System::Mailtier, size_kib, connections: pair.connections, until: Until::Delivered };
        let messages = relay::trial(bench, &bench.programs, case, pair.seconds)?;
        // Of the other build too, or only one would have its programs in the page cache.
        relay::once(bench, &pair.before, case, messages)?;
        let mut pairs = Vec::new();
        for number in 1..=pair.pairs {
            pairs.push(one_pair(bench, pair, case, messages, number)?);
        }
        print!("{}", rows(size_kib, &pairs));
    }
    Ok(())
}

/// One run of each, before and after.
fn one_pair(bench: &Bench, pair: &Pair, case: Case, messages: u32, number: usize) -> anyhow::Result<[Run; 2]> {
    let turn = |build: &'static str, programs: &Path| -> anyhow::Result<Run> {
        let run = relay::once(bench, programs, case, messages)?;
        eprintln!("{} KiB, pair {number}, {build}: {run:?}", case.size_kib);
        bench.raw.keep("pair", &Turn { build, pair: number, run: &run })?;
        Ok(run)
    };
    if number % 2 == 1 {
        let before = turn("before", &pair.before)?;
        Ok([before, turn("after", &bench.programs)?])
    } else {
        let after = turn("after", &bench.programs)?;
        Ok([turn("before", &pair.before)?, after])
    }
}

fn rows(size_kib: u32, pairs: &[[Run; 2]]) -> String {
    let row = |figure: &Figure| {
        let Figure { name, of } = figure;
        let before = Spread::of(pairs.iter().map(|[before, _]| of(before)));
        let after = Spread::of(pairs.iter().map(|[_, after]| of(after)));
        let ratio =
            Spread::of(pairs.iter().map(|[before, after]| of(after) / of(before)).filter(|ratio| ratio.is_finite()));
        format!("| {size_kib} KiB | {name} | {before:.0} | {after:.0} | {ratio:.3} |\n")
    };
    FIGURES.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn ratios_are_those_of_each_pair() {
        let run = |rate: f64, cpu: f64| Run {
            system: System::Mailtier,
            size_kib: 1,
            connections: Connections::Kept,
            messages: 10,
            accepted: rate,
            delivered: Some(rate),
            cpu_us: cpu,
            cpu_us_by_program: BTreeMap::from([("postgres".to_owned(), cpu)]),
            peak_mib: 1.0,
        };
        let pairs = [
            [run(100.0, 50.0), run(110.0, 50.0)],
            [run(200.0, 50.0), run(200.0, 40.0)],
            [run(100.0, 50.0), run(130.0, 45.0)],
        ];
        let text = rows(1, &pairs);
        assert!(
            text.contains("| 1 KiB | delivered /s | 100 (100 to 200) | 130 (110 to 200) | 1.100 (1.000 to 1.300) |"),
            "{text}"
        );
        assert!(
            text.contains("| 1 KiB | PostgreSQL | 50 (50 to 50) | 45 (40 to 50) | 0.900 (0.800 to 1.000) |"),
            "{text}"
        );
    }
}
