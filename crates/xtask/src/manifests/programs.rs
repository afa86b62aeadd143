//! What the programs make of their pods: each is run with the configuration, the environment and the secrets it would
//! have, and says what it understands; that is held against the ports, services and times of its pod. Not responsible for
//! programs of others.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use super::Rendering;
use super::object::{Object, Pod, list, text};

/// Where pods have what they are mounted with.
const MOUNTS: [(&str, &str); 2] = [("/etc/mailtier", "config"), ("/run/secrets/mailtier", "secrets")];
/// What the image sets (Dockerfile).
const IMAGE_VARIABLE: (&str, &str) = ("MAILTIER_CONFIG", "/etc/mailtier/mailtier.toml");
/// What a pod is, where it is told (the downward API).
const POD_FIELDS: [(&str, &str); 2] = [("metadata.name", "mailtier-5d9c7b6f4-x2x7k"), ("spec.nodeName", "node-a")];
/// The first address of a pod, by the family that comes first.
const POD_ADDRESSES: [(&str, &str); 2] = [("IPv4", "10.244.1.7"), ("IPv6", "fd00:10:244:1::7")];
/// After the drain: how long replicas are left in order (2 s) and the collector is told the rest (5 s).
const FAREWELL: Duration = Duration::from_secs(7);

/// Runs the programs of every pod.
///
/// # Errors
/// A program cannot be run.
pub(super) fn check(rendering: &Rendering, secrets: &Path, programs: &Path) -> anyhow::Result<Vec<String>> {
    let mut findings = Vec::new();
    for pod in rendering.objects.iter().filter_map(Object::pod) {
        for container in pod.all_containers() {
            let program = list(container, "/command").next().and_then(Value::as_str).unwrap_or_default();
            if program.starts_with("mailtier-") {
                let found = of_container(rendering, &pod, container, secrets, &programs.join(program))?;
                let title = format!("{} ({})", pod.title, text(container, "/name"));
                findings.extend(found.into_iter().map(|finding| format!("{title}: {finding}")));
            }
        }
    }
    Ok(findings)
}

fn of_container(
    rendering: &Rendering,
    pod: &Pod<'_>,
    container: &Value,
    secrets: &Path,
    program: &Path,
) -> anyhow::Result<Vec<String>> {
    let files = tempfile::tempdir()?;
    let mut findings = mount(rendering, pod, secrets, files.path())?;
    let environment = environment(container, files.path(), pod_address(rendering));
    let serves = list(container, "/command").count() == 1;
    // What does one thing and ends is not asked for what it would serve with.
    let questions: &[&str] = if serves { &["--check-config", "--print-config"] } else { &["--print-config"] };
    let mut printed = String::new();
    for question in questions {
        let mut command = Command::new(program);
        let ran = command.arg(question).env_clear().envs(&environment).output();
        let output = ran.with_context(|| format!("cannot run {}: build the programs first", program.display()))?;
        if !output.status.success() {
            findings.push(String::from_utf8_lossy(&output.stderr).trim().to_owned());
            return Ok(findings);
        }
        printed = String::from_utf8_lossy(&output.stdout).into_owned();
    }
    if serves {
        let config: toml::Table = toml::from_str(&printed).context("what a program prints as its configuration")?;
        findings.extend(understood(rendering, pod, container, &config)?);
    }
    Ok(findings)
}

/// Lays out the files of the pod's volumes.
fn mount(rendering: &Rendering, pod: &Pod<'_>, secrets: &Path, files: &Path) -> anyhow::Result<Vec<String>> {
    let mut findings = Vec::new();
    let (config_dir, secret_dir) = (files.join("config"), files.join("secrets"));
    fs::create_dir_all(&config_dir)?;
    fs::create_dir_all(&secret_dir)?;
    for volume in list(pod.spec, "/volumes") {
        if let Some(name) = volume.pointer("/configMap/name").and_then(Value::as_str) {
            match rendering.find("ConfigMap", name) {
                Some(map) => {
                    for (file, content) in super::object::labels(&map.0, "/data") {
                        fs::write(config_dir.join(file), content)?;
                    }
                }
                None => findings.push(format!("there is no ConfigMap {name}")),
            }
        }
        for source in list(volume, "/projected/sources") {
            let name = text(source, "/secret/name");
            for item in list(source, "/secret/items") {
                let (key, path) = (text(item, "/key"), secret_dir.join(text(item, "/path")));
                fs::create_dir_all(path.parent().unwrap_or(&secret_dir))?;
                if fs::copy(secrets.join(name).join(key), &path).is_err() {
                    findings.push(format!("nobody makes the key {key} of the secret {name}"));
                }
            }
        }
    }
    Ok(findings)
}

