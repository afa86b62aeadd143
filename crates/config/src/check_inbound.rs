//! What must hold between the values of `[inbound]` and the tables within it.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use mailtier_types::{Domain, Mailbox, SaslMechanism};

use crate::check::{host_name, replicas};
use crate::inbound::{
    CallAheadConfig, InboundConfig, ListenerConfig, ListenerProtocol, ListenerTls, LoginPolicy, OauthConfig,
};
use crate::{Config, ConfigError};

/// Received fields a message may have before it is a loop; RFC 5321 §6.3 asks for at least 100 to be safe with chains,
/// practice (Postfix's `hopcount_limit`) takes 50.
const LEAST_HOPS: u32 = 10;
/// RFC 4865 §4: nine digits of seconds.
const MAX_HOLD: Duration = Duration::from_secs(999_999_999);

impl ListenerConfig {
    /// Whether its clients log in.
    #[must_use]
    pub fn login_policy(&self) -> LoginPolicy {
        self.login.unwrap_or(match self.protocol {
            ListenerProtocol::Submission => LoginPolicy::Required,
            ListenerProtocol::Smtp | ListenerProtocol::Lmtp => LoginPolicy::Off,
        })
    }
}

impl InboundConfig {
    /// Certificate chains and their keys; the first is shown to clients that name no host.
    #[must_use]
    pub fn certificates(&self) -> Vec<(PathBuf, PathBuf)> {
        let first = self.tls_certificate.clone().zip(self.tls_key.clone());
        let pairs = self.tls_certificates.iter().filter_map(|pair| pair.split_once(':'));
        first.into_iter().chain(pairs.map(|(chain, key)| (chain.into(), key.into()))).collect()
    }
}

impl Config {
    pub(crate) fn check_inbound(&self) -> Result<(), ConfigError> {
        let inbound = &self.inbound;
        host_name("inbound.hostname", inbound.hostname.as_deref())?;
        if inbound.listen.is_empty() && inbound.listeners.is_empty() {
            return Err(ConfigError::bad("inbound.listen", "is empty; name at least one address, such as 0.0.0.0:25"));
        }
        replicas("inbound.queue", &inbound.queue)?;
        domains("inbound.relay_domains", &inbound.relay_domains)?;
        if let Some(address) = &inbound.postmaster {
            Mailbox::parse(address)
                .map_err(|error| ConfigError::bad("inbound.postmaster", format!("is `{address}`: {error}")))?;
        }
        check_sizes(inbound)?;
        closed_relay("inbound.relay_networks", &inbound.relay_networks)?;
        for (key, networks) in [
            ("inbound.xclient_networks", &inbound.xclient_networks),
            ("inbound.xforward_networks", &inbound.xforward_networks),
        ] {
            closed_relay(key, networks)?;
        }
        match (&inbound.tls_certificate, &inbound.tls_key) {
            (Some(_), None) => {
                return Err(ConfigError::bad("inbound.tls_key", "is missing for `inbound.tls_certificate`"));
            }
            (None, Some(_)) => {
                return Err(ConfigError::bad("inbound.tls_certificate", "is missing for `inbound.tls_key`"));
            }
            _ => {}
        }
        check_tls(inbound)?;
        check_logins(inbound)?;
        check_listeners(inbound)?;
        inbound.call_ahead.iter().try_for_each(check_call_ahead)?;
        inbound.oauth.as_ref().map_or(Ok(()), check_oauth)
    }
}

