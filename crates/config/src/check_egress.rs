//! What must hold between the tables of workers about egress pools, and the secrets that they name. Not responsible for
//! whether a host has the addresses.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use mailtier_route::Families;

use crate::bounds::{count, twice};
use crate::check::host_name;
use crate::check_pools::{among, pool_name};
use crate::keys::quote;
use crate::load::secret;
use crate::pools::{EgressProxyConfig, PoolAddressConfig, ProxyProtocol};
use crate::{Config, ConfigError, EgressPoolConfig, IpPreference, OutboundConfig, Secret};

/// Addresses of a pool: each is looked at for every new connection.
const MOST_ADDRESSES: usize = 1000;
/// The weight of an address. Finer shares than a thousandth nobody sees.
const MOST_WEIGHT: u64 = 1000;
/// RFC 1929 §2.
const MOST_LOGIN_OCTETS: usize = 255;

/// A proxy, and what it needs to know of us.
#[derive(Debug, Clone)]
pub struct PoolProxy {
    /// What is spoken with it.
    pub protocol: ProxyProtocol,
    /// Where it is.
    pub server: SocketAddr,
    /// User and password.
    pub login: Option<(String, Secret)>,
}

/// The files of a certificate that hosts are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate and its issuers.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The key of the configuration that names it.
    pub named_by: String,
}

impl EgressPoolConfig {
    /// All its addresses, those without a weight of their own among them.
    #[must_use]
    pub fn sources(&self) -> Vec<PoolAddressConfig> {
        let plain = |address| PoolAddressConfig { address, ..PoolAddressConfig::default() };
        let ipv4 = self.source_ipv4.iter().copied().map(IpAddr::V4).map(plain);
        let ipv6 = self.source_ipv6.iter().copied().map(IpAddr::V6).map(plain);
        ipv4.chain(ipv6).chain(self.addresses.iter().cloned()).collect()
    }

    /// Which addresses its mail can be sent to: those of the families that it has addresses of, where it has any.
    #[must_use]
    pub fn families(&self, otherwise: Families) -> Families {
        let usable = self.sources().into_iter().filter(|source| source.weight > 0);
        let (ipv4, ipv6): (Vec<_>, Vec<_>) = usable.partition(|source| source.address.is_ipv4());
        match (ipv4.is_empty(), ipv6.is_empty()) {
            (false, true) => Families::Ipv4,
            (true, false) => Families::Ipv6,
            _ => otherwise,
        }
    }
}

impl OutboundConfig {
    /// The proxies of pools, in their order. Only workers have use for them: nobody else need be able to read their files.
    ///
    /// # Errors
    /// A file cannot be read, or holds what no proxy can be told.
    pub fn pool_proxies(&self) -> Result<Vec<Option<PoolProxy>>, ConfigError> {
        let read = |(place, pool): (usize, &EgressPoolConfig)| {
            let proxy = pool.proxy.as_ref();
            proxy.map(|proxy| proxy.read(&format!("outbound.pools[{place}].proxy"))).transpose()
        };
        self.pools.iter().enumerate().map(read).collect()
    }

    /// The certificates that pools show, in their order.
    #[must_use]
    pub fn pool_certificates(&self) -> Vec<Option<ClientCertificate>> {
        let files = |(place, pool): (usize, &EgressPoolConfig)| {
            let key = format!("outbound.pools[{place}].client_certificate");
            ClientCertificate::of(pool.client_certificate.as_ref(), pool.client_key.as_ref(), key)
        };
        self.pools.iter().enumerate().map(files).collect()
    }
}

impl ClientCertificate {
    /// Where both are named.
    pub(crate) fn of(certificate: Option<&PathBuf>, key: Option<&PathBuf>, named_by: String) -> Option<Self> {
        Some(Self { certificate: certificate?.clone(), key: key?.clone(), named_by })
    }

    /// One is of no use without the other.
    pub(crate) fn check(
        certificate: Option<&PathBuf>,
        key: Option<&PathBuf>,
        name: impl Fn(&str) -> String,
    ) -> Result<(), ConfigError> {
        let missing = match (certificate, key) {
            (Some(_), None) => ("client_key", "client_certificate"),
            (None, Some(_)) => ("client_certificate", "client_key"),
            _ => return Ok(()),
        };
        Err(ConfigError::bad(name(missing.0), format!("is not set, beside `{}`; give both or neither", missing.1)))
    }
}

impl Config {
    /// The table of `[outbound]`. A worker's file need not have the queue's tables; where it has, the names agree.
    pub(crate) fn check_egress_pools(&self) -> Result<(), ConfigError> {
        let known = self.queue.pool_names();
        for (index, pool) in self.outbound.pools.iter().enumerate() {
            let key = |name: &str| format!("outbound.pools[{index}].{name}");
            pool_name(&key("name"), &pool.name)?;
            if self.outbound.pools.iter().take(index).any(|before| before.name == pool.name) {
                return Err(ConfigError::bad(key("name"), format!("is {} again; keep one", quote(&pool.name))));
            }
            if !self.queue.pools.is_empty() {
                among(&key("name"), &pool.name, &known)?;
            }
            host_name(key("ehlo_name"), pool.ehlo_name.as_deref())?;
            check_sources(index, pool, self.outbound.ip_preference)?;
            ClientCertificate::check(pool.client_certificate.as_ref(), pool.client_key.as_ref(), key)?;
            if let Some(proxy) = &pool.proxy {
                proxy.check(&key("proxy"), pool)?;
            }
        }
        Ok(())
    }
}

