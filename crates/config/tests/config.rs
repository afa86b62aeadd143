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

use mailtier_config::{Config, ConfigError, TlsPolicy};
use mailtier_types::SaslMechanism;

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
fn a_mistake_in_the_environment_is_blamed_on_its_variable() {
    for (name, value, message) in [
        ("MAILTIER__INBOUND__FOO", "1", "unknown key `inbound.foo`"),
        ("MAILTIER__QUUE__LEASE", "3s", "unknown key `quue.lease`; did you mean `queue`?"),
        ("MAILTIER__INBOUND", "1", "`inbound` is a section; name one of its keys too"),
        ("MAILTIER__INBOUND__OAUTH", "1", "`inbound.oauth` is a table, which has its place in the file"),
        (
            "MAILTIER__INBOUND__LISTENERS__NAME",
            "x",
            "`inbound.listeners.name` is a list of tables, which has its place in the file",
        ),
        ("MAILTIER__INBOUND__MAX_ERRORS", "0", "`inbound.max_errors` is 0; give at least 1"),
        ("MAILTIER__INBOUND__MAX_ERRORS", "many", "`inbound.max_errors` is `many`; expected a whole number"),
        (
            "MAILTIER__INBOUND__LISTEN",
            "127.0.0.1:25,nowhere",
            "`inbound.listen[1]` is `nowhere`; expected an address with a port, such as 127.0.0.1:2525 or [::1]:2525",
        ),
        ("MAILTIER__Queue__Lease", "0s", "`queue.lease` is 0s; give 1s to 1d"),
    ] {
        let error = load("[inbound]\nmax_errors = 5", &[(name, value)]).unwrap_err();
        assert_eq!(error.to_string(), format!("environment variable `{name}`: {message}"));
        assert!(error.names_its_source());
    }
    let of_file = load("[inbound]\nmax_errors = 0", &[("MAILTIER__INBOUND__MAX_SESSIONS", "5")]).unwrap_err();
    assert_eq!(of_file.to_string(), "`inbound.max_errors` is 0; give at least 1");
    assert!(!of_file.names_its_source());
}

#[test]
fn variables_are_read_as_their_keys_want_them() {
    let variables = [
        ("MAILTIER__CLUSTER__SECRET", "0123"),
        ("MAILTIER__INBOUND__VRFY", "yes"),
        ("MAILTIER__INBOUND__RELAY_NETWORKS", "192.0.2.1, 2001:db8::/32"),
        ("MAILTIER__INBOUND__OAUTH__ISSUER", "https://id.example"),
        ("MAILTIER__INBOUND__OAUTH__AUDIENCE", "mail"),
        ("MAILTIER__INBOUND__OAUTH__JWKS_URL", "https://id.example/keys"),
        ("MAILTIER__TELEMETRY__TRACE_SAMPLE_RATIO", "0.5"),
        ("MAILTIER__QUEUE__BODY_CACHE", "1MiB"),
    ];
    let config = load("", &variables).unwrap();
    assert_eq!(config.cluster.service_token().unwrap().unwrap().expose(), "0123");
    assert!(config.inbound.vrfy && config.inbound.oauth.is_some());
    let networks = ["192.0.2.1/32", "2001:db8::/32"].map(|network| network.parse().unwrap());
    assert_eq!(config.inbound.relay_networks, networks);
    assert_eq!(config.queue.body_cache.as_u64(), 1 << 20);
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
fn what_a_route_means_where_nothing_is_said() {
    let route = |text: &str| {
        let config = load(&format!("[[outbound.routes]]\n{text}"), &[]).unwrap();
        let route = config.outbound.routes[0].clone();
        (route.way().word(), route.tls().map(TlsPolicy::word))
    };
    let login = "hosts = [\"a\"]\nuser = \"u\"\npassword = \"p\"";
    assert_eq!(route("domain = \"a.example\""), ("mx", None));
    assert_eq!(route("hosts = [\"a\"]"), ("smtp", None));
    assert_eq!(route("url = \"https://a/\""), ("http", None));
    assert_eq!(route(login), ("smtp", Some("verified")), "a password goes to nobody but whom it is for");
    assert_eq!(route(&format!("{login}\ntls = \"required\"")), ("smtp", Some("required")));
    assert_eq!(route(&format!("{login}\nsasl_in_clear = true")), ("smtp", None));
    // A port for TLS from the first octet, or one that is said to be.
    assert_eq!(route("hosts = [\"a:587\", \"b | c:465\"]"), ("smtp", Some("verified")));
    assert_eq!(route("hosts = [\"a:465\"]\nimplicit_tls = false"), ("smtp", None));
    assert_eq!(route("hosts = [\"a:2465\"]\nimplicit_tls = true"), ("smtp", Some("verified")));
    assert_eq!(route("hosts = [\"a:465\"]\ntls = \"required\""), ("smtp", Some("required")));
    assert_eq!(route("via = \"lmtp\"\nhosts = [\"a:465\"]"), ("lmtp", None));
    let external = "sasl_mechanisms = [\"EXTERNAL\"]\nclient_certificate = \"c\"\nclient_key = \"k\"";
    assert_eq!(route(&format!("hosts = [\"a\"]\n{external}")), ("smtp", Some("verified")));
}

#[test]
fn secrets_of_routes_come_from_files_and_are_never_shown() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "horse\n").unwrap();
    let path = file.path();
    let text = format!(
        "[[outbound.routes]]\nhosts = [\"a\"]\nuser = \"u\"\npassword_file = {path:?}\nsasl_mechanisms = [\"login\", \"plain\"]\n\
         [[outbound.routes]]\ndomain = \"b\"\nurl = \"https://b/\"\ntoken = \"battery\"\nsigning_key = \"staple\""
    );
    let config = load(&text, &[]).unwrap();
    let login = config.outbound.route_logins().unwrap()[0].clone().unwrap();
    assert_eq!((login.user.as_str(), login.password.expose()), ("u", "horse"));
    assert_eq!(login.mechanisms, [SaslMechanism::Plain, SaslMechanism::Login], "the strongest first");
    let hook = config.outbound.route_hooks().unwrap()[1].clone().unwrap();
    assert_eq!(hook.token.as_ref().unwrap().expose(), "battery");
    // Who is no worker need not be able to read it, and starts.
    let elsewhere =
        load("[[outbound.routes]]\nhosts = [\"a\"]\nuser = \"u\"\npassword_file = \"/nonexistent/f\"", &[]).unwrap();
    let problem = elsewhere.outbound.route_logins().unwrap_err().to_string();
    assert!(problem.starts_with("`outbound.routes[0].password_file`: cannot read /nonexistent/f"), "{problem}");
    let unsendable = load("[[outbound.routes]]\nurl = \"https://a/\"\ntoken = \"a\\nb\"", &[]).unwrap();
    assert!(unsendable.outbound.route_hooks().unwrap_err().to_string().contains("cannot be sent"));
    let shown = format!("{}{config:?}{login:?}{hook:?}", config.to_toml().unwrap());
    assert!(["horse", "battery", "staple"].iter().all(|secret| !shown.contains(secret)), "{shown}");
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
