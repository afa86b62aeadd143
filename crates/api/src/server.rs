//! The queue's side of all services: handlers in domain types, one port, who may call which, health, a bounded shutdown.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use mailtier_config::Secret;
use mailtier_tls::{ClusterTls, Tier};
use mailtier_types::{MessageId, ReplicaId, SliceLease, SliceReport, TenantId};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::Router;
use tonic::{Request, Response, Status, Streaming};

use crate::access::{Access, Authenticator, Gate};
use crate::accounts::{Address, FoundSuppression, Login, ScramProof, ScramSalt, ScramVerdict};
use crate::admin::{ListReply, ListRequest, ShowReply, Shown, TraceReply, TraceRequest};
use crate::audit::{AuditReply, AuditRequest};
use crate::auth::{Demands, Guard};
use crate::change::{ChangeAnswer, ChangeOrder};
use crate::channel::{
    CONNECTION_WINDOW_BYTES, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, MAX_FRAME_BYTES, STREAM_WINDOW_BYTES,
};
use crate::convert::{message_id, tenant_id};
use crate::counts::{CountReply, CountRequest};
use crate::credentials::Credentials;
use crate::door::connections;
use crate::error::ApiError;
use crate::overview::{ShardMap, Status as ReplicaStatus};
use crate::peer::Hint;
use crate::stream::Incoming;
use crate::submit::{NodeLease, SubmitFrame, VerdictFrame};
use crate::suppressions::{ListSuppressions, SuppressOrder, Suppression};
use crate::suspensions::{ResumeOrder, Scope, SuspendOrder, Suspension};
use crate::tls::TlsHandler;
use crate::tokens::{NewToken, TokenOrder, TokenView};
use crate::users::{UserChange, UserView};
use crate::wire;
use crate::work::{QueueFrame, WorkerFrame};

/// Frames on their way to a slow reader before the writer waits.
const FRAMES_UNDER_WAY: usize = 16;
/// Streams are ended by their handlers; a connection that is still there after this is cut.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Answers submitters.
pub trait SubmitHandler: Send + Sync + 'static {
    /// Leases a node number.
    fn lease_node(&self, holder: ReplicaId) -> impl Future<Output = Result<NodeLease, ApiError>> + Send;

    /// Serves one stream until it ends; the stream ends when `outgoing` is dropped. Runs in a task of its own, so that
    /// nothing is left half done when the other side goes away.
    fn session(
        &self,
        incoming: Incoming<SubmitFrame>,
        outgoing: mpsc::Sender<VerdictFrame>,
    ) -> impl Future<Output = ()> + Send;
}

/// Answers workers.
pub trait WorkHandler: Send + Sync + 'static {
    /// Serves one stream until it ends, as [`SubmitHandler::session`].
    fn session(
        &self,
        incoming: Incoming<WorkerFrame>,
        outgoing: mpsc::Sender<QueueFrame>,
    ) -> impl Future<Output = ()> + Send;

    /// Sends the stored chunks of a body, in order.
    fn fetch_body(
        &self,
        message: MessageId,
        chunks: mpsc::Sender<Result<Bytes, ApiError>>,
    ) -> impl Future<Output = ()> + Send;
}

/// Answers other replicas.
pub trait PeerHandler: Send + Sync + 'static {
    /// Takes hints.
    fn hint(&self, hints: Vec<Hint>) -> impl Future<Output = Result<(), ApiError>> + Send;
    /// Leases slices of limits; nothing where something newer was heard.
    fn lease(&self, report: SliceReport) -> impl Future<Output = Option<SliceLease>> + Send;
}

