//! What can be wrong with a configuration, each with how to mend it.

use std::path::PathBuf;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read, or is not TOML, or a value has the wrong type; the text names the place.
    #[error("{0}")]
    Unreadable(String),
    /// A key or section that does not exist.
    #[error("unknown key `{key}`{}", nearest(.suggestion))]
    UnknownKey {
        /// As it stands in the file or the environment, with its section.
        key: String,
        /// The nearest that exists.
        suggestion: Option<String>,
    },
    /// A value that cannot be used.
    #[error("`{key}` {problem}")]
    BadValue {
        /// The key, with its section.
        key: &'static str,
        /// What is wrong with its value, and what would be right.
        problem: String,
    },
    /// A file that a key names.
    #[error("`{key}`: cannot read {}: {reason}", path.display())]
    UnreadableFile {
        /// The key, with its section.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
}

fn nearest(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

impl ConfigError {
    /// A value that cannot be used.
    pub(crate) fn bad(key: &'static str, problem: impl Into<String>) -> Self {
        Self::BadValue { key, problem: problem.into() }
    }
}
