//! The resolver: what mail asks of DNS. Not responsible for what the answers mean.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ProtocolConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use mailtier_types::Domain;

use crate::answer::{Host, Mx, MxAnswer, addresses_in, exchangers, merge_families};
use crate::ask::{Answer, Asker};
use crate::dane::tlsa_of;
use crate::dnssec::TrustAnchors;
use crate::error::DnsError;

/// Tries beyond the first.
const RETRIES: usize = 1;
/// One question may take this many times the timeout of a try, over all tries and name servers.
const QUESTION_TRIES: u32 = 5;
/// Names of the configuration whose addresses are kept.
const LOCAL_CACHE_ANSWERS: u64 = 1024;
/// Questions that may be open over one TCP connection to a name server.
const MAX_OPEN_QUESTIONS: usize = 512;
/// Octets of one TXT record that are read; what mail looks for in one is shorter.
const MAX_TEXT_OCTETS: usize = 4096;

/// Asks name servers and keeps what they said. Cheap to clone; clones share the memory.
#[derive(Clone)]
pub struct Resolver {
    /// Names from outside: asked as they are, never completed by a search list, never found in a hosts file.
    public: Asker,
    /// Names an operator wrote down: they mean what they mean to every other program on the machine.
    local: Arc<TokioResolver>,
    /// For one question.
    timeout: Duration,
}

impl Resolver {
    /// Over these name servers; over the system's where none are given (RFC 1035 over UDP, and TCP for what does not
    /// fit). `timeout` is for one try at one name server; each is tried twice. What they say of DNSSEC is believed: the
    /// way to them has to be one that nobody else writes on.
    ///
    /// # Errors
    /// [`DnsError::Configuration`] when the resolver cannot be set up.
    pub fn new(servers: &[SocketAddr], timeout: Duration) -> Result<Self, DnsError> {
        Self::over(servers, timeout, None)
    }

    /// The same, but what name servers say of DNSSEC counts for nothing: the resolver validates itself, from these anchors
    /// on (RFC 4035 §5). They have to pass on the records that takes.
    ///
    /// # Errors
    /// [`DnsError::Configuration`] when the resolver cannot be set up.
    pub fn validating(servers: &[SocketAddr], timeout: Duration, anchors: TrustAnchors) -> Result<Self, DnsError> {
        Self::over(servers, timeout, Some(anchors))
    }

    fn over(servers: &[SocketAddr], timeout: Duration, anchors: Option<TrustAnchors>) -> Result<Self, DnsError> {
        let (config, options) = if servers.is_empty() {
            system_configuration()
        } else {
            let servers = servers.iter().copied().map(name_server).collect();
            (ResolverConfig::from_name_servers(servers), ResolverOpts::default())
        };
        let options = with_limits(options, timeout);
        let timeout = timeout.saturating_mul(QUESTION_TRIES);
        Ok(Self {
            public: Asker::new(config.name_servers().to_vec(), options.clone(), timeout, anchors)?,
            local: Arc::new(build(config, options)?),
            timeout,
        })
    }

    /// Where `domain` takes its mail (RFC 5321 §5.1). A CNAME is followed.
    ///
    /// # Errors
    /// [`DnsError::NoSuchDomain`] or [`DnsError::Temporary`]; a domain without MX records is no error.
    pub async fn mx(&self, domain: &Domain) -> Result<Mx, DnsError> {
        match self.public.ask(&absolute(domain)?, RecordType::MX).await {
            Ok(answer) => {
                let records = answer.records.iter().filter_map(|data| match data {
                    RData::MX(mx) => Some(mx),
                    _ => None,
                });
                Ok(Mx { answer: exchangers(records), secure: answer.secure })
            }
            // RFC 7672 §2.2.2: the domain is then its own host, and the state of its addresses decides.
            Err(DnsError::NoData { .. }) => Ok(Mx { answer: MxAnswer::Implicit, secure: true }),
            Err(error) => Err(error),
        }
    }

    /// The addresses of a host that a DNS record named, IPv6 before IPv4, each family in the order of its answer; at
    /// least one, at most [`MAX_ADDRESSES_PER_HOST`](crate::MAX_ADDRESSES_PER_HOST) of each. Where a port is given, and
    /// DNSSEC vouches for the addresses, the TLSA records for it, too (RFC 7672 §2.2).
    ///
    /// # Errors
    /// Why there is none.
    pub async fn host(&self, host: &Domain, tlsa_of_port: Option<u16>) -> Result<Host, DnsError> {
        let name = absolute(host)?;
        let (v6, v4) = tokio::join!(self.public.ask(&name, RecordType::AAAA), self.public.ask(&name, RecordType::A));
        let secure = [&v6, &v4].into_iter().flatten().all(|answer| answer.secure);
        let end = [&v6, &v4].into_iter().flatten().next().map(|answer| answer.name.clone());
        let found = |answer: &Answer, kind| addresses_in(answer.records.iter(), kind, host.as_str());
        let addresses =
            merge_families(v6.and_then(|answer| found(&answer, "AAAA")), v4.and_then(|answer| found(&answer, "A")))?;
        let tlsa = match tlsa_of_port {
            Some(port) => tlsa_of(&self.public, &name, end.as_ref().unwrap_or(&name), secure, port).await,
            None => crate::Tlsa::None,
        };
        Ok(Host { addresses, tlsa })
    }

    /// The addresses of a host that the configuration names: the system's hosts file and search list count as well.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn configured_addresses(&self, host: &Domain) -> Result<Vec<IpAddr>, DnsError> {
        let name = Name::from_ascii(host.as_str()).map_err(|_| no_such_domain(host))?;
        let (v6, v4) = tokio::join!(
            self.ask_locally(name.clone(), RecordType::AAAA, host.as_str()),
            self.ask_locally(name.clone(), RecordType::A, host.as_str())
        );
        merge_families(v6, v4)
    }

    /// The TXT records of a name, each as one text (RFC 1035 §3.3.14, RFC 7208 §3.3).
    ///
    /// # Errors
    /// Why there is none.
    pub async fn texts(&self, name: &str) -> Result<Vec<String>, DnsError> {
        let absolute =
            Name::from_ascii(format!("{name}.")).map_err(|_| DnsError::NoSuchDomain { name: name.to_owned() })?;
        let answer = self.public.ask(&absolute, RecordType::TXT).await?;
        let texts = answer.records.iter().filter_map(|data| match data {
            RData::TXT(text) => {
                let mut octets = text.txt_data.concat();
                octets.truncate(MAX_TEXT_OCTETS);
                Some(String::from_utf8_lossy(&octets).into_owned())
            }
            _ => None,
        });
        Ok(texts.collect())
    }

    async fn ask_locally(&self, name: Name, kind: RecordType, host: &str) -> Result<Vec<IpAddr>, DnsError> {
        let label: &'static str = kind.into();
        let answer = tokio::time::timeout(self.timeout, self.local.lookup(name, kind))
            .await
            .unwrap_or(Err(NetError::Timeout))
            .map_err(|error| DnsError::from_lookup(&error, host, label))?;
        addresses_in(answer.answers().iter().map(|record| &record.data), label, host)
    }
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
    options.cache_size = LOCAL_CACHE_ANSWERS;
    options.max_active_requests = MAX_OPEN_QUESTIONS;
    options.use_hosts_file = ResolveHosts::Always;
    options
}

fn build(config: ResolverConfig, options: ResolverOpts) -> Result<TokioResolver, DnsError> {
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .build()
        .map_err(|error| DnsError::Configuration { reason: error.to_string() })
}
