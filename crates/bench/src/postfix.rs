//! Debian's postfix package, unpacked aside: its smtp-source and smtp-sink drive every run, and its server is the
//! yardstick. It is never installed and never started as a service.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::harness::SINK_PORT;
use crate::processes::{self, Running};

/// Where the yardstick listens.
pub(crate) const PORT: u16 = 2625;

/// The package's files.
#[derive(Debug)]
pub(crate) struct Unpacked {
    root: PathBuf,
}

impl Unpacked {
    /// Downloads the package with apt and unpacks it below `folder`.
    pub(crate) fn fetch(folder: &Path) -> anyhow::Result<Self> {
        let root = folder.join("postfix");
        fs::create_dir_all(&root)?;
        let download = |package: &str| -> anyhow::Result<()> {
            let output = Command::new("apt-get").args(["download", "-qq", package]).current_dir(&root).output()?;
            if !output.status.success() {
                bail!("apt-get download {package}: {}", String::from_utf8_lossy(&output.stderr).trim());
            }
            Ok(())
        };
        if download("postfix").is_err() {
            let _ = Command::new("apt-get").args(["update", "-qq"]).status();
            download("postfix")?;
        }
        for library in ["libicu72", "libdb5.3", "libsasl2-2", "libnsl2", "libtirpc3"] {
            // Present on most machines; a release of Debian that names it otherwise has it under that name.
            let _ = download(library);
        }
        for entry in fs::read_dir(&root)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                let status = Command::new("dpkg").arg("-x").arg(&path).arg(&root).status()?;
                if !status.success() {
                    bail!("dpkg -x {}", path.display());
                }
            }
        }
        Ok(Self { root })
    }

    /// A program of the package.
    pub(crate) fn command(&self, program: &str) -> Command {
        let place = ["usr/sbin", "usr/lib/postfix/sbin"]
            .iter()
            .map(|folder| self.root.join(folder).join(program))
            .find(|path| path.is_file())
            .unwrap_or_else(|| PathBuf::from(program));
        let mut command = Command::new(place);
        command.env("LD_LIBRARY_PATH", self.libraries()).stdin(Stdio::null());
        command
    }

    fn libraries(&self) -> String {
        ["usr/lib/postfix", "usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "lib/x86_64-linux-gnu"]
            .map(|folder| self.root.join(folder).to_string_lossy().into_owned())
            .join(":")
    }
}

/// What a measurement wants of the yardstick.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Where all mail goes, on loopback.
    pub(crate) sink_port: u16,
    /// At a time to the destination.
    pub(crate) sessions: u32,
    /// More lines of main.cf; a later one wins.
    pub(crate) main: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { sink_port: SINK_PORT, sessions: 50, main: String::new() }
    }
}

/// A running Postfix that relays everything to the sink.
#[derive(Debug)]
pub(crate) struct Postfix {
    master: Child,
}

impl Postfix {
    /// Writes a configuration below `folder` and starts the master.
    pub(crate) fn start(tools: &Unpacked, folder: &Path, settings: &Settings) -> anyhow::Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            bail!("Postfix must be started by root; run with --alone to measure Mailtier only");
        }
        let (config, queue, data) = (folder.join("config"), folder.join("queue"), folder.join("data"));
        for directory in [&config, &queue, &data] {
            fs::create_dir_all(directory)?;
        }
        let owner = owner()?;
        nix::unistd::chown(&data, Some(owner.uid), Some(owner.gid))?;
        for (name, private) in QUEUE_DIRECTORIES {
            let path = queue.join(name);
            fs::create_dir_all(&path)?;
            if *private {
                nix::unistd::chown(&path, Some(owner.uid), None)?;
                fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
            }
        }
        fs::write(config.join("main.cf"), main_cf(tools, &queue, &data, folder, settings))?;
        fs::write(config.join("master.cf"), master_cf())?;
        let log = fs::File::create(folder.join("postfix.out"))?;
        let master = tools
            .command("master")
            .arg("-c")
            .arg(&config)
            .arg("-d")
            .env("MAIL_CONFIG", &config)
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start Postfix's master")?;
        let mut postfix = Self { master };
        processes::wait_for_port(PORT, Duration::from_secs(20), || postfix.master.try_wait().ok().flatten().is_none())
            .with_context(|| fs::read_to_string(folder.join("postfix.out")).unwrap_or_default())?;
        Ok(postfix)
    }
}

