//! The resolver: questions with a deadline over a cache that keeps to the records' lifetimes. Not responsible for what
//! the answers mean.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ProtocolConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use mailtier_types::Domain;

use crate::answer::{MAX_ADDRESSES_PER_HOST, MxAnswer, exchangers, merge_families};
use crate::error::DnsError;

/// Tries beyond the first.
const RETRIES: usize = 1;
/// One question may take this many times the timeout of a try, over all tries, name servers and steps of a CNAME chain.
const QUESTION_TRIES: u32 = 5;
/// Answers kept, each at most for its lifetime.
const CACHE_ANSWERS: u64 = 32_768;
/// No answer is kept longer, whatever its lifetime says: a domain that moves its mail is followed within the day.
const MAX_POSITIVE_TTL: Duration = Duration::from_secs(86_400);
/// RFC 2308 §5 advises one to three hours; mail for a domain just made should not wait for it.
const MAX_NEGATIVE_TTL: Duration = Duration::from_secs(900);
/// Questions that may be open over one TCP connection to a name server.
const MAX_OPEN_QUESTIONS: usize = 512;

/// Asks name servers and keeps what they said. Cheap to clone; clones share the cache.
#[derive(Clone)]
pub struct Resolver {
    inner: Arc<Inner>,
}

struct Inner {
    /// Names from outside: asked as they are, never completed by a search list, never found in a hosts file.
    public: TokioResolver,
    /// Names an operator wrote down: they mean what they mean to every other program on the machine.
    local: TokioResolver,
    /// For one question.
    timeout: Duration,
}

impl Resolver {
    /// Over these name servers; over the system's where none are given (RFC 1035 over UDP, and TCP for what does not
    /// fit). `timeout` is for one try at one name server; each is tried twice.
    ///
    /// # Errors
    /// [`DnsError::Configuration`] when the resolver cannot be set up.
    pub fn new(servers: &[SocketAddr], timeout: Duration) -> Result<Self, DnsError> {
        let (config, options) = if servers.is_empty() {
            system_configuration()
        } else {
            let servers = servers.iter().copied().map(name_server).collect();
            (ResolverConfig::from_name_servers(servers), ResolverOpts::default())
        };
        let options = with_limits(options, timeout);
        let public = ResolverConfig::from_name_servers(config.name_servers().to_vec());
        Ok(Self {
            inner: Arc::new(Inner {
                public: build(public, options.clone(), ResolveHosts::Never)?,
                local: build(config, options, ResolveHosts::Always)?,
                timeout: timeout.saturating_mul(QUESTION_TRIES),
            }),
        })
    }

    /// Where `domain` takes its mail (RFC 5321 §5.1). A CNAME is followed.
    ///
    /// # Errors
    /// [`DnsError::NoSuchDomain`] or [`DnsError::Temporary`]; a domain without MX records is no error.
    pub async fn mx(&self, domain: &Domain) -> Result<MxAnswer, DnsError> {
        let name = absolute(domain)?;
        match self.inner.ask(&self.inner.public, name, RecordType::MX, domain.as_str()).await {
            Ok(answer) => Ok(exchangers(answer.answers().iter().filter_map(|record| match &record.data {
                RData::MX(mx) => Some(mx),
                _ => None,
            }))),
            Err(DnsError::NoData { .. }) => Ok(MxAnswer::Implicit),
            Err(error) => Err(error),
        }
    }

    /// The addresses of a host that a DNS record named, IPv6 before IPv4, each family in the order of its answer; at
    /// least one, at most [`MAX_ADDRESSES_PER_HOST`] of each.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn addresses(&self, host: &Domain) -> Result<Vec<IpAddr>, DnsError> {
        let name = absolute(host)?;
        self.inner.both_families(&self.inner.public, name, host.as_str()).await
    }

    /// The addresses of a host that the configuration names: the system's hosts file and search list count as well.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn configured_addresses(&self, host: &Domain) -> Result<Vec<IpAddr>, DnsError> {
        let name = Name::from_ascii(host.as_str()).map_err(|_| no_such_domain(host))?;
        self.inner.both_families(&self.inner.local, name, host.as_str()).await
    }
}

impl Inner {
    /// Asks for both families at once.
    async fn both_families(&self, of: &TokioResolver, name: Name, host: &str) -> Result<Vec<IpAddr>, DnsError> {
        let (v6, v4) = tokio::join!(
            self.ask(of, name.clone(), RecordType::AAAA, host),
            self.ask(of, name.clone(), RecordType::A, host)
        );
        merge_families(
            v6.and_then(|answer| addresses_in(&answer, "AAAA", host)),
            v4.and_then(|answer| addresses_in(&answer, "A", host)),
        )
    }

    async fn ask(&self, of: &TokioResolver, name: Name, kind: RecordType, asked: &str) -> Result<Lookup, DnsError> {
        let label: &'static str = kind.into();
        let answer = tokio::time::timeout(self.timeout, of.lookup(name, kind))
            .await
            .unwrap_or(Err(NetError::Timeout))
            .map_err(|error| DnsError::from_lookup(&error, asked, label));
        let found = answer.as_ref().map(|answer| answer.answers().len());
        tracing::debug!(name = asked, kind = label, ?found, "looked up");
        answer
    }
}

fn addresses_in(answer: &Lookup, kind: &'static str, host: &str) -> Result<Vec<IpAddr>, DnsError> {
    let found: Vec<_> = answer
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            _ => None,
        })
        .take(MAX_ADDRESSES_PER_HOST)
        .collect();
    if found.is_empty() { Err(DnsError::NoData { name: host.to_owned(), kind }) } else { Ok(found) }
}

/// The name as a fully qualified one. One that is too long for DNS cannot exist.
fn absolute(domain: &Domain) -> Result<Name, DnsError> {
    let mut name = Name::from_ascii(domain.as_str()).map_err(|_| no_such_domain(domain))?;
    name.set_fqdn(true);
    Ok(name)
}

fn no_such_domain(domain: &Domain) -> DnsError {
    DnsError::NoSuchDomain { name: domain.as_str().to_owned() }
}

/// The system's settings; the name server on this machine where it has none, as resolv.conf(5) says.
fn system_configuration() -> (ResolverConfig, ResolverOpts) {
    read_system_conf().unwrap_or_else(|error| {
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 53));
        tracing::warn!(%error, server = %local, "no name servers in the system's settings: asking this machine");
        (ResolverConfig::from_name_servers(vec![name_server(local)]), ResolverOpts::default())
    })
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let connection = |protocol| {
        let mut connection = ConnectionConfig::new(protocol);
        connection.port = address.port();
        connection
    };
    let connections = vec![connection(ProtocolConfig::Udp), connection(ProtocolConfig::Tcp)];
    NameServerConfig::new(address.ip(), true, connections)
}

fn with_limits(mut options: ResolverOpts, timeout: Duration) -> ResolverOpts {
    options.timeout = timeout;
    options.attempts = RETRIES;
    options.edns0 = true;
    options.validate = false;
    options.cache_size = CACHE_ANSWERS;
    options.positive_max_ttl = Some(MAX_POSITIVE_TTL);
    options.negative_max_ttl = Some(MAX_NEGATIVE_TTL);
    options.max_active_requests = MAX_OPEN_QUESTIONS;
    options
}

fn build(config: ResolverConfig, mut options: ResolverOpts, hosts: ResolveHosts) -> Result<TokioResolver, DnsError> {
    options.use_hosts_file = hosts;
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .build()
        .map_err(|error| DnsError::Configuration { reason: error.to_string() })
}
