//! Whether a container's gateway is trusted by mistake. Connections that are forwarded to a container often come from
//! its gateway, whoever began them: Docker's userland proxy does that, and so does a Kubernetes service with
//! `externalTrafficPolicy: Cluster`. A listener that trusts the gateway's network is then open to everyone, and so is one
//! behind a load balancer in a container of the same network, whose clients are forwarded to it in the same way. Not
//! responsible for load balancers themselves: `config` checks those.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;
use mailtier_config::{ConfigError, InboundConfig};

use crate::listeners::Listener;

/// Files that container engines leave in their containers.
const MARKS: [&str; 2] = ["/.dockerenv", "/run/.containerenv"];
/// Kubernetes sets it in every pod.
const POD_VARIABLE: &str = "KUBERNETES_SERVICE_HOST";
/// Of a route: it leads to a gateway (route.h).
const RTF_GATEWAY: u32 = 2;

/// The addresses from which forwarded connections may seem to come: those of the default gateways, in a container.
pub(crate) fn gateways() -> Vec<IpAddr> {
    let in_container = MARKS.iter().any(|mark| Path::new(mark).exists()) || std::env::var_os(POD_VARIABLE).is_some();
    if !in_container {
        return Vec::new();
    }
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (v4, v6) = (read("/proc/net/route"), read("/proc/net/ipv6_route"));
    let v4 = v4.lines().filter_map(gateway_v4).map(IpAddr::V4);
    v4.chain(v6.lines().filter_map(gateway_v6).map(IpAddr::V6)).collect()
}

/// Refuses to trust a gateway.
///
/// # Errors
/// [`ConfigError`] names the listener and the gateway.
pub(crate) fn check(
    config: &InboundConfig,
    listeners: &[Arc<Listener>],
    gateways: &[IpAddr],
) -> Result<(), ConfigError> {
    if config.trust_gateway {
        return Ok(());
    }
    for listener in listeners {
        let is_reached = listener.addresses.iter().any(|at| !at.ip().is_loopback());
        let stands_for_others = |gateway: IpAddr| listener.proxies.is_empty() || is_beside(gateway, &listener.proxies);
        let is_trusted = |gateway: &&IpAddr| is_reached && listener.trusts(**gateway) && stands_for_others(**gateway);
        if let Some(gateway) = gateways.iter().find(is_trusted) {
            return Err(ConfigError::bad(
                "inbound.relay_networks",
                format!(
                    "holds {gateway} on listener `{}`, the gateway of this container: forwarded connections may come from \
                     there whoever began them, and everyone would be trusted. Trust smaller networks, or have a load balancer \
                     outside of the gateway's network say who is behind it and set `proxy_networks`; where clients' addresses are kept (the host's \
                     network, `externalTrafficPolicy: Local`), set `inbound.trust_gateway = true`",
                    listener.name
                ),
            ));
        }
    }
    Ok(())
}

/// Whether load balancers share the gateway's network: what it forwards to them seems to come from it, too. One that is the
/// gateway itself, on the host, says who is behind it.
fn is_beside(gateway: IpAddr, proxies: &[IpNet]) -> bool {
    proxies.iter().any(|network| network.contains(&gateway) && network.prefix_len() < network.max_prefix_len())
}

/// Of a line of `/proc/net/route` (proc(5)): numbers are in hexadecimal, in the machine's order of octets.
fn gateway_v4(line: &str) -> Option<Ipv4Addr> {
    let mut fields = line.split_ascii_whitespace().skip(1).map(|field| u32::from_str_radix(field, 16).ok());
    let (destination, gateway, flags) = (fields.next()??, fields.next()??, fields.next()??);
    (destination == 0 && flags & RTF_GATEWAY != 0).then(|| Ipv4Addr::from(gateway.to_ne_bytes()))
}

