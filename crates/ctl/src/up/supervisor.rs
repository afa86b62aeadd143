//! Keeps the programs of one machine running: starts each in a process group of its own, starts it again when it ends
//! by itself, and stops all in order. Not responsible for what they are.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::leftovers::note;

/// The wait before a program that ended is started again, doubling from the first to the last.
const RESTART_DELAYS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// A program that ran this long begins again with the first delay.
const STEADY_AFTER: Duration = Duration::from_secs(30);
/// After this a program that was asked to stop is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(75);

/// One running program.
#[derive(Debug)]
pub(crate) struct Supervised {
    name: &'static str,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// What became of a program, for the people who watch.
#[derive(Debug)]
pub(crate) struct Notice {
    /// The program.
    pub(crate) name: &'static str,
    /// What happened to it.
    pub(crate) text: String,
}

impl Supervised {
    /// Starts a program and keeps it running. `stop_signal` asks it to end.
    ///
    /// # Errors
    /// It cannot be started the first time.
    pub(crate) fn start(
        name: &'static str,
        pid_file: PathBuf,
        make: impl Fn() -> std::process::Command + Send + 'static,
        stop_signal: Signal,
        notices: mpsc::UnboundedSender<Notice>,
    ) -> anyhow::Result<Self> {
        let start = move || {
            let child = spawn(make())?;
            note(&pid_file, child.id());
            Ok(child)
        };
        let first = start().with_context(|| format!("cannot start {name}"))?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(keep_running(name, first, start, stop_signal, stop.clone(), notices));
        Ok(Self { name, stop, task })
    }

    /// The program's name.
    #[must_use]
    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    /// Asks the program to end and waits until it has.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}

/// In a group of its own, so that a Ctrl-C in a terminal reaches only the supervisor, which stops all in order.
fn spawn(command: std::process::Command) -> std::io::Result<Child> {
    Command::from(command).stdin(Stdio::null()).process_group(0).kill_on_drop(true).spawn()
}

async fn keep_running(
    name: &'static str,
    mut child: Child,
    start: impl Fn() -> std::io::Result<Child>,
    stop_signal: Signal,
    stop: CancellationToken,
    notices: mpsc::UnboundedSender<Notice>,
) {
    let mut delay = RESTART_DELAYS.0;
    loop {
        let started = Instant::now();
        let ended = tokio::select! {
            ended = child.wait() => ended,
            () = stop.cancelled() => return end(child, stop_signal).await,
        };
        if started.elapsed() > STEADY_AFTER {
            delay = RESTART_DELAYS.0;
        }
        let _ = notices.send(Notice { name, text: describe(ended) });
        child = loop {
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = stop.cancelled() => return,
            }
            delay = (delay * 2).min(RESTART_DELAYS.1);
            match start() {
                Ok(child) => break child,
                Err(error) => {
                    let _ = notices.send(Notice { name, text: format!("cannot be started again: {error}") });
                }
            }
        };
    }
}

async fn end(mut child: Child, stop_signal: Signal) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        let _ = kill(Pid::from_raw(pid), stop_signal);
    }
    if timeout(STOP_TIMEOUT, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

fn describe(ended: std::io::Result<ExitStatus>) -> String {
    match ended {
        Ok(status) => format!("ended ({status}); starting it again"),
        Err(error) => format!("was lost ({error}); starting it again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> impl Fn() -> std::process::Command + Send + 'static {
        let script = script.to_owned();
        move || {
            let mut command = std::process::Command::new("/bin/sh");
            command.arg("-c").arg(&script);
            command
        }
    }

    #[tokio::test]
    async fn a_program_that_ends_is_started_again_and_one_that_is_asked_to_stop_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let script = format!(
            "echo started >> {0}; trap 'echo stopped >> {0}; exit 0' TERM; \
                              [ $(wc -l < {0}) -gt 1 ] || exit 3; while :; do read _ < /dev/zero & wait $!; done",
            log.display()
        );
        let (sender, mut notices) = mpsc::unbounded_channel();
        let program =
            Supervised::start("test", folder.path().join("pid"), shell(&script), Signal::SIGTERM, sender).unwrap();
        let notice = notices.recv().await.unwrap();
        assert!(notice.text.contains("exit status: 3"), "{}", notice.text);
        while std::fs::read_to_string(&log).unwrap().lines().count() < 2 {
            tokio::task::yield_now().await;
        }
        program.stop().await;
        assert!(notices.recv().await.is_none(), "a stop is no incident");
        let lines = std::fs::read_to_string(&log).unwrap();
        assert_eq!(lines.lines().filter(|line| *line == "started").count(), 2, "{lines}");
    }

    #[tokio::test]
    async fn a_program_that_does_not_exist_is_an_error() {
        let (sender, _notices) = mpsc::unbounded_channel();
        let make = || std::process::Command::new("/nonexistent/program");
        assert!(Supervised::start("ghost", PathBuf::from("/nonexistent/pid"), make, Signal::SIGTERM, sender).is_err());
    }
}
