//! TLS, between an outbound worker and any queue replica: what sessions came to, reports to be posted, and policies that
//! outlive a worker. See `proto/mailtier/v1/tls.proto`.

use std::future::Future;

use bytes::Bytes;
use mailtier_types::{Domain, DomainCounts, Timestamp, WorkerId};
use tonic::{Request, Response, Status};

use crate::channel::{Authenticated, MAX_FRAME_BYTES};
use crate::convert::worker_id;
use crate::error::ApiError;
use crate::server::Adaptor;
use crate::wire;

/// The longest text of a policy, in octets (RFC 8461 §3.3), with room for how it is written here.
pub(crate) const MAX_POLICY_OCTETS: usize = 96 << 10;

/// What a worker has counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountedSessions {
    /// Who.
    pub worker: WorkerId,
    /// Rises with each batch; a batch is counted once, however often it is sent.
    pub batch: u64,
    /// What.
    pub domains: Vec<DomainCounts>,
}

/// A report to be posted (RFC 8460 §5.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsReportPost {
    /// Which.
    pub id: i64,
    /// Where.
    pub uri: String,
    /// JSON, packed with gzip.
    pub body: Bytes,
}

/// What became of a post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedPost {
    /// Who tried it.
    pub worker: WorkerId,
    /// Which.
    pub id: i64,
    /// Why it was not taken; absent where it was.
    pub problem: Option<String>,
}

/// A policy of MTA-STS that is kept beyond a worker's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptStsPolicy {
    /// Whose.
    pub domain: Domain,
    /// The id of its record when it was fetched.
    pub id: String,
    /// As it is served.
    pub text: String,
    /// When.
    pub fetched_at: Timestamp,
    /// From when it holds no more.
    pub expires_at: Timestamp,
}

/// The way to a replica.
#[derive(Debug, Clone)]
pub struct TlsClient {
    inner: wire::tls_client::TlsClient<Authenticated>,
}

impl TlsClient {
    pub(crate) fn new(channel: Authenticated) -> Self {
        let inner = wire::tls_client::TlsClient::new(channel)
            .max_decoding_message_size(MAX_FRAME_BYTES)
            .max_encoding_message_size(MAX_FRAME_BYTES);
        Self { inner }
    }

    /// Adds counters.
    ///
    /// # Errors
    /// Nothing is counted, or that is not known: give the same again.
    pub async fn count_sessions(&self, counted: &CountedSessions) -> Result<(), ApiError> {
        let request = wire::CountSessionsRequest {
            worker: counted.worker.as_bytes().to_vec().into(),
            batch: counted.batch,
            domains: counted.domains.iter().map(Into::into).collect(),
        };
        self.inner.clone().count_sessions(request).await?;
        Ok(())
    }

    /// Takes reports to post.
    ///
    /// # Errors
    /// The replica refuses.
    pub async fn take_posts(&self, worker: WorkerId, limit: u32) -> Result<Vec<TlsReportPost>, ApiError> {
        let request = wire::TakePostsRequest { worker: worker.as_bytes().to_vec().into(), limit };
        let reply = self.inner.clone().take_posts(request).await?.into_inner();
        Ok(reply.posts.into_iter().map(Into::into).collect())
    }

    /// Says what became of a post.
    ///
    /// # Errors
    /// It is not noted, and will be tried again.
    pub async fn finish_post(&self, finished: FinishedPost) -> Result<(), ApiError> {
        let request = wire::FinishPostRequest {
            worker: finished.worker.as_bytes().to_vec().into(),
            id: finished.id,
            problem: finished.problem.unwrap_or_default(),
        };
        self.inner.clone().finish_post(request).await?;
        Ok(())
    }

    /// Keeps a policy.
    ///
    /// # Errors
    /// It is not kept, or that is not known.
    pub async fn keep_sts_policy(&self, policy: KeptStsPolicy) -> Result<(), ApiError> {
        let request = wire::KeepStsPolicyRequest { policy: Some(policy.into()) };
        self.inner.clone().keep_sts_policy(request).await?;
        Ok(())
    }

