//! What an earlier `mailtier up` left behind when it was killed: its programs, which nobody supervises any more. They are
//! stopped before new ones start. Responsible for knowing them again, and for only one `up` in a data directory.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cli::Failure;

/// After this a leftover is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two looks at one that is asked to stop.
const POLL: Duration = Duration::from_millis(20);

/// The data directory, held by this process alone for as long as it lives.
#[derive(Debug)]
pub(crate) struct Held {
    _lock: Flock<File>,
    folder: PathBuf,
}

impl Held {
    /// Takes the data directory, and stops what an earlier process left running in it.
    pub(crate) fn take(root: &Path) -> anyhow::Result<Self> {
        let path = root.join("lock");
        let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
            Errno::EWOULDBLOCK => {
                let text = format!("another `mailtier up` runs in {}", root.display());
                Failure::error(Failure::UNAVAILABLE, text)
            }
            errno => anyhow::Error::new(errno).context(format!("cannot lock {}", path.display())),
        })?;
        let folder = root.join("pids");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let held = Self { _lock: lock, folder };
        held.stop_leftovers();
        Ok(held)
    }

    /// Where the pid of a program is kept.
    pub(crate) fn pid_file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn stop_leftovers(&self) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut leftovers: Vec<(PathBuf, Identity)> =
            entries.filter_map(|entry| Some((entry.path(), Identity::read(&entry.path())?))).collect();
        // The database last: the queue gives its shards up in it.
        leftovers.sort_by_key(|(path, _)| name_of(path) == "postgres");
        for (path, identity) in leftovers {
            if identity.runs() {
                eprintln!("stopping {}, left by an earlier run (pid {})", name_of(&path), identity.pid);
                // PostgreSQL waits for its clients on SIGTERM; SIGINT ends their sessions.
                let signal = if name_of(&path) == "postgres" { Signal::SIGINT } else { Signal::SIGTERM };
                identity.stop(signal);
            }
            let _ = fs::remove_file(path);
        }
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A process: its number and when it started, so that another with the same number is not taken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    pid: i32,
    started: u64,
}

/// Notes a program that was started.
pub(crate) fn note(path: &Path, pid: Option<u32>) {
    let started = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(|pid| Some((pid, started(pid)?)));
    if let Some((pid, started)) = started
        && let Err(error) = fs::write(path, format!("{pid} {started}\n"))
    {
        eprintln!("cannot write {}: {error}", path.display());
    }
}

impl Identity {
    fn read(path: &Path) -> Option<Self> {
        let text = fs::read_to_string(path).ok()?;
        let (pid, started) = text.trim().split_once(' ')?;
        Some(Self { pid: pid.parse().ok()?, started: started.parse().ok()? })
    }

    fn runs(self) -> bool {
        started(self.pid) == Some(self.started)
    }

    fn stop(self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.pid), signal);
        let asked_at = Instant::now();
        while self.runs() && asked_at.elapsed() < STOP_TIMEOUT {
            std::thread::sleep(POLL);
        }
        if self.runs() {
            let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
        }
    }
}

/// When a process started, in ticks since boot (field 22 of proc(5)'s stat); nothing for one that is gone or a zombie.
fn started(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if state == "Z" { None } else { fields.nth(18)?.parse().ok() }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn one_process_holds_a_directory() {
        let folder = tempfile::tempdir().unwrap();
        let held = Held::take(folder.path()).unwrap();
        let error = Held::take(folder.path()).unwrap_err();
        assert!(error.to_string().contains("another `mailtier up` runs"), "{error}");
        drop(held);
        assert!(Held::take(folder.path()).is_ok());
    }

    #[test]
    fn leftovers_are_stopped_and_strangers_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let held = Held::take(folder.path()).unwrap();
        let mut ours = Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let mut stranger = Command::new("/bin/sleep").arg("60").spawn().unwrap();
        note(&held.pid_file("ours"), Some(ours.id()));
        fs::write(held.pid_file("stranger"), format!("{} 1\n", stranger.id())).unwrap();
        drop(held);
        let _held = Held::take(folder.path()).unwrap();
        assert!(!ours.wait().unwrap().success(), "ended by a signal");
        assert!(stranger.try_wait().unwrap().is_none(), "the number alone is not enough");
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }
}
