//! What an operator meets: defaults that work, overrides, and errors that say what to do.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail loudly"
)]

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use mailtier_config::{Config, ConfigError};

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mailtier.toml");
    std::fs::write(&path, text).unwrap();
    let variables: HashMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config::load_with(Some(Path::new(&path)), variables)
}

fn problem(text: &str) -> String {
    load(text, &[]).unwrap_err().to_string()
}

#[test]
fn an_empty_file_is_a_working_configuration() {
    let config = load("", &[]).unwrap();
    assert_eq!(config.queue.retry_first, Duration::from_secs(300));
    assert_eq!(config.inbound.listen.len(), 1);
    assert!(config.inbound.relay_domains.is_empty(), "never an open relay");
}

#[test]
fn the_environment_overrides_the_file() {
    let variables = [
        ("MAILTIER__QUEUE__RETRY_FIRST", "10m"),
        ("MAILTIER__INBOUND__RELAY_DOMAINS", "a.example,b.example"),
        ("MAILTIER__INBOUND__LISTEN", "127.0.0.1:2525"),
        ("MAILTIER__OUTBOUND__SMTP_PORT", "2526"),
        ("MAILTIER_CONFIG", "not a key"),
    ];
    let config = load("[queue]\nretry_first = \"1m\"", &variables).unwrap();
    assert_eq!(config.queue.retry_first, Duration::from_secs(600));
    assert_eq!(config.inbound.relay_domains, ["a.example", "b.example"]);
    assert_eq!(config.inbound.listen, ["127.0.0.1:2525".parse().unwrap()]);
    assert_eq!(config.outbound.smtp_port, 2526);
}

#[test]
fn an_unknown_key_is_an_error_that_names_the_nearest() {
    assert_eq!(
        problem("[queue]\nretry_frist = \"1m\""),
        "unknown key `queue.retry_frist`; did you mean `queue.retry_first`?"
    );
    assert_eq!(problem("[quue]\nretry_first = \"1m\""), "unknown key `quue`; did you mean `queue`?");
    assert_eq!(
        problem("[outbound]\nrelay_domains = []"),
        "unknown key `outbound.relay_domains`; did you mean `inbound.relay_domains`?"
    );
    let from_environment = load("", &[("MAILTIER__QUEUE__LEASES", "3s")]).unwrap_err().to_string();
    assert!(from_environment.contains("queue.lease`?"), "{from_environment}");
}

#[test]
fn values_that_cannot_be_used_are_refused_by_name() {
    for (text, key) in [
        ("[inbound]\nhostname = \"pod-7f9c\"", "inbound.hostname"),
        ("[inbound]\nrelay_networks = [\"0.0.0.0/0\"]", "inbound.relay_networks"),
        ("[inbound]\nmax_recipients = 5", "inbound.max_recipients"),
        ("[inbound]\ntls_key = \"key.pem\"", "inbound.tls_certificate"),
        ("[queue]\nrenew_every = \"10s\"", "queue.renew_every"),
        ("[queue]\nlisten = \"0.0.0.0:7070\"", "cluster.secret_file"),
        ("[outbound]\nroutes = [{ domain = \"\", hosts = [\"a\"] }]", "outbound.routes"),
        ("[inbound]\nrelay_domains = [\"*\"]", "inbound.relay_domains"),
        ("[inbound]\npostmaster = \"admin\"", "inbound.postmaster"),
        ("[inbound]\nqueue = [\"127.0.0.1:7070\"]", "inbound.queue"),
        ("[outbound]\nqueue = [\"http://queue\"]", "outbound.queue"),
        ("[database]\nurl = \"mysql://me:hidden@host/db\"", "database.url"),
        ("[queue]\nlease = \"soon\"", "lease"),
        ("[telemetry]\nlog_format = \"xml\"", "log_format"),
    ] {
        let message = problem(text);
        assert!(message.contains(key), "{text}: {message}");
        assert!(!message.contains("hidden"), "{message}");
    }
}

#[test]
fn secrets_come_from_files_and_are_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, "correct horse\n").unwrap();
    let config = load(&format!("[cluster]\nsecret_file = {path:?}\nadmin_secret = \"battery staple\""), &[]).unwrap();
    assert_eq!(config.cluster.service_token().unwrap().unwrap().expose(), "correct horse");
    let shown = format!("{}{config:?}", config.to_toml().unwrap());
    assert!(!shown.contains("battery") && !shown.contains("horse"), "{shown}");
    let both = problem(&format!("[cluster]\nsecret_file = {path:?}\nsecret = \"x\""));
    assert!(both.contains("both set"), "{both}");
    let missing = problem("[cluster]\nsecret_file = \"/nonexistent/secret\"");
    assert!(missing.contains("cluster.secret_file") && missing.contains("/nonexistent/secret"), "{missing}");
}

#[test]
fn what_is_printed_can_be_read_back() {
    let config = load("[[outbound.routes]]\ndomain = \"*\"\nhosts = [\"127.0.0.1:2526\"]", &[]).unwrap();
    let printed = config.to_toml().unwrap();
    assert_eq!(load(&printed, &[]).unwrap().to_toml().unwrap(), printed);
}

#[test]
fn the_reference_names_every_key() {
    let reference = mailtier_config::reference_markdown();
    for (section, _, keys) in Config::SECTIONS {
        for key in *keys {
            assert!(reference.contains(&format!("| `{}` |", key.name)), "{section}.{}", key.name);
        }
    }
}
