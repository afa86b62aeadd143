//! MTA-STS policies of recipients' domains: fetched over HTTPS, kept as long as they ask for, renewed while they are used
//! (RFC 8461 §3, §5). What another worker has fetched, or this one before it was started anew, is recalled. Not responsible
//! for what a policy means: that is `route`.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mailtier_route::{StsError, StsMode, StsPolicy, policy_id};
use mailtier_telemetry::Meters;
use mailtier_types::text::Chain;
use mailtier_types::{Domain, Timestamp, TlsFault};
use moka::Expiry;
use moka::future::Cache;

use crate::https::Https;
use crate::keeper::{KeptPolicy, PolicyKeeper};

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

/// A domain of which no policy was kept is not asked for again for so long.
const NOT_KEPT_FOR: Duration = Duration::from_secs(3_600);
/// Mail waits no longer for what is kept.
const RECALL_TIMEOUT: Duration = Duration::from_secs(5);

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

impl FetchError {
    /// In the words of reports (RFC 8460 §4.3.2.2).
    fn fault(&self) -> TlsFault {
        match self {
            // Which of them it was, only the text of the cause tells.
            Self::Http(error) if error.is_connect() && Chain(error).to_string().contains("certificate") => {
                TlsFault::StsWebpkiInvalid
            }
            Self::Http(_) | Self::Status(_) => TlsFault::StsPolicyFetchError,
            Self::MediaType | Self::TooLarge | Self::Policy(_) => TlsFault::StsPolicyInvalid,
        }
    }
}

/// What is wrong with a policy, in the words of reports, and why.
type Fault = (TlsFault, String);

/// What is known of a domain's policy.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The one that holds.
    pub(crate) policy: Option<Arc<StsPolicy>>,
    /// Why there is none although the domain has one.
    pub(crate) fault: Option<Fault>,
}

/// A policy and what it was fetched by.
#[derive(Debug)]
struct Kept {
    /// The id of the DNS record then.
    id: String,
    policy: Arc<StsPolicy>,
    fetched_at: Instant,
    /// For how long it held when it became known here.
    lasts: Duration,
}

struct MaxAge;

impl Expiry<Domain, Arc<Kept>> for MaxAge {
    fn expire_after_create(&self, _: &Domain, kept: &Arc<Kept>, _: Instant) -> Option<Duration> {
        Some(kept.lasts)
    }

    fn expire_after_update(&self, _: &Domain, kept: &Arc<Kept>, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(kept.lasts)
    }
}

/// All policies this worker knows. Cheap to clone; clones share them.
#[derive(Clone)]
pub(crate) struct StsPolicies {
    https: Https,
    http: reqwest::Client,
    port: u16,
    kept: Cache<Domain, Arc<Kept>>,
    /// Domains whose policy is not fetched now: somebody does it already, or it failed a while ago, and why.
    resting: Cache<Domain, Option<Fault>>,
    /// Where policies outlive this process.
    keeper: Option<Arc<dyn PolicyKeeper>>,
    /// Domains of which none was kept a while ago.
    not_kept: Cache<Domain, ()>,
    meters: Arc<Meters>,
}

impl StsPolicies {
    /// Policy hosts have to show a certificate by the authorities of the file, else by those of the system.
    ///
    /// # Errors
    /// What is wrong with the authorities.
    pub(crate) fn new(https: Https, port: u16, roots: Option<&Path>, meters: Arc<Meters>) -> Result<Self, String> {
        Ok(Self {
            http: https.client(FETCH_TIMEOUT, roots)?,
            https,
            port,
            kept: Cache::builder().max_capacity(MAX_POLICIES).expire_after(MaxAge).build(),
            resting: Cache::builder().max_capacity(MAX_POLICIES).time_to_live(REST).build(),
            keeper: None,
            not_kept: Cache::builder().max_capacity(MAX_POLICIES).time_to_live(NOT_KEPT_FOR).build(),
            meters,
        })
    }

    /// Policies are kept there beyond this process.
    pub(crate) fn keep_with(&mut self, keeper: Arc<dyn PolicyKeeper>) {
        self.keeper = Some(keeper);
    }

