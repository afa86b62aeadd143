//! Clients and servers over real connections: tokens, refusals, and ends.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what helps a test may fail loudly"
)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mailtier_api::admin::{AdminClient, ListReply, ListRequest, Selection, ShowReply, TraceRequest};
use mailtier_api::peer::{Hint, PeerClient};
use mailtier_api::server::{AdminHandler, PeerHandler, Server, SubmitHandler, WorkHandler};
use mailtier_api::submit::{NodeLease, Submission, SubmitClient, SubmitFrame, Verdict, VerdictFrame};
use mailtier_api::work::{Hello, QueueFrame, WorkClient, WorkerFrame};
use mailtier_api::{ApiError, Incoming};
use mailtier_config::Secret;
use mailtier_types::{
    Envelope, Event, Mailbox, MessageId, NodeNumber, Options, ReplicaId, ReversePath, TenantId, WorkerId,
};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(20);

/// Says yes to everything.
#[derive(Clone, Default)]
struct Replica {
    hinted: Arc<Mutex<usize>>,
}

impl SubmitHandler for Replica {
    async fn lease_node(&self, _: ReplicaId) -> Result<NodeLease, ApiError> {
        Ok(NodeLease { node: NodeNumber::new(7).unwrap(), valid_for: Duration::from_secs(60) })
    }

    async fn session(&self, mut incoming: Incoming<SubmitFrame>, outgoing: mpsc::Sender<VerdictFrame>) {
        while let Some(Ok(frame)) = incoming.next().await {
            let verdicts = frame.submissions.iter().map(|one| Verdict { id: one.id, result: Ok(()) }).collect();
            outgoing.send(VerdictFrame { verdicts }).await.unwrap();
        }
    }
}

impl WorkHandler for Replica {
    async fn session(&self, mut incoming: Incoming<WorkerFrame>, outgoing: mpsc::Sender<QueueFrame>) {
        while let Some(Ok(_)) = incoming.next().await {
            outgoing.send(QueueFrame { draining: true, ..QueueFrame::default() }).await.unwrap();
        }
    }

    async fn fetch_body(&self, _: MessageId, chunks: mpsc::Sender<Result<Bytes, ApiError>>) {
        chunks.send(Ok(Bytes::from_static(b"one"))).await.unwrap();
        chunks.send(Err(ApiError::NotFound("the rest".into()))).await.unwrap();
    }
}

impl PeerHandler for Replica {
    async fn hint(&self, hints: Vec<Hint>) -> Result<(), ApiError> {
        *self.hinted.lock() += hints.len();
        Ok(())
    }
}

impl AdminHandler for Replica {
    async fn list(&self, _: ListRequest) -> Result<ListReply, ApiError> {
        Ok(ListReply::default())
    }
    async fn show(&self, id: MessageId, _: bool) -> Result<ShowReply, ApiError> {
        Err(ApiError::NotFound(format!("no message {id}")))
    }
    async fn retry_now(&self, _: Selection) -> Result<u64, ApiError> {
        Ok(3)
    }
    async fn delete(&self, _: Selection) -> Result<u64, ApiError> {
        Err(ApiError::Unavailable("the database is away".into()))
    }
    async fn trace(&self, _: TraceRequest) -> Result<Vec<Event>, ApiError> {
        Ok(Vec::new())
    }
}

struct Running {
    url: String,
    end: CancellationToken,
    served: tokio::task::JoinHandle<Result<(), ApiError>>,
    _ready: watch::Sender<Option<&'static str>>,
}

fn secret(text: &str) -> Secret {
    Secret::new(text.into())
}

/// Services ask for "service", operators for "operator".
async fn serve() -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (ready, not_ready) = watch::channel(None);
    let (replica, end) = (Replica::default(), CancellationToken::new());
    let server = Server::new(listener, Some(secret("service")))
        .submit(replica.clone())
        .work(replica.clone())
        .peer(replica.clone())
        .admin(replica, secret("operator"));
    let served = tokio::spawn(server.serve(not_ready, end.clone()));
    Running { url, end, served, _ready: ready }
}

fn submission(body: Bytes) -> Submission {
    let envelope = Envelope {
        sender: ReversePath::Null,
        recipients: vec![Mailbox::parse("a@b.example").unwrap()],
        tenant: TenantId(0),
        priority: 0,
        options: Options::default(),
    };
    Submission { id: MessageId::from_i64(4096).unwrap(), resubmission: false, envelope, body, parts: 0 }
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, what).await.expect("in time")
}

