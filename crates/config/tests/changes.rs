//! What a changed configuration is said to differ in.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::HashMap;

use mailtier_config::{Config, Key, Reading};

const ALL: &[&str] =
    &["cluster", "database", "inbound", "queue", "outbound", "feedback", "suppression", "tls_reports", "telemetry"];

fn read(text: &str) -> Reading {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mailtier.toml");
    std::fs::write(&path, text).unwrap();
    Reading::load_with(Some(&path), HashMap::new()).unwrap()
}

/// Each change as `key: from -> to`.
fn changes(before: &str, after: &str) -> Vec<String> {
    let changes = read(after).changes_since(&read(before), ALL);
    changes.into_iter().map(|change| format!("{}: {} -> {}", change.key, change.from, change.to)).collect()
}

#[test]
fn values_are_shown_as_they_are_written() {
    let before = "[queue]\nlifetime = \"5d\"\n[inbound]\nrelay_domains = [\"a.example\"]";
    let after = "[queue]\nlifetime = \"36h\"\nretry_first = \"300s\"\n[inbound]\nrelay_domains = [\"a.example\", \"b.example\"]\n\
                 max_message_size = \"10MiB\"\npostmaster = \"p@a.example\"";
    assert_eq!(
        changes(before, after),
        [
            "inbound.max_message_size: 50.0 MiB -> 10.0 MiB",
            "inbound.postmaster: not set -> p@a.example",
            "inbound.relay_domains: a.example -> [a.example, b.example]",
            "queue.lifetime: 5days -> 1day 12h",
        ],
        "what is written differently and means the same is none"
    );
    assert!(changes(after, after).is_empty());
}

#[test]
fn secrets_are_told_apart_and_not_shown() {
    let with = |secret: &str| {
        format!(
            "[cluster]\nsecret = \"{secret}\"\n[[outbound.routes]]\ndomain = \"a.example\"\nhosts = [\"h\"]\nuser = \"u\"\npassword = \"{secret}\""
        )
    };
    let said = changes(&with("hunter2hunter2hunter2hunter2hunter2"), &with("swordfishswordfishswordfishswordfish"));
    assert_eq!(
        said,
        ["cluster.secret: (secret) -> (secret)", "outbound.routes[a.example].password: (secret) -> (secret)"]
    );
    assert!(
        changes(&with("hunter2hunter2hunter2hunter2hunter2"), &with("hunter2hunter2hunter2hunter2hunter2")).is_empty()
    );
    assert!(!format!("{:?}", read(&with("hunter2hunter2hunter2hunter2hunter2"))).contains("hunter2"));
}

#[test]
fn tables_of_a_list_go_by_their_names() {
    let table =
        |domain: &str, rate: &str| format!("[[queue.destinations]]\ndomain = \"{domain}\"\nrate = \"{rate}\"\n");
    let before = table("b.example", "1/s") + &table("c.example", "1/s");
    let after = table("a.example", "7/m") + &table("b.example", "2/s");
    assert_eq!(
        changes(&before, &after),
        [
            "queue.destinations: [b.example, c.example] -> [a.example, b.example]",
            "queue.destinations[a.example].domain: not set -> a.example",
            "queue.destinations[a.example].rate: not set -> 7/m",
            "queue.destinations[b.example].rate: 1/s -> 2/s",
            "queue.destinations[c.example].domain: c.example -> not set",
            "queue.destinations[c.example].rate: 1/s -> not set",
        ]
    );
    let rule = |tenant: u32| format!("[[queue.pool_rules]]\npool = \"default\"\ntenant = {tenant}\n");
    assert_eq!(
        changes(&(rule(1) + &rule(2)), &(rule(2) + &rule(1))),
        ["queue.pool_rules: [default 1, default 2] -> [default 2, default 1]"],
        "their order counts"
    );
}

#[test]
fn what_a_program_does_not_read_is_no_change_to_it() {
    let (before, after) =
        (read(""), read("[queue]\nlifetime = \"1d\"\nworker_grace = \"30s\"\n[outbound]\nsmtp_port = 26"));
    let keys = |reads| after.changes_since(&before, reads).into_iter().map(|change| change.key).collect::<Vec<_>>();
    assert_eq!(keys(&["outbound", "queue.worker_grace"]), ["outbound.smtp_port", "queue.worker_grace"]);
    assert_eq!(keys(&["inbound"]), [""; 0]);
    assert_eq!(before.fingerprint(&["inbound"]), after.fingerprint(&["inbound"]));
}

#[test]
fn a_listener_more_needs_a_restart() {
    let listener = "[[inbound.listeners]]\nname = \"users\"\nlisten = [\"127.0.0.1:2587\"]\nmax_recipients = 100\n";
    let added = read(listener).changes_since(&read(""), ALL);
    assert!(added.len() >= 4 && added.iter().all(|change| change.needs_restart), "{added:?}");
}

#[test]
fn the_files_that_are_named_are_known() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "a secret that is long enough for everybody").unwrap();
    let secret = file.path().display().to_string();
    let reading = read(&format!(
        "[inbound]\nrecipients_file = \"/r\"\ntls_certificate = \"/c\"\ntls_key = \"/k\"\n\
                        tls_certificates = [\"/a:/b\", \"/d:/e\"]\n[cluster]\nsecret_file = \"{secret}\""
    ));
    let paths =
        |reads| reading.files(reads).into_iter().map(|file| file.path.display().to_string()).collect::<Vec<_>>();
    assert_eq!(paths(&["inbound"]), ["/c", "/a", "/b", "/d", "/e", "/k"]);
    assert_eq!(paths(&["cluster"]), [secret]);
}

#[test]
fn the_reference_says_what_needs_a_restart() {
    let reference = mailtier_config::reference_markdown();
    let keys = || Config::SECTIONS.iter().flat_map(|(_, _, keys)| keys.iter());
    let said = |key: &Key| {
        let row = reference.lines().find(|line| line.starts_with(&format!("| `{}` |", key.name))).unwrap();
        row.contains("| restart |")
    };
    let address = keys().find(|key| key.name == "http_listen").unwrap();
    let filter = keys().find(|key| key.name == "log_filter").unwrap();
    assert_eq!((said(address), said(filter)), (true, false));
}
