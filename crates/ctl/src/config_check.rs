//! `mailtier config check`: reads a configuration as the programs would and says what is wrong with it.

use std::path::Path;
use std::process::ExitCode;

use mailtier_config::{Config, ConfigError};
use mailtier_route::{RouteRule, RouteTable};
use mailtier_tls::{CertificateFiles, ServerTls};

use crate::cli::Failure;

/// Prints the verdict.
pub(crate) fn run(path: Option<&Path>) -> ExitCode {
    let name = path.map_or_else(|| "the defaults and the environment".to_owned(), |path| path.display().to_string());
    match Config::load(path) {
        Ok(config) => match unusable(&config) {
            None => {
                println!("{name}: valid");
                ExitCode::SUCCESS
            }
            Some(problem) => {
                eprintln!("{name}: {problem}");
                ExitCode::from(Failure::MISCONFIGURED)
            }
        },
        Err(error) => {
            match &error {
                // It names the file itself.
                ConfigError::Unreadable(text) => eprintln!("{text}"),
                error => eprintln!("{name}: {error}"),
            }
            ExitCode::from(Failure::MISCONFIGURED)
        }
    }
}

/// What a program would only find when it starts: files, routes, filters.
fn unusable(config: &Config) -> Option<String> {
    let rules = config.outbound.routes.iter().map(|route| RouteRule {
        domain: route.domain.clone(),
        hosts: route.hosts.clone(),
        tls: None,
    });
    if let Err(error) = RouteTable::new(rules) {
        return Some(format!("`outbound.routes`: {error}"));
    }
    if let Err(error) = mailtier_telemetry::check(&config.telemetry) {
        return Some(format!("`telemetry`: {error}"));
    }
    let files: Vec<_> = config.inbound.certificates();
    let files: Vec<_> = files.into_iter().map(|(certificate, key)| CertificateFiles { certificate, key }).collect();
    if files.is_empty() {
        return None;
    }
    let error = ServerTls::load(&files, config.inbound.tls_client_ca.as_deref()).err()?;
    Some(format!("`inbound.tls_certificate` or another key of TLS: {:#}", anyhow::Error::new(error)))
}

#[cfg(test)]
mod tests {
    use mailtier_config::RouteConfig;

    use super::*;

    #[test]
    fn what_only_a_start_would_find_is_found() {
        let mut config = Config::default();
        assert_eq!(unusable(&config), None);
        let route = |host: &str| RouteConfig { domain: "*".into(), hosts: vec![host.into()], tls: None };
        config.outbound.routes = vec![route("h:99999")];
        assert!(unusable(&config).is_some_and(|text| text.contains("h:99999")));
        config.outbound.routes = vec![route("a.example"), route("b.example")];
        assert!(unusable(&config).is_some_and(|text| text.contains("two routes")));
        config.outbound.routes.clear();
        config.telemetry.log_filter = "===,,".into();
        assert!(unusable(&config).is_some_and(|text| text.contains("===")));
        config.telemetry.log_filter = "info".into();
        (config.inbound.tls_certificate, config.inbound.tls_key) = (Some("/nonexistent/c".into()), Some("/k".into()));
        assert!(unusable(&config).is_some_and(|text| text.contains("/nonexistent/c")));
    }
}
