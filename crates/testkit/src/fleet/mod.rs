//! The real programs as separate processes around a database of the test's choosing: any number of each, and each to be
//! started, stopped, killed or paused alone. (`installation` is the other way: everything as `mailtier up` runs it.)

#![allow(clippy::print_stderr, reason = "a failed test shows the logs of what it tested")]

mod certificates;
mod process;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use mailtier_config::{DatabaseConfig, Secret};
use mailtier_store::{DeliveryFilter, PageBounds, Session, Store, StoreError, Unaccounted};
use mailtier_types::{DeliveryId, Timestamp};

pub use certificates::Certificates;
pub use process::Process;

use crate::installation::{Plan, free_port, operate, program, tail};

/// The file of the operators' secret.
const ADMIN: &str = "admin";
/// Findings of one audit.
const AUDITED_AT_MOST: u32 = 20;

/// How many of each program run.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// mailtier-inbound.
    pub inbounds: usize,
    /// mailtier-queue.
    pub queues: usize,
    /// mailtier-outbound.
    pub outbounds: usize,
}

/// Running programs, as many of each as were asked for.
#[derive(Debug)]
pub struct Fleet {
    folder: tempfile::TempDir,
    /// The queue replicas.
    pub queues: Vec<Process>,
    /// The workers.
    pub outbounds: Vec<Process>,
    /// Reception.
    pub inbounds: Vec<Process>,
    smtp: Vec<SocketAddr>,
    /// Where the replicas are.
    ports: Vec<SocketAddr>,
    /// By which the replicas are reached over TLS.
    certificates: Option<Certificates>,
}

impl Fleet {
    /// Makes one, with a database for each queue replica, and starts nothing.
    ///
    /// # Errors
    /// A program is not built, or there is no port.
    pub fn new(plan: &Plan, size: Size, database: impl Fn(usize) -> String) -> anyhow::Result<Self> {
        Self::with(plan, size, database, None)
    }

    /// The same with TLS between the programs.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn over_tls(
        plan: &Plan,
        size: Size,
        database: impl Fn(usize) -> String,
        certificates: &Certificates,
    ) -> anyhow::Result<Self> {
        Self::with(plan, size, database, Some(certificates.clone()))
    }

    fn with(
        plan: &Plan,
        size: Size,
        database: impl Fn(usize) -> String,
        certificates: Option<Certificates>,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("mailtier-fleet").tempdir_in("/var/tmp")?;
        let ports: Vec<SocketAddr> = (0..size.queues).map(|_| free_port()).collect::<Result<_, _>>()?;
        let smtp: Vec<SocketAddr> = (0..size.inbounds).map(|_| free_port()).collect::<Result<_, _>>()?;
        fs::write(folder.path().join("mailtier.toml"), configuration(plan, &urls(&ports, certificates.is_some())))?;
        fs::write(folder.path().join(ADMIN), "operators only")?;
        let member = |kind: &str, number: usize, more: &[(&str, String)]| {
            let name = format!("{kind}-{number}");
            let health = free_port()?;
            let config = folder.path().join("mailtier.toml").to_string_lossy().into_owned();
            let mut environment = vec![
                ("MAILTIER_CONFIG".to_owned(), config),
                (format!("MAILTIER__{}__HTTP_LISTEN", kind.to_uppercase()), health.to_string()),
            ];
            environment.extend(certificates.iter().flat_map(|certificates| certificates.environment(kind)));
            environment.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
            anyhow::Ok(Process::new(name, program(&format!("mailtier-{kind}"))?, environment, health, folder.path()))
        };
        let queue = |(number, port): (usize, &SocketAddr)| {
            let secret = folder.path().join(ADMIN).to_string_lossy().into_owned();
            let own = [
                ("MAILTIER__QUEUE__LISTEN", port.to_string()),
                ("MAILTIER__DATABASE__URL", database(number)),
                ("MAILTIER__CLUSTER__ADMIN_SECRET_FILE", secret),
            ];
            member("queue", number, &own)
        };
        let queues = ports.iter().enumerate().map(queue).collect::<Result<_, _>>()?;
        let outbounds = (0..size.outbounds).map(|number| member("outbound", number, &[]));
        let outbounds = outbounds.collect::<Result<_, _>>()?;
        let inbound = |(number, port): (usize, &SocketAddr)| {
            member("inbound", number, &[("MAILTIER__INBOUND__LISTEN", port.to_string())])
        };
        let inbounds = smtp.iter().enumerate().map(inbound).collect::<Result<_, _>>()?;
        Ok(Self { folder, queues, outbounds, inbounds, smtp, ports, certificates })
    }

    /// Starts everything and waits until all are ready.
    ///
    /// # Errors
    /// One is not ready in time; its log is in the error.
    pub fn start(&mut self) -> anyhow::Result<()> {
        for process in self.all() {
            process.start()?;
        }
        self.until_ready()
    }

    /// Waits until all are ready.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn until_ready(&mut self) -> anyhow::Result<()> {
        self.all().try_for_each(Process::until_ready)
    }

    /// Where it takes mail: each mailtier-inbound.
    #[must_use]
    pub fn smtp(&self) -> &[SocketAddr] {
        &self.smtp
    }

    /// Runs `mailtier` as an operator of the first replica and returns what it printed.
    ///
    /// # Errors
    /// It fails; what it said is in the error.
    pub fn mailtier(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let urls = urls(&self.ports, self.certificates.is_some());
        let queue = urls.first().context("there is no replica")?;
        let authority = self.certificates.as_ref().map(Certificates::authority);
        operate(queue, &self.folder.path().join(ADMIN), authority.as_deref(), arguments)
    }

    /// The URLs of the replicas, over TLS or without, as the environment has a list.
    #[must_use]
    pub fn urls(&self, are_secure: bool) -> String {
        urls(&self.ports, are_secure).join(",")
    }

    /// Where its files are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Asks everything that runs to stop, the front first, and waits until it has.
    ///
    /// # Errors
    /// One does not, or fails; its log is in the error.
    pub fn stop(mut self) -> anyhow::Result<()> {
        let order = self.inbounds.iter_mut().chain(&mut self.outbounds).chain(&mut self.queues);
        order.filter_map(|process| process.is_running().then_some(process)).try_for_each(Process::stop)
    }

    /// Every process, in the order in which they start.
    pub fn all(&mut self) -> impl Iterator<Item = &mut Process> {
        self.queues.iter_mut().chain(&mut self.outbounds).chain(&mut self.inbounds)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for process in self.all() {
                eprintln!("--- log of {}\n{}", process.name(), tail(&process.log()));
            }
        }
    }
}