/// The environment as Kubernetes would make it, with paths of mounts that are elsewhere here.
fn environment(container: &Value, files: &Path, pod_address: &str) -> BTreeMap<String, String> {
    let at_hand = |value: &str| {
        let mounted = MOUNTS.iter().find(|(mount, _)| value.starts_with(mount));
        mounted.map_or_else(
            || value.to_owned(),
            |(mount, folder)| value.replacen(mount, &files.join(folder).to_string_lossy(), 1),
        )
    };
    let mut made = BTreeMap::from([(IMAGE_VARIABLE.0.to_owned(), at_hand(IMAGE_VARIABLE.1))]);
    for variable in list(container, "/env") {
        let field = text(variable, "/valueFrom/fieldRef/fieldPath");
        let address = ("status.podIP", pod_address);
        let known = POD_FIELDS.iter().chain([&address]).find(|(path, _)| *path == field);
        let mut value = known.map_or_else(|| text(variable, "/value").to_owned(), |(_, value)| (*value).to_owned());
        for (name, earlier) in &made {
            value = value.replace(&format!("$({name})"), earlier);
        }
        made.insert(text(variable, "/name").to_owned(), at_hand(&value));
    }
    made
}

/// Of the family that services name first.
fn pod_address(rendering: &Rendering) -> &'static str {
    let families = rendering.of_kind("Service").flat_map(|service| list(service.spec(), "/ipFamilies")).next();
    let family = families.and_then(Value::as_str).unwrap_or("IPv4");
    POD_ADDRESSES.iter().find(|(name, _)| *name == family).map_or("", |(_, address)| address)
}

/// Holds what a program says it would do against what its pod says of it.
fn understood(
    rendering: &Rendering,
    pod: &Pod<'_>,
    container: &Value,
    config: &toml::Table,
) -> anyhow::Result<Vec<String>> {
    let tier = pod.component();
    let section = config.get(tier).and_then(toml::Value::as_table).with_context(|| format!("no section {tier}"))?;
    let mut findings = Vec::new();
    let ports = list(container, "/ports").filter_map(|port| port.get("containerPort")?.as_u64());
    let mut declared: Vec<u64> = ports.collect();
    declared.sort_unstable();
    let listening = listening(section);
    if declared != listening {
        findings.push(format!("its ports are {declared:?}, and the program listens on {listening:?}"));
    }
    let http = section.get("http_listen").and_then(toml::Value::as_str).and_then(port_of);
    if http != pod.port("http") {
        findings.push(format!("health is on port {http:?}, and `http` is {:?}", pod.port("http")));
    }
    findings.extend(misnamed_api(rendering, pod, section.contains_key("api_tls_certificate")));
    let given = pod.spec.get("terminationGracePeriodSeconds").and_then(Value::as_u64).unwrap_or(30);
    let before = container.pointer("/lifecycle/preStop/sleep/seconds").and_then(Value::as_u64).unwrap_or(0);
    let drain = section.get("drain_timeout").and_then(toml::Value::as_str).unwrap_or("0s");
    let needed = Duration::from_secs(before) + humantime::parse_duration(drain)? + FAREWELL;
    if Duration::from_secs(given) <= needed {
        findings.push(format!("it is killed after {given} s, and needs {} s to end", needed.as_secs()));
    }
    let queues =
        section.get("queue").and_then(toml::Value::as_array).into_iter().flatten().filter_map(toml::Value::as_str);
    findings.extend(queues.filter_map(|url| unreachable(rendering, config, url)));
    Ok(findings)
}

/// Every port that a section says is listened on, in order.
fn listening(section: &toml::Table) -> Vec<u64> {
    let texts = |value: &toml::Value| -> Vec<String> {
        let many = value.as_array().into_iter().flatten().filter_map(toml::Value::as_str);
        value.as_str().into_iter().chain(many).map(str::to_owned).collect()
    };
    let own = ["listen", "http_listen", "api_listen"].iter().filter_map(|key| section.get(*key));
    let tables = section.get("listeners").and_then(toml::Value::as_array).into_iter().flatten();
    let places = own.chain(tables.filter_map(|table| table.get("listen"))).flat_map(texts);
    let mut ports: Vec<u64> = places.filter_map(|place| port_of(&place)).collect();
    ports.sort_unstable();
    ports
}

