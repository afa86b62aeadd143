//! Writes the reference documents that come from the types and tables: configuration keys, metrics, conformance.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context as _;

use crate::rfcs::{Rfcs, State};

/// Writes the documents, or with `check` reports those that differ.
///
/// # Errors
/// A document cannot be read or written.
pub fn run(root: &Path, check: bool) -> anyhow::Result<Vec<String>> {
    let documents = [
        ("docs/configuration.md", mailtier_config::reference_markdown()),
        ("docs/metrics.md", mailtier_telemetry::reference_markdown()),
        ("docs/smtp.md", conformance(&Rfcs::read(root)?)),
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

/// docs/smtp.md, from rfc.toml.
fn conformance(rfcs: &Rfcs) -> String {
    let mut text = String::from(
        "# SMTP: what Mailtier conforms to\n\n\
         <!-- Generated from rfc.toml by `make generate`; edit that. -->\n\n\
         Each RFC marked *done* is cited beside the code that implements it and beside a test that would fail without it;\n\
         `cargo xtask tidy` checks that. *Partial* says in the last column what is missing.\n\n\
         | RFC | title | state | remarks |\n|---|---|---|---|\n",
    );
    for rfc in &rfcs.rfc {
        let state = match rfc.state {
            State::Done => "done",
            State::Partial => "partial",
            State::Todo => "not yet",
        };
        let number = rfc.number;
        let _ = writeln!(
            text,
            "| [{number}](https://www.rfc-editor.org/rfc/rfc{number}) | {} | {state} | {} |",
            rfc.title, rfc.note
        );
    }
    text.push_str("\n## Beside the RFCs\n\n| what | defined by | remarks |\n|---|---|---|\n");
    for other in &rfcs.other {
        let _ = writeln!(text, "| {} | {} | {} |", other.name, other.definition, other.note);
    }
    text
}
