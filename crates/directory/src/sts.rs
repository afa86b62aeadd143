//! MTA-STS policies of recipients' domains: fetched over HTTPS, kept as long as they ask for, renewed while they are used
//! (RFC 8461 §3, §5). Not responsible for what a policy means: that is `route`.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mailtier_dns::Resolver;
use mailtier_route::address::may_be_mailed_to;
use mailtier_route::{StsError, StsMode, StsPolicy, policy_id};
use mailtier_telemetry::Meters;
use mailtier_types::Domain;
use mailtier_types::text::Chain;
use moka::Expiry;
use moka::future::Cache;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Policies kept.
const MAX_POLICIES: u64 = 50_000;
/// Octets of a policy that are read (RFC 8461 §3.3).
const MAX_POLICY_OCTETS: usize = 64 * 1024;
/// The first message to a domain waits no longer for its policy (RFC 8461 §3.3 suggests a minute at most).
const FETCH_TIMEOUT: Duration = Duration::from_secs(20);
/// A domain whose policy could not be fetched is left alone for so long (RFC 8461 §5.1).
const REST: Duration = Duration::from_secs(300);
/// A policy in use is fetched again after this time, so that it never runs out under the eyes of an attacker
/// (RFC 8461 §10.2).
const RENEW_AFTER: Duration = Duration::from_secs(86_400);

