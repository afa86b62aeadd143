//! The table at the end: medians, spread and ratios.

use std::fmt::Write as _;

use crate::Arguments;
use crate::harness::{Comparison, Run};

/// A Markdown table.
pub(crate) fn markdown(arguments: &Arguments, comparisons: &[Comparison]) -> String {
    let mut text = format!(
        "{} sessions, {}, median (lowest to highest) of {} runs\n\n\
         | size | system | accepted /s | delivered /s | CPU s/1000 | peak MiB | × Postfix | of the ceiling |\n\
         |---|---|---|---|---|---|---|---|\n",
        arguments.sessions,
        if arguments.reconnect { "one connection per message" } else { "many messages per session" },
        arguments.runs,
    );
    for comparison in comparisons {
        let postfix = median(&comparison.postfix, |run| run.delivered);
        let ceiling = median(&comparison.ceiling, |run| run.delivered);
        for (name, runs) in [
            ("source to sink", &comparison.ceiling),
            ("Postfix", &comparison.postfix),
            ("Mailtier", &comparison.mailtier),
        ] {
            if !runs.is_empty() {
                row(&mut text, comparison.size_kib, name, runs, postfix, ceiling);
            }
        }
    }
    text
}

fn row(text: &mut String, size_kib: u32, name: &str, runs: &[Run], postfix: f64, ceiling: f64) {
    let rate = median(runs, |run| run.delivered);
    let ratio = if postfix > 0.0 { format!("{:.1}", rate / postfix) } else { "–".to_owned() };
    let _ = writeln!(
        text,
        "| {size_kib} KiB | {name} | {:.0} | {rate:.0} ({:.0} to {:.0}) | {:.2} | {:.0} | {ratio} | {:.0} % |",
        median(runs, |run| run.accepted),
        runs.iter().map(|run| run.delivered).fold(f64::INFINITY, f64::min),
        runs.iter().map(|run| run.delivered).fold(0.0, f64::max),
        median(runs, |run| run.cpu_per_thousand),
        median(runs, |run| run.peak_mib),
        100.0 * rate / ceiling,
    );
}

fn median(runs: &[Run], value: impl Fn(&Run) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        let runs: Vec<Run> = [5.0, 1.0, 3.0].iter().map(|&delivered| Run { delivered, ..Run::default() }).collect();
        assert!((median(&runs, |run| run.delivered) - 3.0).abs() < f64::EPSILON);
        assert!(median(&[], |run| run.delivered).abs() < f64::EPSILON);
    }
}
