//! A queue replica for one test, over the real gRPC: it dispatches what the test hands it, and keeps what it is told.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use mailtier_api::server::{Server, WorkHandler};
use mailtier_api::tls::{CountedSessions, FinishedPost, KeptStsPolicy, TlsHandler, TlsReportPost};
use mailtier_api::work::{Dispatch, Holding, Inquire, QueueFrame, Settled, Welcome, WorkResult, WorkerFrame};
use mailtier_api::{ApiError, Incoming};
use mailtier_types::{Domain, DomainCounts, Epoch, MessageId, ReplicaId, ShardId, WorkerId};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a replica was told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) sessions: usize,
    pub(crate) linked: bool,
    pub(crate) credit: u32,
    /// The pools of the last session, and what was granted of others than `default`.
    pub(crate) pools: Vec<String>,
    pub(crate) pool_credits: HashMap<String, u32>,
    pub(crate) results: Vec<WorkResult>,
    pub(crate) holdings: Vec<Holding>,
    /// What sessions came to.
    pub(crate) counted: Vec<DomainCounts>,
    /// Policies of MTA-STS, by domain.
    pub(crate) policies: HashMap<String, KeptStsPolicy>,
    /// What became of posts.
    pub(crate) posted: Vec<(i64, Option<String>)>,
}

/// A replica.
#[derive(Clone)]
pub(crate) struct Queue {
    pub(crate) address: SocketAddr,
    inner: Arc<Inner>,
}

struct Inner {
    replica: ReplicaId,
    /// Asked for on every link.
    shards: Mutex<Vec<(ShardId, Epoch)>>,
    settles: bool,
    told: watch::Sender<Told>,
    link: Mutex<Option<mpsc::Sender<QueueFrame>>>,
    bodies: Mutex<HashMap<MessageId, Vec<Bytes>>>,
    posts: Mutex<Vec<TlsReportPost>>,
    end: CancellationToken,
}

impl Queue {
    /// A replica that settles every result at once.
    pub(crate) async fn start() -> Self {
        Self::with(true, true).await
    }

    /// A replica that has no service for TLS.
    pub(crate) async fn of_an_earlier_version() -> Self {
        Self::with(true, false).await
    }

    /// A replica that settles nothing.
    pub(crate) async fn unsettling() -> Self {
        Self::with(false, true).await
    }