/// Brings a database's schema to the newest, with the program that does so.
///
/// # Errors
/// It fails; what it said is in the error.
pub fn migrate(database: &str) -> anyhow::Result<()> {
    migrate_with(&program("mailtier-queue")?, database)
}

/// The same with a mailtier-queue of another version.
///
/// # Errors
/// As [`migrate`].
pub fn migrate_with(queue: &Path, database: &str) -> anyhow::Result<()> {
    let output = Command::new(queue)
        .arg("migrate")
        .env("MAILTIER__DATABASE__URL", database)
        .env("MAILTIER__QUEUE__HOSTNAME", "mx.test.example")
        .output()
        .context("cannot run mailtier-queue")?;
    if !output.status.success() {
        bail!("mailtier-queue migrate: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Recipients in a database that break the second invariant of docs/architecture.md.
///
/// # Errors
/// The database does not answer.
pub fn audit(database: &DatabaseConfig) -> anyhow::Result<Vec<Unaccounted>> {
    let now = Timestamp::from_system(SystemTime::now());
    ask(database, async |mut session| session.audit(Timestamp::EPOCH, now, AUDITED_AT_MOST).await)
}

/// A delivery that is still queued in a database, if there is any.
///
/// # Errors
/// The database does not answer.
pub fn queued(database: &DatabaseConfig) -> anyhow::Result<Option<DeliveryId>> {
    let first = PageBounds { after: 0, before: i64::MAX, rows: 1, limit: 1 };
    let page = ask(database, async |mut session| session.list(&DeliveryFilter::default(), first).await)?;
    Ok(page.deliveries.first().map(|delivery| delivery.id))
}

fn ask<T>(
    database: &DatabaseConfig,
    question: impl AsyncFnOnce(Session) -> Result<T, StoreError>,
) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = Store::connect(database).await?;
        Ok(question(store.session().await?).await?)
    })
}

/// What [`audit`] and [`queued`] need of a URL.
#[must_use]
pub fn at(database: &str) -> DatabaseConfig {
    DatabaseConfig { url: Some(Secret::new(database.to_owned())), ..DatabaseConfig::default() }
}

fn urls(ports: &[SocketAddr], are_secure: bool) -> Vec<String> {
    let scheme = if are_secure { "https" } else { "http" };
    ports.iter().map(|address| format!("{scheme}://{address}")).collect()
}

fn configuration(plan: &Plan, queues: &[String]) -> String {
    let mut settings = plan.settings.clone();
    let mut set = |section: &'static str, key: &'static str, value: String| {
        settings.entry(section).or_default().entry(key).or_insert(value);
    };
    let endpoints: Vec<String> = queues.iter().map(|url| format!("\"{url}\"")).collect();
    let endpoints = format!("[{}]", endpoints.join(", "));
    set("inbound", "hostname", "\"mx.test.example\"".to_owned());
    set("inbound", "queue", endpoints.clone());
    set("queue", "hostname", "\"mx.test.example\"".to_owned());
    set("outbound", "queue", endpoints);
    set("outbound", "ehlo_name", "\"mx.test.example\"".to_owned());
    set("telemetry", "log_format", "\"text\"".to_owned());
    let mut text = String::new();
    for (section, keys) in &settings {
        text.push_str(&format!("[{section}]\n"));
        for (key, value) in keys {
            text.push_str(&format!("{key} = {value}\n"));
        }
    }
    text.push_str(&plan.routes());
    text
}
