//! Real zones, signed by Knot DNS and judged by Unbound, for one test. What is below `signed.test` is signed and believed;
//! below `bogus.test` it is signed with keys that the resolver does not believe, and so are the records below the names
//! in `bogus`; `plain.test` is not signed.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mailtier_dns::Resolver;
use tempfile::TempDir;

use crate::programs::{PATIENCE, Program, free_port, program, start};

/// No key has this digest.
const NO_KEY: &str = "1 13 2 0000000000000000000000000000000000000000000000000000000000000000";
/// The name servers, stopped at the end.
pub(crate) struct Zones {
    /// The resolver.
    pub(crate) resolver: SocketAddr,
    _programs: [Program; 2],
    _folder: TempDir,
}

impl Zones {
    /// `lines` are records with full names; each belongs to the zone it ends in.
    pub(crate) async fn start(lines: &[String], bogus: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("mailtier-zones").tempdir_in("/var/tmp").unwrap();
        let path = folder.path();
        let (server, resolver) = (free_port().await, free_port().await);
        fs::create_dir(path.join("keys")).unwrap();
        fs::write(path.join("knot.conf"), knot_configuration(path, server)).unwrap();
        for zone in ["signed.test", "bogus.test", "plain.test"] {
            fs::write(path.join(format!("{zone}.zone")), zone_file(zone, lines)).unwrap();
        }
        let configuration = path.join("knot.conf");
        let knot = start(&["knotd", "-c", configuration.to_str().unwrap()], path);
        let anchor = anchor(&configuration).await;
        fs::write(path.join("unbound.conf"), unbound_configuration(path, server, resolver, &anchor, bogus)).unwrap();
        let unbound = start(&["unbound", "-d", "-c", path.join("unbound.conf").to_str().unwrap()], path);
        let zones = Self { resolver, _programs: [knot, unbound], _folder: folder };
        zones.until_they_answer().await;
        zones
    }

    async fn until_they_answer(&self) {
        let resolver = Resolver::new(&[self.resolver], Duration::from_secs(1)).unwrap();
        let answered = async {
            // A question that fails is asked again with the next beat.
            let mut beat = tokio::time::interval(Duration::from_millis(100));
            loop {
                beat.tick().await;
                if resolver.texts("ready.signed.test").await.is_ok() {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, answered).await.expect("the name servers do not answer");
    }
}

/// The DS record of the signed zone, once it has keys.
async fn anchor(configuration: &Path) -> String {
    let mut beat = tokio::time::interval(Duration::from_millis(100));
    let until = tokio::time::Instant::now() + PATIENCE;
    while tokio::time::Instant::now() < until {
        beat.tick().await;
        let told = Command::new(program("keymgr")).arg("-c").arg(configuration).args(["signed.test", "ds"]).output();
        let told = String::from_utf8(told.unwrap().stdout).unwrap();
        if let Some(line) = told.lines().find(|line| line.contains(" DS ") && line.contains(" 13 2 ")) {
            return line.to_owned();
        }
    }
    panic!("the zone got no keys");
}

fn zone_file(zone: &str, lines: &[String]) -> String {
    let own = lines.iter().filter(|line| {
        let name = line.split_whitespace().next().unwrap().trim_end_matches('.');
        name.ends_with(&format!(".{zone}")) || name == zone
    });
    let own: String = own.map(|line| format!("{line}\n")).collect();
    format!(
        "$TTL 300\n{zone}. SOA ns.{zone}. admin.{zone}. 1 3600 600 86400 300\n{zone}. NS ns.{zone}.\nns.{zone}. A 127.0.0.1\n\
         ready.{zone}. TXT \"ready\"\n{own}"
    )
}

fn knot_configuration(folder: &Path, listen: SocketAddr) -> String {
    let zone = |name: &str, signed: &str| {
        format!("  - domain: {name}\n    file: {name}.zone\n    dnssec-signing: {signed}\n    zonefile-sync: -1\n")
    };
    format!(
        "server:\n    rundir: {folder}\n    listen: {}@{}\ndatabase:\n    storage: {folder}/keys\nlog:\n  - target: stderr\n    \
         any: info\ntemplate:\n  - id: default\n    storage: {folder}\nzone:\n{}{}{}",
        listen.ip(),
        listen.port(),
        zone("signed.test", "on"),
        zone("bogus.test", "on"),
        zone("plain.test", "off"),
        folder = folder.display(),
    )
}

fn unbound_configuration(
    folder: &Path,
    server: SocketAddr,
    listen: SocketAddr,
    anchor: &str,
    bogus: &[&str],
) -> String {
    let mistrusted: String =
        ["bogus.test"].iter().chain(bogus).map(|name| format!("    trust-anchor: \"{name}. DS {NO_KEY}\"\n")).collect();
    let stubs: String = ["signed.test", "bogus.test", "plain.test"]
        .map(|zone| format!("stub-zone:\n    name: \"{zone}\"\n    stub-addr: {}@{}\n", server.ip(), server.port()))
        .concat();
    format!(
        "server:\n    directory: \"{folder}\"\n    chroot: \"\"\n    username: \"\"\n    pidfile: \"\"\n    use-syslog: no\n    \
         interface: {}\n    port: {}\n    do-not-query-localhost: no\n    module-config: \"validator iterator\"\n    \
         local-zone: \"test.\" nodefault\n    qname-minimisation: no\n    trust-anchor: \"{anchor}\"\n{mistrusted}\
         remote-control:\n    control-enable: no\n{stubs}",
        listen.ip(),
        listen.port(),
        folder = folder.display(),
    )
}
