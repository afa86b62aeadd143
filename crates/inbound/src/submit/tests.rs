//! Replicas that come, go and are connected to anew, under messages that are submitted all the while.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mailtier_api::replicas::{Lookup, Replicas};
use mailtier_api::server::{Server, SubmitHandler};
use mailtier_api::submit::{NodeLease, SubmitFrame, Verdict, VerdictFrame};
use mailtier_api::{ApiError, Credentials, Incoming, Tier};
use mailtier_config::ClusterConfig;
use mailtier_telemetry::Meters;
use mailtier_types::{Envelope, Mailbox, MessageId, NodeNumber, Options, ReplicaId, ReversePath, TenantId};
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;

/// More than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Takes everything, and counts it.
#[derive(Clone, Debug, Default)]
struct Replica {
    taken: Arc<AtomicUsize>,
    streams: Arc<AtomicUsize>,
}

impl SubmitHandler for Replica {
    async fn lease_node(&self, _: ReplicaId) -> Result<NodeLease, ApiError> {
        Ok(NodeLease { node: NodeNumber::new(1).unwrap(), valid_for: PATIENCE })
    }

    async fn session(&self, mut incoming: Incoming<SubmitFrame>, outgoing: mpsc::Sender<VerdictFrame>) {
        self.streams.fetch_add(1, Ordering::AcqRel);
        while let Some(Ok(frame)) = incoming.next().await {
            self.taken.fetch_add(frame.submissions.len(), Ordering::AcqRel);
            let verdicts = frame.submissions.iter().map(|one| Verdict { id: one.id, result: Ok(()) }).collect();
            let _ = outgoing.send(VerdictFrame { verdicts, ..VerdictFrame::default() }).await;
        }
    }
}

impl Replica {
    /// Serves on a port of its own.
    async fn start(&self, credentials: &Credentials, end: &CancellationToken) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ready, not_ready) = watch::channel(None);
        let serving = Server::new(listener, credentials).submit(self.clone()).serve(not_ready, end.clone());
        tokio::spawn(async move {
            let _ready = ready;
            serving.await
        });
        address
    }

    fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }
}

/// A name server that is told what to answer.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<Vec<SocketAddr>>>);

impl Lookup for Names {
    async fn addresses(&self, _: &str) -> std::io::Result<Vec<SocketAddr>> {
        Ok(self.0.lock().clone())
    }
}

struct Inbound {
    submitter: Submitter,
    end: CancellationToken,
    sent: usize,
}

impl Inbound {
    fn start(url: &str, names: Names, credentials: Credentials) -> Self {
        let (endpoints, end) = (Endpoints::new(Instant::now()), CancellationToken::new());
        let keeper = EndpointKeeper {
            endpoints: Arc::clone(&endpoints),
            replicas: Replicas::new(&[url.to_owned()], names).unwrap(),
            credentials,
            tasks: TaskTracker::new(),
            end: end.clone(),
        };
        tokio::spawn(keeper.run());
        let submitter = Submitter { endpoints, timeout: PATIENCE, meters: Arc::new(Meters::none()) };
        Self { submitter, end, sent: 0 }
    }

    /// Submits one message, which must be taken.
    async fn submit(&mut self) {
        self.sent += 1;
        let envelope = Envelope {
            sender: ReversePath::Null,
            recipients: vec![Mailbox::parse("a@b.example").unwrap()],
            tenant: TenantId(0),
            priority: 0,
            options: Options::default(),
        };
        let id = MessageId::from_i64(i64::try_from(4096 + self.sent).unwrap()).unwrap();
        let (parts, unstored, body) = (0, Vec::new(), Bytes::from_static(b"x"));
        let message = Message { id, envelope, parts, unstored, body, screened: true, report: true };
        self.submitter.submit(message, None).await.unwrap();
    }

    /// Submits until something is so.
    async fn submit_until(&mut self, what: &str, so: impl Fn() -> bool) {
        let submitting = async {
            while !so() {
                self.submit().await;
            }
        };
        tokio::time::timeout(PATIENCE, submitting).await.unwrap_or_else(|_| panic!("{what}"));
    }