fn check_sizes(inbound: &InboundConfig) -> Result<(), ConfigError> {
    // RFC 5321 §4.5.3.1.8.
    let recipients = |key, count: usize| match (100..=4096).contains(&count) {
        true => Ok(()),
        false => Err(ConfigError::bad(key, "must lie between 100 (RFC 5321) and 4096")),
    };
    // RFC 5321 §4.5.3.1.7.
    let size = |key, octets: u64| match octets >= 65_536 {
        true => Ok(()),
        false => Err(ConfigError::bad(key, "must be at least 64KiB (RFC 5321)")),
    };
    recipients("inbound.max_recipients", inbound.max_recipients)?;
    size("inbound.max_message_size", inbound.max_message_size.as_u64())?;
    for listener in &inbound.listeners {
        listener.max_recipients.map_or(Ok(()), |count| recipients("inbound.listeners.max_recipients", count))?;
        let octets = listener.max_message_size;
        octets.map_or(Ok(()), |octets| size("inbound.listeners.max_message_size", octets.as_u64()))?;
    }
    for network in &inbound.networks {
        network.max_recipients.map_or(Ok(()), |count| recipients("inbound.networks.max_recipients", count))?;
        if network.networks.is_empty() {
            return Err(ConfigError::bad("inbound.networks.networks", "is empty; name the clients it is about"));
        }
    }
    if inbound.max_received_hops < LEAST_HOPS {
        return Err(ConfigError::bad("inbound.max_received_hops", format!("must be at least {LEAST_HOPS}")));
    }
    if inbound.max_hold > MAX_HOLD {
        return Err(ConfigError::bad("inbound.max_hold", "must be at most 999999999s (RFC 4865)"));
    }
    if inbound.recipient_delimiter.len() > 1 || !inbound.recipient_delimiter.is_ascii() {
        return Err(ConfigError::bad("inbound.recipient_delimiter", "must be one character, or empty"));
    }
    Ok(())
}

fn check_tls(inbound: &InboundConfig) -> Result<(), ConfigError> {
    if !inbound.tls_certificates.is_empty() && inbound.tls_certificate.is_none() {
        return Err(ConfigError::bad(
            "inbound.tls_certificates",
            "are further ones; set `inbound.tls_certificate` first",
        ));
    }
    match inbound.tls_certificates.iter().find(|pair| pair.split_once(':').is_none()) {
        Some(pair) => {
            Err(ConfigError::bad("inbound.tls_certificates", format!("holds `{pair}`; expected chain.pem:key.pem")))
        }
        None => Ok(()),
    }
}

fn check_logins(inbound: &InboundConfig) -> Result<(), ConfigError> {
    let names = || SaslMechanism::ALL.map(SaslMechanism::name).join(", ");
    for name in &inbound.sasl_mechanisms {
        let mechanism: SaslMechanism = name.parse().map_err(|_| {
            ConfigError::bad("inbound.sasl_mechanisms", format!("holds `{name}`; expected some of {}", names()))
        })?;
        let is_token = matches!(mechanism, SaslMechanism::OAuthBearer | SaslMechanism::XOAuth2);
        if is_token && inbound.oauth.is_none() {
            return Err(ConfigError::bad(
                "inbound.sasl_mechanisms",
                format!("holds {name}, which needs `[inbound.oauth]`"),
            ));
        }
        if mechanism == SaslMechanism::External && inbound.tls_client_ca.is_none() {
            return Err(ConfigError::bad(
                "inbound.sasl_mechanisms",
                format!("holds {name}, which needs `inbound.tls_client_ca`"),
            ));
        }
    }
    Ok(())
}

fn check_listeners(inbound: &InboundConfig) -> Result<(), ConfigError> {
    let has_certificate = inbound.tls_certificate.is_some();
    let mut names = HashSet::from(["smtp"]);
    for listener in &inbound.listeners {
        let name = listener.name.as_str();
        if name.is_empty() || !names.insert(name) {
            let problem =
                format!("is `{name}`; give each listener a name of its own (`smtp` is that of `inbound.listen`)");
            return Err(ConfigError::bad("inbound.listeners.name", problem));
        }
        if listener.listen.is_empty() {
            return Err(ConfigError::bad("inbound.listeners.listen", format!("is empty for listener `{name}`")));
        }
        if matches!(listener.tls, ListenerTls::Required | ListenerTls::Implicit) && !has_certificate {
            return Err(ConfigError::bad(
                "inbound.listeners.tls",
                format!("needs TLS on listener `{name}`; set `inbound.tls_certificate`"),
            ));
        }
        let logs_in = listener.login_policy() != LoginPolicy::Off;
        if logs_in && (listener.tls == ListenerTls::None || !has_certificate) && !inbound.sasl_in_clear {
            return Err(ConfigError::bad(
                "inbound.listeners.login",
                format!(
                    "would send passwords in clear on listener `{name}`; set `inbound.tls_certificate` and `tls`, or \
                     `inbound.sasl_in_clear`"
                ),
            ));
        }
        if logs_in && inbound.sasl_mechanisms.is_empty() {
            return Err(ConfigError::bad(
                "inbound.sasl_mechanisms",
                format!("is empty, and listener `{name}` asks for a login"),
            ));
        }
        closed_relay("inbound.listeners.relay_networks", listener.relay_networks.as_deref().unwrap_or_default())?;
        check_behind_proxy(inbound, listener)?;
    }
    Ok(())
}

