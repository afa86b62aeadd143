//! One private PostgreSQL server: started, stopped in the ways it can be, and gone with the test process however that
//! ends. Not responsible for databases.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use tempfile::TempDir;

use super::programs::Programs;
use crate::installation::{children_of, pause};

/// How long a server may take to start, recovery after a crash included.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Holds the server and waits for a word on its input: a signal to stop with. The end of the input means that the test
/// process is gone (ended, panicked, killed): then the server and its data go too.
const WATCHDOG: &str = r#"
folder=$1; shift
"$@" & server=$!
if read -r signal; then
    kill -s "$signal" "$server"; wait "$server"
else
    kill -s QUIT "$server"; wait "$server"; rm -rf "$folder"
fi
"#;

/// Settings that differ from the server's defaults. Durability is as shipped.
const SETTINGS: &[&str] = &[
    "listen_addresses=",
    "max_connections=200",
    "shared_buffers=64MB",
    "max_wal_size=512MB",
    "autovacuum_naptime=5s",
    "log_checkpoints=off",
];

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// In order: clients are disconnected, everything is written.
    Fast,
    /// As in a crash: nothing is written, and the next start recovers.
    Crash,
    /// Its first process is killed; the others notice and end.
    Kill,
}

/// A private PostgreSQL server on a Unix socket.
#[derive(Debug)]
pub struct PostgresServer {
    programs: Programs,
    folder: TempDir,
    watchdog: Option<Child>,
    settings: Vec<String>,
}