    /// Has names resolved without waiting for the time to come.
    fn resolve_now(&self) {
        self.submitter.endpoints.tell_stale();
    }
}

#[tokio::test]
async fn load_follows_the_name_as_replicas_come_and_go() {
    let (first, second, end) = (Replica::default(), Replica::default(), CancellationToken::new());
    let clear = Credentials::default();
    let (one, two) = (first.start(&clear, &end).await, second.start(&clear, &end).await);
    let names = Names::default();
    *names.0.lock() = vec![one];
    let mut inbound = Inbound::start("http://queue:7070", names.clone(), clear);
    inbound.submit_until("the first is reached", || first.taken() > 10).await;
    assert_eq!(second.taken(), 0);
    *names.0.lock() = vec![one, two];
    inbound.resolve_now();
    inbound.submit_until("the second is reached", || second.taken() > 0).await;
    let before = (first.taken(), second.taken());
    for _ in 0..20 {
        inbound.submit().await;
    }
    assert_eq!((first.taken(), second.taken()), (before.0 + 10, before.1 + 10), "in turn");
    // No answer is no news.
    names.0.lock().clear();
    inbound.resolve_now();
    inbound.submit().await;
    *names.0.lock() = vec![two];
    inbound.resolve_now();
    let urls = |endpoints: &Endpoints| endpoints.urls().into_iter().collect::<BTreeSet<_>>();
    let only_two = BTreeSet::from([format!("http://{two}")]);
    let endpoints = Arc::clone(&inbound.submitter.endpoints);
    inbound.submit_until("the first is left", || urls(&endpoints) == only_two).await;
    let left_with = first.taken();
    for _ in 0..20 {
        inbound.submit().await;
    }
    assert_eq!(first.taken(), left_with);
    assert_eq!(first.taken() + second.taken(), inbound.sent, "each message once");
    inbound.end.cancel();
    end.cancel();
}

/// Writes a program's certificate, good for so long, and its key.
fn issue(authority: &CertifiedIssuer<'static, KeyPair>, folder: &Path, role: &str, seconds: i64) -> ClusterConfig {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(format!("spiffe://mailtier/{role}").try_into().unwrap())];
    params.not_after = time::OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
    let path = |name: &str| -> PathBuf { folder.join(format!("{role}.{name}")) };
    fs::write(path("key"), key.serialize_pem()).unwrap();
    fs::write(path("pem"), params.signed_by(&key, authority).unwrap().pem()).unwrap();
    fs::write(path("ca"), authority.pem()).unwrap();
    ClusterConfig {
        tls_certificate: Some(path("pem")),
        tls_key: Some(path("key")),
        tls_ca: Some(path("ca")),
        ..ClusterConfig::default()
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_up_without_losing_a_message() {
    let folder = tempfile::tempdir().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let of = |role, seconds| issue(&authority, folder.path(), role, seconds);
    let queue = Credentials::configured(&of("queue", 3600), Tier::Queue).unwrap();
    let own = Credentials::configured(&of("inbound", 30), Tier::Inbound).unwrap();
    let (replica, end) = (Replica::default(), CancellationToken::new());
    let names = Names::default();
    *names.0.lock() = vec![replica.start(&queue, &end).await];
    let mut inbound = Inbound::start("https://queue:7070", names, own.clone());
    inbound.submit_until("the replica is reached", || replica.taken() > 10).await;
    assert_eq!(replica.streams.load(Ordering::Acquire), 1);
    of("inbound", 3600);
    own.tls().unwrap().look().unwrap();
    // Within a tenth of the 30 s that the old one had.
    inbound.submit_until("another stream is opened", || replica.streams.load(Ordering::Acquire) == 2).await;
    let endpoints = Arc::clone(&inbound.submitter.endpoints);
    inbound.resolve_now();
    inbound.submit_until("the old connection is left", || endpoints.urls().len() == 1).await;
    for _ in 0..20 {
        inbound.submit().await;
    }
    assert_eq!(replica.taken(), inbound.sent, "each message once, none again");
    inbound.end.cancel();
    end.cancel();
}