    /// The policy that is kept of a domain.
    ///
    /// # Errors
    /// The replica cannot say.
    pub async fn find_sts_policy(&self, domain: &Domain) -> Result<Option<KeptStsPolicy>, ApiError> {
        let request = wire::FindStsPolicyRequest { domain: domain.as_str().to_owned() };
        let reply = self.inner.clone().find_sts_policy(request).await?.into_inner();
        reply.policy.map(TryInto::try_into).transpose()
    }
}

/// Answers workers.
pub trait TlsHandler: Send + Sync + 'static {
    /// Adds counters, once for each batch of a worker.
    fn count_sessions(&self, counted: CountedSessions) -> impl Future<Output = Result<(), ApiError>> + Send;
    /// Gives reports to post.
    fn take_posts(
        &self,
        worker: WorkerId,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<TlsReportPost>, ApiError>> + Send;
    /// Notes what became of one.
    fn finish_post(&self, finished: FinishedPost) -> impl Future<Output = Result<(), ApiError>> + Send;
    /// Keeps a policy, unless a newer one is kept.
    fn keep_sts_policy(&self, policy: KeptStsPolicy) -> impl Future<Output = Result<(), ApiError>> + Send;
    /// The policy of a domain that holds still.
    fn find_sts_policy(&self, domain: Domain) -> impl Future<Output = Result<Option<KeptStsPolicy>, ApiError>> + Send;
}

#[tonic::async_trait]
impl<H: TlsHandler> wire::tls_server::Tls for Adaptor<H> {
    async fn count_sessions(
        &self,
        request: Request<wire::CountSessionsRequest>,
    ) -> Result<Response<wire::CountSessionsReply>, Status> {
        let wire::CountSessionsRequest { worker, batch, domains } = request.into_inner();
        let domains = domains.into_iter().map(TryInto::try_into).collect::<Result<_, ApiError>>()?;
        self.0.count_sessions(CountedSessions { worker: worker_id(&worker)?, batch, domains }).await?;
        Ok(Response::new(wire::CountSessionsReply {}))
    }

    async fn take_posts(
        &self,
        request: Request<wire::TakePostsRequest>,
    ) -> Result<Response<wire::TakePostsReply>, Status> {
        let wire::TakePostsRequest { worker, limit } = request.into_inner();
        let posts = self.0.take_posts(worker_id(&worker)?, limit).await?;
        Ok(Response::new(wire::TakePostsReply { posts: posts.into_iter().map(Into::into).collect() }))
    }

    async fn finish_post(
        &self,
        request: Request<wire::FinishPostRequest>,
    ) -> Result<Response<wire::FinishPostReply>, Status> {
        let wire::FinishPostRequest { worker, id, problem } = request.into_inner();
        let problem = Some(problem).filter(|problem| !problem.is_empty());
        self.0.finish_post(FinishedPost { worker: worker_id(&worker)?, id, problem }).await?;
        Ok(Response::new(wire::FinishPostReply {}))
    }

    async fn keep_sts_policy(
        &self,
        request: Request<wire::KeepStsPolicyRequest>,
    ) -> Result<Response<wire::KeepStsPolicyReply>, Status> {
        let policy = request.into_inner().policy.ok_or_else(|| ApiError::invalid("policy", "missing"))?;
        self.0.keep_sts_policy(policy.try_into()?).await?;
        Ok(Response::new(wire::KeepStsPolicyReply {}))
    }

    async fn find_sts_policy(
        &self,
        request: Request<wire::FindStsPolicyRequest>,
    ) -> Result<Response<wire::FindStsPolicyReply>, Status> {
        let domain = Domain::parse(&request.into_inner().domain).map_err(|error| ApiError::invalid("domain", error))?;
        let policy = self.0.find_sts_policy(domain).await?.map(Into::into);
        Ok(Response::new(wire::FindStsPolicyReply { policy }))
    }
}