/// Of a line of `/proc/net/ipv6_route`: destination and its length, source and its length, gateway, three numbers, flags.
fn gateway_v6(line: &str) -> Option<Ipv6Addr> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, length, _, _, gateway, _, _, _, flags, ..] = fields.as_slice() else { return None };
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let gateway = u128::from_str_radix(gateway, 16).ok()?;
    (*length == "00" && flags & RTF_GATEWAY != 0).then(|| Ipv6Addr::from(gateway))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_gateways_are_found() {
        let v4 = |gateway: u32, flags: &str| {
            gateway_v4(&format!("eth0\t00000000\t{gateway:08X}\t{flags}\t0\t0\t0\t00000000"))
        };
        let address = Ipv4Addr::new(172, 18, 0, 1);
        assert_eq!(v4(u32::from_ne_bytes(address.octets()), "0003"), Some(address));
        assert_eq!(v4(u32::from_ne_bytes(address.octets()), "0001"), None, "an interface, no gateway");
        assert_eq!(gateway_v4("Iface\tDestination\tGateway \tFlags"), None);
        let zero = "0".repeat(32);
        let v6 = |length: &str, flags: &str| {
            let gateway = "fd000000000000000000000000000001";
            gateway_v6(&format!("{zero} {length} {zero} 00 {gateway} 00000400 00000002 00000000 {flags} eth0"))
        };
        assert_eq!(v6("00", "00000003"), Some("fd00::1".parse().unwrap()));
        assert_eq!((v6("40", "00000003"), v6("00", "00200200"), gateway_v6("")), (None, None, None));
    }

    #[test]
    fn a_gateway_is_not_trusted_unawares() {
        let gateway = ["172.18.0.1".parse().unwrap()];
        let verdict = |change: fn(&mut InboundConfig)| {
            let mut config = InboundConfig { hostname: Some("mx.example.org".into()), ..InboundConfig::default() };
            config.relay_networks = vec!["172.16.0.0/12".parse().unwrap()];
            change(&mut config);
            let listeners = Listener::all(&config).unwrap();
            check(&config, &listeners, &gateway).map_err(|error| error.to_string())
        };
        let error = verdict(|_| {}).unwrap_err();
        assert!(error.contains("`inbound.relay_networks` holds 172.18.0.1 on listener `smtp`"), "{error}");
        assert_eq!(verdict(|config| config.trust_gateway = true), Ok(()));
        assert_eq!(verdict(|config| config.relay_networks = vec!["172.18.0.8/29".parse().unwrap()]), Ok(()));
        assert_eq!(verdict(|config| config.listen = vec!["127.0.0.1:25".parse().unwrap()]), Ok(()));
    }

    #[test]
    fn a_gateway_is_not_trusted_behind_a_load_balancer_in_its_network() {
        let verdict = |proxies: &str, trusted: &str| {
            let mut config = InboundConfig { hostname: Some("mx.example.org".into()), ..InboundConfig::default() };
            config.relay_networks = vec![trusted.parse().unwrap()];
            config.listen.clear();
            config.listeners = vec![mailtier_config::ListenerConfig {
                name: "proxied".into(),
                listen: vec!["0.0.0.0:25".parse().unwrap()],
                proxy_networks: vec![proxies.parse().unwrap()],
                ..mailtier_config::ListenerConfig::default()
            }];
            let listeners = Listener::all(&config).unwrap();
            check(&config, &listeners, &["172.18.0.1".parse().unwrap()]).map_err(|error| error.to_string())
        };
        let error = verdict("172.18.0.0/24", "172.16.0.0/12").unwrap_err();
        assert!(error.contains("`inbound.relay_networks` holds 172.18.0.1 on listener `proxied`"), "{error}");
        assert_eq!(verdict("172.18.0.0/24", "10.0.0.0/8"), Ok(()));
        assert_eq!(verdict("172.18.0.1/32", "172.16.0.0/12"), Ok(()), "on the host, it says who is behind it");
        assert_eq!(verdict("192.0.2.7/32", "172.16.0.0/12"), Ok(()), "elsewhere, it says who is behind it");
    }
}
