//! Which keys there are, and whether what was read has only those, each with a value of its kind. Not responsible for
//! what the values mean.

use config::{Map, Value, ValueKind};

use crate::{Config, ConfigError, Key, networks};

/// Names more different than this are no suggestion (1 is equal).
const LEAST_SIMILARITY: f64 = 0.7;
/// What is shown of a value, in characters.
const MAX_SHOWN_CHARS: usize = 80;

/// Keys without a default, of tables that mean nothing without them.
const REQUIRED: &[(&str, &[&str])] = &[
    ("inbound.listeners", &["name", "listen"]),
    ("inbound.networks", &["networks"]),
    ("inbound.tenants", &["id"]),
    ("inbound.call_ahead", &["domains", "server"]),
    ("inbound.oauth", &["issuer", "audience"]),
    ("queue.destinations", &["domain"]),
    ("queue.retries", &["class"]),
    ("queue.providers", &["name", "exchangers"]),
    ("queue.sites", &["exchangers", "provider"]),
    ("queue.tenants", &["id"]),
    ("queue.pools", &["name"]),
    ("queue.pools.warm_up", &["began", "per_day"]),
    ("queue.pool_rules", &["pool"]),
    ("outbound.pools", &["name"]),
    ("outbound.pools.addresses", &["address"]),
    ("outbound.pools.proxy", &["protocol", "server"]),
    ("suppression.tenants", &["id", "mode"]),
];

/// What a path leads to.
pub(crate) enum Place {
    /// A section.
    Section,
    /// A key of a section or of a table within one.
    Key(&'static Key),
}

/// Where a path such as `inbound.listeners[0].tls` leads, if anywhere.
pub(crate) fn place_of(path: &str) -> Option<Place> {
    let bare: Vec<&str> = path.split('.').map(|segment| segment.split('[').next().unwrap_or(segment)).collect();
    let (section, rest) = bare.split_first()?;
    let keys = section_keys(section)?;
    let Some((name, rest)) = rest.split_first() else { return Some(Place::Section) };
    let key = find(keys, name)?;
    match rest {
        [] => Some(Place::Key(key)),
        // A list of tables has indices before its keys; without them it is the list that was meant.
        _ if key.kind == "list of tables" && !path.contains('[') => Some(Place::Key(key)),
        [tables @ .., within] => {
            let table = [&[*section, *name], tables].concat().join(".");
            find(table_keys(&table)?, within).map(Place::Key)
        }
    }
}

pub(crate) fn section_keys(name: &str) -> Option<&'static [Key]> {
    Config::SECTIONS.iter().find(|(section, ..)| *section == name).map(|(_, _, keys)| *keys)
}

pub(crate) fn table_keys(path: &str) -> Option<&'static [Key]> {
    Config::TABLES.iter().find(|(name, ..)| name.trim_matches(['[', ']']) == path).map(|(_, _, keys)| *keys)
}

/// A path without its indices.
fn bare(path: &str) -> String {
    path.split('.').map(|segment| segment.split('[').next().unwrap_or(segment)).collect::<Vec<_>>().join(".")
}

