//! `rfc.toml`: each RFC with its state. One that is marked done must be cited in code and in a test.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use super::{Finding, Source};
use crate::rfcs::{Rfc, Rfcs, State};

/// RFCs that are marked done without the citations to show it.
///
/// # Errors
/// `rfc.toml` cannot be read.
pub(super) fn check(root: &Path, sources: &[Source]) -> anyhow::Result<Vec<Finding>> {
    let rfcs = Rfcs::read(root)?;
    let dialogues = read_dialogues(root)?;
    Ok(rfcs
        .rfc
        .iter()
        .filter(|rfc| rfc.state == State::Done)
        .flat_map(|rfc| check_one(rfc, sources, &dialogues))
        .collect())
}

fn check_one(rfc: &Rfc, sources: &[Source], dialogues: &[String]) -> Vec<Finding> {
    let citation = format!("RFC {}", rfc.number);
    let cites = |text: &str| {
        text.match_indices(&citation).any(|(place, _)| {
            !text.get(place + citation.len()..).unwrap_or_default().starts_with(|next: char| next.is_ascii_digit())
        })
    };
    let (mut in_code, mut in_test) = (false, dialogues.iter().any(|dialogue| cites(dialogue)));
    for source in sources.iter().filter(|source| source.crate_name() != "xtask") {
        let shipped = source.text.lines().take(source.shipped_lines()).collect::<Vec<_>>().join("\n");
        let rest = source.text.get(shipped.len()..).unwrap_or_default();
        if source.is_test_file() {
            in_test |= cites(&source.text);
        } else {
            in_code |= cites(&shipped);
            in_test |= cites(rest);
        }
    }
    let found =
        |message: &str| Finding { check: "rfc", place: format!("rfc.toml: {citation}"), message: message.to_owned() };
    let mut findings = Vec::new();
    if !in_code {
        findings.push(found("is marked done and cited by no code"));
    }
    if !in_test {
        findings.push(found("is marked done and cited by no test"));
    }
    findings
}

/// The dialogue transcripts, which are tests too.
fn read_dialogues(root: &Path) -> anyhow::Result<Vec<String>> {
    let folder = root.join("crates/smtp/tests/dialogues");
    let Ok(entries) = fs::read_dir(&folder) else { return Ok(Vec::new()) };
    entries
        .map(|entry| {
            let path = entry?.path();
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        })
        .collect()
}
