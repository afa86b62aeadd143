//! `mailtier config check`: reads a configuration as the programs would and says what is wrong with it.

use std::path::Path;
use std::process::ExitCode;

use jsonwebtoken::jwk::JwkSet;
use mailtier_config::{
    ClusterConfig, Config, ConfigError, FeedbackConfig, InboundConfig, ReturnPathSettings, resolve_host_name,
};
use mailtier_message::ReturnPaths;
use mailtier_tls::{ClusterTls, ServerTls, Tier};

use crate::cli::Failure;
use crate::output::say;

/// Prints the verdict.
pub(crate) fn run(path: Option<&Path>) -> ExitCode {
    let name = path.map_or_else(|| "the defaults and the environment".to_owned(), |path| path.display().to_string());
    match Config::load(path) {
        Ok(config) => match unusable(&config) {
            None => {
                for note in notes(&config) {
                    eprintln!("{name}: note: {note}");
                }
                say!("{name}: valid");
                ExitCode::SUCCESS
            }
            Some(problem) => {
                eprintln!("{name}: {problem}");
                ExitCode::from(Failure::MISCONFIGURED)
            }
        },
        Err(error) => {
            match error.names_its_source() {
                true => eprintln!("{error}"),
                false => eprintln!("{name}: {error}"),
            }
            ExitCode::from(Failure::MISCONFIGURED)
        }
    }
}

/// What is so on this machine, and may be otherwise where the programs run; and what keeps nobody from starting.
fn notes(config: &Config) -> Vec<String> {
    let names = [
        ("inbound.hostname", &config.inbound.hostname),
        ("queue.hostname", &config.queue.hostname),
        ("outbound.ehlo_name", &config.outbound.ehlo_name),
    ];
    let missing = names.into_iter().filter_map(|(key, name)| resolve_host_name(key, name.as_deref()).err());
    let mut notes: Vec<String> =
        missing.map(|error| format!("on this machine the program would not start: {error}")).collect();
    if config.inbound.lacks_postmaster() {
        notes.push(
            "`inbound.postmaster` is not set: mail to <postmaster> is refused, which RFC 5321 §4.5.1 does not allow where \
             mail is taken from anyone; give an address that somebody reads"
                .to_owned(),
        );
    }
    let unused = config.queue.unused_pools();
    notes.extend(unused.into_iter().map(|name| {
        format!("no mail can go through the pool `{name}` of `queue.pools`: no rule of [[queue.pool_rules]] names it")
    }));
    notes
}

/// What a program would only find when it starts: files, secrets of routes, filters.
fn unusable(config: &Config) -> Option<String> {
    let outbound = &config.outbound;
    if let Err(error) = outbound.route_logins().map(|_| ()).and_then(|()| outbound.route_hooks().map(|_| ())) {
        return Some(error.to_string());
    }
    if let Err(error) = mailtier_telemetry::check(&config.telemetry) {
        return Some(format!("`telemetry`: {error}"));
    }
    if let Err(problem) = mailtier_shaping::classification(config.queue.classification.as_deref()) {
        return Some(format!("`queue.classification`: {problem}"));
    }
    if let Err(problem) = return_path_keys(&config.feedback) {
        return Some(problem);
    }
    if let Some(error) = cluster_certificate(&config.cluster).or_else(|| ServerTls::of_api(&config.queue).err()) {
        return Some(error.to_string());
    }
    let inbound = &config.inbound;
    let files = inbound.check_address_files().and_then(|()| ServerTls::configured(inbound).map(|_| ()));
    files.map_err(|error| error.to_string()).and_then(|()| token_keys(inbound)).err()
}

/// Whether the certificate for TLS between the programs can be used: it is not known here by which of them.
fn cluster_certificate(cluster: &ClusterConfig) -> Option<ConfigError> {
    let mut read = Tier::ALL.map(|tier| ClusterTls::configured(cluster, tier)).into_iter();
    let first = read.next()?.err()?;
    read.all(|other| other.is_err()).then_some(first)
}

/// Whether return paths can be signed with the keys there are.
fn return_path_keys(feedback: &FeedbackConfig) -> Result<(), String> {
    let settings = feedback.return_paths().map_err(|error| error.to_string())?;
    let Some(ReturnPathSettings { domain, keys, lifetime }) = settings else { return Ok(()) };
    let made = ReturnPaths::new(domain, keys.expose(), lifetime);
    made.map(|_| ()).map_err(|error| format!("`{}` {error}", FeedbackConfig::KEYS_FILE))
}

