//! One queue replica at one address: its connection, the frames sent, the verdicts awaited. Not responsible for which
//! endpoint a message goes to.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mailtier_api::submit::{StoredPart, SubmitClient, SubmitFrame, VerdictFrame};
use mailtier_api::{ApiError, Backoff, Credentials, Incoming, Renewal};
use mailtier_types::MessageId;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::endpoints::Endpoints;
use super::frames::{Departure, FRAME_JOBS, Frames};
use super::job::{Answer, Job};

/// Jobs that wait while a frame is being written; beyond them sessions wait.
const QUEUED_JOBS: usize = 1024;
/// Verdicts awaited before those nobody waits for any more are swept out.
const SWEEP_AT: usize = 4096;
/// The wait after the first failed connection; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest wait between connections.
const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// For a connection and the answer that opens its stream.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

/// What sessions see of a replica.
pub(crate) struct Endpoint {
    url: String,
    healthy: AtomicBool,
    /// It has let somebody wait in vain, and said nothing since.
    silent: AtomicBool,
    generation: AtomicU64,
    /// Its connection is to be made anew, and no successor has been asked for it yet.
    stale: AtomicBool,
    jobs: mpsc::Sender<Job>,
    retired: CancellationToken,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl Endpoint {
    /// The endpoint, and the task that serves it until it is retired and every verdict is in. It retires the one `before` it
    /// when it is connected itself.
    pub(super) fn new(
        url: String,
        credentials: Credentials,
        endpoints: &Arc<Endpoints>,
        before: Option<Arc<Self>>,
    ) -> (Arc<Self>, impl Future<Output = ()> + Send + use<>) {
        let (sender, jobs) = mpsc::channel(QUEUED_JOBS);
        let endpoint = Arc::new(Self {
            url,
            healthy: AtomicBool::new(false),
            silent: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            stale: AtomicBool::new(false),
            jobs: sender,
            retired: CancellationToken::new(),
        });
        let (awaited, uploading) = (HashMap::new(), HashMap::new());
        let (mine, endpoints) = (Arc::clone(&endpoint), Arc::clone(endpoints));
        let task = Task { endpoint: mine, credentials, endpoints, before, jobs, awaited, uploading };
        (endpoint, task.run())
    }

    /// `http://address:port` or `https://address:port`.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Whether its stream is open.
    pub(super) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Acquire) && !self.retired.is_cancelled()
    }

    /// Whether its stream is open and nobody waits for it in vain: one whose process is stopped, or whose database does not
    /// answer, keeps its stream.
    pub(super) fn is_responsive(&self) -> bool {
        self.is_healthy() && !self.silent.load(Ordering::Acquire)
    }

    /// Somebody has waited for it in vain. What was asked of it is still owed: its answer, whatever that is, ends this.
    pub(super) fn kept_waiting(&self) {
        if !self.silent.swap(true, Ordering::AcqRel) {
            tracing::warn!(queue = %self.url, "does not answer; others are asked first until it does");
        }
    }

    /// Which of its streams is open, counted from 1. What is queued from now on leaves on this one or a later one.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// No new jobs come; the task ends when those it has are answered.
    pub(super) fn retire(&self) {
        self.retired.cancel();
    }

    /// Whether it was retired.
    pub(super) fn is_retired(&self) -> bool {
        self.retired.is_cancelled()
    }

    /// Whether a successor is to be made, with a connection of its own; said once for each connection.
    pub(super) fn takes_successor(&self) -> bool {
        !self.is_retired() && self.stale.swap(false, Ordering::AcqRel)
    }

    /// Queues a job, waiting while too many are queued. Dropped when the task is gone.
    pub(super) async fn queue(&self, job: Job) {
        let _ = self.jobs.send(job).await;
    }
}

struct Task {
    endpoint: Arc<Endpoint>,
    credentials: Credentials,
    endpoints: Arc<Endpoints>,
    /// What this one is to replace.
    before: Option<Arc<Endpoint>>,
    jobs: mpsc::Receiver<Job>,
    /// Whose verdicts are awaited, and which parts are not said to be stored.
    awaited: HashMap<MessageId, oneshot::Sender<Answer>>,
    uploading: HashMap<StoredPart, oneshot::Sender<()>>,
}

impl Task {
    async fn run(mut self) {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let mut complained = false;
        loop {
            let (credentials, url) = (self.credentials.clone(), self.endpoint.url.clone());
            match self.turning_away(async move { open(&url, &credentials).await }).await {
                None => return,
                Some(Ok(stream)) => {
                    tracing::info!(queue = %self.endpoint.url, "connected");
                    backoff.reset();
                    complained = false;
                    let end = self.converse(stream).await;
                    self.set_healthy(false);
                    // Nobody knows what became of these: dropping their senders says so.
                    let unknown = std::mem::take(&mut self.awaited).len();
                    self.uploading.clear();
                    if self.endpoint.retired.is_cancelled() {
                        return;
                    }
                    tracing::warn!(queue = %self.endpoint.url, unknown, error = %end, "connection lost");
                }
                Some(Err(error)) if !complained => {
                    complained = true;
                    tracing::warn!(queue = %self.endpoint.url, %error, "cannot connect");
                }
                Some(Err(_)) => {}
            }
            if self.turning_away(tokio::time::sleep(backoff.wait(rand::random()))).await.is_none() {
                return;
            }
        }
    }