    async fn with(settles: bool, knows_tls: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let inner = Arc::new(Inner {
            replica: ReplicaId::random(),
            shards: Mutex::default(),
            settles,
            told: watch::Sender::default(),
            link: Mutex::default(),
            bodies: Mutex::default(),
            posts: Mutex::default(),
            end: CancellationToken::new(),
        });
        let queue = Self { address: listener.local_addr().unwrap(), inner };
        let server = Server::new(listener, None).work(queue.clone());
        let server = if knows_tls { server.tls(queue.clone()) } else { server };
        let (_, ready) = watch::channel(None);
        tokio::spawn(server.serve(ready, queue.inner.end.clone()));
        queue
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The replica is gone.
    pub(crate) fn kill(&self) {
        self.inner.end.cancel();
        self.inner.link.lock().unwrap().take();
    }

    pub(crate) fn keep_body(&self, message: MessageId, chunks: Vec<Bytes>) {
        self.inner.bodies.lock().unwrap().insert(message, chunks);
    }

    /// Has a report posted.
    pub(crate) fn post(&self, post: TlsReportPost) {
        self.inner.posts.lock().unwrap().push(post);
    }

    /// Takes shards over: the worker is asked for them.
    pub(crate) async fn take_over(&self, shards: &[(ShardId, Epoch)]) {
        self.inner.shards.lock().unwrap().extend(shards);
        self.until(|told| told.linked).await;
        let inquire = Some(Inquire { shards: shards.to_vec() });
        self.send(QueueFrame { inquire, ..QueueFrame::default() }).await;
    }

    pub(crate) async fn dispatch(&self, dispatches: impl IntoIterator<Item = Dispatch>) {
        self.until(|told| told.linked).await;
        self.send(QueueFrame { dispatches: dispatches.into_iter().collect(), ..QueueFrame::default() }).await;
    }

    pub(crate) async fn settle(&self, result: &WorkResult) {
        let settled = vec![Settled { delivery: result.delivery, attempt: result.attempt }];
        self.send(QueueFrame { settled, ..QueueFrame::default() }).await;
    }

    pub(crate) fn told(&self) -> Told {
        self.inner.told.borrow().clone()
    }

    /// Waits until something is true of what the replica was told; not for ever.
    pub(crate) async fn until(&self, what: impl FnMut(&Told) -> bool) -> Told {
        let mut told = self.inner.told.subscribe();
        let found = tokio::time::timeout(PATIENCE, told.wait_for(what)).await;
        found.expect("what the test waits for did not come").unwrap().clone()
    }

    /// The results, once there are so many.
    pub(crate) async fn results(&self, count: usize) -> Vec<WorkResult> {
        self.until(|told| told.results.len() >= count).await.results
    }

    /// Dispatches one delivery and waits for its result.
    pub(crate) async fn deliver(&self, dispatch: Dispatch) -> WorkResult {
        let before = self.told().results.len();
        self.dispatch([dispatch]).await;
        self.results(before + 1).await.pop().unwrap()
    }

    async fn send(&self, frame: QueueFrame) {
        let link = self.inner.link.lock().unwrap().clone().unwrap();
        link.send(frame).await.unwrap();
    }
}

impl WorkHandler for Queue {
    async fn session(&self, mut incoming: Incoming<WorkerFrame>, outgoing: mpsc::Sender<QueueFrame>) {
        let hello = incoming.next().await.unwrap().unwrap().hello.expect("the first frame is a hello");
        assert!(!hello.name.is_empty());
        let welcome = Some(Welcome { replica: self.inner.replica, name: "test".to_owned() });
        let shards = self.inner.shards.lock().unwrap().clone();
        let inquire = Some(Inquire { shards });
        outgoing.send(QueueFrame { welcome, inquire, ..QueueFrame::default() }).await.unwrap();
        *self.inner.link.lock().unwrap() = Some(outgoing);
        self.inner.told.send_modify(|told| {
            told.sessions += 1;
            told.pools = hello.pools;
            told.linked = true;
        });
        while let Some(Some(Ok(frame))) = self.inner.end.run_until_cancelled(incoming.next()).await {
            let results = frame.results.clone();
            self.inner.told.send_modify(|told| {
                told.credit += frame.credit;
                for granted in frame.pool_credits {
                    *told.pool_credits.entry(granted.pool).or_default() += granted.credit;
                }
                told.results.extend(frame.results);
                told.holdings.extend(frame.holding);
            });
            if self.inner.settles {
                for result in &results {
                    self.settle(result).await;
                }
            }
        }
        self.inner.told.send_modify(|told| told.linked = false);
    }

    async fn fetch_body(&self, message: MessageId, chunks: mpsc::Sender<Result<Bytes, ApiError>>) {
        let kept = self.inner.bodies.lock().unwrap().get(&message).cloned();
        let Some(kept) = kept else {
            let _ = chunks.send(Err(ApiError::NotFound("no such body".to_owned()))).await;
            return;
        };
        for chunk in kept {
            if chunks.send(Ok(chunk)).await.is_err() {
                return;
            }
        }
    }
}

impl TlsHandler for Queue {
    async fn count_sessions(&self, counted: CountedSessions) -> Result<(), ApiError> {
        self.inner.told.send_modify(|told| told.counted.extend(counted.domains));
        Ok(())
    }

    async fn take_posts(&self, _: WorkerId, _: u32) -> Result<Vec<TlsReportPost>, ApiError> {
        Ok(std::mem::take(&mut *self.inner.posts.lock().unwrap()))
    }

    async fn finish_post(&self, finished: FinishedPost) -> Result<(), ApiError> {
        self.inner.told.send_modify(|told| told.posted.push((finished.id, finished.problem)));
        Ok(())
    }

    async fn keep_sts_policy(&self, policy: KeptStsPolicy) -> Result<(), ApiError> {
        self.inner.told.send_modify(|told| drop(told.policies.insert(policy.domain.as_str().to_owned(), policy)));
        Ok(())
    }

    async fn find_sts_policy(&self, domain: Domain) -> Result<Option<KeptStsPolicy>, ApiError> {
        Ok(self.inner.told.borrow().policies.get(domain.as_str()).cloned())
    }
}
