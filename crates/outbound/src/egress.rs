//! The egress pools that this worker serves: the name and the addresses with which mail of each goes out. Not responsible
//! for which mail goes through which pool: that is the queue's.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mailtier_config::{Config, DEFAULT_POOL, EgressPoolConfig, Transcripts};
use mailtier_route::Policy;
use mailtier_smtp::ClientConfig;
use mailtier_types::{Egress, Stage, Trouble, TroubleKind};

/// Addresses of one family, used in turn.
#[derive(Debug, Default)]
struct Sources {
    addresses: Vec<IpAddr>,
    next: AtomicUsize,
}

impl Sources {
    fn new(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        Self { addresses: addresses.into_iter().collect(), next: AtomicUsize::new(0) }
    }

    fn next(&self) -> Option<IpAddr> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.addresses.get(turn.checked_rem(self.addresses.len())?).copied()
    }
}

/// One pool.
#[derive(Debug)]
pub(crate) struct EgressPool {
    /// As the queue names it.
    pub(crate) name: String,
    /// Our name and patience.
    pub(crate) smtp: Arc<ClientConfig>,
    /// The same where LMTP is spoken.
    pub(crate) lmtp: Arc<ClientConfig>,
    /// What plans of its mail keep to.
    pub(crate) policy: Arc<Policy>,
    /// Its place among all.
    pub(crate) number: usize,
    ipv4: Sources,
    ipv6: Sources,
    /// It stands in the configuration, so that outcomes name it.
    is_configured: bool,
}

impl EgressPool {
    /// Our address for the next connection to one; absent where the system chooses.
    ///
    /// # Errors
    /// The pool has addresses, and none of that family.
    pub(crate) fn source_towards(&self, remote: IpAddr) -> Result<Option<IpAddr>, Trouble> {
        let (own, name) = if remote.is_ipv4() { (&self.ipv4, "IPv4") } else { (&self.ipv6, "IPv6") };
        let has_none = self.ipv4.addresses.is_empty() && self.ipv6.addresses.is_empty();
        match own.next() {
            None if !has_none => {
                let text = format!("the egress pool `{}` has no {name} address", self.name);
                Err(Trouble { kind: TroubleKind::Local, text })
            }
            source => Ok(source),
        }
    }

    /// What a trouble of finding a host means here: where only the pool's own lack of addresses stands in the way, that is
    /// our trouble, and says nothing of the destination, which may have mail of other pools.
    pub(crate) fn judge(&self, trouble: Trouble) -> Trouble {
        let (only, other) = match (self.ipv4.addresses.is_empty(), self.ipv6.addresses.is_empty()) {
            (false, true) => ("IPv4", "IPv6"),
            (true, false) => ("IPv6", "IPv4"),
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
        self.is_configured.then(|| Egress { pool: self.name.clone(), source })
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.ipv4.addresses.iter().chain(&self.ipv6.addresses).copied()
    }
}

/// All pools that this worker serves, in the order of the configuration.
#[derive(Debug)]
pub(crate) struct EgressPools(Vec<Arc<EgressPool>>);

impl EgressPools {
    /// Those of the configuration. `policy` is what holds for all.
    pub(crate) fn new(config: &Config, ehlo_name: &str, policy: &Policy) -> Self {
        let configured = &config.outbound.pools;
        let keeps_transcript = config.outbound.transcripts != Transcripts::None;
        let chunking = config.outbound.chunking;
        let smtp = ClientConfig { keeps_transcript, chunking, ..ClientConfig::new(ehlo_name) };
        if configured.is_empty() {
            let default = EgressPoolConfig { name: DEFAULT_POOL.to_owned(), ..EgressPoolConfig::default() };
            return Self(vec![Arc::new(pool(0, &default, &smtp, policy, false))]);
        }
        let all = configured.iter().enumerate();
        Self(all.map(|(number, one)| Arc::new(pool(number, one, &smtp, policy, true))).collect())
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
        for pool in &self.0 {
            for address in pool.addresses() {
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

/// `smtp` is what holds where the pool says nothing else.
fn pool(
    number: usize,
    config: &EgressPoolConfig,
    smtp: &ClientConfig,
    policy: &Policy,
    is_configured: bool,
) -> EgressPool {
    let ehlo_name = config.ehlo_name.as_ref().unwrap_or(&smtp.ehlo_name);
    let smtp = |lmtp| Arc::new(ClientConfig { lmtp, ehlo_name: ehlo_name.clone(), ..smtp.clone() });
    let families = config.families(policy.families);
    EgressPool {
        name: config.name.clone(),
        smtp: smtp(false),
        lmtp: smtp(true),
        policy: Arc::new(Policy { families, ..policy.clone() }),
        number,
        ipv4: Sources::new(config.source_ipv4.iter().copied().map(IpAddr::V4)),
        ipv6: Sources::new(config.source_ipv6.iter().copied().map(IpAddr::V6)),
        is_configured,
    }
}

/// Where a trouble of the pool shows.
pub(crate) const STAGE: Stage = Stage::Connect;
