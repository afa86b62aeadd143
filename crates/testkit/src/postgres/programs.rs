//! Where PostgreSQL's programs are, and as whom they run. Not responsible for running a server.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use nix::unistd::{Gid, Uid, User};

/// Where Debian and its derivatives put the programs of each major version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// Who runs the server when we are root, which it refuses: the first of these that exists.
const SERVANTS: &[&str] = &["postgres", "nobody"];

/// PostgreSQL's programs and who runs them.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    folder: PathBuf,
    servant: Option<(Uid, Gid)>,
}

impl Programs {
    pub(super) fn find() -> anyhow::Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folder = std::env::split_paths(&path)
            .chain(versions())
            .find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
            .context("PostgreSQL's server is not installed: neither PATH nor /usr/lib/postgresql has its programs")?;
        // A link in PATH leads to the folder that has all of them.
        let folder = folder.join("postgres").canonicalize()?.parent().map(Path::to_path_buf).unwrap_or(folder);
        Ok(Self { folder, servant: servant()? })
    }

    /// Gives a folder to whoever runs the server.
    pub(super) fn hand_over(&self, folder: &Path) -> anyhow::Result<()> {
        if let Some((user, group)) = self.servant {
            chown(folder, Some(user.as_raw()), Some(group.as_raw()))?;
        }
        Ok(())
    }

    /// Who runs the server, where that is another.
    pub(super) fn servant(&self) -> Option<Uid> {
        self.servant.map(|(user, _)| user)
    }

    /// A command that runs as the server does.
    pub(super) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        if let Some((user, group)) = self.servant {
            command.uid(user.as_raw()).gid(group.as_raw());
        }
        command.current_dir("/");
        command
    }

    /// One of PostgreSQL's programs; clients may be installed apart from the server.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        let beside = self.folder.join(name);
        if beside.is_file() { beside } else { PathBuf::from(name) }
    }
}

/// The newest first.
fn versions() -> Vec<PathBuf> {
    let number = |folder: &Path| folder.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let mut folders: Vec<PathBuf> =
        fs::read_dir(VERSIONS).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    folders.sort_by_key(|folder| std::cmp::Reverse(number(folder)));
    folders.into_iter().map(|folder| folder.join("bin")).collect()
}

fn servant() -> anyhow::Result<Option<(Uid, Gid)>> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    for name in SERVANTS {
        if let Some(user) = User::from_name(name)? {
            return Ok(Some((user.uid, user.gid)));
        }
    }
    bail!("PostgreSQL refuses to run as root, and there is no user {SERVANTS:?} to run it as")
}