/// Whether the keys of tokens can be read where they are in a file.
fn token_keys(inbound: &InboundConfig) -> Result<(), String> {
    let Some(path) = inbound.oauth.as_ref().and_then(|oauth| oauth.jwks_file.as_ref()) else { return Ok(()) };
    let bad = |problem: String| format!("`inbound.oauth.jwks_file` names {}: {problem}", path.display());
    let octets = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
    let keys = serde_json::from_slice::<JwkSet>(&octets);
    keys.map(|_| ()).map_err(|error| bad(format!("no set of keys (RFC 7517): {error}")))
}

#[cfg(test)]
mod tests {
    use mailtier_config::{OauthConfig, RouteConfig};

    use super::*;

    #[test]
    fn what_only_a_start_would_find_is_found() {
        let mut config = Config::default();
        assert_eq!(unusable(&config), None);
        config.feedback.return_path_domain = Some("bounces.example.com".into());
        config.feedback.return_path_keys = Some(mailtier_config::Secret::new("short".into()));
        assert!(unusable(&config).is_some_and(|text| text.contains("fewer than 32 characters")));
        config.feedback = FeedbackConfig::default();
        let route = RouteConfig {
            user: Some("u".into()),
            password_file: Some("/nonexistent/p".into()),
            ..RouteConfig::default()
        };
        config.outbound.routes = vec![route];
        assert!(unusable(&config).is_some_and(|text| text.contains("/nonexistent/p")));
        config.outbound.routes.clear();
        config.telemetry.log_filter = "===,,".into();
        assert!(unusable(&config).is_some_and(|text| text.contains("===")));
        config.telemetry.log_filter = "info".into();
        config.queue.classification = Some("/nonexistent/rules".into());
        assert!(unusable(&config).is_some_and(|text| text.starts_with("`queue.classification`: /nonexistent/rules")));
        config.queue.classification = None;
        let missing = || Some("/nonexistent/t".into());
        (config.cluster.tls_certificate, config.cluster.tls_key, config.cluster.tls_ca) =
            (missing(), missing(), missing());
        assert!(unusable(&config).is_some_and(|text| text.contains("/nonexistent/t")));
        config.cluster = ClusterConfig::default();
        (config.inbound.tls_certificate, config.inbound.tls_key) = (Some("/nonexistent/c".into()), Some("/k".into()));
        assert!(unusable(&config).is_some_and(|text| text.contains("/nonexistent/c")));
    }

    #[test]
    fn who_takes_mail_from_anyone_is_told_of_the_postmaster() {
        let mut config = Config::default();
        let is_told = |config: &Config| notes(config).iter().any(|note| note.contains("`inbound.postmaster`"));
        assert!(!is_told(&config));
        config.inbound.relay_domains = vec!["example.org".into()];
        assert!(is_told(&config));
        config.inbound.postmaster = Some("admin@example.org".into());
        assert!(!is_told(&config));
    }

    #[test]
    fn files_that_a_start_would_read_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nonsense");
        std::fs::write(&path, "nonsense").unwrap();
        let certified = rcgen::generate_simple_self_signed(vec!["mx.example.com".to_owned()]).unwrap();
        let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
        std::fs::write(&chain, certified.cert.pem()).unwrap();
        std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
        type Set = fn(&mut InboundConfig, &Path);
        let cases: [(&str, Set); 4] = [
            ("inbound.recipients_file", |inbound, path| inbound.recipients_file = Some(path.into())),
            ("inbound.aliases_file", |inbound, path| inbound.aliases_file = Some(path.into())),
            ("inbound.tls_client_ca", |inbound, path| inbound.tls_client_ca = Some(path.into())),
            ("inbound.oauth.jwks_file", |inbound, path| {
                inbound.oauth = Some(OauthConfig { jwks_file: Some(path.into()), ..OauthConfig::default() });
            }),
        ];
        for (name, set) in cases {
            for file in [Path::new("/nonexistent/file"), &path] {
                let mut config = Config::default();
                config.inbound.tls_certificate = Some(chain.clone());
                config.inbound.tls_key = Some(key.clone());
                assert_eq!(unusable(&config), None);
                set(&mut config.inbound, file);
                let problem = unusable(&config).unwrap_or_default();
                assert!(problem.starts_with(&format!("`{name}`")), "{name}: {problem}");
                assert!(problem.contains(&*file.to_string_lossy()), "{name}: {problem}");
            }
        }
    }
}
