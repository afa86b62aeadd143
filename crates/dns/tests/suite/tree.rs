//! A tree of zones from the root down, signed by Knot DNS and looked up through an Unbound that does not validate, for one
//! test. Not responsible for what is wrong on the way: that is `meddler`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use mailtier_dns::Resolver;
use tempfile::TempDir;

use crate::programs::{PATIENCE, Program, free_port, program, start};

/// How a zone stands in the one above it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Zone {
    /// Signed, with a DS record above.
    Signed,
    /// The same, with hashed denials that leave unsigned delegations out.
    OptOut,
    /// The same, with denials that are hashed more often than anybody has to follow.
    Costly,
    Unsigned,
    /// Signed with keys other than those that the zone above speaks of.
    Bogus,
    /// The zone above speaks of keys of a kind that nobody knows.
    Unknown,
}

/// The zones, each with how it stands. `sub.plain.test` is as Gmail's hosts are: a zone of its own below an unsigned one.
const ZONES: [(&str, Zone); 14] = [
    (".", Zone::Signed),
    ("test", Zone::Signed),
    ("signed.test", Zone::Signed),
    ("sub.signed.test", Zone::Signed),
    ("plain.test", Zone::Unsigned),
    ("sub.plain.test", Zone::Unsigned),
    ("deep.empty.test", Zone::Unsigned),
    ("bogus.test", Zone::Bogus),
    ("odd.test", Zone::Unknown),
    ("costly.test", Zone::Costly),
    ("hashed.test", Zone::OptOut),
    ("plain.hashed.test", Zone::Unsigned),
    ("deep.empty.hashed.test", Zone::Unsigned),
    ("signed.hashed.test", Zone::Signed),
];

/// The programs, stopped at the end.
pub(crate) struct Tree {
    /// The resolver. It passes on what the zones say, signatures and all.
    pub(crate) resolver: SocketAddr,
    /// Files with the root's keys as Knot writes them: DNSKEY records, and the same as DS records.
    pub(crate) anchors: [PathBuf; 2],
    _programs: [Program; 2],
    _folder: TempDir,
}

impl Tree {
    /// `lines` are records with full names; each stands in the deepest zone it ends in.
    pub(crate) async fn start(lines: &[String]) -> Self {
        let folder = tempfile::Builder::new().prefix("mailtier-tree").tempdir_in("/var/tmp").unwrap();
        let path = folder.path();
        let (server, resolver) = (free_port().await, free_port().await);
        fs::create_dir(path.join("keys")).unwrap();
        let configuration = path.join("knot.conf");
        fs::write(&configuration, knot_configuration(path, server)).unwrap();
        write_zones(path, lines, 1, &[]);
        // Keys are made by the first start; the zones above can speak of them from the second on.
        let first = start(&["knotd", "-c", configuration.to_str().unwrap()], path);
        let mut digests = Vec::new();
        for (zone, _) in ZONES.iter().filter(|(_, standing)| has_keys(*standing)) {
            digests.push((*zone, key_records(&configuration, zone, "ds").await));
        }
        drop(first);
        write_zones(path, lines, 2, &digests);
        let knot = start(&["knotd", "-c", configuration.to_str().unwrap()], path);
        fs::write(path.join("root.key"), key_records(&configuration, ".", "dnskey").await).unwrap();
        fs::write(path.join("root.ds"), &digests[0].1).unwrap();
        fs::write(path.join("unbound.conf"), unbound_configuration(path, server, resolver)).unwrap();
        let unbound = start(&["unbound", "-d", "-c", path.join("unbound.conf").to_str().unwrap()], path);
        let anchors = ["root.key", "root.ds"].map(|file| path.join(file));
        let tree = Self { resolver, anchors, _programs: [knot, unbound], _folder: folder };
        tokio::time::timeout(PATIENCE, tree.until_it_answers()).await.expect("the name servers do not answer");
        tree
    }

    async fn until_it_answers(&self) {
        let resolver = Resolver::new(&[self.resolver], Duration::from_secs(1)).unwrap();
        // A question that fails is asked again with the next beat.
        let mut beat = tokio::time::interval(Duration::from_millis(100));
        for (zone, _) in ZONES {
            while resolver.texts(zone.trim_end_matches('.')).await.is_err() {
                beat.tick().await;
            }
        }
    }
}

fn has_keys(standing: Zone) -> bool {
    !matches!(standing, Zone::Unsigned | Zone::Unknown)
}

