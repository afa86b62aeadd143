//! The environment's variables, and which of them a key comes from. Not responsible for what they say.

use std::collections::{BTreeMap, HashMap};

use config::ConfigBuilder;
use config::builder::DefaultState;

use crate::keys::{Place, place_of, unknown};
use crate::{ConfigError, Key};

/// What our variables begin with.
const PREFIX: &str = "MAILTIER__";

/// Ours, by the key that each sets.
pub(crate) struct Variables(BTreeMap<String, Variable>);

struct Variable {
    name: String,
    value: String,
}

impl Variables {
    pub(crate) fn new(all: HashMap<String, String>) -> Self {
        let ours = all.into_iter().filter_map(|(name, value)| {
            let key = name.strip_prefix(PREFIX)?.to_lowercase().replace("__", ".");
            Some((key, Variable { name, value }))
        });
        Self(ours.collect())
    }

    /// Adds them to what the file says.
    ///
    /// # Errors
    /// A variable for a key that does not exist, or that no variable can set.
    pub(crate) fn override_file(
        &self,
        mut builder: ConfigBuilder<DefaultState>,
    ) -> Result<ConfigBuilder<DefaultState>, ConfigError> {
        for (path, variable) in &self.0 {
            let key = key_to_set(path).map_err(|problem| variable.blame(problem))?;
            // Left as text: a token that looks like a number must not become one.
            let set = match key.kind.starts_with("list") {
                true => builder.set_override(path, elements(&variable.value)),
                false => builder.set_override(path, variable.value.clone()),
            };
            builder = set.map_err(|error| variable.blame(ConfigError::bad(path.as_str(), error.to_string())))?;
        }
        Ok(builder)
    }

    /// Says which variable a mistake came from, if one did.
    pub(crate) fn blame(&self, error: ConfigError) -> ConfigError {
        let key = error.key().map(|key| key.split('[').next().unwrap_or(key));
        match key.and_then(|key| self.0.get(key)) {
            Some(variable) => variable.blame(error),
            None => error,
        }
    }
}

impl Variable {
    fn blame(&self, problem: ConfigError) -> ConfigError {
        ConfigError::FromEnvironment { variable: self.name.clone(), problem: Box::new(problem) }
    }
}

fn key_to_set(path: &str) -> Result<&'static Key, ConfigError> {
    match place_of(path) {
        Some(Place::Section) => Err(ConfigError::bad(path, "is a section; name one of its keys too")),
        Some(Place::Key(key)) if key.kind.ends_with("table") || key.kind.ends_with("tables") => {
            Err(ConfigError::bad(path, format!("is a {}, which has its place in the file", key.kind)))
        }
        Some(Place::Key(key)) => Ok(key),
        None => Err(unknown(path)),
    }
}

fn elements(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|element| !element.is_empty()).map(str::to_owned).collect()
}
