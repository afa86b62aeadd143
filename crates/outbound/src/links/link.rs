//! One link to one queue replica: deliveries and questions down, credit and results up. Not responsible for which
//! replicas there are, nor for attempts.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mailtier_api::work::{Hello, QueueFrame, Welcome, WorkClient, WorkerFrame};
use mailtier_api::{ApiError, Backoff, Incoming};
use mailtier_crashpoint::{Point, reach};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::desk::Outgoing;
use crate::ledger::LinkId;
use crate::worker::{Worker, carry_out};

/// Frames on their way: what gathers meanwhile goes into the next one.
const FRAMES_UNDER_WAY: usize = 2;
/// For the connection and for the first frame of the replica.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);
/// A session of this length was a good one: the next wait is short again.
const STEADY: Duration = Duration::from_secs(5);
/// The wait after the first failed connection; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest wait. Well within `queue.worker_grace`: a replica that has been away waits no longer than that for its
/// workers.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// How often the same reason for there being no link is logged.
const SAY_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// How long to leave a replica alone that is linked already over another address.
const DUPLICATE_PAUSE: Duration = Duration::from_secs(30);

/// Why a session over a link ended.
#[derive(Debug, thiserror::Error)]
enum LinkEnd {
    /// The replica, or what is between, broke it off or refused it.
    #[error("{0}")]
    Broken(#[from] ApiError),
    /// The replica did not greet in time.
    #[error("the replica did not greet")]
    NoWelcome,
    /// Nothing more came.
    #[error("the replica closed the link")]
    Closed,
    /// Another link leads to the same replica.
    #[error("the replica is linked over another address")]
    Duplicate,
    /// A connection with certificates that are good for longer takes its place.
    #[error("connected anew: the certificates have changed, or will")]
    Renewed(Box<WorkClient>),
}

/// A link whose two sides know each other.
struct Greeted {
    client: WorkClient,
    frames: mpsc::Sender<WorkerFrame>,
    incoming: Incoming<QueueFrame>,
    welcome: Welcome,
    /// What else the first frame holds.
    first: QueueFrame,
}

/// A link, from its first try to its end.
pub(super) struct QueueLink {
    worker: Arc<Worker>,
    url: String,
    wanted: watch::Receiver<BTreeSet<String>>,
    end: CancellationToken,
}

impl QueueLink {
    pub(super) const fn new(
        worker: Arc<Worker>,
        url: String,
        wanted: watch::Receiver<BTreeSet<String>>,
        end: CancellationToken,
    ) -> Self {
        Self { worker, url, wanted, end }
    }

