//! Reads the file and the environment into a configuration, and resolves secrets from files.

use std::path::{Path, PathBuf};

use config::{ConfigError as ReadError, File, FileFormat, Value, ValueKind};

use crate::environment::Variables;
use crate::keys::{self, Place, expectation, place_of, show};
use crate::{Config, ConfigError, Secret};

impl Config {
    /// Reads the file, if any, then the process's environment, and checks the result.
    ///
    /// # Errors
    /// [`ConfigError`] names what is wrong and how to mend it.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        Self::load_with(path, std::env::vars().collect())
    }

    /// The same with a given environment.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_with(
        path: Option<&Path>,
        variables: std::collections::HashMap<String, String>,
    ) -> Result<Self, ConfigError> {
        Self::load_tree(path, variables).map(|(config, _)| config)
    }

    /// The same, with what was said, secrets among it.
    pub(crate) fn load_tree(
        path: Option<&Path>,
        variables: std::collections::HashMap<String, String>,
    ) -> Result<(Self, Value), ConfigError> {
        let variables = Variables::new(variables);
        let (config, tree) = Self::read(path, &variables).map_err(|error| variables.blame(error))?;
        config.check().map_err(|error| variables.blame(error))?;
        Ok((config, tree))
    }

    fn read(path: Option<&Path>, variables: &Variables) -> Result<(Self, Value), ConfigError> {
        let mut builder = config::Config::builder();
        if let Some(path) = path {
            builder = builder.add_source(File::new(&path.to_string_lossy(), FileFormat::Toml).required(true));
        }
        let read = variables.override_file(builder)?.build().map_err(|error| unreadable(path, &error))?;
        let tree: Value = read.clone().try_deserialize().map_err(|error| unreadable(path, &error))?;
        keys::check(&tree)?;
        match read.try_deserialize() {
            Ok(config) => Ok((config, tree)),
            Err(error) => Err(explain(&error, &tree).unwrap_or_else(|| unreadable(path, &error))),
        }
    }
}

fn unreadable(path: Option<&Path>, error: &ReadError) -> ConfigError {
    let place = path.map(|path| format!("{}: ", path.display())).unwrap_or_default();
    let what = match error {
        ReadError::FileParse { cause, .. } => cause.to_string(),
        error => error.to_string(),
    };
    ConfigError::Unreadable(format!("{place}{}", what.trim_end()))
}

/// What a value that cannot be read means to an operator: its key, itself, and what would be right.
fn explain(error: &ReadError, tree: &Value) -> Option<ConfigError> {
    let (key, reason) = match error {
        ReadError::At { error, key: Some(key), .. } => (key, Some(error.to_string())),
        ReadError::Type { expected, key: Some(key), .. } => (key, range(expected).map(str::to_owned)),
        _ => return None,
    };
    let key = with_dots(key);
    let value = value_at(tree, &key)?;
    let kind = match place_of(&key) {
        Some(Place::Key(key)) => key.kind,
        _ => return None,
    };
    let kind = if key.ends_with(']') { kind.trim_start_matches("list of ") } else { kind };
    let expected = match kind {
        // They say themselves which words there are.
        "word" | "number" | "numbers" => reason.unwrap_or_else(|| expectation(kind, &key)),
        _ => expectation(kind, &key),
    };
    Some(ConfigError::bad(key, format!("is {}; {expected}", show(value))))
}

/// The library forgets the dot between an index and a key.
fn with_dots(key: &str) -> String {
    key.split(']')
        .map(
            |part| {
                if part.starts_with(|first: char| first.is_alphabetic()) { format!(".{part}") } else { part.to_owned() }
            },
        )
        .collect::<Vec<_>>()
        .join("]")
        .trim_start_matches('.')
        .to_owned()
}

/// What the library means by the names of its types.
fn range(expected: &str) -> Option<&'static str> {
    Some(match expected {
        "an unsigned 16 bit integer" => "expected a whole number from 0 to 65535",
        "an unsigned 32 bit integer" => "expected a whole number from 0 to 4294967295",
        "an signed 32 bit integer" => "expected a whole number from -2147483648 to 2147483647",
        text if text.starts_with("an unsigned") => "expected a whole number, 0 or more",
        _ => return None,
    })
}

/// The value that a path with indices leads to.
pub(crate) fn value_at<'a>(tree: &'a Value, path: &str) -> Option<&'a Value> {
    path.split(['.', '[']).try_fold(tree, |value, segment| match &value.kind {
        ValueKind::Table(table) => table.get(segment),
        ValueKind::Array(elements) => elements.get(segment.strip_suffix(']')?.parse::<usize>().ok()?),
        _ => None,
    })
}

/// A secret given in place or in a file; a file's last line end is not part of it.
pub(crate) fn secret(
    key: &str,
    value: Option<&Secret>,
    file_key: &str,
    file: Option<&PathBuf>,
) -> Result<Option<Secret>, ConfigError> {
    match (value, file) {
        (Some(_), Some(_)) => Err(ConfigError::bad(key, format!("and `{file_key}` are both set; keep one"))),
        (Some(value), None) if value.expose().is_empty() => {
            Err(ConfigError::bad(key, "is empty; give it a value, or leave it out"))
        }
        (Some(value), None) => Ok(Some(value.clone())),
        (None, None) => Ok(None),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path).map_err(|error| ConfigError::UnreadableFile {
                key: file_key.to_owned(),
                path: path.clone(),
                reason: error.to_string(),
            })?;
            let text = text.trim_end_matches(['\r', '\n']).to_owned();
            if text.is_empty() {
                return Err(ConfigError::bad(file_key, format!("names {}, which is empty", path.display())));
            }
            Ok(Some(Secret::new(text)))
        }
    }
}
