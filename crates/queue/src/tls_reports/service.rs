//! What workers are answered about TLS. Not responsible for reports themselves.

use std::sync::Arc;
use std::time::Duration;

use mailtier_api::ApiError;
use mailtier_api::tls::{CountedSessions, FinishedPost, KeptStsPolicy, TlsHandler, TlsReportPost};
use mailtier_store::{PostFailed, StoredStsPolicy};
use mailtier_telemetry::Meters;
use mailtier_types::{Domain, WorkerId};

use super::ReportingNow;
use super::report::due_at;
use crate::accounts::Desk;
use crate::clock;

/// Domains in one batch of counters.
const MAX_BATCH_DOMAINS: usize = 1_000;
/// Posts that one worker has at a time.
const MAX_POSTS: u32 = 20;
/// How long a worker has for them.
const POST_LEASE: Duration = Duration::from_secs(300);

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct TlsService {
    desk: Desk,
    /// Where there are no reports, what is counted is not kept.
    reporting: ReportingNow,
    meters: Arc<Meters>,
}

impl TlsService {
    pub(crate) const fn new(desk: Desk, reporting: ReportingNow, meters: Arc<Meters>) -> Self {
        Self { desk, reporting, meters }
    }

    fn count(&self, result: &'static str) {
        self.meters.queue_tls_reports.add(1, &Meters::attribute("result", result));
    }
}

impl TlsHandler for TlsService {
    async fn count_sessions(&self, counted: CountedSessions) -> Result<(), ApiError> {
        if counted.domains.len() > MAX_BATCH_DOMAINS {
            return Err(ApiError::Invalid(format!("domains: more than {MAX_BATCH_DOMAINS} in one batch")));
        }
        if self.reporting.load().is_none() {
            return Ok(());
        }
        let counted = Arc::new(counted);
        let count = self.desk.ask(move |session| {
            let counted = Arc::clone(&counted);
            Box::pin(async move {
                let CountedSessions { worker, batch, domains } = &*counted;
                session.count_tls_sessions(*worker, *batch, domains, due_at, clock::now()).await
            })
        });
        count.await.map(|_| ())
    }

    async fn take_posts(&self, worker: WorkerId, limit: u32) -> Result<Vec<TlsReportPost>, ApiError> {
        let take = self.desk.ask(move |session| {
            Box::pin(async move {
                let now = clock::now();
                session.take_tls_posts(worker, now.after(POST_LEASE), limit.min(MAX_POSTS), now).await
            })
        });
        let posts = take.await?.into_iter();
        Ok(posts.map(|post| TlsReportPost { id: post.id, uri: post.uri, body: post.body }).collect())
    }

    async fn finish_post(&self, finished: FinishedPost) -> Result<(), ApiError> {
        let FinishedPost { worker, id, problem } = finished;
        let Some(problem) = problem else {
            let drop = self.desk.ask(move |session| Box::pin(session.drop_tls_post(id, worker)));
            if drop.await? {
                self.count("posted");
            }
            return Ok(());
        };
        let retry = self.desk.ask(move |session| Box::pin(session.retry_tls_post(id, worker, clock::now())));
        match retry.await? {
            PostFailed::TriedAgain => self.count("retried"),
            PostFailed::GivenUp => {
                self.count("given_up");
                tracing::warn!(id, problem, "a TLS report is given up: its time is over");
            }
            PostFailed::NotHeld => {}
        }
        Ok(())
    }

    async fn keep_sts_policy(&self, policy: KeptStsPolicy) -> Result<(), ApiError> {
        let KeptStsPolicy { domain, id, text, fetched_at, expires_at } = policy;
        let stored = Arc::new(StoredStsPolicy { id, text, fetched_at, expires_at });
        let keep = self.desk.ask(move |session| {
            let (domain, stored) = (domain.clone(), Arc::clone(&stored));
            Box::pin(async move { session.keep_sts_policy(domain.as_str(), &stored).await })
        });
        keep.await
    }

    async fn find_sts_policy(&self, domain: Domain) -> Result<Option<KeptStsPolicy>, ApiError> {
        let wanted = domain.clone();
        let find = self.desk.ask(move |session| {
            let domain = wanted.clone();
            Box::pin(async move { session.find_sts_policy(domain.as_str(), clock::now()).await })
        });
        let found = find.await?;
        Ok(found.map(|StoredStsPolicy { id, text, fetched_at, expires_at }| KeptStsPolicy {
            domain,
            id,
            text,
            fetched_at,
            expires_at,
        }))
    }
}
