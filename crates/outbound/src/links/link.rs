//! One link to one queue replica: deliveries and questions down, credit and results up. Not responsible for which
//! replicas there are, nor for attempts.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mailtier_api::work::{Hello, QueueFrame, Welcome, WorkClient, WorkerFrame};
use mailtier_api::{ApiError, Incoming};
use mailtier_crashpoint::{Point, reach};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use crate::desk::Outgoing;
use crate::ledger::LinkId;
use crate::worker::{Worker, carry_out};

/// Frames on their way: what gathers meanwhile goes into the next one.
const FRAMES_UNDER_WAY: usize = 2;
/// For the connection and for the first frame of the replica.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);
/// A session of this length was a good one: the next wait is short again.
const STEADY: Duration = Duration::from_secs(5);
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
    address: SocketAddr,
    wanted: watch::Receiver<BTreeSet<SocketAddr>>,
    end: CancellationToken,
}

impl QueueLink {
    pub(super) const fn new(
        worker: Arc<Worker>,
        address: SocketAddr,
        wanted: watch::Receiver<BTreeSet<SocketAddr>>,
        end: CancellationToken,
    ) -> Self {
        Self { worker, address, wanted, end }
    }

    /// Connects again and again, until the end or until the address is no longer wanted.
    pub(super) async fn run(self) {
        let mut backoff = Backoff::new();
        while self.wanted.borrow().contains(&self.address) {
            let began = Instant::now();
            let Some(ended) = self.end.run_until_cancelled(self.session()).await else { return };
            if began.elapsed() > STEADY {
                backoff = Backoff::new();
            }
            let pause = match ended {
                LinkEnd::Duplicate => DUPLICATE_PAUSE,
                _ => backoff.wait(rand::random()),
            };
            tracing::warn!(queue = %self.address, reason = %ended, retry_in = ?pause, "no link to the queue");
            if self.end.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    /// One session, from the connection to its end.
    async fn session(&self) -> LinkEnd {
        let greeted = tokio::time::timeout(GREETING_TIMEOUT, self.greet()).await;
        match greeted.unwrap_or(Err(LinkEnd::NoWelcome)) {
            Ok(greeted) => match self.converse(greeted).await {
                Err(end) => end,
                Ok(never) => match never {},
            },
            Err(end) => end,
        }
    }

    async fn greet(&self) -> Result<Greeted, LinkEnd> {
        let client = WorkClient::connect(&format!("http://{}", self.address), self.worker.token.as_ref()).await?;
        let (frames, outgoing) = mpsc::channel(FRAMES_UNDER_WAY);
        let pools = self.worker.desk.pools().to_vec();
        let hello = Hello { worker: self.worker.id, name: self.worker.name.clone(), pools };
        let mut incoming = client.session(hello, outgoing).await?;
        let mut first = incoming.next().await.ok_or(LinkEnd::Closed)??;
        let welcome = first.welcome.take().ok_or(LinkEnd::NoWelcome)?;
        Ok(Greeted { client, frames, incoming, welcome, first })
    }

    /// Reads and writes at a time, so that neither side can block the other for ever.
    async fn converse(&self, greeted: Greeted) -> Result<Infallible, LinkEnd> {
        let Greeted { client, frames, mut incoming, welcome, first } = greeted;
        let wake = Arc::new(Notify::new());
        let desk = &self.worker.desk;
        let link = desk.connect(welcome.replica, client, Arc::clone(&wake)).ok_or(LinkEnd::Duplicate)?;
        let _presence = Presence { worker: &self.worker, link };
        tracing::info!(queue = %self.address, replica = %welcome.replica, name = welcome.name, "linked to the queue");
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
            tracing::info!(queue = %self.address, "the queue replica is leaving");
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