impl PostgresServer {
    /// Makes a cluster of databases and starts its server.
    ///
    /// # Errors
    /// PostgreSQL is not installed, or does not start; what it said is in the error.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with(&[])
    }

    /// The same with more settings, each `name=value`.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(settings: &[&str]) -> anyhow::Result<Self> {
        let base = if Path::new("/var/tmp").is_dir() { PathBuf::from("/var/tmp") } else { std::env::temp_dir() };
        Self::start_below(&base, settings)
    }

    /// The same with its data below another folder.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_below(base: &Path, settings: &[&str]) -> anyhow::Result<Self> {
        let programs = Programs::find()?;
        let folder = new_folder(&programs, base)?;
        let made = programs
            .command(programs.path("initdb"))
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(folder.path().join("data"))
            .output()
            .context("cannot run initdb")?;
        if !made.status.success() {
            bail!("initdb: {}\n{}", made.status, String::from_utf8_lossy(&made.stderr));
        }
        let settings = settings.iter().map(|&setting| setting.to_owned()).collect();
        let mut server = Self { programs, folder, watchdog: None, settings };
        server.restart()?;
        Ok(server)
    }

    /// Where its socket is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The URL of one of its databases.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@localhost/{database}?host={}", self.folder.path().display())
    }

    /// Stops it, if it runs.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn stop(&mut self, how: Stop) -> anyhow::Result<()> {
        let Some(mut watchdog) = self.watchdog.take() else { return Ok(()) };
        let signal: &[u8] = match how {
            Stop::Fast => b"INT\n",
            Stop::Crash => b"QUIT\n",
            Stop::Kill => b"KILL\n",
        };
        watchdog.stdin.take().context("the watchdog has no input")?.write_all(signal)?;
        watchdog.wait()?;
        Ok(())
    }

    /// Sends a signal to all its processes: stopped, it neither answers nor refuses.
    ///
    /// # Errors
    /// It does not run.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let file = std::fs::read_to_string(self.folder.path().join("data/postmaster.pid"))?;
        let first: u32 = file.lines().next().context("postmaster.pid is empty")?.trim().parse()?;
        let all = std::iter::once(i32::try_from(first)?).chain(children_of(first));
        all.filter(|pid| kill(Pid::from_raw(*pid), signal).is_ok()).count().gt(&0).then_some(()).context("it is gone")
    }

    /// Who runs it, where that is another.
    pub(super) fn servant(&self) -> Option<Uid> {
        self.programs.servant()
    }

    /// A dump of a database, running: it ends when its output has been read.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn dump(&self, database: &str) -> anyhow::Result<Child> {
        let mut command = self.programs.command(self.programs.path("pg_dump"));
        command.args(["-U", "postgres", "-d", database, "-h"]).arg(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().context("cannot run pg_dump")
    }

    /// A backup of a database, as SQL.
    ///
    /// # Errors
    /// It cannot be made; what was said is in the error.
    pub fn back_up(&self, database: &str) -> anyhow::Result<Vec<u8>> {
        let mut command = self.programs.command(self.programs.path("pg_dump"));
        command.args(["-U", "postgres", "-d", database, "-h"]).arg(self.folder.path());
        let output = command.output().context("cannot run pg_dump")?;
        if !output.status.success() {
            bail!("pg_dump: {}", String::from_utf8_lossy(&output.stderr).trim_end());
        }
        Ok(output.stdout)
    }

    /// Makes a new database of a backup.
    ///
    /// # Errors
    /// It cannot be made; what was said is in the error.
    pub fn restore(&self, database: &str, backup: &[u8]) -> anyhow::Result<()> {
        self.sql("postgres", &format!("CREATE DATABASE {database} TEMPLATE template0"))?;
        let mut child = self
            .psql(database)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run psql")?;
        // Where it ends early, its status and what it said tell.
        let _ = child.stdin.take().context("psql has no input")?.write_all(backup);
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("psql: {}", String::from_utf8_lossy(&output.stderr).trim_end());
        }
        Ok(())
    }

    fn psql(&self, database: &str) -> Command {
        let mut command = self.programs.command(self.programs.path("psql"));
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database, "-h"]);
        command.arg(self.folder.path());
        command
    }

    /// Its Unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join(".s.PGSQL.5432")
    }

    /// Makes a standby of it, under this name, that follows it.
    ///
    /// # Errors
    /// It cannot be made; what was said is in the error.
    pub fn standby(&self, name: &str) -> anyhow::Result<Self> {
        let base = self.folder.path().parent().context("its folder is the root")?;
        let folder = new_folder(&self.programs, base)?;
        let conninfo = format!("host={} user=postgres application_name={name}", self.folder.path().display());
        let made = self
            .programs
            .command(self.programs.path("pg_basebackup"))
            .args(["--checkpoint=fast", "--wal-method=stream", "--write-recovery-conf", "--dbname", &conninfo, "-D"])
            .arg(folder.path().join("data"))
            .output()
            .context("cannot run pg_basebackup")?;
        if !made.status.success() {
            bail!("pg_basebackup: {}\n{}", made.status, String::from_utf8_lossy(&made.stderr));
        }
        let mut standby =
            Self { programs: self.programs.clone(), folder, watchdog: None, settings: self.settings.clone() };
        standby.restart()?;
        Ok(standby)
    }

    /// Starts it again after a stop.
    ///
    /// # Errors
    /// It does not come up; its log is in the error.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        let data = self.folder.path().join("data");
        let log = std::fs::File::options().create(true).append(true).open(self.log_path())?;
        let mut arguments: Vec<OsString> = vec![self.folder.path().into(), self.programs.path("postgres").into()];
        arguments.extend([OsString::from("-D"), data.into(), OsString::from("-k"), self.folder.path().into()]);
        for setting in SETTINGS.iter().copied().chain(self.settings.iter().map(String::as_str)) {
            arguments.extend([OsString::from("-c"), OsString::from(setting)]);
        }
        let watchdog = self
            .programs
            .command("/bin/sh")
            .args(["-c", WATCHDOG, "watchdog"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A Ctl-C for the tests does not reach the watchdog before it has seen them end.
            .process_group(0)
            .spawn()
            .context("cannot start PostgreSQL")?;
        self.watchdog = Some(watchdog);
        self.wait_until_ready()
    }

    fn wait_until_ready(&self) -> anyhow::Result<()> {
        let started = Instant::now();
        while self.sql("postgres", "SELECT 1").is_err() {
            if started.elapsed() > START_TIMEOUT {
                let log = std::fs::read_to_string(self.log_path()).unwrap_or_default();
                bail!("PostgreSQL is not ready after {:?}:\n{log}", started.elapsed());
            }
            pause();
        }
        Ok(())
    }

    /// Runs SQL as the superuser and returns what it gave: a line a row, `|` between columns.
    ///
    /// # Errors
    /// The server refused it; what it said is in the error.
    pub fn sql(&self, database: &str, text: &str) -> anyhow::Result<String> {
        let output = self.psql(database).args(["-c", text]).output().context("cannot run psql")?;
        if !output.status.success() {
            bail!("psql: {}", String::from_utf8_lossy(&output.stderr).trim_end());
        }
        Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

/// Of whoever runs the server.
fn new_folder(programs: &Programs, base: &Path) -> anyhow::Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("mailtier-pg").tempdir_in(base)?;
    programs.hand_over(folder.path())?;
    Ok(folder)
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        let _ = self.stop(Stop::Crash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_until(what: &str, condition: impl Fn() -> bool) {
        let started = Instant::now();
        while !condition() {
            assert!(started.elapsed() < Duration::from_secs(20), "{what}");
            pause();
        }
    }

    fn server_pid(server: &PostgresServer) -> String {
        let file = std::fs::read_to_string(server.folder().join("data/postmaster.pid")).unwrap();
        file.lines().next().unwrap().to_owned()
    }

    #[test]
    fn data_survives_a_crash_and_nothing_survives_the_handle() {
        let mut server = PostgresServer::start().unwrap();
        server.sql("postgres", "CREATE TABLE kept AS SELECT 42 AS answer").unwrap();
        server.stop(Stop::Crash).unwrap();
        assert!(server.sql("postgres", "SELECT 1").is_err(), "it is stopped");
        server.restart().unwrap();
        assert_eq!(server.sql("postgres", "SELECT answer FROM kept").unwrap(), "42");
        assert_eq!(server.sql("postgres", "SHOW fsync").unwrap(), "on");
        let (process, folder) = (PathBuf::from("/proc").join(server_pid(&server)), server.folder().to_owned());
        assert!(process.exists());
        drop(server);
        wait_until("the server is gone", || !process.exists() && !folder.exists());
    }

    #[test]
    fn a_test_process_that_is_killed_leaves_nothing_behind() {
        let mut server = PostgresServer::start().unwrap();
        let (process, folder) = (PathBuf::from("/proc").join(server_pid(&server)), server.folder().to_owned());
        // What the kernel does for a process that is killed: its end of the pipe is closed, and nothing else happens.
        let mut watchdog = server.watchdog.take().unwrap();
        drop(watchdog.stdin.take());
        watchdog.wait().unwrap();
        wait_until("the server and its data are gone", || !process.exists() && !folder.exists());
    }
}
