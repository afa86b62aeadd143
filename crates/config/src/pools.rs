//! The tables about egress pools: their limits and whose mail goes through them (`[queue]`), and the addresses and names
//! that a worker uses for them (`[outbound]`). Not responsible for what must hold between them (`check_pools`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use mailtier_types::Day;

use crate::rate::RateConfig;
use crate::secret::Secret;
use crate::section::section;
use crate::words::words;

/// The pool of all mail that no rule names another for.
pub const DEFAULT_POOL: &str = "default";

section! {
    /// Limits of an egress pool: the source addresses, and the name in EHLO, that some mail leaves with. They hold for all
    /// queue replicas together, which lease slices of `concurrency` and `rate`; what a warm-up allows is shared out exactly. The pool `default` is always there, and may be named here to be given limits. docs/pools.md shows how.
    PoolConfig {
        /// Its name: letters, digits, `-`, `_` and `.`. Required.
        name: String = String::new(), "text", restart;
        /// Deliveries at a time.
        concurrency: Option<u32> = None, "number";
        /// Deliveries in a time, such as `10000/h`.
        rate: Option<RateConfig> = None, "rate";
        /// How its addresses become known: so many deliveries a day, see below.
        warm_up: Option<WarmUpConfig> = None, "table", restart;
        /// The pool that takes what is beyond a day of the warm-up. Without one that mail waits for the next day.
        overflow: Option<String> = None, "text", restart;
    }
}

section! {
    /// So many deliveries a day while receivers get to know the addresses of a pool. Days are counted in UTC and begin at
    /// midnight. Attempts count, whatever becomes of them, for receivers count them too. Before the first day nothing goes
    /// out, after the last as much as there is.
    WarmUpConfig {
        /// The first day, such as `"2026-11-20"`. Required.
        began: DayConfig = DayConfig(Day::new(0)), "day", restart;
        /// Deliveries of the first day, the second, and so on, such as `[50, 100, 500, 1000, 5000, 20000]`. Required.
        per_day: Vec<u32> = Vec::new(), "list of numbers", restart;
    }
}

section! {
    /// Whose mail goes through which pool. The first rule whose conditions all hold counts, in the order of the file; mail
    /// that none fits goes through `default`.
    PoolRuleConfig {
        /// The pool. Required.
        pool: String = String::new(), "text", restart;
        /// Mail of this tenant.
        tenant: Option<i32> = None, "number", restart;
        /// Mail whose reverse-path is of this domain; `.example.com` means all below it. Notifications have none.
        sender_domain: Option<String> = None, "domain", restart;
        /// Mail to this domain; `.example.com` means all below it.
        destination: Option<String> = None, "domain", restart;
        /// Mail to destinations of this provider, by its name in `[[queue.providers]]`.
        provider: Option<String> = None, "text", restart;
    }
}

section! {
    /// A pool that this worker serves: with which addresses and which name. A worker without any serves `default` alone, with
    /// the addresses that the system chooses and `outbound.ehlo_name`. One with some serves only those: name `default`
    /// too where it is to be served.
    EgressPoolConfig {
        /// Its name, as in `[[queue.pools]]`. Required.
        name: String = String::new(), "text", restart;
        /// The name in EHLO; `outbound.ehlo_name` when not set.
        ehlo_name: Option<String> = None, "host name";
        /// IPv4 addresses of this host, used in turn. Without any, and with some of IPv6, IPv4 is not used; without any
        /// address the system chooses.
        source_ipv4: Vec<Ipv4Addr> = Vec::new(), "list of IPv4 addresses";
        /// The same for IPv6.
        source_ipv6: Vec<Ipv6Addr> = Vec::new(), "list of IPv6 addresses";
        /// Addresses of either kind with a weight or a name of their own, beside those above.
        addresses: Vec<PoolAddressConfig> = Vec::new(), "list of tables";
        /// What its connections go through, see below.
        proxy: Option<EgressProxyConfig> = None, "table";
        /// A certificate, with its issuers (PEM), that is shown to hosts that ask who we are. One of a route goes before it.
        client_certificate: Option<PathBuf> = None, "path";
        /// Its key (PEM).
        client_key: Option<PathBuf> = None, "path";
    }
}

section! {
    /// A source address of an egress pool. Addresses of one kind share the pool's new connections by their weights.
    PoolAddressConfig {
        /// The address: of this host, or of the proxy where that is told which to use. Required.
        address: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED), "IP address";
        /// Its share of the connections, beside the weights of the others; 1 is what those of `source_ipv4` and `source_ipv6`
        /// have. With 0 no new connection uses it.
        weight: u32 = 1, "number";
        /// The name in EHLO of connections from it; the pool's when not set.
        ehlo_name: Option<String> = None, "host name";
    }
}

words! {
    /// What is spoken with a proxy.
    #[derive(Default)]
    ProxyProtocol {
        /// RFC 1928.
        #[default]
        Socks5 = "socks5",
        /// The PROXY protocol, version 1.
        ProxyV1 = "proxy-v1",
        /// Version 2.
        ProxyV2 = "proxy-v2",
    }
}

section! {
    /// A proxy that the connections of an egress pool go through. What it does wrong puts mail off and counts against nobody.
    EgressProxyConfig {
        /// `socks5` (RFC 1928: remote hosts see the proxy's own address, so the pool names none), or `proxy-v1` and `proxy-v2`:
        /// the PROXY protocol, whose header tells a proxy such as HAProxy, with `usesrc clientip`, from which address of the pool
        /// to connect to which host. Required.
        protocol: ProxyProtocol = ProxyProtocol::Socks5, "word";
        /// Where it is. Required.
        server: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0), "address";
        /// Logs in as this user (RFC 1929) where a proxy of `socks5` asks for it.
        user: Option<String> = None, "text";
        /// Its password.
        password: Option<Secret> = None, "text";
        /// The file with its password.
        password_file: Option<PathBuf> = None, "path";
    }
}

/// A day in UTC, `2026-11-20`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayConfig(pub Day);

impl serde::Serialize for DayConfig {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for DayConfig {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}
