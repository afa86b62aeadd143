//! What must hold between listeners, networks and tenants: who may come where, and nobody trusted by mistake.

use std::collections::HashSet;
use std::net::SocketAddr;

use ipnet::IpNet;

use crate::bounds::{count, line};
use crate::check::apart;
use crate::check_inbound::{RECIPIENTS, greeting_delay, message_size};
use crate::inbound::{InboundConfig, ListenerConfig, ListenerProtocol, ListenerTls, LoginPolicy, NetworkConfig};
use crate::keys::quote;
use crate::{ConfigError, TenantConfig};

/// What `inbound.listen` is called in logs and metrics.
const DEFAULT_NAME: &str = "smtp";
/// SMTP's own port, on which LMTP must not be spoken (RFC 2033 §5).
const SMTP_PORT: u16 = 25;
/// A reply line has 512 octets (RFC 5321 §4.5.3.1.5), codes and line end included.
const MOST_REFUSAL_OCTETS: usize = 400;
/// No network of one operator is larger: 10.0.0.0/8 and fc00::/7 are the largest there are for private use.
const LEAST_PREFIX: (u8, u8) = (8, 7);

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
    /// Where it listens, by key.
    pub(crate) fn places(&self) -> Vec<(String, SocketAddr)> {
        let own = self.listen.iter().enumerate().map(|(at, address)| (format!("inbound.listen[{at}]"), *address));
        let named = self.listeners.iter().enumerate().flat_map(|(index, listener)| {
            let place = move |(at, address): (usize, &SocketAddr)| {
                (format!("inbound.listeners[{index}].listen[{at}]"), *address)
            };
            listener.listen.iter().enumerate().map(place)
        });
        let http = ("inbound.http_listen".to_owned(), self.http_listen);
        std::iter::once(http).chain(own).chain(named).collect()
    }

    pub(crate) fn check_listeners(&self) -> Result<(), ConfigError> {
        if self.listen.is_empty() && self.listeners.is_empty() {
            return Err(ConfigError::bad("inbound.listen", "is empty; name at least one address, such as 0.0.0.0:25"));
        }
        for (key, networks) in [
            ("inbound.relay_networks", &self.relay_networks),
            ("inbound.xclient_networks", &self.xclient_networks),
            ("inbound.xforward_networks", &self.xforward_networks),
        ] {
            closed_relay(key, networks)?;
        }
        let mut names = HashSet::from([DEFAULT_NAME]);
        for (index, listener) in self.listeners.iter().enumerate() {
            let place = format!("inbound.listeners[{index}]");
            line(format!("{place}.name"), &listener.name)?;
            if !names.insert(listener.name.as_str()) {
                let problem = format!(
                    "is `{}`, which another has; give each a name of its own (`{DEFAULT_NAME}` is that of `inbound.listen`)",
                    listener.name
                );
                return Err(ConfigError::bad(format!("{place}.name"), problem));
            }
            self.check_listener(&place, listener)?;
        }
        apart(&self.places())?;
        self.networks.iter().enumerate().try_for_each(|(index, network)| self.check_network(index, network))?;
        self.tenants.iter().enumerate().try_for_each(|(index, tenant)| self.check_tenant(index, tenant))
    }

    fn check_listener(&self, place: &str, listener: &ListenerConfig) -> Result<(), ConfigError> {
        let name = listener.name.as_str();
        let bad = |key: &str, problem: String| Err(ConfigError::bad(format!("{place}.{key}"), problem));
        if listener.listen.is_empty() {
            return bad("listen", format!("is empty for listener `{name}`; name an address, such as 0.0.0.0:587"));
        }
        let on_smtp_port = listener.listen.iter().find(|address| address.port() == SMTP_PORT);
        if let (ListenerProtocol::Lmtp, Some(address)) = (listener.protocol, on_smtp_port) {
            return bad("listen", format!("holds {address}, but LMTP is never on port 25 (RFC 2033); take another"));
        }
        let (has_certificate, tls) = (self.tls_certificate.is_some(), listener.tls);
        if matches!(tls, ListenerTls::Required | ListenerTls::Implicit) && !has_certificate {
            return bad("tls", format!("needs TLS on listener `{name}`; set `inbound.tls_certificate`"));
        }
        let logs_in = listener.login_policy() != LoginPolicy::Off;
        if logs_in && (tls == ListenerTls::None || !has_certificate) && !self.sasl_in_clear {
            let problem = format!(
                "would send passwords in clear on listener `{name}`; set `inbound.tls_certificate` and `tls`, or \
                 `inbound.sasl_in_clear`"
            );
            return bad("login", problem);
        }
        if logs_in && self.sasl_mechanisms.is_empty() {
            return Err(ConfigError::bad(
                "inbound.sasl_mechanisms",
                format!("is empty, and listener `{name}` asks for a login"),
            ));
        }
        message_size(format!("{place}.max_message_size"), listener.max_message_size)?;
        recipients(format!("{place}.max_recipients"), listener.max_recipients)?;
        greeting_delay(format!("{place}.greeting_delay"), listener.greeting_delay)?;
        let trusted = listener.relay_networks.as_deref().unwrap_or_default();
        closed_relay(format!("{place}.relay_networks"), trusted)?;
        self.check_behind_proxy(place, listener)
    }

    /// Behind a load balancer that does not say who is behind it, every client has its address: were that trusted, so
    /// would be everyone. A listener that expects headers has no such clients; one that does not must not trust the
    /// balancer.
    fn check_behind_proxy(&self, place: &str, listener: &ListenerConfig) -> Result<(), ConfigError> {
        closed_relay(format!("{place}.proxy_networks"), &listener.proxy_networks)?;
        let trusted = listener.relay_networks.as_ref().unwrap_or(&self.relay_networks);
        let proxies = self.listeners.iter().flat_map(|listener| &listener.proxy_networks);
        let is_trusted =
            |proxy: &&IpNet| !proxy.addr().is_loopback() && trusted.iter().any(|network| network.contains(*proxy));
        match proxies.filter(|_| listener.proxy_networks.is_empty()).find(is_trusted) {
            Some(proxy) => Err(ConfigError::bad(
                format!("{place}.relay_networks"),
                format!(
                    "lets clients from {proxy} send to anyone on listener `{}`, but that is a proxy: whoever is behind it \
                     would be trusted. Set `proxy_networks` there, or take the proxy out of `relay_networks`",
                    listener.name
                ),
            )),
            None => Ok(()),
        }
    }

    fn check_network(&self, index: usize, network: &NetworkConfig) -> Result<(), ConfigError> {
        let key = |name: &str| format!("inbound.networks[{index}].{name}");
        if network.networks.is_empty() {
            return Err(ConfigError::bad(key("networks"), "is empty; name the clients it is about"));
        }
        let earlier: HashSet<IpNet> =
            self.networks.iter().take(index).flat_map(|network| &network.networks).map(IpNet::trunc).collect();
        if let Some(again) = network.networks.iter().find(|one| earlier.contains(&one.trunc())) {
            let problem = format!("holds {again}, which an earlier `[[inbound.networks]]` has; keep one");
            return Err(ConfigError::bad(key("networks"), problem));
        }
        network.refuse.as_deref().map_or(Ok(()), |text| refusal(key("refuse"), text))?;
        network.tenant.map_or(Ok(()), |tenant| tenant_number(key("tenant"), tenant))?;
        message_size(key("max_message_size"), network.max_message_size)?;
        recipients(key("max_recipients"), network.max_recipients)?;
        greeting_delay(key("greeting_delay"), network.greeting_delay)
    }

    fn check_tenant(&self, index: usize, tenant: &TenantConfig) -> Result<(), ConfigError> {
        let key = |name: &str| format!("inbound.tenants[{index}].{name}");
        tenant_number(key("id"), tenant.id)?;
        if self.tenants.iter().take(index).any(|earlier| earlier.id == tenant.id) {
            let problem = format!("is {}, which an earlier tenant has; give each a number of its own", tenant.id);
            return Err(ConfigError::bad(key("id"), problem));
        }
        message_size(key("max_message_size"), tenant.max_message_size)
    }
}

