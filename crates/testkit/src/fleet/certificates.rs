//! The certificates of a fleet, made as operators make them: with `mailtier certificates`. Not responsible for what they are
//! good for.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::installation::program;

/// An authority, and a certificate for each program.
#[derive(Debug, Clone)]
pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Makes all of them in a folder.
    ///
    /// # Errors
    /// `mailtier` is not built, or fails; what it said is in the error.
    pub fn make(folder: &Path) -> anyhow::Result<Self> {
        let this = Self { folder: folder.to_owned() };
        this.run("create")?;
        Ok(this)
    }

    /// Makes those of the programs anew.
    ///
    /// # Errors
    /// As [`make`](Self::make).
    pub fn renew(&self) -> anyhow::Result<()> {
        self.run("renew")
    }

    /// The authority's own.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// What tells a program of its own: `inbound`, `queue` or `outbound`.
    #[must_use]
    pub fn environment(&self, kind: &str) -> Vec<(String, String)> {
        let path = |name: &str| self.folder.join(name).to_string_lossy().into_owned();
        let variable = |key: &str, path: String| (format!("MAILTIER__CLUSTER__{key}"), path);
        vec![
            variable("TLS_CERTIFICATE", path(&format!("{kind}.pem"))),
            variable("TLS_KEY", path(&format!("{kind}.key"))),
            variable("TLS_CA", path("ca.pem")),
        ]
    }

    fn run(&self, what: &str) -> anyhow::Result<()> {
        let mut command = Command::new(program("mailtier")?);
        let output = command.args(["certificates", what, "--directory"]).arg(&self.folder).output();
        let output = output.context("cannot run mailtier")?;
        if !output.status.success() {
            bail!("mailtier certificates {what}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }
}
