//! An object of Kubernetes, as far as checks look into one. Not responsible for what its fields should be.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// Labels, by name.
pub(super) type Labels = BTreeMap<String, String>;

/// Any object.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Object(pub(super) Value);

impl Object {
    pub(super) fn kind(&self) -> &str {
        text(&self.0, "/kind")
    }

    pub(super) fn name(&self) -> &str {
        text(&self.0, "/metadata/name")
    }

    /// `Deployment/mailtier-inbound`.
    pub(super) fn title(&self) -> String {
        format!("{}/{}", self.kind(), self.name())
    }

    pub(super) fn labels(&self) -> Labels {
        labels(&self.0, "/metadata/labels")
    }

    pub(super) fn spec(&self) -> &Value {
        self.0.get("spec").unwrap_or(&Value::Null)
    }

    /// The pods that it makes, if it is a workload.
    pub(super) fn pod(&self) -> Option<Pod<'_>> {
        let template = self.spec().get("template").filter(|_| self.kind() != "Cluster")?;
        Some(Pod { title: self.title(), labels: labels(template, "/metadata/labels"), spec: template.get("spec")? })
    }
}

/// What a workload makes.
pub(super) struct Pod<'a> {
    /// The workload's.
    pub(super) title: String,
    pub(super) labels: Labels,
    pub(super) spec: &'a Value,
}

impl<'a> Pod<'a> {
    /// Those that serve.
    pub(super) fn containers(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        list(self.spec, "/containers")
    }

    /// All of them.
    pub(super) fn all_containers(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        list(self.spec, "/initContainers").chain(self.containers())
    }

    /// The port that a container calls so.
    pub(super) fn port(&self, name: &str) -> Option<u64> {
        let mut ports = self.containers().flat_map(|container| list(container, "/ports"));
        ports.find(|port| text(port, "/name") == name).and_then(|port| port.get("containerPort")?.as_u64())
    }

    /// Which tier it is, or what it does for them; empty for a stranger.
    pub(super) fn component(&self) -> &str {
        self.labels.get("app.kubernetes.io/component").map_or("", String::as_str)
    }
}

/// The text at a place, or an empty one.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The elements of a list at a place, if there is one.
pub(super) fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default().iter()
}

/// A map of texts at a place.
pub(super) fn labels(value: &Value, pointer: &str) -> Labels {
    let map = value.pointer(pointer).and_then(Value::as_object);
    map.into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect()
}

/// Whether labels are those that are looked for.
pub(super) fn selects(wanted: &Labels, labels: &Labels) -> bool {
    wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
}