fn recipients(key: String, most: Option<usize>) -> Result<(), ConfigError> {
    most.map_or(Ok(()), |most| count(key, most, RECIPIENTS))
}

pub(crate) fn tenant_number(key: String, id: i32) -> Result<(), ConfigError> {
    match id < 0 {
        true => Err(ConfigError::bad(key, format!("is {id}; give a number from 0 (mail of nobody else) up"))),
        false => Ok(()),
    }
}

/// What a client is told must fit a reply line, and be one (RFC 5321 §4.2).
fn refusal(key: String, text: &str) -> Result<(), ConfigError> {
    let is_sayable = text.bytes().all(|octet| matches!(octet, b' '..=b'~'));
    match is_sayable && !text.trim().is_empty() && text.len() <= MOST_REFUSAL_OCTETS {
        true => Ok(()),
        false => Err(ConfigError::bad(
            key,
            format!(
                "is {} ({} octets); give a line of 1 to {MOST_REFUSAL_OCTETS} printable ASCII characters",
                quote(text),
                text.len()
            ),
        )),
    }
}

/// Nobody trusts everybody, nor a large part of everybody.
fn closed_relay(key: impl Into<String>, networks: &[IpNet]) -> Result<(), ConfigError> {
    let is_open = |network: &&IpNet| match network {
        IpNet::V4(network) => network.prefix_len() < LEAST_PREFIX.0,
        IpNet::V6(network) => network.prefix_len() < LEAST_PREFIX.1,
    };
    match networks.iter().find(is_open) {
        Some(network) => {
            let problem = format!("holds {network}: that is an open relay; name your own networks only");
            Err(ConfigError::bad(key, problem))
        }
        None => Ok(()),
    }
}
