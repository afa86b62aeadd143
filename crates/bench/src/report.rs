//! The tables: medians with the lowest and the highest, and ratios.

use std::fmt::Write as _;

use crate::harness::Connections;
use crate::relay::{Run, System};
use crate::spread::Spread;

/// The programs whose CPU has a column of its own, and its head.
const PROGRAMS: [(&str, &str); 4] = [
    ("mailtier-inbound", "inbound"),
    ("mailtier-queue", "queue"),
    ("mailtier-outbound", "outbound"),
    ("postgres", "PostgreSQL"),
];

/// A Markdown table of what was relayed or accepted; `sizes` are the runs of each size.
pub(crate) fn table(sessions: u32, connections: Connections, runs: usize, sizes: &[Vec<Run>]) -> String {
    let programs = PROGRAMS.map(|(_, head)| head).join(" | ");
    let mut text = format!(
        "{sessions} sessions, {}, median (lowest to highest) of {runs} runs; CPU in µs for a message\n\n\
         | size | system | accepted /s | delivered /s | CPU | {programs} | peak MiB | × Postfix | of the ceiling |\n\
         |---|---|---|---|---|{}---|---|---|\n",
        connections.words(),
        "---|".repeat(PROGRAMS.len()),
    );
    for runs in sizes {
        let of = |system: System| runs.iter().filter(|run| run.system == system).cloned().collect::<Vec<_>>();
        let rate = |system: System| Spread::of(of(system).iter().map(Run::rate)).median;
        for system in [System::Ceiling, System::Postfix, System::Mailtier] {
            row(&mut text, system, &of(system), rate(System::Postfix), rate(System::Ceiling));
        }
    }
    text
}

fn row(text: &mut String, system: System, runs: &[Run], postfix: f64, ceiling: f64) {
    let Some(first) = runs.first() else { return };
    let of = |value: fn(&Run) -> f64| Spread::of(runs.iter().map(value));
    let rate = of(Run::rate);
    let is_delivered = runs.iter().any(|run| run.delivered.is_some());
    let delivered = if is_delivered { format!("{rate:.0}") } else { "–".to_owned() };
    let ratio = if postfix > 0.0 { format!("{:.1}", rate.median / postfix) } else { "–".to_owned() };
    let programs = PROGRAMS.map(|(program, _)| {
        let used: Vec<f64> = runs.iter().filter_map(|run| run.cpu_us_by_program.get(program).copied()).collect();
        if used.is_empty() { "–".to_owned() } else { format!("{:.0}", Spread::of(used)) }
    });
    let cpu = if system == System::Ceiling { "–".to_owned() } else { format!("{:.0}", of(|run| run.cpu_us)) };
    let _ = writeln!(
        text,
        "| {} KiB | {} | {:.0} | {delivered} | {cpu} | {} | {:.0} | {ratio} | {:.0} % |",
        first.size_kib,
        system.words(),
        of(|run| run.accepted),
        programs.join(" | "),
        of(|run| run.peak_mib).median,
        100.0 * rate.median / ceiling,
    );
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn a_run(system: System, delivered: f64) -> Run {
        let cpu_us_by_program = match system {
            System::Mailtier => BTreeMap::from([("mailtier-queue".to_owned(), 90.0), ("mailtier".to_owned(), 1.0)]),
            _ => BTreeMap::new(),
        };
        let connections = Connections::Kept;
        let (size_kib, messages, cpu_us) = (4, 1000, cpu_us_by_program.values().sum());
        let (accepted, peak_mib) = (delivered, 10.0);
        let delivered = Some(delivered);
        Run { system, size_kib, connections, messages, accepted, delivered, cpu_us, cpu_us_by_program, peak_mib }
    }

    #[test]
    fn a_row_tells_rates_cpu_by_program_and_ratios() {
        let runs = vec![
            a_run(System::Ceiling, 1000.0),
            a_run(System::Postfix, 100.0),
            a_run(System::Mailtier, 500.0),
            a_run(System::Mailtier, 400.0),
            a_run(System::Mailtier, 600.0),
        ];
        let table = table(50, Connections::Kept, 3, &[runs]);
        let row = table.lines().last().unwrap();
        assert_eq!(
            row,
            "| 4 KiB | Mailtier | 500 (400 to 600) | 500 (400 to 600) | 91 (91 to 91) | – | 90 (90 to 90) | – | – | 10 | \
             5.0 | 50 % |"
        );
    }
}
