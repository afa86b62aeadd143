//! The Rust files of the workspace, read once. Responsible for telling code from tests.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// A Rust file.
#[derive(Debug)]
pub(super) struct Source {
    /// Below the root, with forward slashes.
    pub(super) path: String,
    /// Its text.
    pub(super) text: String,
}

impl Source {
    /// Whether the whole file is test, example or benchmark code.
    #[must_use]
    pub(super) fn is_test_file(&self) -> bool {
        ["/tests/", "/benches/", "/examples/"].iter().any(|folder| self.path.contains(folder))
            || self.path.ends_with("/tests.rs")
            || self.path.starts_with("crates/testkit/")
    }

    /// The lines before a unit-test module: what ships.
    #[must_use]
    pub(super) fn shipped_lines(&self) -> usize {
        let lines: Vec<&str> = self.text.lines().collect();
        lines.iter().position(|line| line.trim_start() == "#[cfg(test)]").unwrap_or(lines.len())
    }

    /// The crate's folder name.
    #[must_use]
    pub(super) fn crate_name(&self) -> &str {
        self.path.split('/').nth(1).unwrap_or_default()
    }
}

/// Every Rust file below `crates/`.
///
/// # Errors
/// A folder or file cannot be read.
pub(super) fn read_all(root: &Path) -> anyhow::Result<Vec<Source>> {
    let mut sources = Vec::new();
    let mut folders = vec![root.join("crates")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                if path.file_name().is_some_and(|name| name != "target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(read(root, &path)?);
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

fn read(root: &Path, path: &PathBuf) -> anyhow::Result<Source> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let below = path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/");
    Ok(Source { path: below, text })
}
