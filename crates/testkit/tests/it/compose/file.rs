//! What docker-compose.yml says, as Compose reads it: with merge keys resolved, and the variables of .env in place. Not
//! responsible for running any of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// The file, with .env.
#[derive(Debug)]
pub(super) struct ComposeFile {
    pub(super) services: BTreeMap<String, Service>,
    pub(super) networks: BTreeMap<String, Option<Network>>,
}

#[derive(Debug, Deserialize)]
struct Read {
    services: BTreeMap<String, Service>,
    networks: BTreeMap<String, Option<Network>>,
}

/// A network that has settings.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Network {
    pub(super) internal: bool,
    ipam: Ipam,
}

#[derive(Debug, Default, Deserialize)]
struct Ipam {
    config: Vec<Subnet>,
}

#[derive(Debug, Deserialize)]
struct Subnet {
    subnet: String,
}

/// What is said of a service, as far as a test needs it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Service {
    pub(super) image: String,
    pub(super) build: Option<Value>,
    pub(super) pull_policy: Option<String>,
    pub(super) entrypoint: Vec<String>,
    pub(super) command: Vec<String>,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) volumes: Vec<String>,
    pub(super) networks: Vec<String>,
    pub(super) network_mode: Option<String>,
    pub(super) ports: Vec<String>,
    pub(super) depends_on: BTreeMap<String, Dependency>,
    pub(super) healthcheck: Option<Healthcheck>,
    pub(super) stop_signal: Option<String>,
    pub(super) stop_grace_period: Option<String>,
    pub(super) read_only: bool,
    pub(super) cap_drop: Vec<String>,
    pub(super) security_opt: Vec<String>,
    pub(super) logging: Value,
    pub(super) deploy: Deploy,
}

#[derive(Debug, Deserialize)]
pub(super) struct Dependency {
    pub(super) condition: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Healthcheck {
    /// `CMD` first.
    pub(super) test: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Deploy {
    /// A variable, so it is text.
    replicas: Option<String>,
    pub(super) resources: Value,
}

impl Service {
    /// How many of it run.
    pub(super) fn replicas(&self) -> usize {
        self.deploy.replicas.as_deref().map_or(1, |count| count.parse().unwrap())
    }

    /// What runs, with its arguments.
    pub(super) fn words(&self) -> impl Iterator<Item = &String> {
        self.entrypoint.iter().chain(&self.command)
    }

    /// Where it sees what: source and place of each volume.
    pub(super) fn mounts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.volumes.iter().map(|volume| {
            let mut parts = volume.split(':');
            (parts.next().unwrap(), parts.next().unwrap())
        })
    }
}

impl ComposeFile {
    /// Reads it as it is in the repository.
    pub(super) fn read() -> Self {
        let variables = variables(&std::fs::read_to_string(root().join(".env")).unwrap());
        let text = std::fs::read_to_string(root().join("docker-compose.yml")).unwrap();
        let mut value: Value = serde_saphyr::from_str(&text).unwrap();
        interpolate(&mut value, &variables);
        let Read { services, networks } = serde_json::from_value(value).unwrap();
        Self { services, networks }
    }

    /// The addresses of a network.
    pub(super) fn subnet(&self, network: &str) -> &str {
        &self.networks[network].as_ref().unwrap().ipam.config[0].subnet
    }

    /// Services in an order in which each comes after those that it depends on.
    pub(super) fn order(&self) -> Vec<&str> {
        let mut order = Vec::new();
        for name in self.services.keys() {
            self.visit(name, &mut order);
        }
        order
    }

    fn visit<'a>(&'a self, name: &'a str, order: &mut Vec<&'a str>) {
        if !order.contains(&name) {
            for dependency in self.services[name].depends_on.keys() {
                self.visit(dependency, order);
            }
            order.push(name);
        }
    }
}

/// The repository's folder.
pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn variables(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn interpolate(value: &mut Value, variables: &BTreeMap<String, String>) {
    match value {
        Value::String(text) => *text = interpolated(text, variables),
        Value::Array(elements) => elements.iter_mut().for_each(|element| interpolate(element, variables)),
        Value::Object(members) => members.values_mut().for_each(|member| interpolate(member, variables)),
        _ => {}
    }
}

/// `${NAME:-default}`: the default where the variable is not set, or empty.
fn interpolated(text: &str, variables: &BTreeMap<String, String>) -> String {
    let (mut whole, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').unwrap();
        let (name, default) = name.split_once(":-").unwrap_or_else(|| panic!("{text}: give `{name}` a default"));
        let value = variables.get(name).filter(|value| !value.is_empty()).map_or(default, String::as_str);
        whole.push_str(before);
        whole.push_str(value);
        rest = after;
    }
    whole + rest
}
