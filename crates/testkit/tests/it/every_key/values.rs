//! Other values for keys, by their kinds: whether one can be used is for the programs to say. Not responsible for which
//! keys there are.

use mailtier_config::Key;
use toml::Value;

use super::quoted;

/// Numbers that may be good where one more and one less are not.
const NUMBERS: [i64; 6] = [2, 3, 10, 100, 2000, 0];
/// Shares.
const SHARES: [f64; 2] = [0.25, 0.75];
/// Texts of every kind.
const TEXTS: [&str; 25] = [
    "other.example",
    "user@other.example",
    "198.51.100.0/24",
    "127.0.0.2",
    "::1",
    "127.0.0.1:9",
    "other.example:2525",
    "http://127.0.0.1:9",
    "https://other.example/x",
    "1s",
    "7s",
    "11m",
    "3h",
    "40days",
    "7days",
    "3MiB",
    "300MiB",
    "7/m",
    "2026-11-21",
    "PLAIN",
    "other",
    "name=value",
    "=",
    "a text of its own that is long enough to be a key for everybody",
    "bulk",
];

/// What there is to choose from.
pub(super) struct Pool {
    texts: Vec<String>,
    /// Files of every kind.
    paths: Vec<String>,
}

impl Pool {
    pub(super) fn new(paths: Vec<String>) -> Self {
        Self { texts: TEXTS.map(str::to_owned).to_vec(), paths }
    }

    /// Values for a key; the likeliest first.
    pub(super) fn values(&self, key: &Key, current: Option<&Value>) -> Vec<Value> {
        match key.kind {
            "boolean" => {
                vec![Value::Boolean(!current.and_then(Value::as_bool).unwrap_or(false)), Value::Boolean(false)]
            }
            "number" => {
                let now = current.and_then(Value::as_integer).unwrap_or(4);
                [now + 1, now - 1].into_iter().chain(NUMBERS).map(Value::Integer).collect()
            }
            "number from 0 to 1" => SHARES.map(Value::Float).to_vec(),
            "list of numbers" => [70, 7].map(|number| Value::Array(vec![Value::Integer(number)])).to_vec(),
            "list of tables" => {
                let now = current.and_then(Value::as_array).cloned().unwrap_or_default();
                let fewer = now.get(..now.len().saturating_sub(1)).unwrap_or_default().to_vec();
                vec![Value::Array(fewer), Value::Array(Vec::new())]
            }
            kind => {
                let meaning = key.lines.join(" ");
                let words = quoted(&meaning).map(|word| word.trim_matches('"').to_owned());
                let more = current.and_then(Value::as_str).map(|now| format!("{now},other"));
                let pairs =
                    self.paths.iter().flat_map(|one| self.paths.iter().map(move |other| format!("{one}:{other}")));
                let texts: Vec<String> = match kind {
                    "path" | "file" => self.paths_for(key),
                    "list of pairs of paths" => pairs.collect(),
                    _ => more.into_iter().chain(words).chain(self.texts.clone()).collect(),
                };
                texts.iter().flat_map(|text| self.wrap(key, text, current)).collect()
            }
        }
    }

    /// Files; first what is called as the key is, such as a key.
    fn paths_for(&self, key: &Key) -> Vec<String> {
        let word = key.name.rsplit('_').next().unwrap_or_default();
        let is_called = |path: &&String| path.rsplit('/').next().is_some_and(|name| name.contains(word));
        let (first, others): (Vec<&String>, Vec<&String>) = self.paths.iter().partition(is_called);
        first.into_iter().chain(others).cloned().collect()
    }

    /// A text as the value of a key; in a list it is alone, or beside what is there.
    pub(super) fn wrap(&self, key: &Key, text: &str, current: Option<&Value>) -> Vec<Value> {
        let text = Value::String(text.to_owned());
        if !key.kind.starts_with("list of ") {
            return vec![text];
        }
        let beside =
            current.and_then(Value::as_array).map(|now| [now.as_slice(), std::slice::from_ref(&text)].concat());
        std::iter::once(vec![text]).chain(beside).map(Value::Array).collect()
    }
}
