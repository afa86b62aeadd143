//! Whether what an object names is there: pods of selectors, ports of services, probes and policies, targets and metrics of
//! autoscalers. Not responsible for what is behind a name.

use std::collections::BTreeSet;

use mailtier_telemetry::Metric;
use serde_json::Value;

use super::Rendering;
use super::object::{Object, Pod, labels, list, selects, text};

/// What every program answers on its `http_listen`.
const HEALTH: [&str; 2] = ["/healthz/live", "/healthz/ready"];

pub(super) fn check(rendering: &Rendering) -> Vec<String> {
    let pods: Vec<Pod<'_>> = rendering.objects.iter().filter_map(Object::pod).collect();
    let mut findings: Vec<String> = pods.iter().flat_map(of_probes).collect();
    findings.extend(rendering.of_kind("Service").flat_map(|service| of_service(service, &pods)));
    findings.extend(rendering.of_kind("PodDisruptionBudget").filter_map(|budget| of_selector(budget, &pods)));
    findings.extend(rendering.of_kind("PodMonitor").filter_map(|monitor| of_selector(monitor, &pods)));
    findings.extend(rendering.of_kind("HorizontalPodAutoscaler").flat_map(|scaler| of_scaler(scaler, rendering)));
    findings
}

fn of_selector(object: &Object, pods: &[Pod<'_>]) -> Option<String> {
    let wanted = labels(object.spec(), "/selector/matchLabels");
    let is_met = pods.iter().any(|pod| selects(&wanted, &pod.labels));
    (!is_met).then(|| format!("{}: selects no pod", object.title()))
}

fn of_service(service: &Object, pods: &[Pod<'_>]) -> Vec<String> {
    let wanted = labels(service.spec(), "/selector");
    let chosen: Vec<_> = pods.iter().filter(|pod| selects(&wanted, &pod.labels)).collect();
    if wanted.is_empty() || chosen.is_empty() {
        return vec![format!("{}: selects no pod", service.title())];
    }
    let targets = list(service.spec(), "/ports").map(|port| text(port, "/targetPort"));
    let missing = targets.filter(|target| chosen.iter().any(|pod| pod.port(target).is_none()));
    missing.map(|target| format!("{}: its pods have no port {target}", service.title())).collect()
}

fn of_probes(pod: &Pod<'_>) -> Vec<String> {
    let mut findings = Vec::new();
    for container in pod.containers() {
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let Some(get) = container.pointer(&format!("/{probe}/httpGet")) else { continue };
            let (path, port) = (text(get, "/path"), text(get, "/port"));
            if !HEALTH.contains(&path) {
                findings.push(format!("{}: {probe} asks for {path}, which no program answers", pod.title));
            }
            if port != "http" || pod.port(port).is_none() {
                findings.push(format!("{}: {probe} asks port {port:?}; health is on `http`", pod.title));
            }
        }
    }
    findings
}

fn of_scaler(scaler: &Object, rendering: &Rendering) -> Vec<String> {
    let known: BTreeSet<String> = Metric::ALL.iter().map(|metric| metric.prometheus_name()).collect();
    let mut findings = Vec::new();
    let spec = scaler.spec();
    let target = (text(spec, "/scaleTargetRef/kind"), text(spec, "/scaleTargetRef/name"));
    match rendering.find(target.0, target.1) {
        None => findings.push(format!("{}: there is no {}/{}", scaler.title(), target.0, target.1)),
        Some(workload) if workload.spec().get("replicas").is_some() => {
            findings.push(format!(
                "{}: {} says replicas as well, and every rollout would set them",
                scaler.title(),
                target.1
            ));
        }
        Some(_) => {}
    }
    let names = list(spec, "/metrics").filter_map(|metric| {
        ["/pods/metric/name", "/external/metric/name"]
            .iter()
            .find_map(|place| metric.pointer(place))
            .and_then(Value::as_str)
    });
    let unknown = names.filter(|name| !known.contains(*name));
    findings.extend(unknown.map(|name| format!("{}: there is no metric {name}", scaler.title())));
    findings
}