/// Answers operators, who have been let through. An operator in what is asked is how the change is recorded.
pub trait AdminHandler: Send + Sync + 'static {
    /// A page of deliveries.
    fn list(&self, request: ListRequest) -> impl Future<Output = Result<ListReply, ApiError>> + Send;
    /// A part of what is to be counted.
    fn count(&self, request: CountRequest) -> impl Future<Output = Result<CountReply, ApiError>> + Send;
    /// Who owns what.
    fn shard_map(&self) -> impl Future<Output = Result<ShardMap, ApiError>> + Send;
    /// How this replica stands.
    fn status(&self) -> impl Future<Output = Result<ReplicaStatus, ApiError>> + Send;
    /// All about one message.
    fn show(&self, id: MessageId, shown: Shown) -> impl Future<Output = Result<ShowReply, ApiError>> + Send;
    /// Changes a bounded part of what is meant.
    fn change(&self, order: ChangeOrder) -> impl Future<Output = Result<ChangeAnswer, ApiError>> + Send;
    /// Makes or changes a user.
    fn put_user(&self, change: UserChange) -> impl Future<Output = Result<(), ApiError>> + Send;
    /// A page of users.
    fn list_users(&self, after: String, limit: u32) -> impl Future<Output = Result<Vec<UserView>, ApiError>> + Send;
    /// Removes a user.
    fn delete_user(&self, name: String, operator: String) -> impl Future<Output = Result<bool, ApiError>> + Send;
    /// Makes a recipient known, or changes who gets its mail.
    fn put_address(&self, address: Address, operator: String) -> impl Future<Output = Result<(), ApiError>> + Send;
    /// A page of recipients.
    fn list_addresses(&self, after: String, limit: u32) -> impl Future<Output = Result<Vec<Address>, ApiError>> + Send;
    /// Forgets a recipient.
    fn delete_address(&self, pattern: String, operator: String) -> impl Future<Output = Result<bool, ApiError>> + Send;
    /// Suspends something.
    fn suspend(&self, order: SuspendOrder) -> impl Future<Output = Result<(), ApiError>> + Send;
    /// Resumes something; false where it was not suspended.
    fn resume(&self, order: ResumeOrder) -> impl Future<Output = Result<bool, ApiError>> + Send;
    /// A page of what is suspended, in the order of kinds and names.
    fn list_suspensions(
        &self,
        after: Option<Scope>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Suspension>, ApiError>> + Send;
    /// Puts recipients on a suppression list; how many.
    fn suppress(&self, order: SuppressOrder) -> impl Future<Output = Result<u64, ApiError>> + Send;
    /// Takes a recipient, in lower case, off one; false where it was not there.
    fn unsuppress(
        &self,
        tenant: TenantId,
        address: String,
        operator: String,
    ) -> impl Future<Output = Result<bool, ApiError>> + Send;
    /// A page of who is on suppression lists, in the order of tenants and addresses.
    fn list_suppressions(
        &self,
        request: ListSuppressions,
    ) -> impl Future<Output = Result<Vec<Suppression>, ApiError>> + Send;
    /// A part of the audit.
    fn audit(&self, request: AuditRequest) -> impl Future<Output = Result<AuditReply, ApiError>> + Send;
    /// Makes a token.
    fn create_token(&self, order: TokenOrder) -> impl Future<Output = Result<NewToken, ApiError>> + Send;
    /// A page of tokens, in the order of names.
    fn list_tokens(&self, after: String, limit: u32) -> impl Future<Output = Result<Vec<TokenView>, ApiError>> + Send;
    /// Revokes a token; false where there is none.
    fn revoke_token(&self, name: String, operator: String) -> impl Future<Output = Result<bool, ApiError>> + Send;
    /// History.
    fn trace(&self, request: TraceRequest) -> impl Future<Output = Result<TraceReply, ApiError>> + Send;
}

