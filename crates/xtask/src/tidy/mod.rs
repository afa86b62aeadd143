//! `cargo xtask tidy`: the habits of docs/architecture.md that no compiler checks. Each module is one kind of check;
//! this one runs them all, and those of what operators are given, and takes out what `tidy.toml` excuses.

mod exceptions;
mod functions;
mod layers;
mod protocol;
mod rfcs;
mod source;
mod text;

use std::path::Path;

use exceptions::Exceptions;
pub use protocol::release as release_protocol;
use source::Source;

/// Something to put right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The check, by the name `tidy.toml` uses.
    pub check: &'static str,
    /// Where: a path below the root, perhaps with a line or an item.
    pub place: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} [{}]", self.place, self.message, self.check)
    }
}

/// Runs every check over the workspace and returns what it found.
///
/// # Errors
/// A file of the workspace cannot be read or does not parse.
pub fn run(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let sources = source::read_all(root)?;
    let mut findings = layers::check(root)?;
    for source in &sources {
        findings.extend(text::check(source));
        findings.extend(functions::check(source)?);
    }
    findings.extend(rfcs::check(root, &sources)?);
    findings.extend(protocol::check(root)?);
    findings.extend(crate::operate::check(root)?);
    let mut findings = Exceptions::read(root)?.apply(findings);
    findings.sort();
    Ok(findings)
}
