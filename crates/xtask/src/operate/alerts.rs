//! The alert rules: their queries, the words that stand in their texts, and their runbooks, one for each and none beside.
//! Whether they fire when they should is tested by promtool (deploy/prometheus/tests); here only that each has a test.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use super::known::{Known, Labels};
use super::{names, queries, text};
use crate::tidy::Finding;

/// The folder of the rules.
const RULES: &str = "deploy/prometheus/rules";
/// The folder of their tests.
const TESTS: &str = "deploy/prometheus/tests";
/// The folder of the runbooks.
const RUNBOOKS: &str = "docs/operate/runbooks";
/// Where readers of an alert find its runbook.
const PUBLISHED: &str = "https://github.com/mailtier/mailtier/blob/main/docs/operate/runbooks/";
/// What a runbook answers, in this order.
const QUESTIONS: &[&str] = &["## What it means", "## How urgent", "## Look", "## Mend", "## Prevent"];
/// How urgent an alert can be.
const SEVERITIES: &[&str] = &["page", "ticket"];

#[derive(Debug, Deserialize)]
struct File {
    groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

/// A rule that records, or one that alerts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    #[serde(default)]
    record: String,
    #[serde(default)]
    alert: String,
    expr: String,
    #[serde(default, rename = "for")]
    _wait: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl Rule {
    fn name(&self) -> &str {
        if self.alert.is_empty() { &self.record } else { &self.alert }
    }
}

/// All rules, in the order of their files.
///
/// # Errors
/// A file cannot be read or does not parse.
pub(super) fn read(root: &Path) -> anyhow::Result<Vec<Rule>> {
    let mut rules = Vec::new();
    for name in names(root, RULES, ".yml")? {
        let path = format!("{RULES}/{name}.yml");
        let file: File = serde_saphyr::from_str(&text(root, &path)?).context(path)?;
        rules.extend(file.groups.into_iter().flat_map(|group| group.rules));
    }
    Ok(rules)
}

/// What is wrong with the rules; what they record is known from here on.
///
/// # Errors
/// A file cannot be read.
pub(super) fn check(root: &Path, rules: &[Rule], known: &mut Known) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for rule in rules {
        let (problems, labels) = queries::check(&rule.expr, known);
        findings.extend(problems.into_iter().map(|problem| finding("metrics", rule.name(), problem)));
        if rule.record.is_empty() {
            findings.extend(check_texts(rule, &labels));
        } else {
            known.add(&rule.record, labels);
        }
    }
    let alerts: BTreeSet<&str> = rules.iter().map(|rule| rule.alert.as_str()).filter(|name| !name.is_empty()).collect();
    findings.extend(check_runbooks(root, &alerts)?);
    findings.extend(check_tests(root, &alerts)?);
    Ok(findings)
}

fn finding(check: &'static str, name: &str, message: String) -> Finding {
    Finding { check, place: format!("{RULES}: {name}"), message }
}

fn check_texts(rule: &Rule, labels: &Labels) -> Vec<Finding> {
    let mut problems = Vec::new();
    if !rule.labels.get("severity").is_some_and(|severity| SEVERITIES.contains(&severity.as_str())) {
        problems.push(format!("has a severity that is none of {}", SEVERITIES.join(", ")));
    }
    for needed in ["summary", "description", "runbook_url"] {
        if !rule.annotations.contains_key(needed) {
            problems.push(format!("has no {needed}"));
        }
    }
    if rule.annotations.get("runbook_url").is_some_and(|url| *url != format!("{PUBLISHED}{}.md", rule.alert)) {
        problems.push(format!("has another runbook_url than {PUBLISHED}{}.md", rule.alert));
    }
    for label in rule.annotations.values().flat_map(|text| named_labels(text)) {
        if !labels.contains(label) {
            problems.push(format!("tells of a label {label} that its query does not yield"));
        }
    }
    problems.into_iter().map(|problem| finding("alerts", &rule.alert, problem)).collect()
}

/// The labels that `{{ $labels.name }}` stands for in a text.
fn named_labels(text: &str) -> impl Iterator<Item = &str> {
    text.split("$labels.").skip(1).map(|rest| {
        let end = rest.find(|character: char| !character.is_alphanumeric() && character != '_').unwrap_or(rest.len());
        rest.get(..end).unwrap_or_default()
    })
}

fn check_runbooks(root: &Path, alerts: &BTreeSet<&str>) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let pages = names(root, RUNBOOKS, ".md")?;
    let index = text(root, &format!("{RUNBOOKS}/README.md")).unwrap_or_default();
    let mut found = |place: &str, message: String| {
        findings.push(Finding { check: "runbooks", place: format!("{RUNBOOKS}/{place}.md"), message });
    };
    for alert in alerts.iter().filter(|alert| !pages.iter().any(|page| page == **alert)) {
        found(alert, "is not there, and there is an alert of that name".to_owned());
    }
    for page in pages.iter().filter(|page| *page != "README") {
        if !alerts.contains(page.as_str()) {
            found(page, "is of no alert".to_owned());
        }
        if !index.contains(&format!("({page}.md)")) {
            found("README", format!("does not link {page}.md"));
        }
        let content = text(root, &format!("{RUNBOOKS}/{page}.md"))?;
        let headings: Vec<&str> = content.lines().filter(|line| line.starts_with("## ")).collect();
        if headings != QUESTIONS {
            found(page, format!("has other headings than {}", QUESTIONS.join(", ")));
        }
    }
    Ok(findings)
}

/// Alerts that no test shows to fire, or to be silent.
fn check_tests(root: &Path, alerts: &BTreeSet<&str>) -> anyhow::Result<Vec<Finding>> {
    #[derive(Deserialize)]
    struct Tests {
        tests: Vec<Test>,
    }
    #[derive(Deserialize)]
    struct Test {
        #[serde(default)]
        alert_rule_test: Vec<Case>,
    }
    #[derive(Deserialize)]
    struct Case {
        alertname: String,
        exp_alerts: Vec<BTreeMap<String, BTreeMap<String, String>>>,
    }
    let (mut fire, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for name in names(root, TESTS, ".yml")? {
        let path = format!("{TESTS}/{name}.yml");
        let tests: Tests = serde_saphyr::from_str(&text(root, &path)?).context(path)?;
        for case in tests.tests.into_iter().flat_map(|test| test.alert_rule_test) {
            let side = if case.exp_alerts.is_empty() { &mut silent } else { &mut fire };
            side.insert(case.alertname);
        }
    }
    let sides = [(&fire, "no test shows it to fire"), (&silent, "no test shows it to be silent")];
    Ok(alerts
        .iter()
        .flat_map(|alert| {
            sides
                .iter()
                .filter(|(tested, _)| !tested.contains(*alert))
                .map(|(_, message)| finding("alerts", alert, (*message).to_owned()))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(yaml: &str) -> Rule {
        serde_saphyr::from_str(yaml).unwrap()
    }

    #[test]
    fn texts_name_what_the_query_yields() {
        let good = rule(
            "alert: A\nexpr: up == 0\nlabels: {severity: page}\nannotations:\n  summary: '{{ $labels.job }} is away'\n  \
             description: It is.\n  runbook_url: https://github.com/mailtier/mailtier/blob/main/docs/operate/runbooks/A.md\n",
        );
        let labels: Labels = ["job".to_owned()].into();
        assert_eq!(check_texts(&good, &labels), []);
        assert_eq!(check_texts(&good, &Labels::new()).len(), 1);
        assert_eq!(check_texts(&rule("alert: A\nexpr: up\n"), &labels).len(), 4);
    }
}
