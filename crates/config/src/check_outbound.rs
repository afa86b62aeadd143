//! What must hold between the values of `[outbound]`. Not responsible for routes (`check_routes`).

use std::time::Duration;

use mailtier_types::Domain;

use crate::bounds::{ANY, DAY, MOST_MEMORY, MOST_THREADS, SECOND, YEAR, count, duration, line, size};
use crate::check::host_name;
use crate::check_cluster::replicas;
use crate::keys::quote;
use crate::sections::{Dnssec, LEAST_MEMORY};
use crate::{Config, ConfigError, OutboundConfig};

/// Sockets one process can have (`nr_open` is 2^20 by default).
const MOST_CONNECTIONS: u64 = 1 << 20;
/// A name server on the other side of the world needs as much.
const LEAST_DNS_TIMEOUT: Duration = Duration::from_millis(100);
const MOST_DNS_TIMEOUT: Duration = Duration::from_secs(60);
/// RFC 5321 §4.5.3.2.1 waits five minutes for a greeting; no connection takes longer.
const MOST_CONNECT_TIMEOUT: Duration = Duration::from_secs(600);

impl Config {
    pub(crate) fn check_outbound(&self) -> Result<(), ConfigError> {
        let outbound = &self.outbound;
        host_name("outbound.ehlo_name", outbound.ehlo_name.as_deref())?;
        outbound.name.as_deref().map_or(Ok(()), |name| line("outbound.name", name))?;
        replicas("outbound.queue", &outbound.queue)?;
        check_limits(outbound)?;
        check_names(outbound)?;
        self.check_egress_pools()?;
        outbound.check_routes()
    }
}

fn check_limits(outbound: &OutboundConfig) -> Result<(), ConfigError> {
    count("outbound.smtp_port", outbound.smtp_port, 1..=u64::from(u16::MAX))?;
    count("outbound.mta_sts_port", outbound.mta_sts_port, 1..=u64::from(u16::MAX))?;
    count("outbound.max_in_flight", outbound.max_in_flight, 1..=ANY)?;
    count("outbound.max_connections", outbound.max_connections, 1..=MOST_CONNECTIONS)?;
    count("outbound.deliveries_per_connection", outbound.deliveries_per_connection, 1..=ANY)?;
    count("outbound.threads", outbound.threads, 0..=MOST_THREADS)?;
    duration("outbound.dns_timeout", outbound.dns_timeout, LEAST_DNS_TIMEOUT..=MOST_DNS_TIMEOUT)?;
    duration("outbound.connect_timeout", outbound.connect_timeout, SECOND..=MOST_CONNECT_TIMEOUT)?;
    duration("outbound.idle_timeout", outbound.idle_timeout, Duration::ZERO..=YEAR)?;
    duration("outbound.drain_timeout", outbound.drain_timeout, Duration::ZERO..=DAY)?;
    size("outbound.memory_budget", outbound.memory_budget, LEAST_MEMORY..=MOST_MEMORY)
}

fn check_names(outbound: &OutboundConfig) -> Result<(), ConfigError> {
    if let Some(server) = outbound.dns_servers.iter().find(|server| server.port() == 0) {
        let problem = format!("holds `{server}`; expected an address with a port, such as 192.0.2.53:53");
        return Err(ConfigError::bad("outbound.dns_servers", problem));
    }
    if outbound.trust_anchors.is_some() && outbound.dnssec != Dnssec::Own {
        let problem = "is set, but `outbound.dnssec` is `resolver`: the name servers' own anchors count; give `own`, or leave \
                       this out";
        return Err(ConfigError::bad("outbound.trust_anchors", problem));
    }
    match outbound.own_names.iter().find(|name| Domain::parse(name).is_err()) {
        Some(name) => {
            let problem = format!("holds {}; expected a host name such as mx.example.com", quote(name));
            Err(ConfigError::bad("outbound.own_names", problem))
        }
        None => Ok(()),
    }
}
