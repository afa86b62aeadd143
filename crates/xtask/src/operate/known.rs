//! Every metric that a query may name, with its labels: those the programs export, by telemetry's list; a short list of
//! foreign ones (deploy/prometheus/foreign.toml); and what the rules record. Not responsible for parsing queries.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;
use mailtier_telemetry::{Kind, Metric};
use serde::Deserialize;

use crate::tidy::Finding;

/// Foreign metrics, each with the labels that queries may use.
const FOREIGN: &str = "deploy/prometheus/foreign.toml";
/// What Prometheus, or the reader of our metrics, puts on every series.
const TARGET_LABELS: &[&str] = &["job", "instance", "namespace", "pod", "otel_scope_name"];

/// Names and labels.
pub(super) type Labels = BTreeSet<String>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Foreign {
    metrics: BTreeMap<String, Labels>,
}

/// What there is.
#[derive(Debug, Default)]
pub(super) struct Known {
    metrics: BTreeMap<String, Labels>,
    foreign: BTreeSet<String>,
    used: RefCell<BTreeSet<String>>,
}

impl Known {
    /// Ours and the foreign ones.
    ///
    /// # Errors
    /// The list cannot be read, or names one of ours.
    pub(super) fn read(root: &Path) -> anyhow::Result<Self> {
        let mut known = Self::default();
        for metric in Metric::ALL {
            let labels = metric.attributes().split(", ").filter(|name| !name.is_empty());
            known.add_exported(
                &metric.prometheus_name(),
                metric.kind(),
                labels.map(|name| name.replace('.', "_")).collect(),
            );
        }
        let foreign: Foreign = toml::from_str(&super::text(root, FOREIGN)?).context(FOREIGN)?;
        for (name, labels) in foreign.metrics {
            anyhow::ensure!(
                !known.metrics.contains_key(&name),
                "{FOREIGN}: {name} is exported by the programs: take it out"
            );
            known.foreign.insert(name.clone());
            known.add(&name, labels);
        }
        Ok(known)
    }

    fn add_exported(&mut self, name: &str, kind: Kind, labels: Labels) {
        if kind != Kind::Histogram {
            return self.add(name, labels);
        }
        for end in ["_sum", "_count"] {
            self.add(&format!("{name}{end}"), labels.clone());
        }
        let with_borders = labels.into_iter().chain(["le".to_owned()]).collect();
        self.add(&format!("{name}_bucket"), with_borders);
    }

    /// One more, such as what a rule records.
    pub(super) fn add(&mut self, name: &str, mut labels: Labels) {
        labels.extend(TARGET_LABELS.iter().map(|label| (*label).to_owned()));
        self.metrics.insert(name.to_owned(), labels);
    }

    /// The labels of a metric, if there is one.
    pub(super) fn labels(&self, name: &str) -> Option<&Labels> {
        self.used.borrow_mut().insert(name.to_owned());
        self.metrics.get(name)
    }

    /// Whether a document may name it: as a series, or a histogram as a whole.
    pub(super) fn has(&self, name: &str) -> bool {
        self.metrics.contains_key(name) || self.metrics.contains_key(&format!("{name}_bucket"))
    }

    /// Foreign metrics that no query names: the list only has what is needed.
    pub(super) fn unused(&self) -> Vec<Finding> {
        let used = self.used.borrow();
        let unused = self.foreign.iter().filter(|name| !used.contains(*name));
        unused
            .map(|name| Finding {
                check: "metrics",
                place: FOREIGN.to_owned(),
                message: format!("{name} is in no query; take it out"),
            })
            .collect()
    }
}
