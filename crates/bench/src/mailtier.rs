//! The system under measurement: `mailtier up` with its private PostgreSQL, durable as shipped, all mail routed to
//! the sink.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::Signal;

use crate::harness::SINK_PORT;
use crate::processes::{self, Running};

/// Where the system takes mail.
const PORT: u16 = 2725;
/// Where the tiers reach the queue.
pub(crate) const QUEUE_PORT: u16 = 2730;
/// Where the queue serves its metrics.
const QUEUE_HTTP_PORT: u16 = 2732;
/// Where inbound serves its metrics.
const INBOUND_HTTP_PORT: u16 = 2731;
/// Where outbound serves its metrics.
const OUTBOUND_HTTP_PORT: u16 = 2733;

/// What a measurement wants of the system beside its defaults.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Where all mail goes, on loopback.
    pub(crate) sink_port: u16,
    /// At a time to the destination.
    pub(crate) sessions: u32,
    /// More lines of the section `inbound`.
    pub(crate) inbound: String,
    /// More lines of the section `queue`.
    pub(crate) queue: String,
    /// More lines of the section `outbound`.
    pub(crate) outbound: String,
    /// More sections.
    pub(crate) sections: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sink_port: SINK_PORT,
            sessions: 50,
            inbound: String::new(),
            queue: String::new(),
            outbound: "tls = \"off\"\n".to_owned(),
            sections: String::new(),
        }
    }
}

/// The running system.
#[derive(Debug)]
pub(crate) struct Mailtier {
    up: Child,
}

impl Mailtier {
    /// Starts the system below `folder` and waits until it is ready.
    pub(crate) fn start(programs: &Path, folder: &Path, settings: &Settings) -> anyhow::Result<Self> {
        // What answers there would be taken for the system, and measured.
        let ports = [PORT, QUEUE_PORT, QUEUE_HTTP_PORT, INBOUND_HTTP_PORT, OUTBOUND_HTTP_PORT];
        if let Some(port) = ports.into_iter().find(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok()) {
            bail!("something listens on port {port} already: another benchmark?");
        }
        fs::create_dir_all(folder)?;
        let config = folder.join("mailtier.toml");
        fs::write(&config, configuration(settings))?;
        let ready = folder.join("ready");
        let log = fs::File::create(folder.join("log"))?;
        let up = Command::new(programs.join("mailtier"))
            .arg("up")
            .arg("--data")
            .arg(folder)
            .arg("--config")
            .arg(&config)
            .arg("--ready-file")
            .arg(&ready)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start mailtier up")?;
        let mut system = Self { up };
        let started = Instant::now();
        while !ready.exists() {
            if system.up.try_wait()?.is_some() || started.elapsed() > Duration::from_secs(60) {
                bail!("mailtier up is not ready:\n{}", fs::read_to_string(folder.join("log")).unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(system)
    }
}

impl Running for Mailtier {
    fn pid(&self) -> u32 {
        self.up.id()
    }

    fn port(&self) -> u16 {
        PORT
    }
}

impl Drop for Mailtier {
    fn drop(&mut self) {
        processes::stop(&mut self.up, Signal::SIGTERM);
    }
}

/// The value of a metric of the queue, all of its series together.
pub(crate) fn queue_metric(name: &str) -> Option<f64> {
    let mut stream = TcpStream::connect(("127.0.0.1", QUEUE_HTTP_PORT)).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    sum_of(&text, name)
}

/// Of what is served at `/metrics`.
fn sum_of(text: &str, name: &str) -> Option<f64> {
    let is_series = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
    let values = text.lines().filter(is_series).map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.reduce(|one, other| Some(one? + other?)).flatten()
}

fn configuration(settings: &Settings) -> String {
    let Settings { sink_port, sessions, inbound, queue, outbound, sections } = settings;
    format!(
        "[inbound]\nlisten = [\"127.0.0.1:{PORT}\"]\nmax_sessions = 25000\nhttp_listen = \"127.0.0.1:{INBOUND_HTTP_PORT}\"\n\
         hostname = \"mailtier.bench.example\"\nqueue = [\"http://127.0.0.1:{QUEUE_PORT}\"]\n{inbound}\
         [queue]\nlisten = \"127.0.0.1:{QUEUE_PORT}\"\nhttp_listen = \"127.0.0.1:{QUEUE_HTTP_PORT}\"\nhostname = \"mailtier.bench.example\"\n\
         destination_concurrency = {sessions}\n{queue}\
         [outbound]\nqueue = [\"http://127.0.0.1:{QUEUE_PORT}\"]\nhttp_listen = \"127.0.0.1:{OUTBOUND_HTTP_PORT}\"\n\
         ehlo_name = \"mailtier.bench.example\"\n{outbound}\
         [[outbound.routes]]\ndomain = \"*\"\nhosts = [\"127.0.0.1:{sink_port}\"]\n\
         [telemetry]\nlog_format = \"text\"\n{sections}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_a_metric_are_added_up() {
        let text = "# TYPE settled_total counter\nsettled_total{outcome=\"delivered\"} 3\nsettled_total{outcome=\"failed\"} 4\n\
                    settled_total_more 100\ndepth 5\n";
        assert_eq!(sum_of(text, "settled_total"), Some(7.0));
        assert_eq!(sum_of(text, "depth"), Some(5.0));
        assert_eq!(sum_of(text, "absent"), None);
    }
}
