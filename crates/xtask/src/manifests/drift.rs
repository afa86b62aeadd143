//! Whether Helm and kustomize come to the same objects. Not responsible for whether those are any good.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Rendering;
use super::object::Object;

/// What only one of the two has, and is no difference.
const OWN_METADATA: [&str; 4] = ["helm.sh/", "app.kubernetes.io/managed-by", "checksum/config", "namespace"];
/// What belongs to a demonstration, and to no chart.
const DEMO: (&str, &str) = ("app.kubernetes.io/part-of", "mailtier-demo");
/// What kustomize appends to the name of a generated object.
const HASH_LENGTH: usize = 10;
/// Generated objects whose names have that.
const GENERATED: &str = "mailtier-config";

/// Compares each rendering of Helm with that of kustomize which has the same name.
pub(super) fn check(renderings: &[Rendering]) -> Vec<String> {
    let pairs = renderings.iter().filter_map(|helm| Some((helm, counterpart(renderings, helm)?)));
    pairs.flat_map(|(helm, kustomize)| compare(helm, kustomize)).collect()
}

/// Whether a rendering is one of Helm that was held against one of kustomize: what is so of that is so of this.
pub(super) fn is_compared(renderings: &[Rendering], rendering: &Rendering) -> bool {
    counterpart(renderings, rendering).is_some()
}

fn counterpart<'a>(renderings: &'a [Rendering], helm: &Rendering) -> Option<&'a Rendering> {
    let kind = helm.name.strip_prefix("helm-")?;
    renderings.iter().find(|other| other.name.strip_prefix("kustomize-") == Some(kind))
}

fn compare(helm: &Rendering, kustomize: &Rendering) -> Vec<String> {
    let names = format!("{} and {} differ", helm.name, kustomize.name);
    let (helm, kustomize) = (by_title(helm), by_title(kustomize));
    let titles: BTreeSet<&String> = helm.keys().chain(kustomize.keys()).collect();
    let mut findings = Vec::new();
    for title in titles {
        match (helm.get(title), kustomize.get(title)) {
            (Some(theirs), Some(ours)) => differences(title, theirs, ours, &mut findings),
            (Some(_), None) => findings.push(format!("{title}: only Helm has it")),
            (None, _) => findings.push(format!("{title}: only kustomize has it")),
        }
    }
    findings.into_iter().map(|finding| format!("{names}: {finding}")).collect()
}

fn by_title(rendering: &Rendering) -> BTreeMap<String, Value> {
    let ours = |object: &&Object| {
        // Whose namespaces and secrets those are is the user's business.
        let is_demo = object.labels().get(DEMO.0).is_some_and(|part| part == DEMO.1);
        !is_demo && !["Namespace", "Secret"].contains(&object.kind())
    };
    let objects = rendering.objects.iter().filter(ours);
    objects.map(|object| (without_hash(&object.title()), normal(&object.0))).collect()
}

/// A name without the hash that kustomize appends.
fn without_hash(name: &str) -> String {
    match name.rsplit_once('-') {
        Some((plain, hash)) if plain.ends_with(GENERATED) && hash.len() == HASH_LENGTH => plain.to_owned(),
        _ => name.to_owned(),
    }
}

/// The same value for what means the same.
fn normal(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(name, _)| !OWN_METADATA.iter().any(|own| name.starts_with(own)));
            let kept = kept.map(|(name, value)| match name.ends_with(".toml") {
                true => (name.clone(), toml(value)),
                false => (name.clone(), normal(value)),
            });
            Value::Object(kept.filter(|(_, value)| !is_empty(value)).collect())
        }
        Value::Array(elements) => {
            let mut elements: Vec<Value> = elements.iter().map(normal).collect();
            elements.sort_by_key(key_of);
            Value::Array(elements)
        }
        Value::String(text) => Value::String(without_hash(text)),
        other => other.clone(),
    }
}

/// A configuration by what it says, not by how.
fn toml(text: &Value) -> Value {
    let parsed = text.as_str().and_then(|text| toml::from_str::<toml::Table>(text).ok());
    parsed.and_then(|table| serde_json::to_value(table).ok()).unwrap_or_else(|| text.clone())
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty)
}

/// Things with names are a set; everything else has an order, which the sort leaves alone.
fn key_of(element: &Value) -> String {
    let field = |name: &str| element.get(name).map(ToString::to_string);
    field("name").or_else(|| field("port")).unwrap_or_default()
}

/// Where two values differ.
fn differences(place: &str, helm: &Value, kustomize: &Value, findings: &mut Vec<String>) {
    match (helm, kustomize) {
        (Value::Object(theirs), Value::Object(ours)) => {
            let names: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
            for name in names {
                let (theirs, ours) = (theirs.get(name), ours.get(name));
                let null = &Value::Null;
                differences(&format!("{place}.{name}"), theirs.unwrap_or(null), ours.unwrap_or(null), findings);
            }
        }
        (Value::Array(theirs), Value::Array(ours)) if theirs.len() == ours.len() => {
            for (at, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
                differences(&format!("{place}[{at}]"), theirs, ours, findings);
            }
        }
        (theirs, ours) if theirs != ours => findings.push(format!("{place}: {theirs} and {ours}")),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rendering(name: &str, objects: Value) -> Rendering {
        Rendering { name: name.to_owned(), objects: serde_json::from_value(objects).unwrap() }
    }

    fn found(helm: Value, kustomize: Value) -> Vec<String> {
        check(&[rendering("helm-x", json!([helm])), rendering("kustomize-x", json!([kustomize]))])
    }

    #[test]
    fn what_only_a_renderer_adds_is_no_difference() {
        let helm = json!({"kind": "ConfigMap", "metadata": {"name": "mailtier-config",
            "labels": {"helm.sh/chart": "mailtier-1", "app.kubernetes.io/name": "mailtier"}},
            "data": {"mailtier.toml": "[queue]\nthreads = 2\n"}});
        let kustomize = json!({"kind": "ConfigMap", "metadata": {"name": "mailtier-config-7b6g9h5k2m",
            "namespace": "mailtier", "labels": {"app.kubernetes.io/name": "mailtier"}},
            "data": {"mailtier.toml": "# Two.\n[queue]\nthreads=2"}});
        assert_eq!(found(helm, kustomize), Vec::<String>::new());
    }

    #[test]
    fn a_difference_is_named_with_its_place() {
        let object = |port: u16| json!({"kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"name": "x", "port": port}]}});
        assert_eq!(found(object(25), object(25)), Vec::<String>::new());
        assert_eq!(
            found(object(25), object(26)),
            ["helm-x and kustomize-x differ: Service/a.spec.ports[0].port: 25 and 26"]
        );
        let other = json!({"kind": "Service", "metadata": {"name": "b"}});
        assert_eq!(
            found(object(25), other),
            [
                "helm-x and kustomize-x differ: Service/a: only Helm has it",
                "helm-x and kustomize-x differ: Service/b: only kustomize has it",
            ]
        );
    }
}
