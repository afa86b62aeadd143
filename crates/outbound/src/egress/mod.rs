//! The egress pools that this worker serves: the names, the addresses and the proxy with which mail of each goes out. Not
//! responsible for which mail goes through which pool, nor for which addresses are blocked: that is the queue's.

mod shares;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use mailtier_api::work::{AvoidedSource, Dispatch};
use mailtier_config::{
    Config, ConfigError, DEFAULT_POOL, EgressPoolConfig, PoolProxy, ProxyProtocol as Spoken, Transcripts,
};
use mailtier_route::Policy;
use mailtier_sasl::{Credentials, Password};
use mailtier_smtp::ClientConfig;
use mailtier_tls::ClientTls;
use mailtier_transport::client::{EgressProxy, ProxyProtocol};
use mailtier_types::{Egress, Stage, Trouble, TroubleKind};
use parking_lot::Mutex;

use crate::certificates::read;
use shares::Shares;

/// Our name, and how patient we are.
#[derive(Clone, Debug)]
pub(crate) struct Manners {
    pub(crate) smtp: Arc<ClientConfig>,
    /// The same where LMTP is spoken.
    pub(crate) lmtp: Arc<ClientConfig>,
}

impl Manners {
    fn new(smtp: &ClientConfig) -> Self {
        let with = |lmtp| Arc::new(ClientConfig { lmtp, ..smtp.clone() });
        Self { smtp: with(false), lmtp: with(true) }
    }

    /// The same by another name.
    fn named(&self, ehlo_name: &str) -> Self {
        Self::new(&ClientConfig { ehlo_name: ehlo_name.to_owned(), ..(*self.smtp).clone() })
    }
}

/// An address that connections leave from.
#[derive(Debug)]
struct Source {
    address: IpAddr,
    weight: u32,
    manners: Manners,
}

/// What the queue says of our address for a delivery.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    /// The address of the attempt before, where the remote is to know it again.
    same: Option<IpAddr>,
    /// Addresses that are blocked.
    avoided: &'a [AvoidedSource],
    /// It goes as all mail to its destination does, so that what the destination blocks concerns it.
    goes_with_all: bool,
}

impl<'a> Wish<'a> {
    /// The wish that came with a delivery.
    pub(crate) fn of(dispatch: &'a Dispatch, goes_with_all: bool) -> Self {
        Self { same: dispatch.same_source, avoided: &dispatch.avoided_sources, goes_with_all }
    }

    /// For how long an address is not to be used.
    fn avoids(&self, address: IpAddr) -> Option<Duration> {
        let counts =
            |avoided: &&AvoidedSource| avoided.address == address && (self.goes_with_all || avoided.refused_this);
        self.avoided.iter().find(counts).map(|avoided| avoided.time)
    }

    /// Whether any address will do.
    const fn is_none(&self) -> bool {
        self.same.is_none() && self.avoided.is_empty()
    }
}

/// One pool.
#[derive(Debug)]
pub(crate) struct EgressPool {
    /// As the queue names it.
    pub(crate) name: String,
    /// Of connections whose address the system or a proxy chooses.
    pub(crate) manners: Manners,
    /// What plans of its mail keep to.
    pub(crate) policy: Arc<Policy>,
    /// Its place among all.
    pub(crate) number: usize,
    /// What its connections go through.
    pub(crate) proxy: Option<Arc<EgressProxy>>,
    /// What its handshakes need where it shows a certificate.
    pub(crate) tls: Option<Arc<ClientTls>>,
    /// Those that are not drained.
    sources: Vec<Source>,
    shares: Mutex<Shares>,
    /// It stands in the configuration, so that outcomes name it.
    is_configured: bool,
}

