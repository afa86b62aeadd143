//! Whether pods keep to the Pod Security Standard "restricted", and to what of it is ours: no token, nothing written. Not
//! responsible for what runs in them.

use serde_json::Value;

use super::Rendering;
use super::object::{Pod, list, text};

pub(super) fn check(rendering: &Rendering) -> Vec<String> {
    let pods = rendering.objects.iter().filter_map(|object| object.pod());
    pods.flat_map(|pod| {
        let problems = of_pod(&pod).into_iter().chain(pod.all_containers().flat_map(of_container));
        problems.map(|problem| format!("{}: {problem}", pod.title)).collect::<Vec<_>>()
    })
    .collect()
}

fn of_pod(pod: &Pod<'_>) -> Vec<String> {
    let mut problems = wrong(
        pod.spec,
        &[
            ("/automountServiceAccountToken", Value::Bool(false)),
            ("/enableServiceLinks", Value::Bool(false)),
            ("/securityContext/runAsNonRoot", Value::Bool(true)),
            ("/securityContext/seccompProfile/type", "RuntimeDefault".into()),
        ],
    );
    if pod.spec.pointer("/securityContext/runAsUser").and_then(Value::as_u64).is_none_or(|user| user == 0) {
        problems.push("securityContext.runAsUser is no number of an unprivileged user".to_owned());
    }
    // The one reason for a node's network are its addresses.
    let on_nodes = pod.title.starts_with("DaemonSet/") && pod.component() == "outbound";
    if pod.spec.get("hostNetwork").is_some_and(|value| value != false) && !on_nodes {
        problems.push("hostNetwork is set".to_owned());
    }
    let volumes = list(pod.spec, "/volumes").filter(|volume| volume.get("hostPath").is_some());
    problems.extend(volumes.map(|volume| format!("the volume {} is a part of the node", text(volume, "/name"))));
    problems
}

fn of_container(container: &Value) -> Vec<String> {
    let mut problems = wrong(
        container,
        &[
            ("/securityContext/allowPrivilegeEscalation", Value::Bool(false)),
            ("/securityContext/readOnlyRootFilesystem", Value::Bool(true)),
            ("/securityContext/capabilities/drop", Value::Array(vec!["ALL".into()])),
        ],
    );
    if container.pointer("/securityContext/capabilities/add").is_some() {
        problems.push("capabilities are added".to_owned());
    }
    for place in ["/resources/requests/memory", "/resources/requests/cpu", "/resources/limits/memory"] {
        if container.pointer(place).is_none() {
            problems.push(format!("{} is not set", place.trim_start_matches('/').replace('/', ".")));
        }
    }
    problems.into_iter().map(|problem| format!("{}: {problem}", text(container, "/name"))).collect()
}

fn wrong(value: &Value, wanted: &[(&str, Value)]) -> Vec<String> {
    let differing = wanted.iter().filter(|(place, wanted)| value.pointer(place) != Some(wanted));
    differing
        .map(|(place, wanted)| format!("{} is not {wanted}", place.trim_start_matches('/').replace('/', ".")))
        .collect()
}
