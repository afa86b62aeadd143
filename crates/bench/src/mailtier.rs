//! The system under measurement: `mailtier up` with its private PostgreSQL, durable as shipped, all mail routed to
//! the sink.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::Signal;

use crate::processes::{self, Running};

/// Where the system takes mail.
const PORT: u16 = 2725;
/// Where the queue serves its metrics.
pub(crate) const QUEUE_HTTP_PORT: u16 = 2732;

/// The running system.
#[derive(Debug)]
pub(crate) struct Mailtier {
    up: Child,
}

impl Mailtier {
    /// Starts the system below `folder` and waits until it is ready.
    pub(crate) fn start(programs: &Path, folder: &Path, sink_port: u16, sessions: u32) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        let config = folder.join("mailtier.toml");
        fs::write(&config, configuration(sink_port, sessions))?;
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

fn configuration(sink_port: u16, sessions: u32) -> String {
    format!(
        "[inbound]\nlisten = [\"127.0.0.1:{PORT}\"]\nmax_sessions = 12000\nhttp_listen = \"127.0.0.1:2731\"\nhostname = \"mailtier.bench.example\"\n\
         queue = [\"http://127.0.0.1:2730\"]\n\
         [queue]\nlisten = \"127.0.0.1:2730\"\nhttp_listen = \"127.0.0.1:{QUEUE_HTTP_PORT}\"\nhostname = \"mailtier.bench.example\"\n\
         destination_concurrency = {sessions}\n\
         [outbound]\nqueue = [\"http://127.0.0.1:2730\"]\nhttp_listen = \"127.0.0.1:2733\"\n\
         ehlo_name = \"mailtier.bench.example\"\ntls = \"off\"\n\
         [[outbound.routes]]\ndomain = \"*\"\nhosts = [\"127.0.0.1:{sink_port}\"]\n\
         [telemetry]\nlog_format = \"text\"\n"
    )
}
