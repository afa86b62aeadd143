//! The private PostgreSQL of `mailtier up`: finds the system's own binaries, makes a cluster at the first start, and
//! says how to run it. The server refuses to run as root, so root starts it as an unprivileged user. No SQL here.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use nix::unistd::{User, chown};

use super::layout::{Layout, Secrets};

/// Users root may become, best first.
const UNPRIVILEGED_USERS: [&str; 2] = ["postgres", "nobody"];
/// Bounds of `shared_buffers`, in MiB: a quarter of memory between them.
const SHARED_BUFFERS_MIB: (u64, u64) = (128, 8192);

/// How to start the server.
#[derive(Debug)]
pub(crate) struct Postgres {
    binaries: PathBuf,
    user: Option<User>,
    layout: Layout,
}

impl Postgres {
    /// Finds the binaries and makes the cluster where there is none.
    ///
    /// # Errors
    /// PostgreSQL is not installed, no unprivileged user exists, or `initdb` fails.
    pub(crate) fn prepare(layout: &Layout, secrets: &Secrets) -> anyhow::Result<Self> {
        let binaries = find_binaries().context(
            "PostgreSQL's server is not installed: `apt-get install postgresql` (no cluster of the system's is needed)",
        )?;
        let user = if nix::unistd::geteuid().is_root() { Some(unprivileged_user()?) } else { None };
        let postgres = Self { binaries, user, layout: layout.clone() };
        postgres.give_away(&layout.socket)?;
        if !layout.cluster.join("PG_VERSION").is_file() {
            postgres.initialise(secrets)?;
        }
        Ok(postgres)
    }

    /// The server in the foreground, with the settings docs/database.md recommends.
    #[must_use]
    pub(crate) fn server(&self) -> Command {
        let mut command = self.command("postgres");
        command.arg("-D").arg(&self.layout.cluster);
        let socket = format!("unix_socket_directories={}", self.layout.socket.display());
        let buffers = format!("shared_buffers={}MB", shared_buffers_mib());
        for setting in [
            "listen_addresses=",
            socket.as_str(),
            buffers.as_str(),
            "max_connections=100",
            self.wal_compression(),
            "max_wal_size=4GB",
            "checkpoint_timeout=15min",
            "jit=off",
            "logging_collector=off",
            "log_checkpoints=off",
            "log_min_messages=warning",
        ] {
            command.arg("-c").arg(setting);
        }
        command
    }

    /// Pages written to the WAL as a whole are compressed with lz4 where the server knows it: pglz costs several times as
    /// much.
    fn wal_compression(&self) -> &'static str {
        const LZ4: &str = "wal_compression=lz4";
        let mut question = self.command("postgres");
        question.arg("-D").arg(&self.layout.cluster).args(["-c", LZ4, "-C", "wal_compression"]);
        let answer = question.stdout(Stdio::null()).stderr(Stdio::null()).status();
        if answer.is_ok_and(|status| status.success()) { LZ4 } else { "wal_compression=on" }
    }

    /// Whether the server answers.
    #[must_use]
    pub(crate) fn is_ready(&self) -> bool {
        self.command("pg_isready")
            .args(["--quiet", "--username=mailtier", "--dbname=postgres", "--host"])
            .arg(&self.layout.socket)
            .status()
            .is_ok_and(|status| status.success())
    }

    fn initialise(&self, secrets: &Secrets) -> anyhow::Result<()> {
        let password = self.layout.socket.join("initial-password");
        fs::copy(&secrets.database, &password).context("cannot hand the password over")?;
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600))?;
        self.give_away(&password)?;
        fs::create_dir_all(&self.layout.cluster)?;
        self.give_away(&self.layout.cluster)?;
        let output = self
            .command("initdb")
            .args(["--username=mailtier", "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--pwfile"])
            .arg(&password)
            .arg("-D")
            .arg(&self.layout.cluster)
            .output();
        fs::remove_file(&password).context("cannot remove the handed-over password")?;
        let output = output.context("cannot start initdb")?;
        if !output.status.success() {
            bail!(
                "initdb failed. If it could not reach {}, choose a data directory that other users can enter (--data).\n{}",
                self.layout.cluster.display(),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.join(program));
        command.current_dir("/").env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C");
        if let Some(user) = &self.user {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }

    /// Makes the server's user the owner, where it is another.
    fn give_away(&self, path: &Path) -> anyhow::Result<()> {
        let Some(user) = &self.user else { return Ok(()) };
        chown(path, Some(user.uid), Some(user.gid)).with_context(|| format!("cannot chown {}", path.display()))
    }
}

fn unprivileged_user() -> anyhow::Result<User> {
    UNPRIVILEGED_USERS
        .iter()
        .find_map(|name| User::from_name(name).ok().flatten())
        .context("PostgreSQL refuses to run as root, and neither user postgres nor nobody exists")
}

/// On the path, else Debian's place, newest first.
fn find_binaries() -> Option<PathBuf> {
    let complete =
        |folder: &PathBuf| ["postgres", "initdb", "pg_isready"].iter().all(|program| folder.join(program).is_file());
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut debian: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.path().join("bin"))
        .collect();
    debian.sort_by_key(|folder| std::cmp::Reverse(version_of(folder)));
    debian.into_iter().chain(std::env::split_paths(&on_path)).find(complete)
}

/// The major version in `/usr/lib/postgresql/<version>/bin`.
fn version_of(folder: &Path) -> u32 {
    folder
        .parent()
        .and_then(Path::file_name)
        .and_then(|version| version.to_str())
        .and_then(|version| version.parse().ok())
        .unwrap_or(0)
}

fn shared_buffers_mib() -> u64 {
    let memory_kib = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    (memory_kib.unwrap_or(0) / 4 / 1024).clamp(SHARED_BUFFERS_MIB.0, SHARED_BUFFERS_MIB.1)
}
