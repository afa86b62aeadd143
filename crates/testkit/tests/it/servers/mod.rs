//! The mail servers that the world runs, as remotes of the real programs: each test starts one, sends through Mailtier, and
//! compares what the server has kept octet by octet. Not responsible for what servers do that nobody has: the scripted peers
//! of other tests are.
//!
//! `make clients` puts the servers aside. They need root, and namespaces with mounts of their own; where the tests have not got
//! these nothing is tested here.

mod content;
mod dane;
mod dovecot;
mod exim;
mod maildir;
mod opensmtpd;
mod postfix;
mod remote;
mod sandbox;
mod submission;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use mailtier_testkit::installation::{Installation, Plan, free_port};

/// The longest anything may take.
const LIMIT: Duration = Duration::from_secs(40);

/// Where servers listen, also those that are not started.
#[derive(Debug)]
struct Places {
    postfix: SocketAddr,
    /// Without 8BITMIME and CHUNKING.
    bare_postfix: SocketAddr,
    exim: SocketAddr,
    opensmtpd: SocketAddr,
    dovecot: SocketAddr,
    dovecot_socket: PathBuf,
}

impl Places {
    fn free(sockets: &Path) -> Self {
        let [postfix, bare_postfix, exim, opensmtpd, dovecot] = std::array::from_fn(|_| free_port().unwrap());
        Self { postfix, bare_postfix, exim, opensmtpd, dovecot, dovecot_socket: sockets.join("lmtp") }
    }
}

/// An installation with a way to each of the servers.
struct World {
    places: Places,
    /// The folder of Dovecot's socket.
    _sockets: tempfile::TempDir,
    chunking: Installation,
    /// The same with `outbound.chunking` off, for who wants it.
    without_chunking: OnceLock<Installation>,
}

impl World {
    /// The same for all tests that run at the same time; nothing where servers cannot be started.
    fn shared() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<World>> = Mutex::new(Weak::new());
        if !sandbox::is_possible() {
            println!(
                "nothing is tested: mail servers are started by root alone, where namespaces and mounts may be made"
            );
            return None;
        }
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        Some(shared.upgrade().unwrap_or_else(|| {
            let world = Arc::new(Self::start());
            *shared = Arc::downgrade(&world);
            world
        }))
    }

    fn start() -> Self {
        let sockets = tempfile::tempdir().unwrap();
        let places = Places::free(sockets.path());
        let chunking = Installation::start(&plan(&places, true)).unwrap();
        Self { places, _sockets: sockets, chunking, without_chunking: OnceLock::new() }
    }

    fn without_chunking(&self) -> &Installation {
        self.without_chunking.get_or_init(|| Installation::start(&plan(&self.places, false)).unwrap())
    }
}

/// Each server's domain leads to it in clear, `tls.` below it over TLS, for which the server has no trusted certificate.
fn plan(places: &Places, chunking: bool) -> Plan {
    let smtp = |address: SocketAddr, tls: &str| format!("hosts = [\"{address}\"]\ntls = \"{tls}\"\n");
    let lmtp = |tls: &str| smtp(places.dovecot, tls) + "via = \"lmtp\"\n";
    let socket = format!("via = \"lmtp\"\nhosts = [\"unix:{}\"]\n", places.dovecot_socket.display());
    Plan::new(places.postfix)
        .set("inbound", "relay_networks", "[\"127.0.0.0/8\", \"192.0.2.0/24\"]")
        .set("inbound", "xclient_networks", "[\"127.0.0.0/8\"]")
        .set("outbound", "transcripts", "\"all\"")
        .set("outbound", "chunking", chunking.to_string())
        .with_route("postfix.test", smtp(places.postfix, "off"))
        .with_route("tls.postfix.test", smtp(places.postfix, "required"))
        .with_route("bare.postfix.test", smtp(places.bare_postfix, "off"))
        .with_route("origin.postfix.test", smtp(places.postfix, "off") + "xforward = true\n")
        .with_route("exim.test", smtp(places.exim, "off"))
        .with_route("tls.exim.test", smtp(places.exim, "required"))
        .with_route("opensmtpd.test", smtp(places.opensmtpd, "off"))
        .with_route("tls.opensmtpd.test", smtp(places.opensmtpd, "opportunistic"))
        .with_route("dovecot.test", lmtp("off"))
        .with_route("tls.dovecot.test", lmtp("required"))
        .with_route("socket.dovecot.test", socket)
}
