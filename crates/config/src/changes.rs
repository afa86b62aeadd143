//! What two configurations differ in, key by key, as an operator reads it. Not responsible for reading them (`reading`),
//! nor for what follows from a change.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use config::Value as Said;
use toml::{Table, Value};

use crate::keys::{section_keys, table_keys};
use crate::load::value_at;
use crate::secret::REDACTED;
use crate::{Config, Key};

/// What is shown of a value, in characters.
const MAX_SHOWN_CHARS: usize = 200;
/// What is shown of a key without a value.
const NOT_SET: &str = "not set";
/// The most pieces that a number behind a name has to tell from others.
const MOST_ALIKE: usize = 1 << 16;

/// By which keys an operator tells the tables of a list apart.
const NAMED_BY: &[(&str, &[&str])] = &[
    ("inbound.listeners", &["name"]),
    ("inbound.networks", &["networks"]),
    ("inbound.tenants", &["id"]),
    ("inbound.call_ahead", &["domains"]),
    ("queue.destinations", &["domain"]),
    ("queue.retries", &["class"]),
    ("queue.providers", &["name"]),
    ("queue.sites", &["exchangers"]),
    ("queue.tenants", &["id"]),
    ("queue.pools", &["name"]),
    ("queue.pool_rules", &["pool", "tenant", "sender_domain", "destination", "provider"]),
    ("outbound.pools", &["name"]),
    ("outbound.pools.addresses", &["address"]),
    ("outbound.routes", &["name", "domain", "recipient", "sender", "tenant", "class"]),
    ("suppression.tenants", &["id"]),
];

/// One key whose value is another than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key with its section; tables of a list go by their names: `queue.destinations[example.com].rate`.
    pub key: String,
    /// What it was; of a secret, that there is one.
    pub from: String,
    /// What it is.
    pub to: String,
    /// A running program does not take it up.
    pub needs_restart: bool,
}

/// Every key that has a value, by its path.
pub(crate) type Entries = BTreeMap<String, Entry>;

/// The value of one key.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: &'static Key,
    /// As it is written, secrets left out.
    pub(crate) text: String,
    /// Tells secrets apart, and nothing else.
    secret: Option<u64>,
    /// The table of a list that it is in.
    within: Option<Within>,
}

#[derive(Clone, Debug)]
struct Within {
    path: String,
    /// A running program takes up no further table of that list.
    needs_restart: bool,
}

/// Every key of a configuration; `said` is what it was read from.
pub(crate) fn entries(config: &Config, said: &Said) -> Entries {
    let mut walk = Walk { said, found: Entries::new() };
    if let Ok(Value::Table(sections)) = Value::try_from(config) {
        for (name, section) in &sections {
            if let (Some(keys), Value::Table(section)) = (section_keys(name), section) {
                walk.table(
                    &Place { path: name.clone(), said: name.clone(), bare: name.clone(), within: None },
                    section,
                    keys,
                );
            }
        }
    }
    walk.found
}

struct Walk<'a> {
    said: &'a Said,
    found: Entries,
}

/// Where a table is: as it is shown, as it was said, and without what tells one of a list from another.
struct Place {
    path: String,
    said: String,
    bare: String,
    within: Option<Within>,
}