/// Behind a load balancer that does not say who is behind it, every client has its address: were that trusted, so would
/// be everyone. A listener that expects headers has no such clients; one that does not must not trust the balancer.
fn check_behind_proxy(inbound: &InboundConfig, listener: &ListenerConfig) -> Result<(), ConfigError> {
    closed_relay("inbound.listeners.proxy_networks", &listener.proxy_networks)?;
    let trusted = listener.relay_networks.as_ref().unwrap_or(&inbound.relay_networks);
    let proxies = inbound.listeners.iter().flat_map(|listener| &listener.proxy_networks);
    let is_trusted =
        |proxy: &&IpNet| !proxy.addr().is_loopback() && trusted.iter().any(|network| network.contains(*proxy));
    match proxies.filter(|_| listener.proxy_networks.is_empty()).find(is_trusted) {
        Some(proxy) => Err(ConfigError::bad(
            "inbound.listeners.relay_networks",
            format!(
                "lets clients from {proxy} send to anyone on listener `{}`, but that is a proxy: whoever is behind it would \
                 be trusted. Set `proxy_networks` there, or take the proxy out of `relay_networks`",
                listener.name
            ),
        )),
        None => Ok(()),
    }
}

fn check_call_ahead(config: &CallAheadConfig) -> Result<(), ConfigError> {
    domains("inbound.call_ahead.domains", &config.domains)?;
    let parts = config.server.rsplit_once(':');
    if parts.is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err()) {
        return Err(ConfigError::bad(
            "inbound.call_ahead.server",
            format!("is `{}`; expected host:port", config.server),
        ));
    }
    Ok(())
}

fn check_oauth(config: &OauthConfig) -> Result<(), ConfigError> {
    for (key, value) in [("inbound.oauth.issuer", &config.issuer), ("inbound.oauth.audience", &config.audience)] {
        if value.is_empty() {
            return Err(ConfigError::bad(key, "is not set: tokens for anybody, by anybody, would be taken"));
        }
    }
    match (&config.jwks_file, &config.jwks_url) {
        (None, None) => Err(ConfigError::bad("inbound.oauth.jwks_url", "is not set; give it or `jwks_file`")),
        (Some(_), Some(_)) => Err(ConfigError::bad("inbound.oauth.jwks_url", "and `jwks_file` are both set; keep one")),
        (None, Some(url)) if !url.starts_with("https://") => {
            Err(ConfigError::bad("inbound.oauth.jwks_url", format!("is `{url}`; expected https://…")))
        }
        _ => Ok(()),
    }
}

fn domains(key: &'static str, names: &[String]) -> Result<(), ConfigError> {
    names.iter().try_for_each(|name| match Domain::parse(name.strip_prefix('.').unwrap_or(name)) {
        Ok(_) => Ok(()),
        Err(error) => Err(ConfigError::bad(key, format!("holds `{name}`: {error}"))),
    })
}

/// Nobody trusts everybody.
fn closed_relay(key: &'static str, networks: &[IpNet]) -> Result<(), ConfigError> {
    if networks.iter().any(|network| network.prefix_len() == 0) {
        return Err(ConfigError::bad(key, "holds every address: that is an open relay"));
    }
    Ok(())
}