impl EgressPool {
    /// Our address for the next connection to one, and how we speak from it; no address where the system or a proxy chooses.
    ///
    /// # Errors
    /// The pool has addresses, and none of that family, or none that the remote does not block.
    pub(crate) fn source_towards(&self, remote: IpAddr, wish: Wish<'_>) -> Result<(Option<IpAddr>, &Manners), Trouble> {
        if self.sources.is_empty() {
            return Ok((None, &self.manners));
        }
        let may =
            |source: &Source| source.address.is_ipv4() == remote.is_ipv4() && wish.avoids(source.address).is_none();
        let same = || self.sources.iter().find(|source| Some(source.address) == wish.same && may(source));
        let next = || {
            let place = self.shares.lock().next(|place| self.sources.get(place).is_some_and(may));
            place.and_then(|place| self.sources.get(place))
        };
        match same().or_else(next) {
            Some(source) => Ok((Some(source.address), &source.manners)),
            None => Err(self.lack(remote, wish)),
        }
    }

    fn lack(&self, remote: IpAddr, wish: Wish<'_>) -> Trouble {
        let family = if remote.is_ipv4() { "IPv4" } else { "IPv6" };
        let text = match self.blocked_for(remote, wish) {
            Some(wait) => format!(
                "every {family} address of the egress pool `{}` is blocked there; one is tried again in {} s",
                self.name,
                wait.as_secs()
            ),
            None => format!("the egress pool `{}` has no {family} address", self.name),
        };
        Trouble { kind: TroubleKind::Local, text }
    }

    /// Where every address that could be used towards this one is avoided: until the first may be used again.
    pub(crate) fn blocked_for(&self, remote: IpAddr, wish: Wish<'_>) -> Option<Duration> {
        let mut first = None;
        for source in self.sources.iter().filter(|source| source.address.is_ipv4() == remote.is_ipv4()) {
            let wait = wish.avoids(source.address)?;
            first = Some(first.map_or(wait, |first: Duration| first.min(wait)));
        }
        first
    }

    /// Whether a connection from this address will do.
    pub(crate) fn suits(&self, source: Option<IpAddr>, wish: Wish<'_>) -> bool {
        let Some(source) = source.filter(|_| !wish.is_none()) else { return true };
        let is_wished = |same: IpAddr| {
            let is_here = self.sources.iter().any(|own| own.address == same) && wish.avoids(same).is_none();
            !is_here || same == source || same.is_ipv4() != source.is_ipv4()
        };
        wish.avoids(source).is_none() && wish.same.is_none_or(is_wished)
    }

    /// What a trouble of finding a host means here: where only the pool's own lack of addresses stands in the way, that is
    /// our trouble, and says nothing of the destination, which may have mail of other pools.
    pub(crate) fn judge(&self, trouble: Trouble) -> Trouble {
        let has = |ipv4: bool| self.sources.iter().any(|source| source.address.is_ipv4() == ipv4);
        let (only, other) = match (has(true), has(false)) {
            (true, false) => ("IPv4", "IPv6"),
            (false, true) => ("IPv6", "IPv4"),
            _ => return trouble,
        };
        if trouble.kind != TroubleKind::Connect {
            return trouble;
        }
        let text = format!("{}: the egress pool `{}` has {only} and no {other} addresses", trouble.text, self.name);
        Trouble { kind: TroubleKind::Local, text }
    }

    /// How an attempt left, for its outcome.
    pub(crate) fn egress(&self, source: Option<IpAddr>) -> Option<Egress> {
        let is_other =
            |source: IpAddr, own: &Source| own.address != source && own.address.is_ipv4() == source.is_ipv4();
        let has_others = source.is_some_and(|source| self.sources.iter().any(|own| is_other(source, own)));
        self.is_configured.then(|| Egress { pool: self.name.clone(), source, has_others })
    }
}

/// All pools that this worker serves, in the order of the configuration.
#[derive(Debug)]
pub(crate) struct EgressPools(Vec<Arc<EgressPool>>);