    /// The policy that holds for a domain now; none where it has none, or where it cannot be had.
    pub(crate) async fn find(&self, domain: &Domain) -> Known {
        if domain.literal().is_some() {
            return Known::default();
        }
        let record = format!("_mta-sts.{domain}");
        let (texts, kept) = tokio::join!(self.https.resolver.texts(&record), self.kept_or_recalled(domain));
        let id = texts.ok().and_then(|texts| policy_id(&texts));
        let kept = match (id, kept) {
            (Some(id), Some(kept)) => {
                if kept.id != id || kept.fetched_at.elapsed() > RENEW_AFTER {
                    self.renew(domain.clone(), id);
                }
                Some(kept)
            }
            (Some(id), None) => match self.first(domain, id).await {
                Ok(kept) => Some(kept),
                Err(fault) => return Known { policy: None, fault },
            },
            // RFC 8461 §5.1: a policy that was fetched holds until its time is over, whatever DNS says meanwhile.
            (None, kept) => kept,
        };
        let policy = kept.filter(|kept| kept.policy.mode != StsMode::None).map(|kept| Arc::clone(&kept.policy));
        Known { policy, fault: None }
    }

    /// What is known here, else what is kept elsewhere: asked for once, so that domains without a policy cost no more.
    async fn kept_or_recalled(&self, domain: &Domain) -> Option<Arc<Kept>> {
        if let Some(kept) = self.kept.get(domain).await {
            return Some(kept);
        }
        let keeper = self.keeper.as_ref().filter(|_| !self.not_kept.contains_key(domain))?;
        let recalled = tokio::time::timeout(RECALL_TIMEOUT, keeper.recall(domain)).await;
        match recalled.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
            Ok(found) => match found.and_then(|found| recalled_policy(&found)) {
                Some(kept) => {
                    tracing::info!(%domain, id = kept.id, mode = ?kept.policy.mode, "recalled an MTA-STS policy");
                    // What was fetched meanwhile is newer.
                    let entry = self.kept.entry_by_ref(domain).or_insert(Arc::new(kept)).await;
                    Some(entry.into_value())
                }
                None => {
                    self.not_kept.insert(domain.clone(), ()).await;
                    None
                }
            },
            Err(reason) => {
                tracing::debug!(%domain, reason, "cannot ask which MTA-STS policy is kept");
                None
            }
        }
    }

    /// Mail waits for it: several that want it wait for one answer. Else why there is none, as far as that is known.
    async fn first(&self, domain: &Domain, id: String) -> Result<Arc<Kept>, Option<Fault>> {
        if let Some(fault) = self.resting.get(domain).await {
            return Err(fault);
        }
        let fetched = self.kept.try_get_with_by_ref(domain, self.fetch(domain, id)).await;
        let kept = fetched.map_err(|fault| Some(Fault::clone(&fault)))?;
        self.resting.invalidate(domain).await;
        Ok(kept)
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

    async fn fetch(&self, domain: &Domain, id: String) -> Result<Arc<Kept>, Fault> {
        self.resting.insert(domain.clone(), None).await;
        match self.download(domain).await {
            Ok(policy) => {
                tracing::info!(%domain, id, mode = ?policy.mode, max_age = ?policy.max_age, "fetched an MTA-STS policy");
                self.meters.outbound_sts_fetches.add(1, &Meters::attribute("result", "fetched"));
                self.keep(domain, &id, &policy);
                let (lasts, policy) = (policy.max_age, Arc::new(policy));
                Ok(Arc::new(Kept { id, policy, fetched_at: Instant::now(), lasts }))
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(|cause| Chain(cause).to_string());
                tracing::warn!(%domain, id, %error, cause, "cannot fetch an MTA-STS policy: going on without a new one");
                self.meters.outbound_sts_fetches.add(1, &Meters::attribute("result", "failed"));
                let fault = (error.fault(), cause.unwrap_or_else(|| error.to_string()));
                self.resting.insert(domain.clone(), Some(fault.clone())).await;
                Err(fault)
            }
        }
    }

    /// Also one that says there is none any more, which ends the one before.
    fn keep(&self, domain: &Domain, id: &str, policy: &StsPolicy) {
        let Some(keeper) = &self.keeper else { return };
        let fetched_at = now();
        keeper.keep(KeptPolicy {
            domain: domain.clone(),
            id: id.to_owned(),
            text: policy.lines().join("\n"),
            fetched_at,
            expires_at: fetched_at.after(policy.max_age),
        });
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

/// A policy that was kept, where it can be read and holds still.
fn recalled_policy(kept: &KeptPolicy) -> Option<Kept> {
    let now = now();
    let policy = Arc::new(StsPolicy::parse(&kept.text).ok()?);
    let lasts = kept.expires_at.since(now).min(policy.max_age);
    let fetched_at = Instant::now().checked_sub(now.since(kept.fetched_at)).unwrap_or_else(Instant::now);
    (!lasts.is_zero()).then(|| Kept { id: kept.id.clone(), policy, fetched_at, lasts })
}

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}
