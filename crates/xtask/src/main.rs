//! `cargo xtask`: the project's own chores. Responsible for parsing the command line; each chore is a module of the
//! library.

#![allow(clippy::print_stderr, reason = "a command-line tool")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Chores of the Mailtier workspace")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Checks the habits of the code base that no compiler checks.
    Tidy,
    /// Notes the fields of the protocol as released (proto/released.txt).
    Protocol,
    /// Checks rendered manifests of Kubernetes: against each other, and for what the programs understand.
    Manifests {
        /// Where they are: `helm-*.json` and `kustomize-*.json`, each a list of objects; and `secrets/<name>/<key>`.
        rendered: PathBuf,
        /// Where the programs are.
        #[arg(long, default_value = "target/debug")]
        programs: PathBuf,
    },
    /// Writes the reference documents that come from the types.
    Generate {
        /// Fails when a document on disk differs, and writes nothing.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    let root = mailtier_xtask::workspace_root()?;
    let findings: Vec<String> = match Arguments::parse().chore {
        Chore::Tidy => mailtier_xtask::tidy::run(&root)?.iter().map(ToString::to_string).collect(),
        Chore::Protocol => {
            mailtier_xtask::tidy::release_protocol(&root)?;
            Vec::new()
        }
        Chore::Manifests { rendered, programs } => mailtier_xtask::manifests::run(&rendered, &programs)?,
        Chore::Generate { check } => mailtier_xtask::generate::run(&root, check)?,
    };
    for finding in &findings {
        eprintln!("{finding}");
    }
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