impl EgressPools {
    /// Those of the configuration. `policy` is what holds for all.
    ///
    /// # Errors
    /// [`ConfigError`] names a password or a certificate that cannot be used.
    pub(crate) fn new(config: &Config, ehlo_name: &str, policy: &Policy) -> Result<Self, ConfigError> {
        let base = ClientConfig {
            chunking: config.outbound.chunking,
            keeps_transcript: config.outbound.transcripts != Transcripts::None,
            ..ClientConfig::new(ehlo_name)
        };
        let configured = &config.outbound.pools;
        if configured.is_empty() {
            let default = EgressPoolConfig { name: DEFAULT_POOL.to_owned(), ..EgressPoolConfig::default() };
            return Ok(Self(vec![Arc::new(EgressPool::new(0, &default, &base, policy))]));
        }
        let mut pools = Vec::with_capacity(configured.len());
        let proxies = config.outbound.pool_proxies()?.into_iter();
        let more = proxies.zip(config.outbound.pool_certificates());
        for ((number, one), (proxy, certificate)) in configured.iter().enumerate().zip(more) {
            pools.push(Arc::new(EgressPool {
                is_configured: true,
                proxy: proxy.map(|proxy| Arc::new(spoken_with(proxy))),
                tls: certificate.as_ref().map(read).transpose()?,
                ..EgressPool::new(number, one, &base, policy)
            }));
        }
        Ok(Self(pools))
    }

    /// The pool of a name.
    pub(crate) fn find(&self, name: &str) -> Option<&Arc<EgressPool>> {
        self.0.iter().find(|pool| pool.name == name)
    }

    /// Their names.
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.iter().map(|pool| pool.name.clone()).collect()
    }

    /// Says which addresses this host does not have now: mail that was to leave with one waits. An address may come
    /// later (keepalived, a cloud's network interface), so that it keeps nobody from starting.
    pub(crate) fn warn_of_missing_addresses(&self) {
        // The addresses of a proxy are not this host's.
        for pool in self.0.iter().filter(|pool| pool.proxy.is_none()) {
            for address in pool.sources.iter().map(|source| source.address) {
                if let Err(error) = UdpSocket::bind(SocketAddr::new(address, 0)) {
                    tracing::warn!(
                        pool = pool.name, %address, %error,
                        "this host cannot use a source address of an egress pool: mail that is to leave with it waits"
                    );
                }
            }
        }
    }
}

impl EgressPool {
    /// Without proxy and certificate.
    fn new(number: usize, config: &EgressPoolConfig, base: &ClientConfig, policy: &Policy) -> Self {
        let named = |name: Option<&str>, base: &Manners| name.map_or_else(|| base.clone(), |name| base.named(name));
        let manners = named(config.ehlo_name.as_deref(), &Manners::new(base));
        let used = config.sources().into_iter().filter(|source| source.weight > 0);
        let sources: Vec<Source> = used
            .map(|source| Source {
                address: source.address,
                weight: source.weight,
                manners: named(source.ehlo_name.as_deref(), &manners),
            })
            .collect();
        Self {
            name: config.name.clone(),
            policy: Arc::new(Policy { families: config.families(policy.families), ..policy.clone() }),
            number,
            proxy: None,
            tls: None,
            shares: Mutex::new(Shares::new(sources.iter().map(|source| source.weight))),
            sources,
            manners,
            is_configured: false,
        }
    }
}

fn spoken_with(proxy: PoolProxy) -> EgressProxy {
    let login =
        proxy.login.map(|(name, password)| Credentials { name, password: Password(password.expose().to_owned()) });
    let protocol = match proxy.protocol {
        Spoken::Socks5 => ProxyProtocol::Socks5 { login },
        Spoken::ProxyV1 => ProxyProtocol::HeaderV1,
        Spoken::ProxyV2 => ProxyProtocol::HeaderV2,
    };
    EgressProxy { server: proxy.server, protocol }
}

/// Where a trouble of the pool shows.
pub(crate) const STAGE: Stage = Stage::Connect;
