//! SQL on the private PostgreSQL of `mailtier up`, through psql: for tables that are filled, and for what the server counts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

/// The database below a data folder.
#[derive(Debug)]
pub(crate) struct Database {
    folder: PathBuf,
}

impl Database {
    /// Of the system with this data folder, which need not run yet.
    pub(crate) fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// psql, connected, without anything to do yet.
    pub(crate) fn psql(&self) -> anyhow::Result<Command> {
        let password = fs::read_to_string(self.folder.join("secrets").join("database"))?;
        let mut psql = Command::new("psql");
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--host"])
            .arg(self.folder.join("run"))
            .args(["--username=mailtier", "--dbname=postgres"])
            .env("PGPASSWORD", password.trim());
        Ok(psql)
    }

    /// Runs SQL, and returns what it says.
    pub(crate) fn sql(&self, text: &str) -> anyhow::Result<String> {
        let output = self.psql()?.args(["--command", text]).output().context("cannot start psql")?;
        if !output.status.success() {
            bail!("psql: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}