/// Answers inbound about users and recipients.
pub trait AccountsHandler: Send + Sync + 'static {
    /// Whether a password is a user's.
    fn check_password(
        &self,
        name: String,
        password: Secret,
        client: String,
    ) -> impl Future<Output = Result<Login, ApiError>> + Send;
    /// What a SCRAM login begins with.
    fn begin_scram(&self, name: String, client: String) -> impl Future<Output = Result<ScramSalt, ApiError>> + Send;
    /// Whether a proof is a user's.
    fn finish_scram(&self, proof: ScramProof) -> impl Future<Output = Result<ScramVerdict, ApiError>> + Send;
    /// The user of a login that was proved otherwise.
    fn find_account(&self, name: String) -> impl Future<Output = Result<Login, ApiError>> + Send;
    /// Which of some patterns are known.
    fn find_addresses(&self, patterns: Vec<String>) -> impl Future<Output = Result<Vec<Address>, ApiError>> + Send;
    /// Attempts what waits for a destination now, and says how much that is.
    fn start_queue(&self, destination: String) -> impl Future<Output = Result<u64, ApiError>> + Send;
    /// Whether a recipient is on a tenant's suppression list.
    fn find_suppression(
        &self,
        tenant: TenantId,
        recipient: String,
    ) -> impl Future<Output = Result<FoundSuppression, ApiError>> + Send;
}

/// A server being put together.
pub struct Server {
    listener: TcpListener,
    tls: Option<Arc<ClusterTls>>,
    demands: Demands,
    router: Router,
    reporter: tonic_health::server::HealthReporter,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl Server {
    /// A server with gRPC health, which asks for nothing. Services ask for what the server itself would show.
    #[must_use]
    pub fn new(listener: TcpListener, credentials: impl Into<Credentials>) -> Self {
        let credentials = credentials.into();
        let (reporter, health) = tonic_health::server::health_reporter();
        let router = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .add_service(health);
        Self { listener, demands: Demands::of(&credentials), tls: credentials.tls, router, reporter }
    }

    /// Serves submitters.
    #[must_use]
    pub fn submit(mut self, handler: impl SubmitHandler) -> Self {
        let service = wire::submit_server::SubmitServer::new(Adaptor(Arc::new(handler)))
            .max_decoding_message_size(MAX_FRAME_BYTES)
            .max_encoding_message_size(MAX_FRAME_BYTES);
        let guard = self.guard(Tier::Inbound);
        self.router = self.router.add_service(InterceptedService::new(service, guard));
        self
    }

    /// Serves workers.
    #[must_use]
    pub fn work(mut self, handler: impl WorkHandler) -> Self {
        let service = wire::work_server::WorkServer::new(Adaptor(Arc::new(handler)))
            .max_decoding_message_size(MAX_FRAME_BYTES)
            .max_encoding_message_size(MAX_FRAME_BYTES);
        let guard = self.guard(Tier::Outbound);
        self.router = self.router.add_service(InterceptedService::new(service, guard));
        self
    }

    /// Serves inbound's questions about users and recipients.
    #[must_use]
    pub fn accounts(mut self, handler: impl AccountsHandler) -> Self {
        let service = wire::accounts_server::AccountsServer::new(Adaptor(Arc::new(handler)));
        let guard = self.guard(Tier::Inbound);
        self.router = self.router.add_service(InterceptedService::new(service, guard));
        self
    }

    /// Serves workers what is about TLS.
    #[must_use]
    pub fn tls(mut self, handler: impl TlsHandler) -> Self {
        let service = wire::tls_server::TlsServer::new(Adaptor(Arc::new(handler)))
            .max_decoding_message_size(MAX_FRAME_BYTES)
            .max_encoding_message_size(MAX_FRAME_BYTES);
        let guard = self.guard(Tier::Outbound);
        self.router = self.router.add_service(InterceptedService::new(service, guard));
        self
    }

    /// Serves other replicas.
    #[must_use]
    pub fn peer(mut self, handler: impl PeerHandler) -> Self {
        let service = wire::peer_server::PeerServer::new(Adaptor(Arc::new(handler)));
        let guard = self.guard(Tier::Queue);
        self.router = self.router.add_service(InterceptedService::new(service, guard));
        self
    }

    /// Serves operators, who always show a token of their own.
    #[must_use]
    pub fn admin(mut self, handler: impl AdminHandler, access: Access<impl Authenticator>) -> Self {
        let service = wire::admin_server::AdminServer::new(Adaptor(Arc::new(handler)));
        self.router = self.router.add_service(Gate::new(service, access, self.demands.clone()));
        self
    }

    fn guard(&self, needed: Tier) -> Guard {
        Guard::new(self.demands.clone(), needed)
    }

    /// Serves until cancelled. gRPC health follows `not_ready`, which holds the reason while there is one.
    ///
    /// # Errors
    /// The listener failed.
    pub async fn serve(
        self,
        not_ready: watch::Receiver<Option<&'static str>>,
        end: CancellationToken,
    ) -> Result<(), ApiError> {
        let follow = tokio::spawn(follow_health(self.reporter, not_ready));
        let connections = connections(self.listener, self.tls);
        let serving = self.router.serve_with_incoming_shutdown(connections, end.clone().cancelled_owned());
        let bounded = async {
            end.cancelled().await;
            tokio::time::sleep(SHUTDOWN_TIMEOUT).await;
        };
        let served = tokio::select! {
            served = serving => served.map_err(|error| ApiError::Internal(error.to_string())),
            () = bounded => Ok(()),
        };
        follow.abort();
        served
    }
}

async fn follow_health(
    reporter: tonic_health::server::HealthReporter,
    mut not_ready: watch::Receiver<Option<&'static str>>,
) {
    loop {
        let status = match *not_ready.borrow_and_update() {
            None => tonic_health::ServingStatus::Serving,
            Some(_) => tonic_health::ServingStatus::NotServing,
        };
        reporter.set_service_status("", status).await;
        if not_ready.changed().await.is_err() {
            return;
        }
    }
}

/// Generated traits on one side, ours on the other.
pub(crate) struct Adaptor<H>(pub(crate) Arc<H>);

type WireStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn outgoing<T, W>(frames: mpsc::Receiver<T>) -> Response<WireStream<W>>
where
    T: Send + 'static,
    W: From<T> + Send + 'static,
{
    Response::new(Box::pin(ReceiverStream::new(frames).map(|frame| Ok(W::from(frame)))))
}

#[tonic::async_trait]
impl<H: SubmitHandler> wire::submit_server::Submit for Adaptor<H> {
    type SessionStream = WireStream<wire::VerdictFrame>;

