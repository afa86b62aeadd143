//! The programs that people really send mail with, against the real programs: each test drives one of them and looks at
//! what arrives on the other side. Not responsible for what the protocol allows beyond that: the dialogues are.
//!
//! A client that is missing fails its tests: `make clients` installs all of them.

mod curl;
mod gsasl;
pub(crate) mod issuer;
mod msmtp;
mod nodemailer;
mod openssl;
mod postfix;
mod python;
mod swaks;

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use mailtier_testkit::installation::{Installation, Plan, free_port, pause};
use mailtier_testkit::ledger::{Behaviour, Counterpart, Ledger, Letter};
use mailtier_testkit::peer::{Authority, Issued};

use issuer::{AUDIENCE, ISSUER, Issuer};
use tempfile::NamedTempFile;

/// The longest a client may run, and a message be under way.
const LIMIT: Duration = Duration::from_secs(40);
/// The only user. The password has what clients get wrong: what URLs, SCRAM and configuration files use themselves.
const USER: &str = "user@client.example";
const PASSWORD: &str = "correct:horse=staple,b%40ttery";
/// `\0user\0password`, as PLAIN has it, in base64.
const PLAIN: &str = "AHVzZXJAY2xpZW50LmV4YW1wbGUAY29ycmVjdDpob3JzZT1zdGFwbGUsYiU0MHR0ZXJ5";

/// An installation with a listener for every way in.
struct World {
    installation: Installation,
    counterpart: Counterpart,
    authority: Authority,
    user_certificate: Issued,
    issuer: Issuer,
    /// Read again each minute.
    _keys: NamedTempFile,
    smtp: SocketAddr,
    submission: SocketAddr,
    submissions: SocketAddr,
    lmtp: SocketAddr,
    proxied: SocketAddr,
}

impl World {
    /// The same for all tests that run at the same time; it ends with the last of them.
    fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<World>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let world = Arc::new(Self::start());
            *shared = Arc::downgrade(&world);
            world
        })
    }

    fn start() -> Self {
        let counterpart = Counterpart::start(&Ledger::default(), Behaviour::default()).unwrap();
        let authority = Authority::new().unwrap();
        let host = authority.issue_for_hosts(&["mx.test.example", "localhost", "127.0.0.1"]).unwrap();
        let user_certificate = authority.issue_for_address(USER).unwrap();
        let [submission, submissions, lmtp, proxied] = std::array::from_fn(|_| free_port().unwrap());
        let quoted = |path: &PathBuf| format!("\"{}\"", path.display());
        let listeners = format!(
            "[{{name = \"submission\", listen = [\"{submission}\"], protocol = \"submission\", tls = \"required\"}}, \
             {{name = \"submissions\", listen = [\"{submissions}\"], protocol = \"submission\", tls = \"implicit\"}}, \
             {{name = \"lmtp\", listen = [\"{lmtp}\"], protocol = \"lmtp\"}}, \
             {{name = \"proxied\", listen = [\"{proxied}\"], proxy_networks = [\"127.0.0.0/8\"]}}]"
        );
        let mechanisms =
            r#"["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN", "EXTERNAL", "OAUTHBEARER", "XOAUTH2"]"#;
        let issuer = Issuer::new();
        let keys = NamedTempFile::new().unwrap();
        std::fs::write(keys.path(), &issuer.keys).unwrap();
        std::fs::set_permissions(keys.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        let oauth =
            format!("{{jwks_file = \"{}\", issuer = \"{ISSUER}\", audience = \"{AUDIENCE}\"}}", keys.path().display());
        let plan = Plan::new(counterpart.address())
            .set("inbound", "listeners", listeners)
            .set("inbound", "tls_certificate", quoted(&host.certificate))
            .set("inbound", "tls_key", quoted(&host.key))
            .set("inbound", "tls_client_ca", quoted(&authority.certificate()))
            .set("inbound", "sasl_mechanisms", mechanisms)
            .set("inbound", "oauth", oauth)
            .set("inbound", "relay_domains", "[\"sink.example\"]")
            .set("inbound", "max_hold", "\"1h\"")
            .set("inbound", "vrfy", "true")
            .set("inbound", "expn", "true")
            .set("inbound", "etrn_networks", "[\"127.0.0.0/8\"]")
            .set("inbound", "xforward_networks", "[\"127.0.0.0/8\"]")
            .set("inbound", "xclient_networks", "[\"127.0.0.0/8\"]");
        let installation = Installation::start(&plan).unwrap();
        let password_file = installation.path("user-password");
        std::fs::write(&password_file, PASSWORD).unwrap();
        installation.mailtier(&["user", "add", USER, "--password-file", password_file.to_str().unwrap()]).unwrap();
        let smtp = installation.smtp();
        Self {
            installation,
            counterpart,
            authority,
            user_certificate,
            issuer,
            _keys: keys,
            smtp,
            submission,
            submissions,
            lmtp,
            proxied,
        }
    }

    /// The message a client has sent to this recipient, and to nobody twice.
    fn arrived(&self, recipient: &str) -> Letter {
        let mut letters = self.counterpart.wait_for_letters_to(recipient, 1, LIMIT);
        let contents: Vec<_> = letters.iter().map(|letter| String::from_utf8_lossy(&letter.content)).collect();
        assert_eq!(letters.len(), 1, "for {recipient}: {contents:#?}");
        letters.remove(0)
    }

    /// Where a script finds everything, in its environment.
    fn environment(&self) -> Vec<(&'static str, String)> {
        let port = |address: SocketAddr| address.port().to_string();
        vec![
            ("SMTP_PORT", port(self.smtp)),
            ("SUBMISSION_PORT", port(self.submission)),
            ("SUBMISSIONS_PORT", port(self.submissions)),
            ("LMTP_PORT", port(self.lmtp)),
            ("CA_FILE", self.authority.certificate().display().to_string()),
            ("USER_NAME", USER.to_owned()),
            ("PASSWORD", PASSWORD.to_owned()),
        ]
    }
}

