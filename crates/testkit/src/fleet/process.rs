//! One of our programs as a process of a test's own: started, signalled, waited for. Not responsible for which.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::installation::pause;

/// How long a program may take to become ready, or to end.
const LIMIT: Duration = Duration::from_secs(120);
/// How long it may take to say whether it is ready, and what it measures.
const HTTP_TIMEOUT: Duration = Duration::from_secs(2);
/// Octets of such an answer that are read.
const HTTP_REPLY_OCTETS: u64 = 4 << 20;

/// One program of a fleet, running or not.
#[derive(Debug)]
pub struct Process {
    name: String,
    program: PathBuf,
    environment: Vec<(String, String)>,
    health: SocketAddr,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    pub(super) fn new(
        name: String,
        program: PathBuf,
        environment: Vec<(String, String)>,
        health: SocketAddr,
        folder: &Path,
    ) -> Self {
        let log = folder.join(format!("log-{name}"));
        Self { name, program, environment, health, log, child: None }
    }

    /// `queue-0`, `outbound-1` …
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs the same program from another folder from now on: another version of it.
    pub fn run_from(&mut self, folder: &Path) {
        if let Some(name) = self.program.file_name() {
            self.program = folder.join(name);
        }
    }

    /// Starts it.
    ///
    /// # Errors
    /// It cannot be started, or runs.
    pub fn start(&mut self) -> anyhow::Result<()> {
        self.start_with(&[])
    }

    /// Starts it with more in its environment.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(&mut self, environment: &[(&str, &str)]) -> anyhow::Result<()> {
        if self.is_running() {
            bail!("{} runs already", self.name);
        }
        let log = File::options().create(true).append(true).open(&self.log)?;
        let child = Command::new(&self.program)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn();
        self.child = Some(child.with_context(|| format!("cannot start {}", self.program.display()))?);
        Ok(())
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// It ends, or takes too long; its log is in the error.
    pub fn until_ready(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        while !self.is_ready() {
            if !self.is_running() || started.elapsed() > LIMIT {
                bail!("{} is not ready after {:?}:\n{}", self.name, started.elapsed(), self.log());
            }
            pause();
        }
        Ok(())
    }

    /// Whether it says that it is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ask("/healthz/ready").is_ok_and(|reply| reply.starts_with("HTTP/1.1 200"))
    }

    /// The sum of a metric over all its attributes; nothing where the process does not answer, or not with that.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<f64> {
        let reply = self.ask("/metrics").ok()?;
        let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let values = reply.lines().filter(of_name).map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.reduce(|sum, value| Some(sum? + value?)).flatten()
    }

    fn ask(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.health, HTTP_TIMEOUT)?;
        stream.set_read_timeout(Some(HTTP_TIMEOUT))?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())?;
        let mut reply = String::new();
        stream.take(HTTP_REPLY_OCTETS).read_to_string(&mut reply)?;
        Ok(reply)
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// It takes too long, or was never started; its log is in the error.
    pub fn until_ended(&mut self) -> anyhow::Result<ExitStatus> {
        let started = Instant::now();
        let child = self.child.as_mut().with_context(|| format!("{} was not started", self.name))?;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if started.elapsed() > LIMIT {
                bail!("{} does not end:\n{}", self.name, self.log());
            }
            pause();
        }
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It does not run.
    pub fn signal(&mut self, signal: Signal) -> anyhow::Result<()> {
        let child = self.child.as_ref().filter(|child| child.id() > 0);
        let pid = child.with_context(|| format!("{} does not run", self.name))?.id();
        kill(Pid::from_raw(i32::try_from(pid)?), signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Asks it to end and waits until it has, in order.
    ///
    /// # Errors
    /// It does not, or fails.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::SIGTERM)?;
        let status = self.until_ended()?;
        if status.success() { Ok(()) } else { bail!("{}: {status}\n{}", self.name, self.log()) }
    }

    /// Ends it without warning.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// What it has logged in all its lives.
    #[must_use]
    pub fn log(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
