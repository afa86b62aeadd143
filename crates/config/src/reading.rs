//! A configuration as it was read once: what a running program compares with what it reads later. Not responsible for
//! when that is, nor for what follows.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::changes::{Change, Entries, Entry, between, entries};
use crate::{Config, ConfigError};

/// Files that programs read again by themselves when they change.
const LOOKED_AFTER: &[&str] = &["inbound.recipients_file", "inbound.aliases_file", "queue.classification"];

/// A configuration, and what it says key by key.
#[derive(Debug)]
pub struct Reading {
    config: Arc<Config>,
    entries: Entries,
}

/// A file that a key names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// The key with its section.
    pub key: String,
    /// The file.
    pub path: PathBuf,
    /// A running program does not read it again.
    pub needs_restart: bool,
}

impl Reading {
    /// As [`Config::load`].
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        Self::load_with(path, std::env::vars().collect())
    }

    /// As [`Config::load_with`].
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_with(path: Option<&Path>, variables: HashMap<String, String>) -> Result<Self, ConfigError> {
        let (config, said) = Config::load_tree(path, variables)?;
        let entries = entries(&config, &said);
        Ok(Self { config: Arc::new(config), entries })
    }

    /// What was read.
    #[must_use]
    pub const fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// What is another now than in an earlier reading, of the sections or keys that a program reads.
    #[must_use]
    pub fn changes_since(&self, before: &Self, reads: &[&str]) -> Vec<Change> {
        let mut changes = between(&before.entries, &self.entries);
        changes.retain(|change| is_of(&change.key, reads));
        changes
    }

    /// The files that a program reads because a key names them, but for those it looks after by itself.
    #[must_use]
    pub fn files(&self, reads: &[&str]) -> Vec<NamedFile> {
        let named = self.read_by(reads).filter(|(key, _)| !LOOKED_AFTER.contains(key));
        named.flat_map(|(key, entry)| files_of(key, entry)).collect()
    }

    /// A number for all that a running program takes up, secrets left out: the same where two processes of one version
    /// have the same.
    #[must_use]
    pub fn fingerprint(&self, reads: &[&str]) -> u32 {
        let mut hasher = DefaultHasher::new();
        for (key, entry) in self.read_by(reads).filter(|(_, entry)| !entry.key.needs_restart) {
            (key, &entry.text).hash(&mut hasher);
        }
        let [a, b, c, d, ..] = hasher.finish().to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    fn read_by<'a>(&'a self, reads: &'a [&str]) -> impl Iterator<Item = (&'a str, &'a Entry)> {
        self.entries.iter().map(|(key, entry)| (key.as_str(), entry)).filter(|(key, _)| is_of(key, reads))
    }
}

fn files_of(key: &str, entry: &Entry) -> Vec<NamedFile> {
    let paths: Vec<&str> = match entry.key.kind {
        "path" | "file" => vec![entry.text.as_str()],
        "list of pairs of paths" => {
            let pairs = entry.text.trim_matches(['[', ']']).split(", ");
            pairs.flat_map(|pair| pair.split(':')).filter(|path| !path.is_empty()).collect()
        }
        _ => Vec::new(),
    };
    let named =
        |path: &str| NamedFile { key: key.to_owned(), path: path.into(), needs_restart: entry.key.needs_restart };
    paths.into_iter().map(named).collect()
}

/// Whether a key is one of these, or in one of these sections.
fn is_of(key: &str, reads: &[&str]) -> bool {
    let is_below =
        |read: &&str| key.strip_prefix(*read).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
    reads.iter().any(is_below)
}
