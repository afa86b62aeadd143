//! A whole installation of the real programs, run by `mailtier up` below a directory of its own on ports of its own,
//! perhaps with a second queue replica. Responsible for starting, killing and finding its processes; everything it
//! started is stopped by pid when it is dropped.

#![allow(clippy::print_stderr, reason = "a failed test shows the log of what it tested")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use mailtier_config::DatabaseConfig;
use mailtier_store::Unaccounted;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fleet::audit;

/// How long an installation may take to start, and a program to come back.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// What ports are taken from.
const PORTS: Range<u16> = 10_000..32_000;
/// How long a stop may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// What an installation is like.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where all mail is delivered, but for that of `by_dns` and `by_route`.
    pub route: SocketAddr,
    /// Domains whose mail goes where DNS says.
    pub by_dns: &'static [&'static str],
    /// Domains with a route of their own, and the keys of that, as TOML.
    pub by_route: Vec<(&'static str, String)>,
    /// Settings beyond the harness's own: section → key → TOML value.
    pub settings: BTreeMap<&'static str, BTreeMap<&'static str, String>>,
    /// Whether a second queue replica runs.
    pub second_queue: bool,
}

impl Plan {
    /// Everything delivered to `route`, one replica, fast retries.
    #[must_use]
    pub fn new(route: SocketAddr) -> Self {
        let plan = Self { route, by_dns: &[], by_route: Vec::new(), settings: BTreeMap::new(), second_queue: false };
        plan.set("queue", "retry_first", "\"300ms\"").set("queue", "retry_max", "\"1s\"")
    }

    /// With a setting, as TOML.
    #[must_use]
    pub fn set(mut self, section: &'static str, key: &'static str, value: impl Into<String>) -> Self {
        self.settings.entry(section).or_default().insert(key, value.into());
        self
    }

    /// With domains whose mail goes where DNS says.
    #[must_use]
    pub const fn by_dns(mut self, domains: &'static [&'static str]) -> Self {
        self.by_dns = domains;
        self
    }

    /// With a route for a domain: its keys, as TOML.
    #[must_use]
    pub fn with_route(mut self, domain: &'static str, keys: String) -> Self {
        self.by_route.push((domain, keys));
        self
    }

    /// The routes, as TOML.
    pub(crate) fn routes(&self) -> String {
        let way = |domain: &str, keys: &str| format!("[[outbound.routes]]\ndomain = \"{domain}\"\n{keys}\n");
        let by_dns = self.by_dns.iter().map(|domain| way(domain, "hosts = []"));
        let by_route = self.by_route.iter().map(|(domain, keys)| way(domain, keys));
        way("*", &format!("hosts = [\"{}\"]", self.route)) + &by_dns.chain(by_route).collect::<String>()
    }

    /// With a second queue replica.
    #[must_use]
    pub const fn with_second_queue(mut self) -> Self {
        self.second_queue = true;
        self
    }
}

/// A running installation.
#[derive(Debug)]
pub struct Installation {
    folder: tempfile::TempDir,
    up: Child,
    second_queue: Option<Child>,
    smtp: SocketAddr,
    queue: SocketAddr,
    second: Ports,
}

/// The second replica's.
#[derive(Debug, Clone, Copy)]
struct Ports {
    grpc: SocketAddr,
    http: SocketAddr,
}

