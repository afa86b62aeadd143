//! What is counted anyway: messages by the queue, CPU by the kernel, rows and write-ahead log by PostgreSQL. Read before and
//! after, and divided by the messages between.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::Serialize;

use crate::database::Database;
use crate::mailtier::queue_metric;
use crate::processes;

/// Columns of pg_stat_database and pg_stat_wal; a version of PostgreSQL without one of them leaves it out.
const COLUMNS: [&str; 17] = [
    "xact_commit",
    "xact_rollback",
    "tup_inserted",
    "tup_updated",
    "tup_deleted",
    "tup_fetched",
    "tup_returned",
    "blks_hit",
    "blks_read",
    "temp_bytes",
    "wal_records",
    "wal_fpi",
    "wal_bytes",
    "wal_buffers_full",
    "wal_write",
    "wal_sync",
    "active_time",
];

/// The mean of what was accepted and what was delivered so far: under load a window has nearly as many of both.
pub(crate) fn messages() -> anyhow::Result<f64> {
    let count = |name: &str| queue_metric(name).with_context(|| format!("the queue does not serve {name}"));
    Ok(f64::midpoint(count("mailtier_queue_accepted_total")?, count("mailtier_queue_settled_total")?))
}

/// All counters at one moment.
#[derive(Debug)]
pub(crate) struct Reading {
    at: Instant,
    messages: f64,
    cpu: BTreeMap<String, Duration>,
    database: BTreeMap<&'static str, f64>,
}

impl Reading {
    /// Reads them all.
    pub(crate) fn take(root: u32, database: &Database) -> anyhow::Result<Self> {
        let text = database.sql(
            "SELECT to_jsonb(d) || to_jsonb(w) FROM pg_stat_database d, pg_stat_wal w
             WHERE d.datname = current_database()",
        )?;
        let all: serde_json::Value = serde_json::from_str(&text).context("what PostgreSQL counts")?;
        let database = COLUMNS.iter().filter_map(|name| Some((*name, all.get(name)?.as_f64()?))).collect();
        Ok(Self { at: Instant::now(), messages: messages()?, cpu: processes::cpu_by_program(root), database })
    }
}

/// What happened between two readings.
#[derive(Debug, Serialize)]
pub(crate) struct Counted {
    /// Messages relayed.
    pub(crate) messages: f64,
    seconds: f64,
    cpu_us: BTreeMap<String, f64>,
    database: BTreeMap<&'static str, f64>,
}

impl Counted {
    /// Of each message, what it took.
    pub(crate) fn between(before: &Reading, after: &Reading) -> anyhow::Result<Self> {
        let messages = after.messages - before.messages;
        if messages < 1.0 {
            bail!("no message was relayed meanwhile");
        }
        let cpu = |(program, used): (&String, &Duration)| {
            let used = used.saturating_sub(before.cpu.get(program).copied().unwrap_or_default());
            (program.clone(), used.as_secs_f64() * 1e6 / messages)
        };
        let each = |(name, value): (&&'static str, &f64)| {
            (*name, (value - before.database.get(name).copied().unwrap_or_default()) / messages)
        };
        Ok(Self {
            messages,
            seconds: (after.at - before.at).as_secs_f64(),
            cpu_us: after.cpu.iter().map(cpu).collect(),
            database: after.database.iter().map(each).collect(),
        })
    }

    /// CPU of a program for one message, in microseconds.
    pub(crate) fn cpu_us(&self, program: &str) -> f64 {
        self.cpu_us.get(program).copied().unwrap_or_default()
    }

    /// Two tables.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!(
            "{:.0} messages in {:.1} s: {:.0} /s\n\n| program | CPU, µs a message |\n|---|---|\n",
            self.messages,
            self.seconds,
            self.messages / self.seconds
        );
        for (program, us) in &self.cpu_us {
            let _ = writeln!(text, "| {program} | {us:.1} |");
        }
        let _ = writeln!(text, "| all | {:.1} |", self.cpu_us.values().sum::<f64>());
        text.push_str("\n| PostgreSQL | a message |\n|---|---|\n");
        for (name, value) in &self.database {
            let _ = writeln!(text, "| {name} | {value:.4} |");
        }
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_between_is_divided_by_its_messages() {
        let at = Instant::now();
        let reading = |seconds: u64, messages: f64, cpu: u64, bytes: f64| Reading {
            at: at + Duration::from_secs(seconds),
            messages,
            cpu: BTreeMap::from([("mailtier-queue".to_owned(), Duration::from_millis(cpu))]),
            database: BTreeMap::from([("wal_bytes", bytes)]),
        };
        let counted = Counted::between(&reading(0, 100.0, 50, 1e3), &reading(2, 300.0, 90, 5e3)).unwrap();
        assert!((counted.cpu_us("mailtier-queue") - 200.0).abs() < 1e-6);
        let text = counted.markdown();
        assert!(text.starts_with("200 messages in 2.0 s: 100 /s\n"), "{text}");
        assert!(text.contains("| wal_bytes | 20.0000 |"), "{text}");
        assert!(Counted::between(&reading(0, 1.0, 0, 0.0), &reading(1, 1.0, 9, 9.0)).is_err());
    }
}