pub(crate) fn find(keys: &'static [Key], name: &str) -> Option<&'static Key> {
    keys.iter().find(|key| key.name == name)
}

/// The first key that is none, is missing, or has a value of another kind than its own.
pub(crate) fn check(tree: &Value) -> Result<(), ConfigError> {
    let ValueKind::Table(sections) = &tree.kind else { return Ok(()) };
    for (section, content) in sorted(sections) {
        let keys = section_keys(section).ok_or_else(|| unknown(section))?;
        let ValueKind::Table(content) = &content.kind else {
            return Err(ConfigError::bad(section, format!("is {}; expected a section, `[{section}]`", show(content))));
        };
        check_table(section, content, keys)?;
    }
    Ok(())
}

/// `path` has indices, as messages have it.
fn check_table(path: &str, content: &Map<String, Value>, keys: &'static [Key]) -> Result<(), ConfigError> {
    for (name, value) in sorted(content) {
        let key = find(keys, name).ok_or_else(|| unknown(&format!("{path}.{name}")))?;
        check_value(&format!("{path}.{name}"), key.kind, value)?;
    }
    Ok(())
}

fn check_value(path: &str, kind: &str, value: &Value) -> Result<(), ConfigError> {
    let wrong = || Err(ConfigError::bad(path, format!("is {}; {}", show(value), expectation(kind, path))));
    match (kind, &value.kind) {
        ("table", ValueKind::Table(content)) => check_inner(&bare(path), path, content),
        ("list of tables", ValueKind::Array(tables)) => tables.iter().enumerate().try_for_each(|(index, table)| {
            let one = format!("{path}[{index}]");
            match &table.kind {
                ValueKind::Table(content) => check_inner(&bare(path), &one, content),
                _ => Err(ConfigError::bad(one, format!("is {}; {}", show(table), expectation(kind, path)))),
            }
        }),
        (kind, ValueKind::Array(elements)) if kind.starts_with("list of ") => {
            let one = kind.trim_start_matches("list of ");
            let checked = |(index, element)| check_value(&format!("{path}[{index}]"), one, element);
            elements.iter().enumerate().try_for_each(checked)
        }
        (_, ValueKind::Array(_) | ValueKind::Table(_) | ValueKind::Nil) => wrong(),
        (kind, _) if kind.starts_with("list") || kind.ends_with("table") => wrong(),
        ("number" | "numbers", ValueKind::Boolean(_) | ValueKind::Float(_)) => wrong(),
        ("number" | "numbers", ValueKind::String(text)) if text.parse::<i64>().is_err() => wrong(),
        ("number from 0 to 1", ValueKind::Boolean(_)) => wrong(),
        ("number from 0 to 1", ValueKind::String(text)) if text.parse::<f64>().is_err() => wrong(),
        ("boolean", ValueKind::I64(_) | ValueKind::Float(_)) => wrong(),
        // A variable's words for it, such as `1` and `yes`, are taken.
        ("boolean", ValueKind::String(_)) if value.clone().into_bool().is_err() => wrong(),
        _ => Ok(()),
    }
}

/// A table within a section: `table` is which, `path` the one that is looked at.
fn check_inner(table: &str, path: &str, content: &Map<String, Value>) -> Result<(), ConfigError> {
    check_table(path, content, table_keys(table).unwrap_or_default())?;
    let required = REQUIRED.iter().find(|(name, _)| *name == table).map_or(&[][..], |(_, keys)| keys);
    match required.iter().find(|key| !content.contains_key(**key)) {
        Some(key) => Err(ConfigError::bad(format!("{path}.{key}"), "is not set, and has no default; give it")),
        None => Ok(()),
    }
}

/// In an order that is the same each time.
fn sorted(table: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut all: Vec<_> = table.iter().collect();
    all.sort_by_key(|(name, _)| name.as_str());
    all
}

/// A value as messages show it.
pub(crate) fn show(value: &Value) -> String {
    let text = match &value.kind {
        ValueKind::Table(_) => return "a table".to_owned(),
        ValueKind::Array(_) => return "a list".to_owned(),
        ValueKind::Nil => return "nothing".to_owned(),
        ValueKind::String(text) => text.clone(),
        _ => value.clone().into_string().unwrap_or_default(),
    };
    quote(&text)
}

/// A text as messages show it: on one line, and not too long.
pub(crate) fn quote(text: &str) -> String {
    let escaped =
        text.chars().take(MAX_SHOWN_CHARS).flat_map(char::escape_debug).collect::<String>().replace("\\'", "'");
    let rest = if text.chars().nth(MAX_SHOWN_CHARS).is_some() { "…" } else { "" };
    format!("`{escaped}{rest}`")
}

/// What would be right for a key of this kind.
pub(crate) fn expectation(kind: &str, path: &str) -> String {
    let text = match kind {
        "address" => "expected an address with a port, such as 127.0.0.1:2525 or [::1]:2525",
        "IP address" | "IP addresses" => "expected an address such as 192.0.2.1 or 2001:db8::1",
        "network" | "networks" => networks::EXPECTED,
        "addresses" => return expectation("address", path),
        "duration" => "expected a duration such as 500ms, 30s, 5m, 4h or 5d",
        "size" => "expected a size such as 64KiB, 50MiB or 1GiB",
        "rate" => "expected a rate such as 10/s, 600/m, 1000/h or 50000/d",
        "number" | "numbers" => "expected a whole number",
        "IPv4 addresses" => "expected an IPv4 address such as 192.0.2.1",
        "IPv6 addresses" => "expected an IPv6 address such as 2001:db8::1",
        "day" => "expected a day such as 2026-11-20",
        "number from 0 to 1" => "expected a number from 0 to 1",
        "boolean" => "expected true or false",
        "list of tables" => return format!("expected tables, each `[[{path}]]`"),
        "table" => return format!("expected a table, `[{path}]`"),
        list if list.starts_with("list") => "expected a list, [\"…\", \"…\"]",
        word if word.starts_with("word") => "expected a word",
        _ => "expected a text",
    };
    text.to_owned()
}

/// For a key that does not exist: the nearest of its section, else the same of another.
pub(crate) fn unknown(path: &str) -> ConfigError {
    let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
    let bare = bare(parent);
    let suggestion = match section_keys(&bare).or_else(|| table_keys(&bare)) {
        Some(keys) => nearest(name, keys).map(|key| format!("{parent}.{key}")).or_else(|| elsewhere(name)),
        None => {
            let sections = Config::SECTIONS.iter().map(|(section, ..)| *section);
            most_similar(path.split('.').next().unwrap_or(path), sections).map(str::to_owned)
        }
    };
    ConfigError::UnknownKey { key: path.to_owned(), suggestion }
}

fn nearest(name: &str, keys: &'static [Key]) -> Option<&'static str> {
    most_similar(name, keys.iter().map(|key| key.name))
}

fn elsewhere(name: &str) -> Option<String> {
    let (section, ..) = Config::SECTIONS.iter().find(|(_, _, keys)| keys.iter().any(|key| key.name == name))?;
    Some(format!("{section}.{name}"))
}

fn most_similar<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::jaro_winkler(candidate, name), candidate))
        .filter(|(similarity, _)| *similarity >= LEAST_SIMILARITY)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