impl Installation {
    /// Starts one and waits until it takes mail.
    ///
    /// # Errors
    /// A program is not built, or the installation is not ready in time; its log is in the error.
    pub fn start(plan: &Plan) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("mailtier-test").tempdir_in("/var/tmp")?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let (smtp, queue) = (free_port()?, free_port()?);
        let second = Ports { grpc: free_port()?, http: free_port()? };
        fs::write(folder.path().join("mailtier.toml"), configuration(plan, smtp, queue, second.grpc)?)?;
        let up = spawn(
            Command::new(program("mailtier")?)
                .arg("up")
                .args(["--ready-file".as_ref(), folder.path().join("ready").as_os_str()])
                .args(["--data".as_ref(), folder.path().as_os_str()])
                .args(["--config".as_ref(), folder.path().join("mailtier.toml").as_os_str()]),
            &folder.path().join("log"),
        )?;
        let mut installation = Self { folder, up, second_queue: None, smtp, queue, second };
        installation.wait("the installation", |this| this.path("ready").exists())?;
        if plan.second_queue {
            installation.start_second_queue()?;
        }
        Ok(installation)
    }

    /// Where it takes mail.
    #[must_use]
    pub const fn smtp(&self) -> SocketAddr {
        self.smtp
    }

    /// A path below its data directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What its programs have logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Runs `mailtier` with the admin options of this installation and returns what it printed.
    ///
    /// # Errors
    /// It fails; what it said is in the error.
    pub fn mailtier(&self, arguments: &[&str]) -> anyhow::Result<String> {
        operate(&format!("http://{}", self.queue), &self.path("secrets/admin"), None, arguments)
    }

    /// Kills a supervised program (`postgres`, `mailtier-queue` …) without warning; it is started again by `up`.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&self, name: &str) -> anyhow::Result<()> {
        let pid = self.pid_of(name).with_context(|| format!("{name} does not run"))?;
        kill(Pid::from_raw(pid), Signal::SIGKILL).with_context(|| format!("cannot kill {name}"))
    }

    /// Recipients that break the second invariant of docs/architecture.md, as the database has them now.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn audit(&self) -> anyhow::Result<Vec<Unaccounted>> {
        audit(&self.database())
    }

    /// What its database is reached by.
    #[must_use]
    pub fn database(&self) -> DatabaseConfig {
        let url_file = Some(self.path("secrets/database-url"));
        DatabaseConfig { url_file, ..DatabaseConfig::default() }
    }

    /// The process of a supervised program.
    #[must_use]
    pub fn pid_of(&self, name: &str) -> Option<i32> {
        children_of(self.up.id()).into_iter().find(|pid| {
            fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.split('\0').next().is_some_and(|program| program.ends_with(name)))
        })
    }

    /// Starts the second replica, or starts it again.
    ///
    /// # Errors
    /// It is not ready in time.
    pub fn start_second_queue(&mut self) -> anyhow::Result<()> {
        self.kill_second_queue();
        let child = spawn(
            Command::new(program("mailtier-queue")?)
                .env("MAILTIER_CONFIG", self.path("mailtier.toml"))
                .env("MAILTIER__DATABASE__URL_FILE", self.path("secrets/database-url"))
                .env("MAILTIER__CLUSTER__SECRET_FILE", self.path("secrets/cluster"))
                .env("MAILTIER__CLUSTER__ADMIN_SECRET_FILE", self.path("secrets/admin"))
                .env("MAILTIER__QUEUE__LISTEN", self.second.grpc.to_string())
                .env("MAILTIER__QUEUE__HTTP_LISTEN", self.second.http.to_string()),
            &self.path("log-second-queue"),
        )?;
        self.second_queue = Some(child);
        self.wait("the second queue replica", |this| TcpStream::connect(this.second.grpc).is_ok())
    }

    /// Kills the second replica without warning.
    pub fn kill_second_queue(&mut self) {
        if let Some(mut child) = self.second_queue.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn wait(&mut self, what: &str, ready: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        let started = Instant::now();
        while !ready(self) {
            if self.up.try_wait()?.is_some() || started.elapsed() > START_TIMEOUT {
                bail!("{what} is not ready after {:?}:\n{}", started.elapsed(), self.log());
            }
            pause();
        }
        Ok(())
    }

    /// Asks everything to stop and waits until it has.
    ///
    /// # Errors
    /// Something had to be killed, or ended with an error.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.kill_second_queue();
        terminate(&self.up)?;
        let started = Instant::now();
        loop {
            match self.up.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("mailtier up: {status}\n{}", self.log()),
                None if started.elapsed() > STOP_TIMEOUT => bail!("mailtier up does not stop:\n{}", self.log()),
                None => pause(),
            }
        }
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        self.kill_second_queue();
        let children = children_of(self.up.id());
        if matches!(self.up.try_wait(), Ok(None)) {
            // Supervised programs are not started again once the supervisor is gone, so it goes first.
            let _ = self.up.kill();
            let _ = self.up.wait();
            for pid in children {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        if std::thread::panicking() {
            eprintln!("--- log of the installation\n{}", tail(&self.log()));
        }
    }
}

/// The last lines of a log.
pub(crate) fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines.get(lines.len().saturating_sub(200)..).unwrap_or_default().join("\n")
}

