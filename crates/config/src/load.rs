//! Reads the file and the environment, finds keys that do not exist, and resolves secrets from files.

use std::path::{Path, PathBuf};

use config::{Environment, File, FileFormat, Value, ValueKind};

use crate::{Config, ConfigError, Key, Secret};

/// What the environment's variables begin with.
const PREFIX: &str = "MAILTIER";
/// Names more different than this are no suggestion (1 is equal).
const LEAST_SIMILARITY: f64 = 0.6;

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
        let config = Self::read(path, variables)?;
        config.check()?;
        Ok(config)
    }

    fn read(path: Option<&Path>, variables: std::collections::HashMap<String, String>) -> Result<Self, ConfigError> {
        let ours: config::Map<String, String> =
            variables.into_iter().filter(|(name, _)| name.starts_with(&format!("{PREFIX}__"))).collect();
        let mut environment = Environment::with_prefix(PREFIX)
            .prefix_separator("__")
            .separator("__")
            .try_parsing(true)
            .list_separator(",")
            .source(Some(ours));
        for (section, _, keys) in Self::SECTIONS {
            for key in keys.iter().filter(|key| key.kind.starts_with("list")) {
                environment = environment.with_list_parse_key(&format!("{section}.{}", key.name));
            }
        }
        let mut builder = config::Config::builder();
        if let Some(path) = path {
            builder = builder.add_source(File::new(&path.to_string_lossy(), FileFormat::Toml).required(true));
        }
        let read = builder.add_source(environment).build().map_err(|error| unreadable(path, &error))?;
        let tree: Value = read.clone().try_deserialize().map_err(|error| unreadable(path, &error))?;
        find_unknown(&tree)?;
        read.try_deserialize().map_err(|error| unreadable(path, &error))
    }
}

fn unreadable(path: Option<&Path>, error: &config::ConfigError) -> ConfigError {
    let place = path.map(|path| format!("{}: ", path.display())).unwrap_or_default();
    ConfigError::Unreadable(format!("{place}{error}"))
}

/// The first key that no section has, with the nearest that one has.
fn find_unknown(tree: &Value) -> Result<(), ConfigError> {
    let ValueKind::Table(sections) = &tree.kind else { return Ok(()) };
    for (name, content) in sections {
        let Some((section, _, keys)) = Config::SECTIONS.iter().find(|(section, ..)| section == name) else {
            let names = Config::SECTIONS.iter().map(|(section, ..)| (*section).to_owned());
            return Err(ConfigError::UnknownKey { key: name.clone(), suggestion: most_similar(name, names) });
        };
        let ValueKind::Table(content) = &content.kind else { continue };
        for key in content.keys() {
            if !keys.iter().any(|known| known.name == key) {
                return Err(ConfigError::UnknownKey {
                    key: format!("{section}.{key}"),
                    suggestion: suggest(section, key, keys),
                });
            }
        }
    }
    Ok(())
}

/// A name of the same section, else of any.
fn suggest(section: &str, key: &str, keys: &[Key]) -> Option<String> {
    let here = keys.iter().map(|known| format!("{section}.{}", known.name));
    let anywhere = || {
        Config::SECTIONS
            .iter()
            .filter(|(_, _, keys)| keys.iter().any(|known| known.name == key))
            .map(|(section, ..)| format!("{section}.{key}"))
            .next()
    };
    most_similar(&format!("{section}.{key}"), here.clone().filter(|name| similar_tail(name, key))).or_else(anywhere)
}

fn similar_tail(name: &str, key: &str) -> bool {
    let tail = name.rsplit('.').next().unwrap_or(name);
    strsim::jaro_winkler(tail, key) >= LEAST_SIMILARITY.max(0.7)
}

fn most_similar(name: &str, known: impl Iterator<Item = String>) -> Option<String> {
    known
        .map(|candidate| (strsim::jaro_winkler(&candidate, name), candidate))
        .filter(|(similarity, _)| *similarity >= LEAST_SIMILARITY)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// A secret given in place or in a file; a file's last line end is not part of it.
pub(crate) fn secret(
    key: &'static str,
    value: Option<&Secret>,
    file_key: &'static str,
    file: Option<&PathBuf>,
) -> Result<Option<Secret>, ConfigError> {
    match (value, file) {
        (Some(_), Some(_)) => Err(ConfigError::bad(key, format!("and `{file_key}` are both set; keep one"))),
        (Some(value), None) => Ok(Some(value.clone())),
        (None, None) => Ok(None),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path).map_err(|error| ConfigError::UnreadableFile {
                key: file_key,
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