    /// Waits without a stream: jobs are given back at once. Nothing when the endpoint is retired.
    async fn turning_away<T>(&mut self, what: impl Future<Output = T>) -> Option<T> {
        let mut what = std::pin::pin!(what);
        loop {
            tokio::select! {
                done = &mut what => return Some(done),
                job = self.jobs.recv() => turn_away(job),
                () = self.endpoint.retired.cancelled() => return None,
            }
        }
    }

    fn set_healthy(&self, healthy: bool) {
        self.endpoint.healthy.store(healthy, Ordering::Release);
        self.endpoints.announce();
    }

    /// Sends frames and takes verdicts until the stream ends. While a frame waits for the network, jobs gather for the
    /// next: full frames when busy, no delay when idle.
    async fn converse(&mut self, stream: OpenStream) -> ApiError {
        let OpenStream { frames: sender, mut verdicts, renewal } = stream;
        let generation = self.endpoint.generation.fetch_add(1, Ordering::AcqRel) + 1;
        let mut frames = Frames::new(generation);
        self.endpoint.silent.store(false, Ordering::Release);
        self.endpoint.stale.store(false, Ordering::Release);
        self.set_healthy(true);
        if let Some(before) = self.before.take() {
            tracing::info!(queue = %self.endpoint.url, "connected anew: the certificates have changed, or will");
            before.retire();
        }
        let mut renewed = std::pin::pin!(renewal.due());
        let mut is_renewing = false;
        let mut gathered = Vec::with_capacity(FRAME_JOBS);
        loop {
            let leaving = self.endpoint.retired.is_cancelled();
            if leaving && self.jobs.is_empty() && frames.is_empty() && self.awaited.is_empty() {
                return ApiError::Unavailable("retired".into());
            }
            tokio::select! {
                permit = gather(&sender, &mut self.jobs, &mut gathered, frames.is_empty()) => {
                    let Some(permit) = permit else { return ApiError::Unavailable("the stream ended".into()) };
                    gathered.drain(..).for_each(|job| frames.push(job));
                    let Departure { frame, verdicts, stored } = frames.next();
                    if frame != SubmitFrame::default() {
                        permit.send(frame);
                    }
                    self.awaited.extend(verdicts);
                    self.uploading.extend(stored);
                    self.sweep();
                }
                frame = verdicts.next() => match frame {
                    Some(Ok(frame)) => self.tell(frame),
                    Some(Err(error)) => return error,
                    None => return ApiError::Unavailable("the stream ended".into()),
                },
                () = self.endpoint.retired.cancelled(), if !leaving => {}
                () = &mut renewed, if !is_renewing => {
                    is_renewing = true;
                    self.endpoint.stale.store(true, Ordering::Release);
                    self.endpoints.tell_stale();
                }
            }
        }
    }

    fn tell(&mut self, frame: VerdictFrame) {
        self.endpoint.silent.store(false, Ordering::Release);
        for verdict in frame.verdicts {
            if let Some(answer) = self.awaited.remove(&verdict.id) {
                let _ = answer.send(verdict.result.map_or_else(Answer::Refused, |()| Answer::Accepted));
            }
        }
        for part in frame.stored {
            if let Some(waiting) = self.uploading.remove(&part) {
                let _ = waiting.send(());
            }
        }
    }

    /// Who gave up waiting needs no entry, even if the verdict never comes.
    fn sweep(&mut self) {
        if self.awaited.len() >= SWEEP_AT {
            self.awaited.retain(|_, answer| !answer.is_closed());
        }
        if self.uploading.len() >= SWEEP_AT {
            self.uploading.retain(|_, waiting| !waiting.is_closed());
        }
    }
}

/// Waits until a frame can be sent and, where nothing is left over, for jobs to fill it. Loses nothing when dropped.
async fn gather<'a>(
    sender: &'a mpsc::Sender<SubmitFrame>,
    jobs: &mut mpsc::Receiver<Job>,
    gathered: &mut Vec<Job>,
    needed: bool,
) -> Option<mpsc::Permit<'a, SubmitFrame>> {
    let permit = sender.reserve().await.ok()?;
    if needed {
        jobs.recv_many(gathered, FRAME_JOBS).await;
    }
    Some(permit)
}

fn turn_away(job: Option<Job>) {
    if let Some(Job::Submit { answer, .. }) = job {
        let _ = answer.send(Answer::NotSent);
    }
}

/// A stream that a replica has opened.
struct OpenStream {
    frames: mpsc::Sender<SubmitFrame>,
    verdicts: Incoming<VerdictFrame>,
    renewal: Renewal,
}

async fn open(url: &str, credentials: &Credentials) -> Result<OpenStream, ApiError> {
    let opening = async {
        let client = SubmitClient::connect(url, credentials).await?;
        // One frame under way, so that the next gathers.
        let (frames, sent) = mpsc::channel(1);
        let verdicts = client.session(sent).await?;
        Ok(OpenStream { frames, verdicts, renewal: client.renewal().clone() })
    };
    let late = || ApiError::Unavailable("no answer in time".to_owned());
    tokio::time::timeout(OPEN_WITHIN, opening).await.unwrap_or_else(|_| Err(late()))
}
