//! Writes the reference documents that come from the types and tables: configuration keys, metrics, bounce classes,
//! conformance, values of the chart; and the dashboards, from their definitions.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context as _;

use mailtier_types::{BounceClass, Change, State};

use crate::rfcs::{self, Rfcs};
use crate::values;

/// Writes the documents, or with `check` reports those that differ.
///
/// # Errors
/// A document cannot be read or written.
pub fn run(root: &Path, check: bool) -> anyhow::Result<Vec<String>> {
    let documents = [
        ("docs/configuration.md", mailtier_config::reference_markdown()),
        ("docs/metrics.md", mailtier_telemetry::reference_markdown()),
        ("docs/openapi.json", mailtier_api::rest::openapi_document()),
        ("docs/smtp.md", conformance(&Rfcs::read(root)?)),
        (
            "docs/classification.md",
            with_section(&fs::read_to_string(root.join("docs/classification.md"))?, "classes", &bounce_classes())?,
        ),
        (
            "docs/operate/kubernetes.md",
            with_section(
                &fs::read_to_string(root.join("docs/operate/kubernetes.md"))?,
                "values",
                &values::table(&fs::read_to_string(root.join("deploy/helm/mailtier/values.yaml"))?)?,
            )?,
        ),
        ("docs/queue.md", with_section(&fs::read_to_string(root.join("docs/queue.md"))?, "lifecycle", &lifecycle())?),
    ];
    let documents = documents.into_iter().map(|(name, content)| (name.to_owned(), content));
    let mut stale = Vec::new();
    for (name, content) in documents.chain(crate::operate::generated(root)?) {
        let path = root.join(&name);
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

/// A document with the part between `<!-- generated: name -->` and `<!-- end -->` replaced.
fn with_section(document: &str, name: &str, section: &str) -> anyhow::Result<String> {
    let (begin, end) = (format!("<!-- generated: {name} -->\n"), "<!-- end -->");
    let (before, rest) = document.split_once(&begin).with_context(|| format!("no section {name}"))?;
    let (_, after) = rest.split_once(end).with_context(|| format!("section {name} has no end"))?;
    Ok(format!("{before}{begin}{section}{end}{after}"))
}

/// Which change leads from which state to which.
fn lifecycle() -> String {
    let mut text = String::from("| state |");
    Change::ALL.iter().for_each(|change| text.push_str(&format!(" {} |", format!("{change:?}").to_lowercase())));
    text.push_str(&format!("\n|---|{}\n", "---|".repeat(Change::ALL.len())));
    for state in State::ALL {
        let _ = write!(text, "| **{state}** |");
        for change in Change::ALL {
            let _ = write!(text, " {} |", state.after(change).map_or("–", State::name));
        }
        text.push('\n');
    }
    text
}

/// What each bounce class means.
fn bounce_classes() -> String {
    let mut text = String::from("| class | means | waits of |\n|---|---|---|\n");
    for class in BounceClass::ALL {
        let _ = writeln!(text, "| `{class}` | {} | `{}` |", class.meaning().trim(), class.class());
    }
    text
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
            rfcs::State::Done => "done",
            rfcs::State::Partial => "partial",
            rfcs::State::Todo => "not yet",
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