#[tokio::test]
async fn each_service_asks_for_its_own_token() {
    let running = serve().await;
    for (token, is_service, is_operator) in [
        (None, false, false),
        (Some("service"), true, false),
        (Some("operator"), false, true),
        (Some("servicf"), false, false),
    ] {
        let token = token.map(secret);
        let submit = SubmitClient::connect(&running.url, token.as_ref()).await.unwrap();
        let leased = submit.lease_node(ReplicaId::random()).await;
        let peer = PeerClient::connect(&running.url, token.as_ref()).await.unwrap().hint(Vec::new()).await;
        let (_frames, outgoing) = mpsc::channel(1);
        let work = WorkClient::connect(&running.url, token.as_ref()).await.unwrap();
        let hello = Hello { worker: WorkerId::random(), name: String::new() };
        let worked = work.session(hello, outgoing).await;
        for allowed in [leased.is_ok(), peer.is_ok(), worked.is_ok()] {
            assert_eq!(allowed, is_service, "{token:?}");
        }
        let admin = AdminClient::connect(&running.url, token.as_ref()).await.unwrap();
        let listed = admin.list(ListRequest { limit: 1, ..ListRequest::default() }).await;
        assert_eq!(listed.is_ok(), is_operator);
        if !is_operator {
            assert!(matches!(listed, Err(ApiError::Unauthenticated(_))), "{listed:?}");
        }
    }
}

#[tokio::test]
async fn errors_keep_their_meaning_on_their_way() {
    let running = serve().await;
    let admin = AdminClient::connect(&running.url, Some(&secret("operator"))).await.unwrap();
    let id = MessageId::from_i64(4096).unwrap();
    assert!(matches!(admin.show(id, false).await, Err(ApiError::NotFound(text)) if text.contains(&id.to_string())));
    let selection = Selection { messages: vec![id], all: false, destination: None, operator: "me".into() };
    assert_eq!(admin.retry_now(selection.clone()).await, Ok(3));
    assert!(matches!(admin.delete(selection).await, Err(ApiError::Unavailable(text)) if text.contains("database")));
    let refused = admin.list(ListRequest { limit: 0, ..ListRequest::default() }).await;
    assert!(matches!(&refused, Err(ApiError::Invalid(text)) if text.contains("limit")), "{refused:?}");

    let work = WorkClient::connect(&running.url, Some(&secret("service"))).await.unwrap();
    let mut chunks = work.fetch_body(id).await.unwrap();
    assert_eq!(chunks.next().await, Some(Ok(Bytes::from_static(b"one"))));
    assert!(matches!(chunks.next().await, Some(Err(ApiError::NotFound(_)))));

    let nowhere = SubmitClient::connect("http://127.0.0.1:1", None).await;
    assert!(matches!(nowhere, Err(ApiError::Unavailable(_))), "{nowhere:?}");
    let nothing = SubmitClient::connect("no url at all", None).await;
    assert!(matches!(nothing, Err(ApiError::Endpoint { .. })), "{nothing:?}");
}

/// One stream ends; the server goes on.
#[tokio::test]
async fn a_frame_that_is_too_large_ends_its_stream_alone() {
    let running = serve().await;
    let client = SubmitClient::connect(&running.url, Some(&secret("service"))).await.unwrap();
    for (octets, is_taken) in [(1_usize << 20, true), (65 << 20, false), (1 << 20, true)] {
        let (frames, outgoing) = mpsc::channel(1);
        let mut verdicts = client.session(outgoing).await.unwrap();
        let submissions = vec![submission(Bytes::from(vec![b'x'; octets]))];
        frames.send(SubmitFrame { submissions, ..SubmitFrame::default() }).await.unwrap();
        let verdict = in_time(verdicts.next()).await;
        assert_eq!(matches!(verdict, Some(Ok(_))), is_taken, "{octets} octets: {verdict:?}");
    }
}

#[tokio::test]
async fn the_end_of_a_server_ends_its_streams() {
    let Running { url, end, served, _ready } = serve().await;
    let client = SubmitClient::connect(&url, Some(&secret("service"))).await.unwrap();
    let (frames, outgoing) = mpsc::channel(1);
    let mut verdicts = client.session(outgoing).await.unwrap();
    frames.send(SubmitFrame { submissions: vec![submission(Bytes::new())], ..SubmitFrame::default() }).await.unwrap();
    assert!(in_time(verdicts.next()).await.unwrap().is_ok());
    end.cancel();
    in_time(served).await.unwrap().unwrap();
    drop(frames);
    assert!(!matches!(in_time(verdicts.next()).await, Some(Ok(_))));
}
