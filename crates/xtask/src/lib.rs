//! The project's own chores, as a library so that tests run them too. Not responsible for anything that ships.
#![allow(clippy::print_stderr, reason = "a command-line tool")]

pub mod generate;
pub mod manifests;
mod operate;
mod rfcs;
pub mod tidy;
mod values;

use std::path::PathBuf;

/// The top of the workspace.
///
/// # Errors
/// The package lies outside a workspace of the expected shape.
pub fn workspace_root() -> anyhow::Result<PathBuf> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().nth(2).ok_or_else(|| anyhow::anyhow!("no workspace above {}", here.display()))?;
    Ok(root.to_path_buf())
}
