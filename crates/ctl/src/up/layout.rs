//! Where `mailtier up` keeps things: the data directory, the secrets it makes at the first start, and the programs it
//! runs. Not responsible for what the programs do with them.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use mailtier_types::ReplicaId;

use crate::cli::Failure;

/// The longest path of a Unix socket's directory: `sun_path` has 108 octets, PostgreSQL appends `/.s.PGSQL.5432.lock`.
const MAX_SOCKET_DIRECTORY_OCTETS: usize = 80;

/// The file with the address of the queue.
const QUEUE_ADDRESS: &str = "queue-address";

/// Everything below the data directory.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// The data directory itself.
    pub(crate) root: PathBuf,
    /// PostgreSQL's cluster.
    pub(crate) cluster: PathBuf,
    /// PostgreSQL's Unix socket.
    pub(crate) socket: PathBuf,
    /// Secrets, readable by the owner only.
    pub(crate) secrets: PathBuf,
}

/// The secrets of one installation.
#[derive(Debug)]
pub(crate) struct Secrets {
    /// What services show the queue.
    pub(crate) cluster: PathBuf,
    /// What operators show the queue.
    pub(crate) admin: PathBuf,
    /// PostgreSQL's password.
    pub(crate) database: PathBuf,
}

impl Layout {
    /// Makes the directories that are missing.
    ///
    /// # Errors
    /// A directory cannot be made, or the path is too long for a Unix socket.
    pub(crate) fn prepare(root: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(root).map_err(|error| {
            let text = format!("cannot make the data directory {}: {error}", root.display());
            Failure::error(Failure::CANNOT_CREATE, text)
        })?;
        let root = root.canonicalize().with_context(|| format!("cannot find {}", root.display()))?;
        let layout =
            Self { cluster: root.join("postgres"), socket: root.join("run"), secrets: root.join("secrets"), root };
        if layout.socket.as_os_str().len() > MAX_SOCKET_DIRECTORY_OCTETS {
            bail!(
                "{} is too long for PostgreSQL's socket: choose a data directory with a shorter path (--data)",
                layout.root.display()
            );
        }
        for (directory, mode) in [(&layout.secrets, 0o700), (&layout.socket, 0o700)] {
            if !directory.is_dir() {
                DirBuilder::new()
                    .mode(mode)
                    .create(directory)
                    .with_context(|| format!("cannot make {}", directory.display()))?;
            }
        }
        Ok(layout)
    }

    /// The secrets, made at random where they are missing.
    ///
    /// # Errors
    /// A file cannot be written or read.
    pub(crate) fn secrets(&self) -> anyhow::Result<Secrets> {
        let secrets = Secrets {
            cluster: self.secrets.join("cluster"),
            admin: self.secrets.join("admin"),
            database: self.secrets.join("database"),
        };
        for path in [&secrets.cluster, &secrets.admin, &secrets.database] {
            if !path.exists() {
                write_secret(path)?;
            }
        }
        Ok(secrets)
    }

    /// Notes where the queue answers, for the commands that are given the data directory.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn note_queue(&self, mut listen: SocketAddr) -> anyhow::Result<()> {
        if listen.ip().is_unspecified() {
            listen.set_ip(if listen.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
        }
        let path = self.root.join(QUEUE_ADDRESS);
        fs::write(&path, format!("http://{listen}\n")).with_context(|| format!("cannot write {}", path.display()))
    }

    /// The URL of the private database. The password goes to the programs in a file, see [`Layout::database_url_file`].
    ///
    /// # Errors
    /// The password cannot be read, or the file not written.
    pub(crate) fn database_url_file(&self, secrets: &Secrets) -> anyhow::Result<PathBuf> {
        let password = fs::read_to_string(&secrets.database).context("cannot read the database password")?;
        let socket = percent_encode(&self.socket.to_string_lossy());
        let url = format!("postgres://mailtier:{}@localhost/postgres?host={socket}", password.trim());
        let path = self.secrets.join("database-url");
        let _ = fs::remove_file(&path);
        write_private(&path, &url)?;
        Ok(path)
    }
}

/// The token for operators of a data directory.
#[must_use]
pub(crate) fn admin_secret(data: &Path) -> PathBuf {
    data.join("secrets").join("admin")
}

/// Where the queue of a data directory answers, if it ever ran.
#[must_use]
pub(crate) fn queue_address(data: &Path) -> Option<String> {
    Some(fs::read_to_string(data.join(QUEUE_ADDRESS)).ok()?.trim().to_owned())
}

/// `/var/lib/mailtier` for root, else below the user's home.
#[must_use]
pub(crate) fn default_data_directory() -> PathBuf {
    if nix::unistd::geteuid().is_root() {
        return PathBuf::from("/var/lib/mailtier");
    }
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
    home.join(".local/share/mailtier")
}

/// A program of ours: beside this one, else on the path.
#[must_use]
pub(crate) fn program(name: &str) -> PathBuf {
    std::env::current_exe()
        .ok()
        .and_then(|me| me.parent().map(|folder| folder.join(name)))
        .filter(|beside| beside.is_file())
        .unwrap_or_else(|| PathBuf::from(name))
}

/// 244 random bits.
fn write_secret(path: &Path) -> anyhow::Result<()> {
    let secret: String =
        [ReplicaId::random(), ReplicaId::random()].iter().map(|half| half.uuid().simple().to_string()).collect();
    write_private(path, &secret)
}

fn write_private(path: &Path, content: &str) -> anyhow::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    writeln!(file, "{content}").with_context(|| format!("cannot write {}", path.display()))
}

/// For a query parameter of a URL (RFC 3986 §2.1).
fn percent_encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, octet| {
        if octet.is_ascii_alphanumeric() || b"-._~/".contains(&octet) {
            encoded.push(char::from(octet));
        } else {
            encoded.push_str(&format!("%{octet:02X}"));
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn secrets_are_made_once_and_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::prepare(folder.path()).unwrap();
        let first = layout.secrets().unwrap();
        let token = fs::read_to_string(&first.admin).unwrap();
        assert_eq!(fs::metadata(&first.admin).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(token.trim().len() >= 64);
        assert_ne!(token, fs::read_to_string(&first.cluster).unwrap());
        let second = layout.secrets().unwrap();
        assert_eq!(fs::read_to_string(&second.admin).unwrap(), token);
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let error = Layout::prepare(&folder.path().join("a".repeat(90))).unwrap_err();
        assert!(error.to_string().contains("--data"), "{error}");
    }

    #[test]
    fn urls_carry_any_path() {
        assert_eq!(percent_encode("/tmp/a b/ü"), "/tmp/a%20b/%C3%BC");
    }
}