/// Why a policy was not fetched.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("the policy cannot be fetched")]
    Http(#[from] reqwest::Error),
    #[error("the policy host answered {0}")]
    Status(u16),
    #[error("the policy is not text/plain")]
    MediaType,
    #[error("the policy is larger than {MAX_POLICY_OCTETS} octets")]
    TooLarge,
    #[error("the policy cannot be used: {0}")]
    Policy(#[from] StsError),
}

/// A policy and what it was fetched by.
#[derive(Debug)]
struct Kept {
    /// The id of the DNS record then.
    id: String,
    policy: Arc<StsPolicy>,
    fetched_at: Instant,
}

struct MaxAge;

impl Expiry<Domain, Arc<Kept>> for MaxAge {
    fn expire_after_create(&self, _: &Domain, kept: &Arc<Kept>, _: Instant) -> Option<Duration> {
        Some(kept.policy.max_age)
    }

    fn expire_after_update(&self, _: &Domain, kept: &Arc<Kept>, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(kept.policy.max_age)
    }
}

/// All policies this worker knows. Cheap to clone; clones share them.
#[derive(Clone)]
pub(crate) struct StsPolicies {
    resolver: Resolver,
    http: reqwest::Client,
    port: u16,
    kept: Cache<Domain, Arc<Kept>>,
    /// Domains whose policy is not fetched now: somebody does it already, or it failed a while ago.
    resting: Cache<Domain, ()>,
    meters: Arc<Meters>,
}

impl StsPolicies {
    /// Policy hosts are found by `resolver`, at private addresses only where `allow_private`, and have to show a
    /// certificate by the authorities of the file, else by those of the system.
    ///
    /// # Errors
    /// What is wrong with the authorities.
    pub(crate) fn new(
        resolver: Resolver,
        allow_private: bool,
        port: u16,
        roots: Option<&Path>,
        meters: Arc<Meters>,
    ) -> Result<Self, String> {
        let mut builder = reqwest::Client::builder()
            .timeout(FETCH_TIMEOUT)
            .https_only(true)
            // RFC 8461 §3.3: redirects are not followed.
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .user_agent(concat!("mailtier/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Arc::new(PolicyHosts { resolver: resolver.clone(), allow_private }));
        if let Some(path) = roots {
            let pem = std::fs::read(path).map_err(|error| error.to_string())?;
            let roots = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| error.to_string())?;
            builder = builder.tls_certs_only(roots);
        }
        Ok(Self {
            http: builder.build().map_err(|error| Chain(&error).to_string())?,
            resolver,
            port,
            kept: Cache::builder().max_capacity(MAX_POLICIES).expire_after(MaxAge).build(),
            resting: Cache::builder().max_capacity(MAX_POLICIES).time_to_live(REST).build(),
            meters,
        })
    }

    /// The policy that holds for a domain now; none where it has none, or where it cannot be had.
    pub(crate) async fn find(&self, domain: &Domain) -> Option<Arc<StsPolicy>> {
        if domain.literal().is_some() {
            return None;
        }
        let texts = self.resolver.texts(&format!("_mta-sts.{domain}")).await;
        let id = texts.ok().and_then(|texts| policy_id(&texts));
        let kept = match (id, self.kept.get(domain).await) {
            (Some(id), Some(kept)) => {
                if kept.id != id || kept.fetched_at.elapsed() > RENEW_AFTER {
                    self.renew(domain.clone(), id);
                }
                Some(kept)
            }
            (Some(id), None) => self.first(domain, id).await,
            // RFC 8461 §5.1: a policy that was fetched holds until its time is over, whatever DNS says meanwhile.
            (None, kept) => kept,
        };
        kept.filter(|kept| kept.policy.mode != StsMode::None).map(|kept| Arc::clone(&kept.policy))
    }

    /// Mail waits for it: several that want it wait for one answer.
    async fn first(&self, domain: &Domain, id: String) -> Option<Arc<Kept>> {
        if self.resting.contains_key(domain) {
            return None;
        }
        let kept = self.kept.try_get_with_by_ref(domain, self.fetch(domain, id)).await.ok()?;
        self.resting.invalidate(domain).await;
        Some(kept)
    }

    /// Nobody waits for it: the policy that is known holds meanwhile.
    fn renew(&self, domain: Domain, id: String) {
        let this = self.clone();
        tokio::spawn(async move {
            if !this.resting.contains_key(&domain)
                && let Ok(fresh) = this.fetch(&domain, id).await
            {
                this.kept.insert(domain.clone(), fresh).await;
                this.resting.invalidate(&domain).await;
            }
        });
    }

    async fn fetch(&self, domain: &Domain, id: String) -> Result<Arc<Kept>, ()> {
        self.resting.insert(domain.clone(), ()).await;
        match self.download(domain).await {
            Ok(policy) => {
                tracing::info!(%domain, id, mode = ?policy.mode, max_age = ?policy.max_age, "fetched an MTA-STS policy");
                self.meters.outbound_sts_fetches.add(1, &Meters::attribute("result", "fetched"));
                Ok(Arc::new(Kept { id, policy: Arc::new(policy), fetched_at: Instant::now() }))
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(|cause| Chain(cause).to_string());
                tracing::warn!(%domain, id, %error, cause, "cannot fetch an MTA-STS policy: going on without a new one");
                self.meters.outbound_sts_fetches.add(1, &Meters::attribute("result", "failed"));
                Err(())
            }
        }
    }

    async fn download(&self, domain: &Domain) -> Result<StsPolicy, FetchError> {
        let url = match self.port {
            443 => format!("https://mta-sts.{domain}/.well-known/mta-sts.txt"),
            port => format!("https://mta-sts.{domain}:{port}/.well-known/mta-sts.txt"),
        };
        let mut response = self.http.get(url).send().await?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let media_type = response.headers().get(reqwest::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = media_type.and_then(|text| text.split(';').next()).map(str::trim);
        if !essence.is_some_and(|essence| essence.eq_ignore_ascii_case("text/plain")) {
            return Err(FetchError::MediaType);
        }
        let mut octets = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if octets.len() + chunk.len() > MAX_POLICY_OCTETS {
                return Err(FetchError::TooLarge);
            }
            octets.extend_from_slice(&chunk);
        }
        Ok(StsPolicy::parse(&String::from_utf8_lossy(&octets))?)
    }
}

/// Finds policy hosts as mail exchangers are found: a stranger who names one must not choose which of our own machines
/// we talk to.
struct PolicyHosts {
    resolver: Resolver,
    allow_private: bool,
}

impl Resolve for PolicyHosts {
    fn resolve(&self, name: Name) -> Resolving {
        let (resolver, allow_private) = (self.resolver.clone(), self.allow_private);
        Box::pin(async move {
            let host = Domain::parse(name.as_str()).map_err(|_| "this is no host name")?;
            let mut addresses = resolver.host(&host, None).await?.addresses;
            addresses.retain(|address| may_be_mailed_to(*address, allow_private));
            if addresses.is_empty() {
                return Err(format!("{host} has only private or reserved addresses").into());
            }
            Ok(Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use hickory_proto::op::Message;
    use hickory_proto::rr::rdata::A;
    use hickory_proto::rr::{RData, Record, RecordType};

    use super::*;

    /// A name server that gives this address for every name.
    fn name_server(address: &'static str) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let own = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, client)) = socket.recv_from(&mut buffer) {
                let question = Message::from_vec(&buffer[..length]).unwrap();
                let query = question.queries.first().unwrap().clone();
                let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
                answer.add_query(query.clone());
                if query.query_type() == RecordType::A {
                    let data = RData::A(A(address.parse().unwrap()));
                    answer.add_answers([Record::from_rdata(query.name().clone(), 300, data)]);
                }
                socket.send_to(&answer.to_vec().unwrap(), client).unwrap();
            }
        });
        own
    }

    #[tokio::test]
    async fn policy_hosts_are_nowhere_in_our_own_networks() {
        for (address, allow_private, found) in [
            ("127.0.0.1", false, false),
            ("169.254.169.254", false, false),
            ("10.1.2.3", false, false),
            ("127.0.0.1", true, true),
            ("198.51.100.7", false, true),
        ] {
            let resolver = Resolver::new(&[name_server(address)], Duration::from_secs(2)).unwrap();
            let hosts = PolicyHosts { resolver, allow_private };
            let answer = hosts.resolve("mta-sts.d.example".parse().unwrap()).await;
            assert_eq!(answer.is_ok(), found, "{address}");
        }
    }
}