/// The keyword of the `with` clause in the Received field that we added (RFC 3848), and the whole field, unfolded.
fn received(letter: &Letter) -> (String, String) {
    let text = String::from_utf8_lossy(&letter.content).into_owned();
    assert!(text.starts_with("Received: "), "{text}");
    let unfolded = text.replace("\r\n\t", " ").replace("\r\n ", " ");
    let field = unfolded.lines().next().unwrap_or_default().to_owned();
    let with = field.split(" with ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    (with.to_owned(), field)
}

/// What became of a client.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    /// Both of its outputs, in the order they were written.
    said: String,
}

impl Ran {
    /// It ended well; what it said.
    fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.said);
        self.said
    }
}

/// Runs a client to its end, and stops it where that does not come.
fn run(command: &mut Command, input: &[u8]) -> Ran {
    let mut given = tempfile::tempfile().unwrap();
    given.write_all(input).unwrap();
    given.rewind().unwrap();
    let mut said: File = tempfile::tempfile().unwrap();
    let name = command.get_program().to_string_lossy().into_owned();
    let spawned = command
        .stdin(Stdio::from(given))
        .stdout(Stdio::from(said.try_clone().unwrap()))
        .stderr(Stdio::from(said.try_clone().unwrap()))
        .spawn();
    let mut child = spawned.unwrap_or_else(|error| match error.kind() {
        ErrorKind::NotFound => panic!("{name} is not installed: run `make clients`"),
        _ => panic!("cannot start {name}: {error}"),
    });
    let started = Instant::now();
    let code = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status.code();
        }
        if started.elapsed() > LIMIT {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        pause();
    };
    let mut octets = Vec::new();
    said.rewind().unwrap();
    said.read_to_end(&mut octets).unwrap();
    Ran { code, said: String::from_utf8_lossy(&octets).into_owned() }
}

/// A script beside the tests.
fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// What `make clients` has put aside, below the build's folder.
pub(crate) fn put_aside(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    // A test lies in target/<profile>/deps.
    let path = test.ancestors().nth(3).unwrap().join("clients").join(name);
    assert!(path.exists(), "{} is not there: run `make clients`", path.display());
    path
}
