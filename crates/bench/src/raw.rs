//! The numbers of each run as they were measured, a line of JSON each, for whoever computes something else of them.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde::Serialize;

/// Where the lines go, if anywhere.
#[derive(Debug)]
pub(crate) struct Raw {
    file: Option<File>,
}

#[derive(Debug, Serialize)]
struct Line<'a, T> {
    /// Seconds since 1970.
    at: u64,
    measurement: &'a str,
    #[serde(flatten)]
    run: &'a T,
}

impl Raw {
    /// Adds to this file; without one, nothing is kept.
    pub(crate) fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let open = |path: &Path| {
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.with_context(|| format!("cannot write {}", path.display()))
        };
        Ok(Self { file: path.map(open).transpose()? })
    }

    /// Keeps what a run of a measurement showed; `run` is a struct or a map.
    pub(crate) fn keep(&self, measurement: &str, run: &impl Serialize) -> anyhow::Result<()> {
        let Some(mut file) = self.file.as_ref() else { return Ok(()) };
        let at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let mut line = serde_json::to_string(&Line { at, measurement, run })?;
        line.push('\n');
        file.write_all(line.as_bytes()).context("cannot keep the numbers of a run")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Run {
        rate: f64,
    }

    #[test]
    fn each_run_is_a_line_of_json() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("raw");
        for rate in [1.5, 2.5] {
            Raw::open(Some(&path)).unwrap().keep("relay", &Run { rate }).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1]["measurement"], "relay");
        assert_eq!(lines[1]["rate"], 2.5);
        assert!(lines[1]["at"].as_u64().unwrap() > 0);
    }
}
