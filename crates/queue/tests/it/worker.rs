//! A worker, as outbound is one, that attempts nothing and reports what a test says.

use std::time::{Duration, SystemTime};

use mailtier_api::work::{
    Dispatch, Hello, Holding, InFlight, Inquire, PoolCredit, QueueFrame, Settled, WorkClient, WorkResult, WorkerFrame,
};
use mailtier_types::{Cause, Mailbox, Outcome, RemoteHost, Reply, Stage, Timestamp, WorkerId};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::system::{LIMIT, QUIET, Replica};

pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    frames: mpsc::Sender<WorkerFrame>,
    heard: mpsc::UnboundedReceiver<Heard>,
    reading: JoinHandle<()>,
    dispatches: Vec<Dispatch>,
    settled: Vec<Settled>,
    is_drained: bool,
}

enum Heard {
    Dispatches(Vec<Dispatch>),
    Settled(Vec<Settled>),
    Draining,
}

/// How a worker answers what it is asked.
#[derive(Clone, Default)]
pub(crate) struct Manner {
    /// What it says that it holds.
    pub(crate) holds: Vec<InFlight>,
    /// It does not answer at all.
    pub(crate) is_mute: bool,
}

impl Worker {
    /// One that is new and can take much.
    pub(crate) async fn connect(replica: &Replica) -> Self {
        let worker = Self::connect_as(WorkerId::random(), replica, Manner::default()).await;
        worker.grant(100).await;
        worker
    }

    /// One that is new and can take much of each of these egress pools.
    pub(crate) async fn serving(replica: &Replica, pools: &[&str]) -> Self {
        let names = pools.iter().map(|&name| name.to_owned()).collect();
        let worker = Self::connect_with(WorkerId::random(), replica, Manner::default(), names).await;
        let others = pools.iter().filter(|&&name| name != "default");
        let pool_credits = others.map(|&name| PoolCredit { pool: name.to_owned(), credit: 1000 }).collect();
        let credit = if pools.is_empty() || pools.contains(&"default") { 1000 } else { 0 };
        worker.say(WorkerFrame { credit, pool_credits, ..WorkerFrame::default() }).await;
        worker
    }

    pub(crate) async fn connect_as(id: WorkerId, replica: &Replica, manner: Manner) -> Self {
        Self::connect_with(id, replica, manner, vec!["default".into()]).await
    }

    async fn connect_with(id: WorkerId, replica: &Replica, manner: Manner, pools: Vec<String>) -> Self {
        let client = WorkClient::connect(&replica.url(), None).await.unwrap();
        let (frames, outgoing) = mpsc::channel(16);
        let hello = Hello { worker: id, name: "a test's".into(), pools };
        let mut incoming = client.session(hello, outgoing).await.unwrap();
        let first = incoming.next().await.unwrap().unwrap();
        assert!(first.welcome.is_some());
        let (told, heard) = mpsc::unbounded_channel();
        let answers = frames.clone();
        let reading = tokio::spawn(async move {
            take(first, &manner, &answers, &told).await;
            while let Some(Ok(frame)) = incoming.next().await {
                take(frame, &manner, &answers, &told).await;
            }
        });
        Self { id, frames, heard, reading, dispatches: Vec::new(), settled: Vec::new(), is_drained: false }
    }

    pub(crate) async fn grant(&self, credit: u32) {
        self.say(WorkerFrame { credit, ..WorkerFrame::default() }).await;
    }

    /// The next delivery.
    pub(crate) async fn dispatch(&mut self) -> Dispatch {
        while self.dispatches.is_empty() {
            assert!(self.hear(LIMIT).await, "nothing is dispatched");
        }
        self.dispatches.remove(0)
    }

    /// What is dispatched until nothing more is for a while.
    pub(crate) async fn until_quiet(&mut self) -> Vec<Dispatch> {
        while self.hear(QUIET).await {}
        std::mem::take(&mut self.dispatches)
    }

    /// Nothing is dispatched for a while.
    pub(crate) async fn is_left_alone(&mut self) {
        while self.hear(QUIET).await {}
        assert_eq!(self.dispatches, []);
    }

