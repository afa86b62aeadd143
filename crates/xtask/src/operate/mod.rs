//! What operators are given beside the programs: alert rules, dashboards, runbooks, units, documents. Each module checks one kind
//! of these against what the programs really have; this one runs them all. Not responsible for what Prometheus and systemd
//! make of a file: promtool and systemd-analyze say that.

mod alerts;
mod dashboard_model;
mod dashboards;
mod keys;
mod known;
mod links;
mod queries;
mod units;

use std::path::Path;

use anyhow::Context as _;

use crate::tidy::Finding;
pub(crate) use dashboards::generated;
use known::Known;

/// What is not as the programs have it.
///
/// # Errors
/// A file cannot be read.
pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let mut known = Known::read(root)?;
    let rules = alerts::read(root)?;
    let mut findings = alerts::check(root, &rules, &mut known)?;
    findings.extend(dashboards::check(root, &known)?);
    findings.extend(known.unused());
    findings.extend(links::check(root)?);
    findings.extend(keys::check(root, &known)?);
    findings.extend(units::check(root)?);
    Ok(findings)
}

/// The text of a file below the root.
fn text(root: &Path, path: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"))
}

/// The files in a folder and below it that end so, below the root.
fn files(root: &Path, folder: &str, endings: &[&str]) -> anyhow::Result<Vec<String>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if endings.iter().any(|ending| path.ends_with(ending)) {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The names of the files of a folder that end so, in order. A folder that is not there has none.
fn names(root: &Path, folder: &str, ending: &str) -> anyhow::Result<Vec<String>> {
    let Ok(entries) = std::fs::read_dir(root.join(folder)) else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(stem) = name.strip_suffix(ending) {
            names.push(stem.to_owned());
        }
    }
    names.sort();
    Ok(names)
}
