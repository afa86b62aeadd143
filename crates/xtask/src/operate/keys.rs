//! Configuration keys and metrics that the operators' documents and the manifests name. Not responsible for values.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context as _;
use mailtier_config::Config;
use serde_json::Value;

use super::known::Known;
use super::links::documents;
use super::{files, text};
use crate::tidy::Finding;

/// The documents whose words are looked at.
const FOLDER: &str = "docs/operate/";
/// What those who install the chart can set.
const CHART_VALUES: &str = "deploy/helm/mailtier/values.yaml";
/// The manifests whose metrics are looked at.
const MANIFESTS: &str = "deploy";
/// How metrics of the programs begin; what else has our name there is an image, a volume, a label.
const EXPORTED: &[&str] = &["mailtier_inbound_", "mailtier_queue_", "mailtier_outbound_"];

/// Keys that no program has, and metrics that none exports.
///
/// # Errors
/// A document cannot be read.
pub(super) fn check(root: &Path, known: &Known) -> anyhow::Result<Vec<Finding>> {
    let mut keys = keys();
    keys.extend(chart_values(root)?);
    let sections: BTreeSet<&str> = Config::SECTIONS.iter().map(|(name, ..)| *name).collect();
    let mut findings = Vec::new();
    for path in documents(root)?.into_iter().filter(|path| path.starts_with(FOLDER)) {
        let content = text(root, &path)?;
        let mut found = |check, message| findings.push(Finding { check, place: path.clone(), message });
        for word in quoted(&content) {
            if word.split_once('.').is_some_and(|(section, _)| sections.contains(section)) && !keys.contains(word) {
                found("keys", format!("names {word}, which is no key of the configuration"));
            }
        }
        for name in metric_names(&content).filter(|name| !known.has(name)) {
            found("metrics", format!("names {name}, which no program exports"));
        }
    }
    // Autoscalers and their like name metrics, too.
    for path in files(root, MANIFESTS, &[".yaml", ".yml", ".tpl"])? {
        for name in metric_names(&text(root, &path)?)
            .filter(|name| EXPORTED.iter().any(|begin| name.starts_with(begin)) && !known.has(name))
        {
            let message = format!("names {name}, which no program exports");
            findings.push(Finding { check: "metrics", place: path.clone(), message });
        }
    }
    Ok(findings)
}

/// `section.key`, and `section.table.key`.
fn keys() -> BTreeSet<String> {
    let sections = Config::SECTIONS.iter().map(|(name, _, keys)| (*name, *keys));
    let tables = Config::TABLES.iter().map(|(name, _, keys)| (name.trim_matches(['[', ']']), *keys));
    let keys =
        sections.chain(tables).flat_map(|(place, keys)| keys.iter().map(move |key| format!("{place}.{}", key.name)));
    keys.chain(Config::TABLES.iter().map(|(name, ..)| name.trim_matches(['[', ']']).to_owned())).collect()
}

/// The values of the Helm chart, which are written alike: `inbound.replicas`.
///
/// # Errors
/// The chart's values do not parse.
fn chart_values(root: &Path) -> anyhow::Result<Vec<String>> {
    fn add(place: &str, value: &Value, paths: &mut Vec<String>) {
        let Some(object) = value.as_object() else { return };
        for (key, value) in object {
            let path = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
            add(&path, value, paths);
            paths.push(path);
        }
    }
    let Ok(values) = std::fs::read_to_string(root.join(CHART_VALUES)) else { return Ok(Vec::new()) };
    let mut paths = Vec::new();
    add("", &serde_saphyr::from_str(&values).context(CHART_VALUES)?, &mut paths);
    Ok(paths)
}

/// What stands between backticks and looks like a key: lower case, with a dot.
fn quoted(content: &str) -> impl Iterator<Item = &str> {
    let words =
        content.lines().filter(|line| !line.starts_with("```")).flat_map(|line| line.split('`').skip(1).step_by(2));
    words.map(|word| word.split([' ', '=']).next().unwrap_or_default()).filter(|word| {
        let is_key =
            |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || "_.".contains(character);
        word.contains('.') && word.chars().all(is_key)
    })
}

/// Names of metrics of ours, and of what rules record.
fn metric_names(content: &str) -> impl Iterator<Item = &str> {
    let is_name = |character: char| character.is_ascii_alphanumeric() || "_:".contains(character);
    let words = content.split(move |character| !is_name(character)).map(|word| word.trim_end_matches(':'));
    // What rules record has two colons; `mailtier:1.0` is an image.
    words.filter(|word| {
        word.starts_with("mailtier_") || (word.starts_with("mailtier:") && word.matches(':').count() > 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_from_other_words() {
        let content = "Set `queue.lease = \"6s\"` and `inbound.listeners.name`, run `mailtier up`, see `a.md`.\n";
        assert_eq!(quoted(content).collect::<Vec<_>>(), ["queue.lease", "inbound.listeners.name", "a.md"]);
        let keys = keys();
        assert!(["queue.lease", "inbound.listeners.name", "outbound.routes"].iter().all(|key| keys.contains(*key)));
        assert!(!keys.contains("queue.leese"));
    }

    #[test]
    fn metrics_are_found_in_queries_and_in_text() {
        let content = "`rate(mailtier_queue_accepted_total[5m])`, mailtier:a:rate5m, `mailtier:1.0`, postgres://mailtier:$password";
        assert_eq!(metric_names(content).collect::<Vec<_>>(), ["mailtier_queue_accepted_total", "mailtier:a:rate5m"]);
    }
}
