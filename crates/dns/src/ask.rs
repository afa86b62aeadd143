//! Questions to name servers, and the cache of what they said.
//!
//! Every question asks whether the answer was validated (RFC 4035 §3.2.3, RFC 6840 §5.7): what a name server that we
//! trust says of it decides whether DANE applies, unless we validate ourselves (`dnssec`). Not responsible for what the
//! records mean.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt as _};
use hickory_resolver::config::{NameServerConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle as _, RetryDnsHandle};
use hickory_resolver::net::{DnsError as Negative, NetError};
use hickory_resolver::proto::op::{DnsRequest, DnsRequestOptions, DnsResponse, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};
use moka::future::Cache;

use crate::dnssec::{Judged, TrustAnchors, Validator};
use crate::error::DnsError;
use crate::lifetime::{Lifetimes, Lives};

/// Answers kept, each at most for its lifetime.
const CACHE_ANSWERS: u64 = 32_768;
/// No answer is kept longer, whatever its lifetime says: a domain that moves its mail is followed within the day.
const MAX_POSITIVE_TTL: Duration = Duration::from_secs(86_400);
/// RFC 2308 §5 advises one to three hours; mail for a domain just made should not wait for it.
const MAX_NEGATIVE_TTL: Duration = Duration::from_secs(900);
/// Steps of a chain of aliases that are followed, over all answers.
const MAX_ALIASES: usize = 8;
/// Records of one answer that are kept.
const MAX_RECORDS: usize = 200;
/// An answer that is used in this last part of its lifetime is asked for anew, so that names in use never wait for one.
const REFRESH_PART: u32 = 10;

/// What is known of a name, aliases followed.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The records of the kind asked for; never empty.
    pub(crate) records: Arc<[RData]>,
    /// The name they belong to: the end of the chain of aliases.
    pub(crate) name: Name,
    /// Every part of it was validated with DNSSEC.
    pub(crate) secure: bool,
}

/// One answer of a name server.
#[derive(Debug)]
struct Said {
    /// Empty where there are none, or where they are to be asked for under `end`.
    records: Arc<[RData]>,
    /// Where the aliases of the answer lead.
    end: Name,
    denied: Option<Denial>,
    secure: bool,
    /// How long it is true.
    lifetime: Duration,
    until: Instant,
    /// Somebody asks anew already.
    refreshing: AtomicBool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Denial {
    NoSuchDomain,
    NoData,
}

type Question = (Name, RecordType);

impl Lives for Said {
    fn lifetime(&self) -> Duration {
        self.lifetime
    }
}

/// What comes back for a question.
pub(crate) type Reply = Result<DnsResponse, NetError>;

/// The name servers, each asked again where it fails.
pub(crate) type Servers = RetryDnsHandle<NameServerPool<TokioRuntimeProvider>>;

/// Whose word on DNSSEC counts.
enum Judge {
    /// That of the name servers: the AD bit.
    Servers(Servers),
    Ourselves(Box<Validator>),
}

/// Asks, and remembers. Cheap to clone; clones share the memory.
#[derive(Clone)]
pub(crate) struct Asker {
    judge: Arc<Judge>,
    known: Cache<Question, Arc<Said>>,
    /// For one question, over all tries.
    timeout: Duration,
}

impl Asker {
    pub(crate) fn new(
        servers: Vec<NameServerConfig>,
        options: ResolverOpts,
        timeout: Duration,
        anchors: Option<TrustAnchors>,
    ) -> Result<Self, DnsError> {
        let attempts = options.attempts;
        let tls = TlsConfig::new().map_err(|error| DnsError::Configuration { reason: error.to_string() })?;
        let context = Arc::new(PoolContext::new(options, tls));
        let pool = NameServerPool::from_config(servers, context, TokioRuntimeProvider::default());
        let servers = RetryDnsHandle::new(pool, attempts);
        let judge = match anchors {
            None => Judge::Servers(servers),
            Some(anchors) => Judge::Ourselves(Box::new(Validator::new(servers, anchors, timeout))),
        };
        Ok(Self {
            judge: Arc::new(judge),
            known: Cache::builder().max_capacity(CACHE_ANSWERS).expire_after(Lifetimes).build(),
            timeout,
        })
    }

    /// The records of a name, aliases followed (RFC 1034 §3.6.2).
    pub(crate) async fn ask(&self, name: &Name, kind: RecordType) -> Result<Answer, DnsError> {
        let mut secure = true;
        let mut at = name.clone();
        for _ in 0..MAX_ALIASES {
            let said = self.once(at.clone(), kind).await?;
            secure &= said.secure;
            if !said.records.is_empty() {
                return Ok(Answer { records: Arc::clone(&said.records), name: said.end.clone(), secure });
            }
            match said.denied {
                Some(Denial::NoSuchDomain) => return Err(DnsError::NoSuchDomain { name: text(&said.end) }),
                None if said.end != at => at = said.end.clone(),
                Some(Denial::NoData) | None => break,
            }
        }
        Err(DnsError::NoData { name: text(name), kind: kind.into() })
    }

    /// Whether a name is an alias, and its owner says so securely.
    pub(crate) async fn is_secure_alias(&self, name: &Name) -> Result<bool, DnsError> {
        let said = self.once(name.clone(), RecordType::CNAME).await?;
        Ok(said.secure && !said.records.is_empty())
    }