    /// Reports, and waits until that is durable.
    pub(crate) async fn report(&mut self, result: WorkResult) {
        let wanted = Settled { delivery: result.delivery, attempt: result.attempt };
        self.send(result).await;
        self.until_settled(wanted).await;
    }

    pub(crate) async fn send(&self, result: WorkResult) {
        self.say(WorkerFrame { results: vec![result], ..WorkerFrame::default() }).await;
    }

    pub(crate) async fn say(&self, frame: WorkerFrame) {
        self.frames.send(frame).await.unwrap();
    }

    pub(crate) async fn until_settled(&mut self, wanted: Settled) {
        while !self.settled.contains(&wanted) {
            assert!(self.hear(LIMIT).await, "never settled");
        }
        self.settled.retain(|settled| *settled != wanted);
    }

    /// Whether it was told that a result of a dispatch is durable, as far as it has been heard.
    pub(crate) fn was_confirmed(&self, dispatch: &Dispatch) -> bool {
        self.settled.contains(&Settled { delivery: dispatch.delivery, attempt: dispatch.attempt })
    }

    /// The replica says that it dispatches nothing more.
    pub(crate) async fn until_drained(&mut self) {
        while !self.is_drained {
            assert!(self.hear(LIMIT).await, "no drain");
        }
    }

    /// Its connection breaks.
    pub(crate) fn vanish(self) {
        self.reading.abort();
    }

    async fn hear(&mut self, limit: Duration) -> bool {
        match tokio::time::timeout(limit, self.heard.recv()).await {
            Ok(Some(Heard::Dispatches(dispatches))) => self.dispatches.extend(dispatches),
            Ok(Some(Heard::Settled(settled))) => self.settled.extend(settled),
            Ok(Some(Heard::Draining)) => self.is_drained = true,
            Ok(None) | Err(_) => return false,
        }
        true
    }
}

async fn take(
    frame: QueueFrame,
    manner: &Manner,
    answers: &mpsc::Sender<WorkerFrame>,
    told: &mpsc::UnboundedSender<Heard>,
) {
    let _ = told.send(Heard::Settled(frame.settled));
    if let Some(Inquire { shards }) = frame.inquire.filter(|_| !manner.is_mute) {
        let holding = Some(Holding { shards, in_flight: manner.holds.clone() });
        let _ = answers.send(WorkerFrame { holding, ..WorkerFrame::default() }).await;
    }
    if !frame.dispatches.is_empty() {
        let _ = told.send(Heard::Dispatches(frame.dispatches));
    }
    if frame.draining {
        let _ = told.send(Heard::Draining);
    }
}

pub(crate) fn in_flight(dispatch: &Dispatch) -> InFlight {
    InFlight { delivery: dispatch.delivery, attempt: dispatch.attempt, shard: Some(dispatch.shard) }
}

/// The same for all recipients of a dispatch.
pub(crate) fn all(dispatch: &Dispatch, code: u16) -> WorkResult {
    result(dispatch, vec![(dispatch.recipients.clone(), outcome(code))])
}

/// What this exchanger says to all recipients of a dispatch.
pub(crate) fn said_by(dispatch: &Dispatch, exchanger: &str, code: u16) -> WorkResult {
    let remote = Some(RemoteHost { name: exchanger.to_owned(), address: None });
    result(dispatch, vec![(dispatch.recipients.clone(), Outcome { remote, ..outcome(code) })])
}

/// For some recipients each.
pub(crate) fn result(dispatch: &Dispatch, outcomes: Vec<(Vec<Mailbox>, Outcome)>) -> WorkResult {
    let Dispatch { delivery, shard, epoch, attempt, .. } = *dispatch;
    WorkResult {
        delivery,
        shard,
        epoch,
        attempt,
        not_attempted: outcomes.is_empty(),
        outcomes,
        exchanger: None,
        own_way: false,
    }
}

pub(crate) fn outcome(code: u16) -> Outcome {
    Outcome::new(
        if code < 400 { Stage::Final } else { Stage::Rcpt },
        Cause::Reply(Reply::received(code, None, "said the other side".into())),
        Timestamp::from_system(SystemTime::now()),
    )
}
