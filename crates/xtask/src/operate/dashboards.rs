//! Dashboards: JSON for Grafana from the compact definitions of deploy/grafana/definitions, and what is wrong with either. Not
//! responsible for what a panel should show.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::Value;

use super::dashboard_model::{CHOSEN, COLUMNS, dashboard};
use super::known::Known;
use super::{names, queries, text};
use crate::tidy::Finding;

/// What people edit.
const DEFINITIONS: &str = "deploy/grafana/definitions";
/// What Grafana reads.
const DASHBOARDS: &str = "deploy/grafana/dashboards";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Definition {
    pub(super) uid: String,
    pub(super) title: String,
    pub(super) description: String,
    /// Which series name the jobs and instances there are.
    #[serde(default)]
    pub(super) chosen_by: Option<String>,
    #[serde(default)]
    pub(super) variables: Vec<Variable>,
    pub(super) row: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) label: String,
    /// The kind of data source that it chooses, or
    #[serde(default)]
    pub(super) datasource: Option<String>,
    /// the values of a label, or text that people write.
    #[serde(default)]
    pub(super) values: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    pub(super) title: String,
    pub(super) panel: Vec<Panel>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) kind: Kind,
    pub(super) description: String,
    #[serde(default)]
    pub(super) unit: String,
    pub(super) width: u64,
    #[serde(default = "usual_height")]
    pub(super) height: u64,
    #[serde(default)]
    pub(super) queries: Vec<Query>,
    /// Borders and colours, from below.
    #[serde(default)]
    pub(super) thresholds: Vec<(f64, String)>,
    /// The alert whose runbook says more.
    #[serde(default)]
    pub(super) runbook: Option<String>,
    #[serde(default)]
    pub(super) stacked: bool,
    #[serde(default)]
    pub(super) max: Option<f64>,
    /// What a panel of text says, in Markdown.
    #[serde(default)]
    pub(super) text: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Stat,
    Timeseries,
    BarGauge,
    Table,
    Traces,
    Logs,
    Text,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    pub(super) expr: String,
    #[serde(default)]
    pub(super) legend: String,
}

const fn usual_height() -> u64 {
    7
}

/// Every dashboard: its path, and what should be there.
///
/// # Errors
/// A definition cannot be read or does not parse.
pub(crate) fn generated(root: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let definitions = read(root)?.into_iter();
    definitions
        .map(|(name, definition)| {
            Ok((
                format!("{DASHBOARDS}/{name}.json"),
                format!("{}\n", serde_json::to_string_pretty(&dashboard(&definition))?),
            ))
        })
        .collect()
}

fn read(root: &Path) -> anyhow::Result<Vec<(String, Definition)>> {
    let names = names(root, DEFINITIONS, ".toml")?.into_iter();
    names
        .map(|name| {
            let path = format!("{DEFINITIONS}/{name}.toml");
            let definition = toml::from_str(&text(root, &path)?).context(path)?;
            Ok((name, definition))
        })
        .collect()
}

/// What is wrong with definitions, and with dashboards beside them.
///
/// # Errors
/// A file cannot be read.
pub(super) fn check(root: &Path, known: &Known) -> anyhow::Result<Vec<Finding>> {
    let definitions = read(root)?;
    let mut findings = Vec::new();
    let mut uids = BTreeMap::new();
    for (name, definition) in &definitions {
        let mut found =
            |check, message| findings.push(Finding { check, place: format!("{DEFINITIONS}/{name}.toml"), message });
        if let Some(other) = uids.insert(definition.uid.clone(), name.clone()) {
            found("dashboards", format!("has the uid of {other}"));
        }
        for panel in definition.row.iter().flat_map(|row| &row.panel) {
            for message in problems(panel, known) {
                found("dashboards", format!("{}: {message}", panel.title));
            }
            if let Some(runbook) = &panel.runbook
                && !root.join(format!("docs/operate/runbooks/{runbook}.md")).exists()
            {
                found("dashboards", format!("{}: there is no runbook {runbook}", panel.title));
            }
        }
    }
    for name in names(root, DASHBOARDS, ".json")? {
        let place = format!("{DASHBOARDS}/{name}.json");
        if !definitions.iter().any(|(defined, _)| *defined == name) {
            findings.push(Finding {
                check: "dashboards",
                place: place.clone(),
                message: "has no definition".to_owned(),
            });
        }
        let content: Value = serde_json::from_str(&text(root, &place)?).context(place.clone())?;
        findings.extend(model_problems(&content).into_iter().map(|message| Finding {
            check: "dashboards",
            place: place.clone(),
            message,
        }));
    }
    Ok(findings)
}

