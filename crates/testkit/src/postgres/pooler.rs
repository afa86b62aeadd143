//! A PgBouncer in transaction mode before a server. Not responsible for installing it: `make clients` does.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::unistd::{Uid, User};
use tempfile::TempDir;

use super::PostgresServer;
use crate::installation::{free_port, pause};

/// How long it may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A running pooler.
#[derive(Debug)]
pub struct Pooler {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Pooler {
    /// Starts `program` before all databases of a server, with so many connections to it and as docs/database.md has it.
    ///
    /// # Errors
    /// It does not start; its log is in the error.
    pub fn start(program: &Path, server: &PostgresServer, connections: u32) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("mailtier-pooler").tempdir_in("/var/tmp")?;
        let address = free_port()?;
        let servant = server.servant().and_then(|user| User::from_uid(user).ok().flatten()).map(|user| user.name);
        let configuration = format!(
            "[databases]\n* = host={} user=postgres\n[pgbouncer]\nlisten_addr = {}\nlisten_port = {}\nauth_type = any\n\
             pool_mode = transaction\nmax_client_conn = 200\ndefault_pool_size = {connections}\n\
             max_prepared_statements = 200\nignore_startup_parameters = extra_float_digits, options\n\
             unix_socket_dir =\n",
            server.folder().display(),
            address.ip(),
            address.port()
        );
        let (file, log) = (folder.path().join("pgbouncer.ini"), folder.path().join("log"));
        fs::write(&file, configuration)?;
        let output = fs::File::create(&log)?;
        let mut command = Command::new(program);
        if let Some(name) = servant.filter(|_| Uid::effective().is_root()) {
            command.args(["-u", &name]);
        }
        let child = command
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {}: run `make clients`", program.display()))?;
        let mut pooler = Self { child, address, _folder: folder };
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            if pooler.child.try_wait()?.is_some() || started.elapsed() > START_TIMEOUT {
                bail!("PgBouncer does not start:\n{}", fs::read_to_string(&log).unwrap_or_default());
            }
            pause();
        }
        Ok(pooler)
    }

    /// The URL of a database behind it.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@{}/{database}", self.address)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
