//! What the programs begin with: a table of each kind, so that each of its keys can be changed, and the files that keys may
//! name. Not responsible for which keys there are: a table that is missing here is missed.

use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mailtier_testkit::fleet::Certificates;
use mailtier_testkit::installation::free_port;
use toml::Table;

use crate::clients::issuer::Issuer;

/// Texts that are read as what they are, by the names of their files.
const FILES: [(&str, &str); 5] = [
    ("key.txt", "a text of its own that is long enough to be a key for everybody\n"),
    ("recipients.txt", "user@relayed.example\n"),
    ("aliases.txt", "user@relayed.example: other@relayed.example\n"),
    ("headers.txt", "name=value\n"),
    ("empty.toml", ""),
];
/// The root's key signing key of 2017, as IANA publishes its digest.
const ANCHOR: &str = ". IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D\n";

/// See the module.
pub(super) struct Seed {
    folder: tempfile::TempDir,
    tree: Table,
    certificates: Certificates,
    files: Vec<PathBuf>,
}

impl Seed {
    pub(super) fn new(database: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| {
            let path = folder.path().join(name);
            fs::write(&path, content).unwrap();
            path
        };
        let key = Ed25519KeyPair::generate().unwrap();
        let pkcs8 = STANDARD.encode(key.to_pkcs8v1().unwrap().as_ref());
        let mut files: Vec<PathBuf> = FILES.iter().map(|(name, content)| write(name, content)).collect();
        files.push(write("database.url", database));
        files.push(write("root.anchor", ANCHOR));
        files.push(write("dkim.pem", &format!("-----BEGIN PRIVATE KEY-----\n{pkcs8}\n-----END PRIVATE KEY-----\n")));
        files.push(write("keys.json", &Issuer::new().keys));
        // What is named already has a copy to be changed to.
        let copies: Vec<PathBuf> = files.iter().map(|file| file.with_extension("copy")).collect();
        for (file, copy) in files.iter().zip(&copies) {
            fs::copy(file, copy).unwrap();
        }
        files.extend(copies);
        let certificates = Certificates::make(folder.path()).unwrap();
        let tree = tree(database, folder.path());
        Self { folder, tree, certificates, files }
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn tree(&self) -> &Table {
        &self.tree
    }

    /// The files that keys of a program may name.
    pub(super) fn paths(&self, name: &str) -> Vec<String> {
        let own = self.certificates.environment(name).into_iter().map(|(_, path)| path);
        own.chain(self.files.iter().map(|path| path.display().to_string())).collect()
    }
}

fn tree(database: &str, folder: &Path) -> Table {
    let port = || free_port().unwrap();
    let (queue, folder) = (port(), folder.display());
    let (smtp, submission, http) = (port(), port(), [port(), port(), port()]);
    let text = format!(
        r#"
        [cluster]
        watch_files = false
        admin_secret = "operators only, whoever they are"
        [database]
        url = "{database}"
        [inbound]
        listen = ["{smtp}"]
        http_listen = "{}"
        hostname = "mx.test.example"
        queue = ["http://{queue}"]
        relay_domains = ["relayed.example", "other.example"]
        [[inbound.listeners]]
        name = "more"
        listen = ["{submission}"]
        [[inbound.networks]]
        networks = ["192.0.2.0/24"]
        [[inbound.tenants]]
        id = 7
        [[inbound.call_ahead]]
        domains = ["relayed.example"]
        server = "127.0.0.1:25"
        [inbound.oauth]
        jwks_file = "{folder}/keys.json"
        issuer = "https://id.example"
        audience = "mail"
        [queue]
        listen = "{queue}"
        http_listen = "{}"
        hostname = "mx.test.example"
        [[queue.destinations]]
        domain = "example.com"
        [[queue.retries]]
        class = "greylisted"
        first = "5m"
        [[queue.providers]]
        name = "big"
        exchangers = ["big.example"]
        [[queue.providers]]
        name = "other"
        exchangers = ["another.example"]
        [[queue.sites]]
        exchangers = ["mx.site.example"]
        provider = "big"
        [[queue.tenants]]
        id = 7
        [[queue.pools]]
        name = "default"
        [queue.pools.warm_up]
        began = "2026-11-20"
        per_day = [50, 100]
        [[queue.pools]]
        name = "other"
        [[queue.pools]]
        name = "third"
        [[queue.pools]]
        name = "fourth"
        [[queue.pool_rules]]
        pool = "default"
        [outbound]
        queue = ["http://{queue}"]
        http_listen = "{}"
        ehlo_name = "mx.test.example"
        [[outbound.pools]]
        name = "default"
        [[outbound.pools.addresses]]
        address = "127.0.0.1"
        [[outbound.pools]]
        name = "other"
        [outbound.pools.proxy]
        protocol = "socks5"
        server = "127.0.0.1:25"
        [[outbound.pools]]
        name = "third"
        source_ipv4 = ["127.0.0.1"]
        [outbound.pools.proxy]
        protocol = "proxy-v2"
        server = "127.0.0.1:25"
        [[outbound.routes]]
        domain = "routed.example"
        hosts = ["127.0.0.1:25"]
        [[outbound.routes]]
        domain = "posted.example"
        url = "https://posted.example/x"
        [[outbound.routes]]
        domain = "usual.example"
        [feedback]
        return_path_domain = "bounces.example"
        return_path_keys_file = "{folder}/key.txt"
        [suppression]
        mode = "off"
        [[suppression.tenants]]
        id = 7
        mode = "fail"
        [tls_reports]
        sender = "reports@example.com"
        organization = "Example"
        dkim_selector = "one"
        dkim_key_file = "{folder}/dkim.pem"
        [telemetry]
        log_format = "json"
        log_filter = "info"
        "#,
        http[0], http[1], http[2],
    );
    toml::from_str(&text).unwrap()
}
