//! Writes the reference documents that come from the types: configuration keys and metrics.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

/// Writes the documents, or with `check` reports those that differ.
///
/// # Errors
/// A document cannot be read or written.
pub fn run(root: &Path, check: bool) -> anyhow::Result<Vec<String>> {
    let documents = [
        ("docs/configuration.md", mailtier_config::reference_markdown()),
        ("docs/metrics.md", mailtier_telemetry::reference_markdown()),
    ];
    let mut stale = Vec::new();
    for (name, content) in documents {
        let path = root.join(name);
        if fs::read_to_string(&path).is_ok_and(|present| present == content) {
            continue;
        }
        if check {
            stale.push(format!("{name}: differs from what the types say; run `make generate`"));
        } else {
            fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(stale)
}
