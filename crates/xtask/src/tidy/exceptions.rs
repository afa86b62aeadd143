//! `tidy.toml`: what is excused, each with its reason. The list only shrinks: an exception that excuses nothing is a
//! finding itself.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use super::Finding;

/// The content of `tidy.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exceptions {
    /// What is excused.
    #[serde(default)]
    pub(super) exception: Vec<Exception>,
}

/// One finding that is excused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exception {
    /// The check.
    pub(super) check: String,
    /// The place, without line numbers.
    pub(super) place: String,
    /// Why the code is better this way.
    pub(super) reason: String,
}

impl Exceptions {
    /// Reads the list.
    ///
    /// # Errors
    /// It is not there or does not parse.
    pub(super) fn read(root: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(root.join("tidy.toml")).context("cannot read tidy.toml")?;
        toml::from_str(&text).context("tidy.toml")
    }

    /// Takes out what is excused and adds the exceptions that excuse nothing.
    #[must_use]
    pub(super) fn apply(&self, findings: Vec<Finding>) -> Vec<Finding> {
        let excuses = |exception: &Exception, finding: &Finding| {
            exception.check == finding.check && exception.place == finding.place
        };
        let idle = self
            .exception
            .iter()
            .filter(|exception| {
                exception.reason.trim().is_empty() || !findings.iter().any(|finding| excuses(exception, finding))
            })
            .map(|exception| Finding {
                check: "exceptions",
                place: format!("tidy.toml: {} {}", exception.check, exception.place),
                message: "excuses nothing, or has no reason; take it out".to_owned(),
            })
            .collect::<Vec<_>>();
        findings
            .into_iter()
            .filter(|finding| !self.exception.iter().any(|exception| excuses(exception, finding)))
            .chain(idle)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(place: &str) -> Finding {
        Finding { check: "size", place: place.to_owned(), message: String::new() }
    }

    #[test]
    fn an_exception_excuses_its_finding_and_nothing_else() {
        let list: Exceptions =
            toml::from_str("[[exception]]\ncheck = \"size\"\nplace = \"a.rs\"\nreason = \"a table\"").unwrap();
        assert_eq!(list.apply(vec![finding("a.rs"), finding("b.rs")]), vec![finding("b.rs")]);
    }

    #[test]
    fn an_exception_that_excuses_nothing_is_found() {
        let list: Exceptions =
            toml::from_str("[[exception]]\ncheck = \"size\"\nplace = \"a.rs\"\nreason = \"a table\"").unwrap();
        assert_eq!(list.apply(vec![]).len(), 1);
    }
}
