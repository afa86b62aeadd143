//! Which statements PostgreSQL runs for a message, by its extension pg_stat_statements, where that is installed.

use std::fmt::Write as _;

use anyhow::Context as _;
use serde::Deserialize;

use crate::database::Database;

/// Letters of a statement that are shown.
const SHOWN: usize = 160;

/// What the extension says of one statement.
#[derive(Debug, Deserialize)]
struct Statement {
    calls: f64,
    rows: f64,
    total_exec_time: f64,
    wal_bytes: f64,
    query: String,
}

/// Asks for the library at the next start; false where it is not installed.
pub(crate) fn prepare(database: &Database) -> anyhow::Result<bool> {
    let available = database.sql("SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_stat_statements'")?;
    if available != "1" {
        eprintln!("pg_stat_statements is not installed: statements are not counted");
        return Ok(false);
    }
    database.sql("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")?;
    Ok(true)
}

/// After that start.
pub(crate) fn begin(database: &Database) -> anyhow::Result<()> {
    database.sql("CREATE EXTENSION pg_stat_statements").map(drop)
}

/// Counts from now on.
pub(crate) fn reset(database: &Database) -> anyhow::Result<()> {
    database.sql("SELECT pg_stat_statements_reset()").map(drop)
}

/// Those that took longest first, for one of so many messages.
pub(crate) fn table(database: &Database, messages: f64) -> anyhow::Result<String> {
    let text = database.sql(
        "SELECT coalesce(json_agg(s), '[]') FROM (
             SELECT calls, rows, total_exec_time, wal_bytes, query FROM pg_stat_statements
             WHERE query NOT LIKE '%pg_stat_%' ORDER BY total_exec_time DESC LIMIT 60) s",
    )?;
    let statements: Vec<Statement> = serde_json::from_str(&text).context("what pg_stat_statements says")?;
    Ok(written(&statements, messages))
}

fn written(statements: &[Statement], messages: f64) -> String {
    let mut text = format!(
        "Statements for a message, of {messages:.0} messages; µs are those of executing, waits included.\n\
         {:>9} {:>9} {:>9} {:>9}  statement\n",
        "calls", "rows", "µs", "WAL bytes"
    );
    for Statement { calls, rows, total_exec_time, wal_bytes, query } in statements {
        let one_line: Vec<&str> = query.split_whitespace().collect();
        let shown: String = one_line.join(" ").chars().take(SHOWN).collect();
        let [calls, rows, us, bytes] = [*calls, *rows, total_exec_time * 1e3, *wal_bytes].map(|value| value / messages);
        let _ = writeln!(text, "{calls:>9.4} {rows:>9.4} {us:>9.2} {bytes:>9.1}  {shown}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_a_line_with_what_a_message_costs() {
        let text =
            r#"[{"calls": 10, "rows": 400, "total_exec_time": 20.0, "wal_bytes": 4000, "query": "SELECT\n  1"}]"#;
        let statements: Vec<Statement> = serde_json::from_str(text).unwrap();
        let text = written(&statements, 200.0);
        let words: Vec<&str> = text.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(words, ["0.0500", "2.0000", "100.00", "20.0", "SELECT", "1"]);
    }
}
