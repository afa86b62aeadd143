//! Where a mail server of Debian's runs as if it were installed: in a mount namespace of its own its package lies over `/usr`,
//! its configuration over `/etc`, and what it writes is in a folder of the test; in a process namespace of its own none of
//! its processes outlives it. Not responsible for any configuration.

use std::fs::{self, File, Permissions};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mailtier_testkit::installation::{children_of, pause};
use mailtier_testkit::peer::Authority;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid, chown};

use super::LIMIT;
use crate::clients::put_aside;

/// Who a server is without its privileges, by the names that are compiled in, and who owns the mail.
const USERS: [(&str, u32); 8] = [
    ("root", 0),
    ("nobody", 65_534),
    ("postfix", SERVER),
    ("Debian-exim", SERVER),
    ("opensmtpd", SERVER),
    ("dovecot", SERVER),
    ("opensmtpq", 10_002),
    ("reader", READER),
];
/// The user of each server.
pub(super) const SERVER: u32 = 10_001;
/// The user that has the mail.
pub(super) const READER: u32 = 10_003;
/// A group that no user is in, as Postfix wants it.
pub(super) const DROP: u32 = 10_004;
/// The host that certificates are for.
pub(super) const NAME: &str = "mx.ta.signed.test";
/// What each server has for itself.
const OWN: [&str; 4] = ["run", "var/spool", "var/lib", "var/log"];

/// What `unshare` runs: the folder, the package, what the server has for itself, and its command are the arguments.
const ENTER: &str = r#"set -e
folder=$1 package=$2 own=$3
shift 3
mount -t overlay -o "lowerdir=$package/usr:/usr" server /usr
mount -t overlay -o "lowerdir=$folder/etc:$package/etc:/etc" server /etc
for place in $own; do mount --bind "$folder/$place" "/$place"; done
exec "$@""#;

/// Whether servers can be started here.
pub(super) fn is_possible() -> bool {
    let script = "mount -t overlay -o lowerdir=/etc:/usr server /usr";
    let trial = Command::new("unshare").args(["--mount", "--pid", "--fork", "sh", "-c", script]).output();
    nix::unistd::geteuid().is_root() && trial.is_ok_and(|output| output.status.success())
}

/// The folder of a server that does not run yet.
#[derive(Debug)]
pub(super) struct Sandbox {
    folder: tempfile::TempDir,
    package: PathBuf,
}

impl Sandbox {
    /// For a server that `make clients` has put aside under this name.
    pub(super) fn new(package: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("mailtier-server").tempdir_in("/var/tmp").unwrap();
        let sandbox = Self { folder, package: put_aside("mail_servers").join(package) };
        fs::set_permissions(sandbox.path(""), Permissions::from_mode(0o755)).unwrap();
        for place in OWN {
            fs::create_dir_all(sandbox.path(place)).unwrap();
        }
        let line = |(name, id): &(&str, u32)| format!("{name}:x:{id}:{id}::/:/bin/sh\n");
        sandbox.write("etc/passwd", &USERS.iter().map(line).collect::<String>());
        let group = |(name, id): &(&str, u32)| format!("{name}:x:{id}:\n");
        sandbox.write("etc/group", &USERS.iter().chain(&[("drop", DROP)]).map(group).collect::<String>());
        sandbox.certify();
        sandbox.folder("mail", READER, READER, 0o755);
        sandbox
    }

    /// A certificate that nobody trusts, followed by that of its authority.
    fn certify(&self) {
        let authority = Authority::new().unwrap();
        let issued = authority.issue_for_hosts(&[NAME]).unwrap();
        let chain = [issued.certificate, authority.certificate()].map(|path| fs::read_to_string(path).unwrap());
        self.write("etc/certificate.pem", &chain.concat());
        fs::copy(issued.key, self.path("etc/key.pem")).unwrap();
        self.own("etc/key.pem", 0, SERVER, 0o640);
    }

    /// A path in its folder, as it is seen from outside and from inside.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file in its folder, and the folders it lies in.
    pub(super) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A folder in its folder.
    pub(super) fn folder(&self, name: &str, user: u32, group: u32, mode: u32) {
        fs::create_dir_all(self.path(name)).unwrap();
        self.own(name, user, group, mode);
    }

    fn own(&self, name: &str, user: u32, group: u32, mode: u32) {
        chown(&self.path(name), Some(Uid::from_raw(user)), Some(Gid::from_raw(group))).unwrap();
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
    }

    /// Starts the server, which stays in the foreground, and waits until it listens there.
    pub(super) fn start(self, command: &[&str], listens: SocketAddr) -> Server {
        let output = File::create(self.path("output")).unwrap();
        let child = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, "sh"])
            .args([self.folder.path(), &self.package])
            .arg(OWN.join(" "))
            .args(command)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let mut server = Server { sandbox: self, child };
        let started = Instant::now();
        while TcpStream::connect(listens).is_err() {
            let is_over = server.child.try_wait().unwrap().is_some() || started.elapsed() > LIMIT;
            assert!(!is_over, "{command:?} does not listen at {listens}:\n{}", server.log());
            pause();
        }
        server
    }
}

/// A running server; with it all its processes end.
#[derive(Debug)]
pub(super) struct Server {
    sandbox: Sandbox,
    child: Child,
}

impl Server {
    /// The certificates that it shows, its own first (DER).
    pub(super) fn certificates(&self) -> Vec<Vec<u8>> {
        let text = fs::read_to_string(self.sandbox.path("etc/certificate.pem")).unwrap();
        let blocks = text.split("-----END CERTIFICATE-----").filter_map(|block| block.split_once("CERTIFICATE-----"));
        let decode = |(_, block): (&str, &str)| STANDARD.decode(block.split_whitespace().collect::<String>()).unwrap();
        blocks.map(decode).collect()
    }

    /// Where its mail is, a maildir.
    pub(super) fn maildir(&self) -> PathBuf {
        self.sandbox.path("mail/all")
    }

    /// All that it has said.
    pub(super) fn log(&self) -> String {
        let mut text = fs::read_to_string(self.sandbox.path("output")).unwrap_or_default();
        read_all(&self.sandbox.path("var/log"), &mut text);
        text
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The first process of its namespace takes all others along, and `unshare` waits for that.
        for first in children_of(self.child.id()) {
            let _ = kill(Pid::from_raw(first), Signal::SIGKILL);
        }
        let started = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if started.elapsed() > LIMIT {
                let _ = self.child.kill();
            }
            pause();
        }
        if std::thread::panicking() {
            println!("--- log of the server in {}\n{}", self.sandbox.package.display(), self.log());
        }
    }
}

fn read_all(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            read_all(&entry.path(), text);
        } else {
            text.push_str(&String::from_utf8_lossy(&fs::read(entry.path()).unwrap_or_default()));
        }
    }
}