    async fn lease_node(
        &self,
        request: Request<wire::LeaseNodeRequest>,
    ) -> Result<Response<wire::LeaseNodeReply>, Status> {
        let holder = crate::convert::replica_id(&request.into_inner().holder)?;
        let lease = self.0.lease_node(holder).await?;
        Ok(Response::new(wire::LeaseNodeReply {
            node: u32::from(lease.node.number()),
            valid_for_s: u32::try_from(lease.valid_for.as_secs()).unwrap_or(u32::MAX),
        }))
    }

    async fn session(
        &self,
        request: Request<Streaming<wire::SubmitFrame>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (sender, receiver) = mpsc::channel(FRAMES_UNDER_WAY);
        let (handler, incoming) = (Arc::clone(&self.0), Incoming::new(request.into_inner()));
        tokio::spawn(async move { handler.session(incoming, sender).await });
        Ok(outgoing(receiver))
    }
}

#[tonic::async_trait]
impl<H: WorkHandler> wire::work_server::Work for Adaptor<H> {
    type SessionStream = WireStream<wire::QueueFrame>;
    type FetchBodyStream = WireStream<wire::BodyChunk>;

    async fn session(
        &self,
        request: Request<Streaming<wire::WorkerFrame>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (sender, receiver) = mpsc::channel(FRAMES_UNDER_WAY);
        let (handler, incoming) = (Arc::clone(&self.0), Incoming::new(request.into_inner()));
        tokio::spawn(async move { handler.session(incoming, sender).await });
        Ok(outgoing(receiver))
    }