    /// What is known, or else what a name server says. Several that ask at once wait for one answer.
    async fn once(&self, name: Name, kind: RecordType) -> Result<Arc<Said>, DnsError> {
        let question = (name, kind);
        let said = self.known.try_get_with_by_ref(&question, self.put(&question)).await;
        let said = said.map_err(|error| DnsError::clone(&error))?;
        if said.is_nearly_over() && !said.refreshing.swap(true, Ordering::Relaxed) {
            let this = self.clone();
            tokio::spawn(async move {
                if let Ok(fresh) = this.put(&question).await {
                    this.known.insert(question, fresh).await;
                }
            });
        }
        Ok(said)
    }

    /// Puts the question to the name servers.
    async fn put(&self, (name, kind): &Question) -> Result<Arc<Said>, DnsError> {
        let (reply, secure) = match &*self.judge {
            Judge::Servers(servers) => {
                let reply = tokio::time::timeout(self.timeout, first(servers.send(question(name, *kind)))).await;
                let reply = reply.unwrap_or(Err(NetError::Timeout));
                let secure = reply.as_ref().is_ok_and(|response| response.authentic_data);
                (reply, secure)
            }
            Judge::Ourselves(validator) => {
                // Aside, so that who does not use it has no room for it in every question.
                let Judged { reply, secure } = Box::pin(validator.ask(name, *kind)).await?;
                (reply, secure)
            }
        };
        let said = match reply {
            Ok(response) => Said::read(&response, name, *kind, secure),
            Err(error) => {
                let denied = match DnsError::from_lookup(&error, &text(name), (*kind).into()) {
                    DnsError::NoSuchDomain { .. } => Denial::NoSuchDomain,
                    DnsError::NoData { .. } => Denial::NoData,
                    failure => return Err(failure),
                };
                Said::denial(name, denied, &error)
            }
        };
        tracing::debug!(%name, %kind, records = said.records.len(), secure = said.secure, "looked up");
        Ok(Arc::new(said))
    }
}

impl Said {
    fn new(records: Vec<RData>, end: Name, denied: Option<Denial>, secure: bool, ttl: Option<u32>) -> Self {
        let most = if records.is_empty() { MAX_NEGATIVE_TTL } else { MAX_POSITIVE_TTL };
        let lifetime = Duration::from_secs(ttl.unwrap_or(0).into()).min(most);
        let until = Instant::now() + lifetime;
        Self { records: records.into(), end, denied, secure, lifetime, until, refreshing: AtomicBool::new(false) }
    }

    /// Follows the aliases that the answer itself holds. Records of other names say nothing of this one.
    fn read(response: &DnsResponse, name: &Name, kind: RecordType, secure: bool) -> Self {
        let mut end = name.clone();
        let mut ttl = u32::MAX;
        for _ in 0..MAX_ALIASES {
            let of_kind: Vec<&Record> = response.answers.iter().filter(|record| is(record, &end, kind)).collect();
            if !of_kind.is_empty() {
                ttl = of_kind.iter().map(|record| record.ttl).fold(ttl, u32::min);
                let records = of_kind.into_iter().take(MAX_RECORDS).map(|record| record.data.clone()).collect();
                return Self::new(records, end, None, secure, Some(ttl));
            }
            let alias = response.answers.iter().find(|record| is(record, &end, RecordType::CNAME));
            let Some((record, RData::CNAME(target))) = alias.map(|record| (record, &record.data)) else { break };
            ttl = ttl.min(record.ttl);
            end = target.0.clone();
        }
        let denied = match response.response_code {
            // RFC 6604 §3: the code speaks of the last name.
            ResponseCode::NXDomain => Some(Denial::NoSuchDomain),
            _ if end == *name || response.soa().is_some() => Some(Denial::NoData),
            _ => None,
        };
        let lifetime = response.negative_ttl().map(|negative| negative.min(ttl)).or((end != *name).then_some(ttl));
        Self::new(Vec::new(), end, denied, secure, lifetime)
    }

    /// A denial without a lifetime is not kept (RFC 2308 §5).
    fn denial(name: &Name, denied: Denial, error: &NetError) -> Self {
        let lifetime = match error {
            NetError::Dns(Negative::NoRecordsFound(denial)) => denial.negative_ttl,
            _ => None,
        };
        // What a denial's authority was is not told. Nothing follows from it: a name server that validates lets no forged
        // denial of a signed name through.
        Self::new(Vec::new(), name.clone(), Some(denied), false, lifetime)
    }

    fn is_nearly_over(&self) -> bool {
        self.until.saturating_duration_since(Instant::now()) < self.lifetime / REFRESH_PART
    }
}

fn is(record: &Record, name: &Name, kind: RecordType) -> bool {
    record.record_type() == kind && record.name == *name
}

/// A question that asks whether the answer was validated, and for what that takes.
pub(crate) fn question(name: &Name, kind: RecordType) -> DnsRequest {
    let mut options = DnsRequestOptions::default();
    options.edns_set_dnssec_ok = true;
    let mut message = DnsRequest::from_query(Query::query(name.clone(), kind), options).into_parts().0;
    message.metadata.authentic_data = true;
    DnsRequest::new(message, options)
}

/// The one answer to a question.
pub(crate) async fn first(mut answers: impl Stream<Item = Reply> + Unpin) -> Reply {
    answers.next().await.unwrap_or(Err(NetError::NoConnections))
}

/// A name as people write it; the root as a dot.
pub(crate) fn text(name: &Name) -> String {
    let text = name.to_ascii();
    text.strip_suffix('.').filter(|text| !text.is_empty()).unwrap_or(&text).to_owned()
}
