//! What `docker compose up` starts, as processes of this machine: the same commands, variables, files and order, with an
//! address of loopback for each container. Not started are PostgreSQL, which is the tests' own, and what only looks on.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};

use mailtier_config::DatabaseConfig;
use mailtier_testkit::collector::Collector;
use mailtier_testkit::fleet::at;
use mailtier_testkit::name_server::NameServer;
use mailtier_testkit::postgres::PostgresServer;

use super::container::{Container, Recipe};
use super::file::{ComposeFile, Service, root};

/// What is not started: PostgreSQL is the tests' own, as the collector is, and the others only look on.
const ABSENT: &[&str] = &["grafana", "otel-collector", "postgres", "prometheus", "tempo"];
/// What ends by itself.
const OVER: &[&str] = &["hello", "migrate", "secrets"];
/// What somebody works with may have secrets of theirs; tests have none.
const GIVEN: &str = "./deploy/compose/secrets";
/// The name server of Docker's networks.
const DOCKER_DNS: &str = "127.0.0.11:53";
/// Where HAProxy's connections come from here: on loopback, every connection comes from this address, unless it says which.
const PROXY: &str = "127.0.0.1/32";

/// A running stack.
#[derive(Debug)]
pub(super) struct Stack {
    pub(super) file: ComposeFile,
    pub(super) collector: Collector,
    // Dropped in this order: the database and the names outlive those who ask for them.
    containers: Vec<Container>,
    names: NameServer,
    database: PostgresServer,
    _runtime: tokio::runtime::Runtime,
    addresses: BTreeMap<String, Vec<Ipv4Addr>>,
    folder: tempfile::TempDir,
}

impl Stack {
    /// `docker compose up`, until everything is up that is to stay, and has ended what is to end.
    pub(super) fn up() -> Self {
        let file = ComposeFile::read();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let names = runtime.block_on(NameServer::start()).unwrap();
        let settings = file.services["postgres"].command.iter().filter_map(|word| word.strip_prefix("-c"));
        let database = PostgresServer::start_with(&settings.collect::<Vec<_>>()).unwrap();
        let folder = tempfile::Builder::new().prefix("mailtier-compose").tempdir_in("/var/tmp").unwrap();
        let collector = Collector::start().unwrap();
        let addresses = addresses(&file);
        for (name, address) in addresses.iter().flat_map(|(name, all)| all.iter().map(move |one| (name, one))) {
            names.add_address(name, (*address).into()).unwrap();
        }
        let containers = Vec::new();
        let mut stack = Self { file, collector, containers, names, database, _runtime: runtime, addresses, folder };
        let order: Vec<String> = stack.file.order().into_iter().map(str::to_owned).collect();
        for name in order.iter().filter(|name| !ABSENT.contains(&name.as_str())) {
            stack.start(name);
        }
        stack
    }

    fn start(&mut self, name: &str) {
        for (dependency, condition) in &self.file.services[name].depends_on {
            let those = self.containers.iter_mut().filter(|container| container.recipe.service == *dependency);
            match condition.condition.as_str() {
                "service_completed_successfully" => those.for_each(Container::until_completed),
                "service_healthy" => those.for_each(Container::until_healthy),
                "service_started" => {}
                other => panic!("{name}: {dependency}: {other}"),
            }
            if dependency == "secrets" {
                self.make_database();
            }
        }
        for address in self.addresses[name].clone() {
            let recipe = self.recipe(name, address);
            self.containers.push(Container::start(recipe));
        }
    }

    /// What PostgreSQL's image does at its first start.
    fn make_database(&self) {
        let url = self.volume("secret-database").join("url");
        let text = fs::read_to_string(&url).unwrap();
        if let Some(login) = text.strip_suffix("@postgres/mailtier") {
            let password = fs::read_to_string(self.volume("secret-postgres").join("password")).unwrap();
            let role = format!("CREATE ROLE mailtier LOGIN PASSWORD '{}'", password.trim_end());
            self.database.sql("postgres", &role).unwrap();
            self.database.sql("postgres", "CREATE DATABASE mailtier OWNER mailtier").unwrap();
            fs::write(&url, format!("{login}@localhost/mailtier?host={}", self.database.folder().display())).unwrap();
        }
    }

    /// The database that the queue works with.
    pub(super) fn database(&self) -> DatabaseConfig {
        at(&fs::read_to_string(self.volume("secret-database").join("url")).unwrap())
    }

    /// What a named volume holds.
    pub(super) fn volume(&self, name: &str) -> PathBuf {
        self.folder.path().join("volumes").join(name)
    }

    /// Where a service is reached on a port: its first replica.
    pub(super) fn at(&self, service: &str, port: u16) -> SocketAddr {
        (self.addresses[service][0], port).into()
    }

    /// The containers of a service.
    pub(super) fn containers(&mut self, service: &str) -> Vec<&mut Container> {
        self.containers.iter_mut().filter(|container| container.recipe.service == service).collect()
    }