    async fn fetch_body(
        &self,
        request: Request<wire::FetchBodyRequest>,
    ) -> Result<Response<Self::FetchBodyStream>, Status> {
        let message = message_id(request.into_inner().message_id)?;
        let (sender, receiver) = mpsc::channel(FRAMES_UNDER_WAY);
        let handler = Arc::clone(&self.0);
        tokio::spawn(async move { handler.fetch_body(message, sender).await });
        let chunks = ReceiverStream::new(receiver).map(|chunk| {
            let data = chunk.map_err(Status::from)?;
            Ok(wire::BodyChunk { data })
        });
        Ok(Response::new(Box::pin(chunks)))
    }
}

#[tonic::async_trait]
impl<H: PeerHandler> wire::peer_server::Peer for Adaptor<H> {
    async fn hint(&self, request: Request<wire::HintRequest>) -> Result<Response<wire::HintReply>, Status> {
        let hints = request.into_inner().hints.into_iter().map(TryInto::try_into).collect::<Result<_, ApiError>>()?;
        self.0.hint(hints).await?;
        Ok(Response::new(wire::HintReply {}))
    }

    async fn lease(&self, request: Request<wire::LeaseRequest>) -> Result<Response<wire::LeaseReply>, Status> {
        let report = request.into_inner().try_into()?;
        Ok(Response::new(self.0.lease(report).await.into()))
    }
}

#[tonic::async_trait]
impl<H: AccountsHandler> wire::accounts_server::Accounts for Adaptor<H> {
    async fn check_password(
        &self,
        request: Request<wire::CheckPasswordRequest>,
    ) -> Result<Response<wire::LoginReply>, Status> {
        let request = request.into_inner();
        let login = self.0.check_password(request.name, Secret::new(request.password), request.client).await?;
        Ok(Response::new(login.into()))
    }

    async fn begin_scram(
        &self,
        request: Request<wire::BeginScramRequest>,
    ) -> Result<Response<wire::BeginScramReply>, Status> {
        let request = request.into_inner();
        Ok(Response::new(match self.0.begin_scram(request.name, request.client).await? {
            ScramSalt::Limited => wire::BeginScramReply { limited: true, ..Default::default() },
            ScramSalt::Salt { salt, iterations } => {
                wire::BeginScramReply { limited: false, salt: salt.into(), iterations }
            }
        }))
    }

    async fn finish_scram(
        &self,
        request: Request<wire::FinishScramRequest>,
    ) -> Result<Response<wire::LoginReply>, Status> {
        let verdict = self.0.finish_scram(request.into_inner().try_into()?).await?;
        let server_signature = Bytes::copy_from_slice(&verdict.server_signature);
        Ok(Response::new(wire::LoginReply { server_signature, ..verdict.login.into() }))
    }

    async fn find_account(
        &self,
        request: Request<wire::FindAccountRequest>,
    ) -> Result<Response<wire::LoginReply>, Status> {
        Ok(Response::new(self.0.find_account(request.into_inner().name).await?.into()))
    }

    async fn find_addresses(
        &self,
        request: Request<wire::FindAddressesRequest>,
    ) -> Result<Response<wire::FindAddressesReply>, Status> {
        let addresses = self.0.find_addresses(request.into_inner().patterns).await?;
        Ok(Response::new(wire::FindAddressesReply { addresses: addresses.into_iter().map(Into::into).collect() }))
    }

    async fn start_queue(
        &self,
        request: Request<wire::StartQueueRequest>,
    ) -> Result<Response<wire::StartQueueReply>, Status> {
        let started = self.0.start_queue(request.into_inner().destination).await?;
        Ok(Response::new(wire::StartQueueReply { started }))
    }

    async fn find_suppression(
        &self,
        request: Request<wire::FindSuppressionRequest>,
    ) -> Result<Response<wire::FindSuppressionReply>, Status> {
        let request = request.into_inner();
        Ok(Response::new(self.0.find_suppression(tenant_id(request.tenant)?, request.recipient).await?.into()))
    }
}