/// The records of a zone's keys, once it has some, as `keymgr` writes them.
async fn key_records(configuration: &Path, zone: &str, kind: &str) -> String {
    let mut beat = tokio::time::interval(Duration::from_millis(100));
    let until = tokio::time::Instant::now() + PATIENCE;
    while tokio::time::Instant::now() < until {
        beat.tick().await;
        let told = Command::new(program("keymgr")).arg("-c").arg(configuration).args([zone, kind]).output();
        let told = String::from_utf8(told.unwrap().stdout).unwrap();
        if told.contains(&format!(" {} ", kind.to_uppercase())) {
            return told;
        }
    }
    panic!("{zone} got no keys");
}

/// The deepest zone that a name is in, or for the zone itself the one above.
fn zone_of(name: &str, strictly: bool) -> &'static str {
    let is_in = |zone: &str| zone == "." || name.ends_with(&format!(".{zone}")) || name == zone && !strictly;
    ZONES.map(|(zone, _)| zone).into_iter().filter(|zone| is_in(zone)).max_by_key(|zone| zone.len()).unwrap()
}

fn write_zones(folder: &Path, lines: &[String], serial: u32, digests: &[(&str, String)]) {
    for (zone, _) in ZONES {
        let dot = if zone == "." { "." } else { &format!("{zone}.") };
        let mut text = format!(
            "$TTL 300\n{dot} SOA ns.test. admin.test. {serial} 3600 600 86400 300\n{dot} NS ns.test.\n{dot} TXT \"ready\"\n"
        );
        if zone == "test" {
            text.push_str("ns.test. A 127.0.0.1\n");
        }
        for (below, standing) in ZONES.into_iter().filter(|&(below, _)| below != "." && zone_of(below, true) == zone) {
            text.push_str(&format!("{below}. NS ns.test.\n"));
            let own = digests.iter().find(|(name, _)| *name == below).map_or("", |(_, records)| records);
            match standing {
                Zone::Signed | Zone::OptOut | Zone::Costly => text.push_str(own),
                Zone::Unsigned => {}
                Zone::Bogus => text.push_str(&format!("{below}. DS 1 13 2 {}\n", "00".repeat(32))),
                Zone::Unknown => text.push_str(&format!("{below}. DS 1 200 2 {}\n", "00".repeat(32))),
            }
        }
        let name = |line: &str| line.split_whitespace().next().unwrap().trim_end_matches('.').to_owned();
        for line in lines.iter().filter(|line| zone_of(&name(line), false) == zone) {
            text.push_str(&format!("{line}\n"));
        }
        fs::write(folder.join(file_of(zone)), text).unwrap();
    }
}

fn file_of(zone: &str) -> String {
    format!("{}.zone", if zone == "." { "root" } else { zone })
}

fn knot_configuration(folder: &Path, listen: SocketAddr) -> String {
    let zone = |(name, standing): (&str, Zone)| {
        let signing = match standing {
            Zone::OptOut => "dnssec-signing: on\n    dnssec-policy: hashed",
            Zone::Costly => "dnssec-signing: on\n    dnssec-policy: costly",
            _ if has_keys(standing) => "dnssec-signing: on",
            _ => "dnssec-signing: off",
        };
        format!("  - domain: {name}\n    file: {}\n    {signing}\n", file_of(name))
    };
    format!(
        "server:\n    rundir: {folder}\n    listen: {}@{}\ndatabase:\n    storage: {folder}/keys\nlog:\n  - target: stderr\n    \
         any: info\npolicy:\n  - id: hashed\n    nsec3: on\n    nsec3-opt-out: on\n    nsec3-iterations: 0\n  - id: costly\n    nsec3: on\n    nsec3-iterations: 150\ntemplate:\n  - id: \
         default\n    storage: {folder}\n    zonefile-sync: -1\n    journal-content: none\nzone:\n{}",
        listen.ip(),
        listen.port(),
        ZONES.map(zone).concat(),
        folder = folder.display(),
    )
}

fn unbound_configuration(folder: &Path, server: SocketAddr, listen: SocketAddr) -> String {
    let stub =
        |(zone, _)| format!("stub-zone:\n    name: \"{zone}\"\n    stub-addr: {}@{}\n", server.ip(), server.port());
    format!(
        "server:\n    directory: \"{folder}\"\n    chroot: \"\"\n    username: \"\"\n    pidfile: \"\"\n    use-syslog: no\n    \
         interface: {}\n    port: {}\n    do-not-query-localhost: no\n    module-config: \"iterator\"\n    \
         local-zone: \"test.\" nodefault\n    qname-minimisation: no\nremote-control:\n    control-enable: no\n{}",
        listen.ip(),
        listen.port(),
        ZONES.map(stub).concat(),
        folder = folder.display(),
    )
}