/// Between two looks at a condition that another process brings about.
pub fn pause() {
    std::thread::park_timeout(Duration::from_millis(20));
}

fn terminate(child: &Child) -> anyhow::Result<()> {
    kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM).context("cannot signal mailtier up")
}

fn spawn(command: &mut Command, log: &Path) -> anyhow::Result<Child> {
    let log = File::options().create(true).append(true).open(log)?;
    let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
    child.with_context(|| format!("cannot start {:?}", command.get_program()))
}

/// The processes that a process has started, and that still run.
#[must_use]
pub fn children_of(parent: u32) -> Vec<i32> {
    fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))
        .ok()
        .into_iter()
        .chain(other_threads_children(parent))
        .flat_map(|line| line.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>())
        .collect()
}

/// A child belongs to the thread that made it.
fn other_threads_children(parent: u32) -> Vec<String> {
    fs::read_dir(format!("/proc/{parent}/task"))
        .into_iter()
        .flatten()
        .flatten()
        .filter(|task| task.file_name().to_string_lossy() != parent.to_string())
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .collect()
}

/// Runs `mailtier` as an operator of a queue and returns what it printed.
pub(crate) fn operate(
    queue: &str,
    secret: &Path,
    authority: Option<&Path>,
    arguments: &[&str],
) -> anyhow::Result<String> {
    let output = Command::new(program("mailtier")?)
        .args(arguments)
        .env("MAILTIER_ADMIN_SERVER", queue)
        .envs(authority.map(|authority| ("MAILTIER_ADMIN_CA", authority)))
        .env("MAILTIER_ADMIN_SECRET_FILE", secret)
        .output()?;
    if !output.status.success() {
        bail!("mailtier {arguments:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// One of our programs, beside the test's own folder.
///
/// # Errors
/// It is not built.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.ancestors().nth(2).context("a test lies in target/<profile>/deps")?;
    let path = folder.join(name);
    if path.is_file() { Ok(path) } else { bail!("{} is not built: `cargo build --workspace --bins`", path.display()) }
}

/// A port of loopback that was free a moment ago, and is given to no outgoing connection (Linux takes those from 32768 on).
///
/// # Errors
/// There is none.
pub fn free_port() -> anyhow::Result<SocketAddr> {
    static TURN: AtomicU32 = AtomicU32::new(0);
    // Test processes that run at the same time begin at different places.
    let start = std::process::id().wrapping_mul(7919);
    for _ in PORTS {
        let place = start.wrapping_add(TURN.fetch_add(1, Ordering::Relaxed)) % u32::from(PORTS.end - PORTS.start);
        let port = PORTS.start + u16::try_from(place)?;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return Ok(listener.local_addr()?);
        }
    }
    bail!("no port of {PORTS:?} is free")
}

fn configuration(plan: &Plan, smtp: SocketAddr, queue: SocketAddr, second: SocketAddr) -> anyhow::Result<String> {
    let mut settings = plan.settings.clone();
    let mut set = |section: &'static str, key: &'static str, value: String| {
        settings.entry(section).or_default().entry(key).or_insert(value);
    };
    let endpoints = if plan.second_queue {
        format!("[\"http://{queue}\", \"http://{second}\"]")
    } else {
        format!("[\"http://{queue}\"]")
    };
    set("inbound", "listen", format!("[\"{smtp}\"]"));
    set("inbound", "hostname", "\"mx.test.example\"".to_owned());
    set("inbound", "queue", endpoints.clone());
    set("queue", "listen", format!("\"{queue}\""));
    set("queue", "hostname", "\"mx.test.example\"".to_owned());
    set("outbound", "queue", endpoints);
    set("outbound", "ehlo_name", "\"mx.test.example\"".to_owned());
    set("telemetry", "log_format", "\"text\"".to_owned());
    for section in ["inbound", "queue", "outbound"] {
        set(section, "http_listen", format!("\"{}\"", free_port()?));
    }
    let mut text = String::new();
    for (section, keys) in &settings {
        text.push_str(&format!("[{section}]\n"));
        for (key, value) in keys {
            text.push_str(&format!("{key} = {value}\n"));
        }
        text.push('\n');
    }
    text.push_str(&plan.routes());
    Ok(text)
}