fn check_sources(index: usize, pool: &EgressPoolConfig, preference: IpPreference) -> Result<(), ConfigError> {
    let key = |name: &str| format!("outbound.pools[{index}].{name}");
    twice(&key("source_ipv4"), &pool.source_ipv4)?;
    twice(&key("source_ipv6"), &pool.source_ipv6)?;
    let sources = pool.sources();
    if sources.len() > MOST_ADDRESSES {
        let problem = format!("and the other addresses are {}; give at most {MOST_ADDRESSES}", sources.len());
        return Err(ConfigError::bad(key("addresses"), problem));
    }
    let plain = pool.source_ipv4.len() + pool.source_ipv6.len();
    for (place, source) in sources.iter().enumerate() {
        let of_family = if source.address.is_ipv4() { "source_ipv4" } else { "source_ipv6" };
        let own = place.checked_sub(plain).map(|place| key(&format!("addresses[{place}]")));
        let named = own.as_ref().map_or_else(|| key(of_family), |own| format!("{own}.address"));
        if source.address.is_unspecified() || source.address.is_multicast() {
            let problem =
                format!("holds `{}`, which no connection can come from; give an address of this host", source.address);
            return Err(ConfigError::bad(named, problem));
        }
        if sources.iter().take(place).any(|before| before.address == source.address) {
            return Err(ConfigError::bad(named, format!("is `{}` again; keep one", source.address)));
        }
        if let Some(own) = own {
            count(format!("{own}.weight"), source.weight, 0..=MOST_WEIGHT)?;
            host_name(format!("{own}.ehlo_name"), source.ehlo_name.as_deref())?;
        }
    }
    if !sources.is_empty() && sources.iter().all(|source| source.weight == 0) {
        let problem =
            "have all the weight 0: nothing could be sent; give one more, or have this worker not serve the pool";
        return Err(ConfigError::bad(key("addresses"), problem));
    }
    match (preference, pool.families(Families::Both)) {
        (IpPreference::Ipv4, Families::Ipv6) => {
            let problem = "is not set, and `outbound.ip_preference` is `ipv4`: nothing could be sent; give one";
            Err(ConfigError::bad(key("source_ipv4"), problem))
        }
        (IpPreference::Ipv6, Families::Ipv4) => {
            let problem = "is not set, and `outbound.ip_preference` is `ipv6`: nothing could be sent; give one";
            Err(ConfigError::bad(key("source_ipv6"), problem))
        }
        _ => Ok(()),
    }
}

impl EgressProxyConfig {
    /// What can be said of it without its password.
    fn check(&self, path: &str, pool: &EgressPoolConfig) -> Result<(), ConfigError> {
        let bad = |name: &str, problem: &str| Err(ConfigError::bad(format!("{path}.{name}"), problem));
        if self.server.port() == 0 || self.server.ip().is_unspecified() {
            return bad("server", "is nowhere; expected an address with a port, such as 192.0.2.1:1080");
        }
        let has_password = self.password.is_some() || self.password_file.is_some();
        if self.password.is_some() && self.password_file.is_some() {
            return bad("password", "and `password_file` are both set; keep one");
        }
        let is_socks = self.protocol == ProxyProtocol::Socks5;
        match (is_socks, pool.sources().is_empty()) {
            (true, false) => {
                return bad(
                    "protocol",
                    "is `socks5`, whose connections leave from the proxy's own \
                                                     addresses: leave out those of the pool",
                );
            }
            (false, true) => {
                return bad(
                    "protocol",
                    "has the proxy told from which address to connect, and the pool has \
                                                     none: give some, such as source_ipv4 = [\"192.0.2.1\"]",
                );
            }
            _ => {}
        }
        match (&self.user, has_password) {
            (Some(_), _) | (None, true) if !is_socks => bad("user", "is for `socks5` alone; leave it out"),
            (None, true) => bad("user", "is not set, beside a password; say whose it is"),
            (Some(_), false) => bad("password", "is not set, beside `user`; give it or `password_file`"),
            (Some(user), true) if user.is_empty() || user.len() > MOST_LOGIN_OCTETS => {
                bad("user", "is to have 1 to 255 octets (RFC 1929)")
            }
            _ => Ok(()),
        }
    }

    fn read(&self, path: &str) -> Result<PoolProxy, ConfigError> {
        let (key, file_key) = (format!("{path}.password"), format!("{path}.password_file"));
        let password = secret(&key, self.password.as_ref(), &file_key, self.password_file.as_ref())?;
        if password.as_ref().is_some_and(|password| password.expose().len() > MOST_LOGIN_OCTETS) {
            return Err(ConfigError::bad(key, "is longer than 255 octets, which no proxy can be told (RFC 1929)"));
        }
        Ok(PoolProxy { protocol: self.protocol, server: self.server, login: self.user.clone().zip(password) })
    }
}