    /// Connects again and again, until the end or until the address is no longer wanted.
    pub(super) async fn run(self) {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let mut said = None;
        let mut renewed = None;
        while self.wanted.borrow().contains(&self.url) {
            let began = Instant::now();
            let Some(ended) = self.end.run_until_cancelled(self.session(renewed.take())).await else { return };
            if began.elapsed() > STEADY {
                backoff.reset();
            }
            let pause = match ended {
                LinkEnd::Renewed(client) => {
                    tracing::info!(queue = %self.url, "connected anew: the certificates have changed, or will");
                    renewed = Some(*client);
                    continue;
                }
                LinkEnd::Duplicate => DUPLICATE_PAUSE,
                _ => backoff.wait(rand::random()),
            };
            self.complain(&ended, pause, &mut said);
            if self.end.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    /// Says why there is no link; the same reason again only now and then.
    fn complain(&self, ended: &LinkEnd, pause: Duration, said: &mut Option<(String, Instant)>) {
        let reason = ended.to_string();
        if said.as_ref().is_some_and(|(before, at)| *before == reason && at.elapsed() < SAY_AGAIN_AFTER) {
            tracing::debug!(queue = %self.url, reason, retry_in = ?pause, "no link to the queue");
            return;
        }
        tracing::warn!(queue = %self.url, reason, retry_in = ?pause, "no link to the queue");
        *said = Some((reason, Instant::now()));
    }

    /// One session, from the connection, where it is not made already, to its end.
    async fn session(&self, connected: Option<WorkClient>) -> LinkEnd {
        let greeting = async {
            let client = match connected {
                Some(client) => client,
                None => self.connect().await?,
            };
            self.greet(client).await
        };
        let greeted = tokio::time::timeout(GREETING_TIMEOUT, greeting).await;
        match greeted.unwrap_or(Err(LinkEnd::NoWelcome)) {
            Ok(greeted) => match self.converse(greeted).await {
                Err(end) => end,
                Ok(never) => match never {},
            },
            Err(end) => end,
        }
    }

    async fn connect(&self) -> Result<WorkClient, ApiError> {
        WorkClient::connect(&self.url, &self.worker.credentials).await
    }

    async fn greet(&self, client: WorkClient) -> Result<Greeted, LinkEnd> {
        let (frames, outgoing) = mpsc::channel(FRAMES_UNDER_WAY);
        let pools = self.worker.desk.pools().to_vec();
        let hello = Hello { worker: self.worker.id, name: self.worker.name.clone(), pools };
        let mut incoming = client.session(hello, outgoing).await?;
        let mut first = incoming.next().await.ok_or(LinkEnd::Closed)??;
        let welcome = first.welcome.take().ok_or(LinkEnd::NoWelcome)?;
        Ok(Greeted { client, frames, incoming, welcome, first })
    }

    /// A connection in place of `client`'s, when that is due. As long as there is none the old one is used.
    async fn renewal(&self, client: &WorkClient) -> WorkClient {
        client.renewal().due().await;
        let mut backoff = Backoff::new(FIRST_WAIT, SAY_AGAIN_AFTER);
        loop {
            match self.connect().await {
                Ok(client) => return client,
                Err(error) => {
                    tracing::warn!(queue = %self.url, %error, "cannot connect anew; the old connection stays")
                }
            }
            tokio::time::sleep(backoff.wait(rand::random())).await;
        }
    }

    /// Reads and writes at a time, so that neither side can block the other for ever.
    async fn converse(&self, greeted: Greeted) -> Result<Infallible, LinkEnd> {
        let Greeted { client, frames, mut incoming, welcome, first } = greeted;
        let wake = Arc::new(Notify::new());
        let desk = &self.worker.desk;
        let link = desk.connect(welcome.replica, client.clone(), Arc::clone(&wake)).ok_or(LinkEnd::Duplicate)?;
        let _presence = Presence { worker: &self.worker, link };
        tracing::info!(queue = %self.url, replica = %welcome.replica, name = welcome.name, "linked to the queue");
        self.worker.tell_health();
        self.handle(link, first);
        wake.notify_one();
        let read = async {
            loop {
                let frame = incoming.next().await.ok_or(LinkEnd::Closed)??;
                self.handle(link, frame);
            }
        };
        let write = async {
            loop {
                wake.notified().await;
                for frame in frames_of(desk.outgoing(link)) {
                    let has_results = !frame.results.is_empty();
                    frames.send(frame).await.map_err(|_| LinkEnd::Closed)?;
                    if has_results {
                        reach(Point::ResultSent);
                    }
                }
            }
        };
        tokio::select! {
            end = read => end,
            end = write => end,
            client = self.renewal(&client) => Err(LinkEnd::Renewed(Box::new(client))),
        }
    }

    fn handle(&self, link: LinkId, frame: QueueFrame) {
        let desk = &self.worker.desk;
        desk.settled(&frame.settled);
        if let Some(inquire) = &frame.inquire {
            desk.inquire(link, inquire);
        }
        for dispatch in frame.dispatches {
            if desk.admit(link, &dispatch) {
                reach(Point::WorkAdmitted);
                self.worker.attempts.spawn(carry_out(Arc::clone(&self.worker), link, dispatch));
            }
        }
        if frame.draining {
            tracing::info!(queue = %self.url, "the queue replica is leaving");
        }
    }
}

/// What a link has to send, in the order in which it must arrive: a result that followed the answer to a question must
/// not overtake it, or its owner would wait for it for ever.
fn frames_of(out: Outgoing) -> impl Iterator<Item = WorkerFrame> {
    let answers = out.holdings.into_iter();
    let has_credit = out.credit > 0 || !out.pool_credits.is_empty();
    let rest = (has_credit || !out.results.is_empty()).then(|| WorkerFrame {
        credit: out.credit,
        pool_credits: out.pool_credits,
        results: out.results,
        ..WorkerFrame::default()
    });
    answers.map(|holding| WorkerFrame { holding: Some(holding), ..WorkerFrame::default() }).chain(rest)
}

/// Takes the link off the desk when it ends, however it ends.
struct Presence<'a> {
    worker: &'a Worker,
    link: LinkId,
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        self.worker.desk.disconnect(self.link);
        self.worker.tell_health();
    }
}