/// Why proxies before the HTTP API would speak to it otherwise than it does.
fn misnamed_api(rendering: &Rendering, pod: &Pod<'_>, has_tls: bool) -> Option<String> {
    let spoken = if has_tls { "https" } else { "http" };
    pod.port("api")?;
    let ports = rendering.of_kind("Service").flat_map(|service| list(service.spec(), "/ports"));
    let mut said = ports.filter(|port| text(port, "/targetPort") == "api").map(|port| text(port, "/appProtocol"));
    let wrong = said.find(|said| *said != spoken)?;
    Some(format!("the HTTP API is served as {spoken}, and its service calls that {wrong}"))
}

fn port_of(address: &str) -> Option<u64> {
    address.rsplit_once(':')?.1.parse().ok()
}

/// Why a replica of the queue is not where a program looks for it.
fn unreachable(rendering: &Rendering, config: &toml::Table, url: &str) -> Option<String> {
    let (scheme, place) = url.split_once("://")?;
    let (host, port) = place.rsplit_once(':')?;
    let wanted = port.parse::<u64>().ok();
    let service = rendering.find("Service", host);
    let has_port = |service: &Object| {
        list(service.spec(), "/ports").any(|open| open.get("port").and_then(Value::as_u64) == wanted)
    };
    if !service.is_some_and(has_port) {
        return Some(format!("there is no service for {url}"));
    }
    if service.is_some_and(|service| text(service.spec(), "/clusterIP") != "None") {
        return Some(format!("{url} is one address for all replicas, and each has to be found"));
    }
    let has_tls = config.get("cluster").and_then(|cluster| cluster.get("tls_certificate")).is_some();
    ((scheme == "https") != has_tls).then(|| format!("{url} does not go with `cluster.tls_certificate`"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_environment_is_that_of_a_pod() {
        let container = json!({"env": [
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "ADVERTISE", "value": "[$(POD_IP)]:7070"},
            {"name": "SECRET", "value": "/run/secrets/mailtier/tls/tls.key"},
            {"name": "MAILTIER_CONFIG", "value": ""},
        ]});
        let made = environment(&container, Path::new("/here"), "fd00::7");
        assert_eq!(made["ADVERTISE"], "[fd00::7]:7070");
        assert_eq!(made["SECRET"], "/here/secrets/tls/tls.key");
        assert_eq!(made["MAILTIER_CONFIG"], "", "the pod's word goes before the image's");
        assert_eq!(environment(&json!({}), Path::new("/here"), "")["MAILTIER_CONFIG"], "/here/config/mailtier.toml");
    }

    #[test]
    fn what_a_service_says_of_the_api_is_held_against_its_certificate() {
        let rendering = |spoken: &str| Rendering {
            name: "helm-x".to_owned(),
            objects: serde_json::from_value(json!([
                {"kind": "Deployment", "metadata": {"name": "queue"}, "spec": {"template": {"spec": {"containers": [
                    {"name": "queue", "ports": [{"name": "api", "containerPort": 8080}]}
                ]}}}},
                {"kind": "Service", "metadata": {"name": "api"}, "spec": {"ports": [
                    {"name": "api", "port": 8080, "targetPort": "api", "appProtocol": spoken}
                ]}},
            ]))
            .unwrap(),
        };
        let said = |spoken: &str, has_tls: bool| {
            let rendering = rendering(spoken);
            let pod = rendering.objects[0].pod().unwrap();
            misnamed_api(&rendering, &pod, has_tls)
        };
        assert_eq!((said("https", true), said("http", false)), (None, None));
        assert_eq!(said("http", true).unwrap(), "the HTTP API is served as https, and its service calls that http");
        assert!(said("https", false).is_some());
    }

    #[test]
    fn every_port_that_is_listened_on_is_found() {
        let section = toml::from_str(
            "listen = ['0.0.0.0:2525']\nhttp_listen = '[::]:9101'\nhostname = 'a:1'\n[[listeners]]\nlisten = ['[::]:2465']",
        );
        assert_eq!(listening(&section.unwrap()), [2465, 2525, 9101]);
    }
}