/// What is wrong with a panel as it is defined.
fn problems(panel: &Panel, known: &Known) -> Vec<String> {
    let mut problems = Vec::new();
    if panel.description.is_empty() && panel.kind != Kind::Text {
        problems.push("has no description".to_owned());
    }
    if !matches!(panel.kind, Kind::Traces | Kind::Logs | Kind::Text) {
        if panel.unit.is_empty() {
            problems.push("has no unit".to_owned());
        }
        for query in &panel.queries {
            let (found, labels) = queries::check(&for_prometheus(&query.expr), known);
            problems.extend(found);
            let named = query.legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
            problems.extend(
                named
                    .filter(|label| !labels.contains(label.trim()))
                    .map(|label| format!("has no label {label} to show")),
            );
        }
    }
    problems
}

/// A query as Grafana sends it.
fn for_prometheus(query: &str) -> String {
    query.replace("$on", CHOSEN).replace("$__rate_interval", "5m").replace("$__range", "1h")
}

/// What is wrong with a dashboard as Grafana reads it: ids that are not unique, panels that lie upon each other or have
/// no data source.
fn model_problems(dashboard: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    let panels = dashboard.get("panels").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for panel in panels {
        let title = word(panel, "/title").unwrap_or_default();
        if !panel.get("id").and_then(Value::as_u64).is_some_and(|id| ids.insert(id)) {
            problems.push(format!("{title}: has no id of its own"));
        }
        let place = |key: &str| panel.pointer(&format!("/gridPos/{key}")).and_then(Value::as_u64).unwrap_or_default();
        let (x, y) = (place("x"), place("y"));
        let covered = (x..x + place("w")).flat_map(|x| (y..y + place("h")).map(move |y| (x, y)));
        if covered.filter(|cell| !cells.insert(*cell)).count() > 0 || x + place("w") > COLUMNS {
            problems.push(format!("{title}: lies upon another panel, or beyond the edge"));
        }
        let needs_source = !matches!(word(panel, "/type"), Some("row" | "text"));
        if needs_source && word(panel, "/datasource/uid").is_none() {
            problems.push(format!("{title}: has no data source"));
        }
    }
    if panels.is_empty() || word(dashboard, "/uid").is_none_or(str::is_empty) {
        problems.push("has no panels, or no uid".to_owned());
    }
    problems
}

fn word<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DEFINITION: &str = r#"
        uid = "a"
        title = "A"
        description = "About."
        chosen_by = "up"
        [[row]]
        title = "R"
        [[row.panel]]
        title = "P"
        kind = "timeseries"
        description = "What."
        unit = "ops"
        width = 16
        queries = [{ expr = "sum by (job) (rate(up{$on}[$__rate_interval]))", legend = "{{job}}" }]
        [[row.panel]]
        title = "Q"
        kind = "stat"
        description = "That."
        unit = "short"
        width = 12
        queries = [{ expr = "sum(up{$on})" }]
    "#;

    fn known() -> Known {
        let mut known = Known::default();
        known.add("up", super::super::known::Labels::new());
        known
    }

    #[test]
    fn a_definition_becomes_a_dashboard_that_grafana_can_draw() {
        let definition: Definition = toml::from_str(DEFINITION).unwrap();
        let model = dashboard(&definition);
        assert_eq!(model_problems(&model), [""; 0]);
        assert_eq!(model["panels"][2]["gridPos"], json!({"x": 0, "y": 8, "w": 12, "h": 7}), "a line further down");
        let expr = model["panels"][1]["targets"][0]["expr"].as_str().unwrap();
        assert_eq!(expr, "sum by (job) (rate(up{job=~\"$job\", instance=~\"$instance\"}[$__rate_interval]))");
        assert!(definition.row[0].panel.iter().all(|panel| problems(panel, &known()).is_empty()));
    }

    #[test]
    fn what_a_panel_cannot_show_is_found() {
        for (from, to) in [
            ("sum by (job) (rate(up", "sum by (job) (rate(upp"),
            ("sum by (job)", "sum by (jobb)"),
            ("{{job}}", "{{pool}}"),
            ("unit = \"ops\"", "unit = \"\""),
            ("\"What.\"", "\"\""),
        ] {
            let definition: Definition = toml::from_str(&DEFINITION.replacen(from, to, 1)).unwrap();
            assert_ne!(problems(&definition.row[0].panel[0], &known()), [""; 0], "{from} → {to}");
        }
    }

    #[test]
    fn a_dashboard_that_was_edited_by_hand_is_looked_at_too() {
        let mut model = dashboard(&toml::from_str(DEFINITION).unwrap());
        model["panels"][2]["id"] = json!(1);
        model["panels"][2]["gridPos"] = model["panels"][1]["gridPos"].clone();
        model["panels"][2]["datasource"] = Value::Null;
        assert_eq!(model_problems(&model).len(), 3);
    }
}
