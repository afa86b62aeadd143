//! Keeps the programs of one machine running: starts each in a process group of its own, starts it again when it ends
//! by itself, and stops all in order. Not responsible for what they are.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::{Notify, mpsc, watch};
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
/// After a second signal, how often a program is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(300);
/// The same as [`STOP_TIMEOUT`] after a second signal.
const HURRY_TIMEOUT: Duration = Duration::from_secs(10);

/// sysexits.h: something is misconfigured. Starting again does not help.
const EX_CONFIG: i32 = 78;
/// A program that ended so often before it was ready will not become it.
const TRIES: u32 = 3;

/// One running program.
#[derive(Debug)]
pub(crate) struct Supervised {
    name: &'static str,
    stop: CancellationToken,
    reload: Arc<Notify>,
    ends: watch::Receiver<Ends>,
    task: JoinHandle<()>,
}

/// How often a program has ended by itself, and how it did last.
#[derive(Debug, Clone, Copy, Default)]
struct Ends {
    count: u32,
    code: Option<i32>,
}

/// How a program is asked to end.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    /// The signal.
    pub(crate) signal: Signal,
    /// Cancelled when there is no more time: the signal is sent a second time.
    pub(crate) hurry: CancellationToken,
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
    /// Starts a program and keeps it running until it is to stop.
    ///
    /// # Errors
    /// It cannot be started the first time.
    pub(crate) fn start(
        name: &'static str,
        pid_file: PathBuf,
        make: impl Fn() -> std::process::Command + Send + 'static,
        how: Stop,
        notices: mpsc::UnboundedSender<Notice>,
    ) -> anyhow::Result<Self> {
        let start = move || {
            let child = spawn(make())?;
            note(&pid_file, child.id());
            Ok(child)
        };
        let first = start().with_context(|| format!("cannot start {name}"))?;
        let stop = CancellationToken::new();
        let (ended, ends) = watch::channel(Ends::default());
        let reload = Arc::new(Notify::new());
        let watched = Watched { name, how, stop: stop.clone(), reload: Arc::clone(&reload), notices, ended };
        let task = tokio::spawn(watched.keep_running(first, start));
        Ok(Self { name, stop, reload, ends, task })
    }

    /// Resolves when the program will never be ready, with its last exit code.
    pub(crate) fn hopeless(&self) -> impl Future<Output = Option<i32>> + use<> {
        let mut ends = self.ends.clone();
        async move {
            let is_hopeless = |ends: &Ends| ends.code == Some(EX_CONFIG) || ends.count >= TRIES;
            match ends.wait_for(is_hopeless).await {
                Ok(ends) => ends.code,
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// The program's name.
    #[must_use]
    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    /// Asks the program to read its configuration again.
    pub(crate) fn reload(&self) {
        self.reload.notify_one();
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

/// What the task of a program knows.
struct Watched {
    name: &'static str,
    how: Stop,
    stop: CancellationToken,
    reload: Arc<Notify>,
    notices: mpsc::UnboundedSender<Notice>,
    ended: watch::Sender<Ends>,
}

impl Watched {
    async fn keep_running(self, mut child: Child, start: impl Fn() -> std::io::Result<Child>) {
        let mut delay = RESTART_DELAYS.0;
        loop {
            let started = Instant::now();
            let ended = loop {
                tokio::select! {
                    ended = child.wait() => break ended,
                    () = self.stop.cancelled() => return end(child, &self.how).await,
                    () = self.reload.notified() => tell(&child, Signal::SIGHUP),
                }
            };
            if started.elapsed() > STEADY_AFTER {
                delay = RESTART_DELAYS.0;
            }
            let code = ended.as_ref().ok().and_then(ExitStatus::code);
            self.ended.send_modify(|ends| *ends = Ends { count: ends.count + 1, code });
            self.say(describe(ended));
            child = loop {
                tokio::select! {
                    () = tokio::time::sleep(delay) => {}
                    () = self.stop.cancelled() => return,
                }
                delay = (delay * 2).min(RESTART_DELAYS.1);
                match start() {
                    Ok(child) => break child,
                    Err(error) => self.say(format!("cannot be started again: {error}")),
                }
            };
        }
    }

    fn say(&self, text: String) {
        let _ = self.notices.send(Notice { name: self.name, text });
    }
}

/// Sends a signal, unless the program has ended.
fn tell(child: &Child, signal: Signal) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

async fn end(mut child: Child, how: &Stop) {
    tell(&child, how.signal);
    let ended = tokio::select! {
        ended = timeout(STOP_TIMEOUT, child.wait()) => ended.is_ok(),
        () = how.hurry.cancelled() => {
            // Two signals at the same instant are one: it is asked until it has heard the second.
            let until_ended = async {
                while timeout(ASK_AGAIN, child.wait()).await.is_err() {
                    tell(&child, how.signal);
                }
            };
            timeout(HURRY_TIMEOUT, until_ended).await.is_ok()
        }
    };
    if !ended {
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

    fn how() -> Stop {
        Stop { signal: Signal::SIGTERM, hurry: CancellationToken::new() }
    }

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
                              [ $(wc -l < {0}) -gt 1 ] || exit 3; while :; do sleep 30 > /dev/null 2>&1 & wait $!; done",
            log.display()
        );
        let (sender, mut notices) = mpsc::unbounded_channel();
        let program = Supervised::start("test", folder.path().join("pid"), shell(&script), how(), sender).unwrap();
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
    async fn a_program_is_asked_to_read_its_configuration_again() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let script = format!(
            "trap 'echo again >> {0}' HUP; trap 'exit 0' TERM; echo up > {0}; \
             while :; do sleep 30 > /dev/null 2>&1 & wait $!; done",
            log.display()
        );
        let (sender, _notices) = mpsc::unbounded_channel();
        let program = Supervised::start("test", folder.path().join("pid"), shell(&script), how(), sender).unwrap();
        let lines = || std::fs::read_to_string(&log).unwrap_or_default().lines().count();
        let reloading = async {
            for known in 1..=3 {
                while lines() < known {
                    tokio::task::yield_now().await;
                }
                program.reload();
            }
        };
        // A shell heeds no signal that was ignored when it began, as under nohup.
        tokio::time::timeout(Duration::from_secs(60), reloading).await.expect("it is asked each time");
        program.stop().await;
    }

    #[tokio::test]
    async fn a_program_that_does_not_exist_is_an_error() {
        let (sender, _notices) = mpsc::unbounded_channel();
        let make = || std::process::Command::new("/nonexistent/program");
        assert!(Supervised::start("ghost", PathBuf::from("/nonexistent/pid"), make, how(), sender).is_err());
    }

    #[tokio::test]
    async fn a_program_that_cannot_start_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        for (script, code) in [("exit 78", 78), ("exit 69", 69)] {
            let (sender, mut notices) = mpsc::unbounded_channel();
            let program = Supervised::start("test", folder.path().join("pid"), shell(script), how(), sender).unwrap();
            assert_eq!(program.hopeless().await, Some(code));
            program.stop().await;
            let mut ends = 0;
            while notices.recv().await.is_some() {
                ends += 1;
            }
            assert_eq!(ends, if code == EX_CONFIG { 1 } else { TRIES });
        }
    }

    #[tokio::test]
    async fn a_program_that_takes_its_time_is_asked_again() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let script = format!(
            "trap 'echo asked >> {0}; [ $(wc -l < {0}) -gt 1 ] && exit 0' TERM; echo up > {0}.up; \
             while :; do sleep 30 > /dev/null 2>&1 & wait $!; done",
            log.display()
        );
        let (sender, _notices) = mpsc::unbounded_channel();
        let (how, up) = (how(), folder.path().join("log.up"));
        let program =
            Supervised::start("test", folder.path().join("pid"), shell(&script), how.clone(), sender).unwrap();
        while !up.exists() {
            tokio::task::yield_now().await;
        }
        let hurry = async {
            while !log.exists() {
                tokio::task::yield_now().await;
            }
            how.hurry.cancel();
        };
        tokio::join!(program.stop(), hurry);
        assert_eq!(std::fs::read_to_string(&log).unwrap().lines().count(), 2);
    }
}
