//! What can be wrong with a configuration, each with how to mend it.

use std::path::PathBuf;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read, or is not TOML; the text names the place.
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
        key: String,
        /// What is wrong with its value, and what would be right.
        problem: String,
    },
    /// A file that a key names.
    #[error("`{key}`: cannot read {}: {reason}", path.display())]
    UnreadableFile {
        /// The key, with its section.
        key: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The key was set by a variable of the environment, not by the file.
    #[error("environment variable `{variable}`: {problem}")]
    FromEnvironment {
        /// The variable.
        variable: String,
        /// What is wrong.
        problem: Box<ConfigError>,
    },
}

fn nearest(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

impl ConfigError {
    /// A value that cannot be used: what is wrong with it, and what would be right.
    pub fn bad(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::BadValue { key: key.into(), problem: problem.into() }
    }

    /// Whether it says itself where the mistake is, so that it need not be blamed on the file.
    #[must_use]
    pub const fn names_its_source(&self) -> bool {
        matches!(self, Self::Unreadable(_) | Self::FromEnvironment { .. })
    }

    /// The key that it is about.
    pub(crate) fn key(&self) -> Option<&str> {
        match self {
            Self::UnknownKey { key, .. } | Self::BadValue { key, .. } | Self::UnreadableFile { key, .. } => Some(key),
            Self::Unreadable(_) | Self::FromEnvironment { .. } => None,
        }
    }
}