    /// `docker compose exec`: what it printed.
    pub(super) fn exec(&mut self, service: &str, words: &[&str]) -> String {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        self.containers(service)[0].exec(&words).unwrap()
    }

    /// `docker compose stop`: each after those that depend on it, those of a service at a time.
    pub(super) fn stop(mut self) {
        let order: Vec<String> = self.file.order().into_iter().rev().map(str::to_owned).collect();
        for name in order.iter().filter(|name| !OVER.contains(&name.as_str())) {
            let mut containers = self.containers(name);
            containers.iter().for_each(|container| container.signal_to_stop());
            containers.iter_mut().for_each(|container| container.until_stopped());
        }
    }

    fn recipe(&self, name: &str, address: Ipv4Addr) -> Recipe {
        let service = &self.file.services[name];
        let place = self.folder.path().join(format!("{name}-{address}"));
        fs::create_dir_all(&place).unwrap();
        let mounts = self.mounts(service, &place, address);
        let here = |text: &str| self.translated(text, address, &mounts);
        let mut environment: Vec<(String, String)> =
            service.environment.iter().map(|(key, value)| (key.clone(), here(value))).collect();
        // The image says so.
        environment.push(("MAILTIER_CONFIG".to_owned(), here("/etc/mailtier/mailtier.toml")));
        Recipe {
            service: name.to_owned(),
            words: service.words().map(|word| here(word)).collect(),
            environment,
            health: service
                .healthcheck
                .as_ref()
                .map(|health| health.test.iter().skip(1).map(|word| here(word)).collect()),
            stop_signal: service.stop_signal.clone(),
            stop_grace_period: service.stop_grace_period.as_deref().map(seconds),
            log: place.join("log"),
        }
    }

    /// Makes a root of its own for a container, in which its mounts are, and says what stands for their folders here.
    fn mounts(&self, service: &Service, place: &Path, own: Ipv4Addr) -> BTreeMap<String, String> {
        let inside = |target: &str| place.join("root").join(target.trim_start_matches('/'));
        let folder = |target: &str| match target.rsplit_once('/') {
            Some(("", _)) | None => target.to_owned(),
            Some((folder, _)) => folder.to_owned(),
        };
        let mapped = |(_, target): (&str, &str)| (folder(target), inside(&folder(target)).display().to_string());
        let mounts: BTreeMap<String, String> = service.mounts().map(mapped).collect();
        for (source, target) in service.mounts() {
            let seen = inside(target);
            fs::create_dir_all(seen.parent().unwrap()).unwrap();
            let is_ours = source.starts_with("./") && source != GIVEN;
            let source = if is_ours { root().join(source) } else { self.volume(source) };
            if source.is_file() {
                let text = fs::read_to_string(&source).unwrap();
                fs::write(&seen, self.translated(&text, own, &mounts)).unwrap();
            } else if !seen.exists() {
                fs::create_dir_all(&source).unwrap();
                symlink(&source, &seen).unwrap();
            }
        }
        mounts
    }

    /// A text with what Docker's networks would give for its names and addresses, and where its mounts are.
    fn translated(&self, text: &str, own: Ipv4Addr, mounts: &BTreeMap<String, String>) -> String {
        let list = |service: &str| {
            let urls = self.addresses[service].iter().map(|address| format!("\"http://{address}:7070\""));
            urls.collect::<Vec<_>>().join(", ")
        };
        let mut text = text
            .replace(DOCKER_DNS, "<name server>")
            .replace("127.0.0.1", &own.to_string())
            .replace("0.0.0.0", &own.to_string())
            .replace(self.file.subnet("edge"), PROXY)
            .replace("\"http://queue:7070\"", &list("queue"))
            .replace("sink:2526", &self.at("sink", 2526).to_string())
            .replace("haproxy:2525", &self.at("haproxy", 2525).to_string())
            .replace("http://otel-collector:4317", &self.collector.endpoint())
            .replace("<name server>", &self.names.address().to_string());
        for (target, seen) in mounts {
            text = text.replace(target, seen);
        }
        text
    }
}

/// An address of loopback for each container, of a network that no other test has.
fn addresses(file: &ComposeFile) -> BTreeMap<String, Vec<Ipv4Addr>> {
    static STACKS: AtomicU8 = AtomicU8::new(0);
    let [.., high, low] = std::process::id().to_be_bytes();
    let network = (64 | (high & 63), low ^ STACKS.fetch_add(1, Ordering::Relaxed).rotate_right(3));
    let mut hosts = 1..=254;
    let mut all = BTreeMap::new();
    for (name, service) in &file.services {
        let own = hosts.by_ref().take(service.replicas());
        all.insert(name.clone(), own.map(|host| Ipv4Addr::new(127, network.0, network.1, host)).collect());
    }
    all
}

/// Compose's durations, as far as they are used.
pub(super) fn seconds(text: &str) -> std::time::Duration {
    std::time::Duration::from_secs(text.strip_suffix('s').unwrap().parse().unwrap())
}