impl Running for Postfix {
    fn pid(&self) -> u32 {
        self.master.id()
    }

    fn port(&self) -> u16 {
        PORT
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        processes::stop(&mut self.master, nix::sys::signal::Signal::SIGTERM);
    }
}

/// Below the queue directory; private ones belong to the mail owner.
const QUEUE_DIRECTORIES: &[(&str, bool)] = &[
    ("pid", false),
    ("active", true),
    ("bounce", true),
    ("corrupt", true),
    ("defer", true),
    ("deferred", true),
    ("flush", true),
    ("hold", true),
    ("incoming", true),
    ("maildrop", true),
    ("private", true),
    ("public", true),
    ("saved", true),
    ("trace", true),
];

/// An account of Debian's base system that Postfix accepts for its queue.
fn owner() -> anyhow::Result<nix::unistd::User> {
    nix::unistd::User::from_name("mail")?.context("no user mail")
}

/// Tuned for throughput, durable as shipped (the queue file is synced before 250).
fn main_cf(tools: &Unpacked, queue: &Path, data: &Path, folder: &Path, settings: &Settings) -> String {
    let Settings { sink_port, sessions, main } = settings;
    let root = tools.root.display();
    format!(
        "compatibility_level = 3.6\n\
         queue_directory = {}\ndata_directory = {}\ncommand_directory = {root}/usr/sbin\n\
         daemon_directory = {root}/usr/lib/postfix/sbin\nshlib_directory = {root}/usr/lib/postfix\n\
         meta_directory = {root}/etc/postfix\n\
         mail_owner = mail\nsetgid_group = daemon\ndefault_privs = nobody\n\
         import_environment = MAIL_CONFIG LD_LIBRARY_PATH TZ\n\
         export_environment = MAIL_CONFIG LD_LIBRARY_PATH TZ\n\
         maillog_file = {}/postfix.log\nmaillog_file_prefixes = /\n\
         myhostname = postfix.bench.example\nmydestination =\nalias_maps =\nalias_database =\nlocal_recipient_maps =\n\
         inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmynetworks = 127.0.0.0/8\n\
         relayhost = [127.0.0.1]:{sink_port}\nsmtp_dns_support_level = disabled\nsmtp_host_lookup = native\n\
         smtpd_recipient_restrictions = permit_mynetworks, reject\nsmtpd_relay_restrictions = permit_mynetworks, reject\n\
         smtpd_tls_security_level = none\nsmtp_tls_security_level = none\n\
         default_process_limit = {}\nin_flow_delay = 0\nsmtpd_client_connection_count_limit = 0\n\
         smtpd_client_connection_rate_limit = 0\n\
         default_destination_concurrency_limit = {sessions}\ninitial_destination_concurrency = {sessions}\n\
         smtp_connection_cache_on_demand = yes\nqmgr_message_active_limit = 50000\nqmgr_message_recipient_limit = 50000\n\
         message_size_limit = 52428800\n{main}",
        queue.display(),
        data.display(),
        folder.display(),
        sessions.max(&100),
    )
}

fn master_cf() -> String {
    format!(
        "127.0.0.1:{PORT} inet n - n - - smtpd\n\
         pickup unix n - n 60 1 pickup\ncleanup unix n - n - 0 cleanup\nqmgr unix n - n 300 1 qmgr\n\
         rewrite unix - - n - - trivial-rewrite\nbounce unix - - n - 0 bounce\ndefer unix - - n - 0 bounce\n\
         trace unix - - n - 0 bounce\nverify unix - - n - 1 verify\nflush unix n - n 1000? 0 flush\n\
         proxymap unix - - n - - proxymap\nsmtp unix - - n - - smtp\nrelay unix - - n - - smtp\n\
         error unix - - n - - error\nretry unix - - n - - error\ndiscard unix - - n - - discard\n\
         anvil unix - - n - 1 anvil\nscache unix - - n - 1 scache\npostlog unix-dgram n - n - 1 postlogd\n"
    )
}