impl Walk<'_> {
    fn table(&mut self, place: &Place, table: &Table, keys: &'static [Key]) {
        for key in keys {
            let Some(value) = table.get(key.name) else { continue };
            let under = |path: &str| format!("{path}.{}", key.name);
            let inner = Place {
                path: under(&place.path),
                said: under(&place.said),
                bare: under(&place.bare),
                within: place.within.clone(),
            };
            match value {
                Value::Table(table) => self.table(&inner, table, table_keys(&inner.bare).unwrap_or_default()),
                Value::Array(tables) if key.kind == "list of tables" => self.list(inner, tables, key),
                value => self.value(inner, text(value), key),
            }
        }
    }

    fn list(&mut self, place: Place, tables: &[Value], key: &'static Key) {
        let mut names: Vec<String> = Vec::with_capacity(tables.len());
        for (index, table) in tables.iter().enumerate() {
            let Value::Table(table) = table else { continue };
            let name = distinct(name_of(&place.bare, table, index), &names);
            let path = format!("{}[{name}]", place.path);
            let within = Some(Within { path: path.clone(), needs_restart: key.needs_restart });
            let inner = Place { path, said: format!("{}[{index}]", place.said), bare: place.bare.clone(), within };
            self.table(&inner, table, table_keys(&place.bare).unwrap_or_default());
            names.push(name);
        }
        // That one was added, removed or moved.
        self.value(place, format!("[{}]", names.join(", ")), key);
    }

    fn value(&mut self, place: Place, text: String, key: &'static Key) {
        let digest = |said: &Said| {
            let mut hasher = DefaultHasher::new();
            said.to_string().hash(&mut hasher);
            hasher.finish()
        };
        let secret = (text == REDACTED).then(|| value_at(self.said, &place.said).map(digest)).flatten();
        self.found.insert(place.path, Entry { key, text, secret, within: place.within });
    }
}

/// What an operator calls a table of a list.
fn name_of(list: &str, table: &Table, index: usize) -> String {
    let keys = NAMED_BY.iter().find(|(name, _)| *name == list).map_or(&[][..], |(_, keys)| keys);
    let names: Vec<String> = keys.iter().filter_map(|key| table.get(*key)).map(text).collect();
    if names.is_empty() { index.to_string() } else { names.join(" ") }
}

fn distinct(name: String, others: &[String]) -> String {
    if !others.contains(&name) {
        return name;
    }
    let numbered = (2..MOST_ALIKE).map(|number| format!("{name} #{number}"));
    numbered.into_iter().find(|name| !others.contains(name)).unwrap_or(name)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(elements) => match elements.as_slice() {
            [one] => text(one),
            elements => format!("[{}]", elements.iter().map(text).collect::<Vec<_>>().join(", ")),
        },
        value => value.to_string(),
    }
}

/// What differs, in the order of the keys.
pub(crate) fn between(before: &Entries, after: &Entries) -> Vec<Change> {
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    keys.into_iter().filter_map(|key| change(key, (before, after))).collect()
}

fn change(key: &str, (before, after): (&Entries, &Entries)) -> Option<Change> {
    let (old, new) = (before.get(key), after.get(key));
    let is_same = |old: &Entry, new: &Entry| (&old.text, old.secret) == (&new.text, new.secret);
    let (known, needs_restart) = match (old, new) {
        (Some(old), Some(new)) if is_same(old, new) => return None,
        (Some(_), Some(new)) => (new, new.key.needs_restart),
        (Some(entry), None) => (entry, entry.needs_restart_beside(after)),
        (None, Some(entry)) => (entry, entry.needs_restart_beside(before)),
        (None, None) => return None,
    };
    // Of a table that comes or goes, what it does not say is no news.
    let says_nothing = matches!(known.text.as_str(), "" | "[]" | "false");
    if says_nothing && (old.is_none() || new.is_none()) && known.is_alone_in(if old.is_none() { before } else { after })
    {
        return None;
    }
    let shown = |entry: Option<&Entry>| entry.map_or_else(|| NOT_SET.to_owned(), |entry| shorten(&entry.text));
    Some(Change { key: key.to_owned(), from: shown(old), to: shown(new), needs_restart })
}

impl Entry {
    /// Whether the table that it is in is in no list of the other configuration.
    fn is_alone_in(&self, other: &Entries) -> bool {
        self.within.as_ref().is_some_and(|within| {
            let first = other.range(within.path.clone()..).next();
            first.is_none_or(|(path, _)| !path.starts_with(&within.path))
        })
    }

    fn needs_restart_beside(&self, other: &Entries) -> bool {
        let of_list = self.within.as_ref().is_some_and(|within| within.needs_restart) && self.is_alone_in(other);
        self.key.needs_restart || of_list
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
