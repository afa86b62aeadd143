//! What measurements have in common: the folder and the tools, smtp-source as the load and smtp-sink as the end of the
//! way. A run ends when the sink has taken the last message; smtp-sink ends by itself then.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::Signal;
use serde::Serialize;

use crate::arguments::Common;
use crate::postfix::Unpacked;
use crate::processes;
use crate::raw::Raw;

/// Where the sink listens.
pub(crate) const SINK_PORT: u16 = 2626;
/// Longest run.
const RUN_LIMIT: Duration = Duration::from_secs(300);

/// What a measurement is made with.
#[derive(Debug)]
pub(crate) struct Bench {
    /// The folder with the programs.
    pub(crate) programs: PathBuf,
    /// Concurrent sessions of the source.
    pub(crate) sessions: u32,
    /// For whatever the systems keep; it is gone afterwards.
    pub(crate) folder: PathBuf,
    /// smtp-source, smtp-sink and the yardstick.
    pub(crate) tools: Unpacked,
    /// Where the numbers of each run go.
    pub(crate) raw: Raw,
    /// Held as long as this measurement lasts.
    _turn: File,
}

impl Bench {
    /// Waits until no other measurement runs, and fetches the tools. Others may enter the folder, since neither system works as root.
    pub(crate) fn prepare(common: Common, folder: &Path) -> anyhow::Result<Self> {
        std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        Ok(Self {
            programs: common.programs,
            sessions: common.sessions,
            folder: folder.to_owned(),
            tools: Unpacked::fetch(folder)?,
            raw: Raw::open(common.raw.as_deref())?,
            _turn: turn(&std::env::temp_dir().join("mailtier-bench.lock"))?,
        })
    }
}

/// All measurements use the same ports, and would measure each other: the one that has this file locked is alone.
fn turn(path: &Path) -> anyhow::Result<File> {
    let open = OpenOptions::new().create(true).write(true).truncate(false).open(path);
    let file = open.with_context(|| format!("cannot open {}", path.display()))?;
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        eprintln!("waiting for another measurement on this machine");
        file.lock()?;
    }
    Ok(file)
}

/// How the source's messages reach the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Connections {
    /// Many messages per session.
    Kept,
    /// One connection for each message.
    OnePerMessage,
}

impl Connections {
    /// For tables.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Kept => "many messages per session",
            Self::OnePerMessage => "one connection per message",
        }
    }
}

/// What smtp-source sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// At a time.
    pub(crate) sessions: u32,
    /// All in all.
    pub(crate) messages: u32,
    /// Of each message.
    pub(crate) size_kib: u32,
    /// Whether sessions last.
    pub(crate) connections: Connections,
}

impl Load {
    /// smtp-source with this load, not yet started.
    pub(crate) fn source(&self, tools: &Unpacked, port: u16) -> std::process::Command {
        let mut source = tools.command("smtp-source");
        source
            .args(["-s", &self.sessions.to_string(), "-m", &self.messages.to_string()])
            .args(["-l", &(self.size_kib * 1024).to_string()])
            .args(["-f", "sender@source.example", "-t", "recipient@sink.example"]);
        if self.connections == Connections::Kept {
            source.arg("-d");
        }
        source.arg(format!("inet:127.0.0.1:{port}"));
        source
    }

    /// Sends all of it.
    pub(crate) fn send(&self, tools: &Unpacked, port: u16) -> anyhow::Result<()> {
        let output = self.source(tools, port).output().context("cannot start smtp-source")?;
        if !output.status.success() {
            bail!("smtp-source: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Sends all of it, and says how long it took until the source had its last 250, and until the sink had its last
    /// message. Straight to the sink both are the same.
    pub(crate) fn relay(&self, tools: &Unpacked, port: u16, sink: &mut Child) -> anyhow::Result<(Duration, Duration)> {
        let started = Instant::now();
        let sent = self.send(tools, port);
        let accepted = started.elapsed();
        if port == SINK_PORT || sent.is_err() {
            processes::stop(sink, Signal::SIGTERM);
            return sent.map(|()| (accepted, accepted));
        }
        while sink.try_wait()?.is_none() {
            if started.elapsed() > RUN_LIMIT {
                processes::stop(sink, Signal::SIGTERM);
                bail!("the sink has not had all {} messages after {RUN_LIMIT:?}", self.messages);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok((accepted, started.elapsed()))
    }
}

/// With `messages`, a sink that ends by itself after so many; the source would take that for a lost connection, so
/// without a system between them the sink is stopped when the source has ended.
pub(crate) fn start_sink(tools: &Unpacked, messages: Option<u32>) -> anyhow::Result<Child> {
    // It would take part of the mail.
    if std::net::TcpStream::connect(("127.0.0.1", SINK_PORT)).is_ok() {
        bail!("something listens on port {SINK_PORT} already: another benchmark?");
    }
    let mut sink = tools.command("smtp-sink");
    if let Some(messages) = messages {
        sink.args(["-M", &messages.to_string()]);
    }
    if nix::unistd::geteuid().is_root() {
        sink.args(["-u", "nobody"]);
    }
    let mut child = sink
        .arg(format!("inet:127.0.0.1:{SINK_PORT}"))
        .arg("1024")
        .stdout(Stdio::null())
        .spawn()
        .context("cannot start smtp-sink")?;
    processes::wait_for_port(SINK_PORT, Duration::from_secs(5), || child.try_wait().ok().flatten().is_none())?;
    Ok(child)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_measurement_has_its_turn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = turn(&path).unwrap();
        assert!(File::open(&path).unwrap().try_lock().is_err());
        drop(first);
        turn(&path).unwrap();
    }
}
