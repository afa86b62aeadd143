//! What is said to the conductor, and the shapes of what it is told. Not responsible for what it does about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mailtier_api::overview::Overview;
use mailtier_api::peer::Hint;
use mailtier_api::work::{QueueFrame, WorkerFrame};
use mailtier_schedule::{Answer, Entry, PoolId, Rules, Suspended, View};
use mailtier_store::{Loaded, TakenShard};
use mailtier_types::{
    Day, DeliveryId, Mailbox, MessageId, Outcome, ReplicaId, ReversePath, RouteHost, ShardId, Timestamp, WorkerId,
};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::allowance::Taken;
use crate::load::Walk;
use crate::settle::Disposition;

/// A delivery that was just committed here.
#[derive(Debug, Clone)]
pub(crate) struct Committed {
    /// For the schedule.
    pub(crate) entry: Entry,
    /// Its sender wants it kept until then.
    pub(crate) hold_until: Option<Timestamp>,
    /// What limits apply to.
    pub(crate) destination: String,
    /// The reverse-path.
    pub(crate) sender: ReversePath,
    /// For the first attempt; absent where it must be read from the database.
    pub(crate) content: Option<Arc<Content>>,
    /// Its share of what may wait, given back when the conductor has taken it in.
    pub(crate) room: Option<Arc<OwnedSemaphorePermit>>,
}

/// A delivery another replica tells of.
pub(crate) type Hinted = Hint;

/// Everything a dispatch needs besides the schedule.
#[derive(Debug)]
pub(crate) struct Content {
    /// Of which message.
    pub(crate) message: MessageId,
    /// How many deliveries the message became.
    pub(crate) fanout: u16,
    /// The reverse-path.
    pub(crate) sender: ReversePath,
    /// Still to be delivered.
    pub(crate) recipients: Vec<Mailbox>,
    /// Encoded.
    pub(crate) options: Bytes,
    /// Of the reception.
    pub(crate) traceparent: Option<String>,
    /// For the delays in log lines.
    pub(crate) received_at: Timestamp,
    /// Somebody wants to hear of its delivery.
    pub(crate) reports_success: bool,
    /// All stored chunks, where they are small enough to travel along.
    pub(crate) body: Option<Vec<Bytes>>,
    /// Where an operator sends it; none: its own way.
    pub(crate) hosts: Vec<RouteHost>,
    /// A route has held it before.
    pub(crate) was_held: bool,
    /// How the attempt before left, and what came of it, where that is known.
    pub(crate) last: Option<Box<Outcome>>,
}

/// A delivery to be read from the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Which.
    pub(crate) id: DeliveryId,
    /// It is handed out next; else only the schedule is to be corrected.
    pub(crate) for_dispatch: bool,
}

/// A delivery as it was read from the database.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// As it was asked for.
    pub(crate) wanted: Wanted,
    /// Absent when it is over.
    pub(crate) row: Option<FetchedRow>,
}

/// What is stored of a delivery.
#[derive(Debug)]
pub(crate) struct FetchedRow {
    /// For the schedule.
    pub(crate) entry: Entry,
    /// It is held.
    pub(crate) is_held: bool,
    /// Absent where it was wanted for its dispatch: then the schedule knows.
    pub(crate) place: Option<Place>,
    /// Absent where it was not wanted for its dispatch.
    pub(crate) content: Option<Arc<Content>>,
}

/// Where a delivery belongs in a schedule that does not have it.
#[derive(Debug)]
pub(crate) struct Place {
    /// What limits apply to.
    pub(crate) destination: String,
    /// Where an operator sends it; none: its own way.
    pub(crate) hosts: Vec<String>,
    /// The domain of its sender; empty for the null one.
    pub(crate) sender_domain: String,
    /// Its sender was told that it is late.
    pub(crate) is_told: bool,
}

/// The way to one worker; the conductor never waits for it, and credit bounds what is in it.
pub(crate) type Outbox = mpsc::UnboundedSender<QueueFrame>;

/// What may change while there are deliveries.
#[derive(Debug)]
pub(crate) struct Renewed {
    /// The operator's limits; egress pools stay as they are but for these.
    pub(crate) rules: Rules,
    /// When senders are told that a delivery is late.
    pub(crate) delay_warning: Duration,
}

/// What the conductor can be told.
#[derive(Debug)]
pub(crate) enum Command {
    /// Deliveries were committed here, whoever owns them.
    Accepted(Vec<Committed>),
    /// Deliveries were committed elsewhere, or changed by an operator, wherever.
    Hinted(Vec<Hinted>),
    /// Other limits hold from now on.
    Renewed(Box<Renewed>),
    /// Shards became ours.
    ShardsGained(Vec<TakenShard>),
    /// Shards are no longer ours.
    ShardsLost {
        /// Which.
        shards: Vec<ShardId>,
        /// Dropped when nothing of them is dispatched any more.
        forgotten: oneshot::Sender<()>,
    },
    /// Rows of the table of deliveries, and what follows them.
    Loaded {
        /// The rows.
        rows: Vec<Loaded>,
        /// Dropped when they have been taken in.
        taken: oneshot::Sender<()>,
    },
    /// A walk over the table is over.
    Walked(Walk),
    /// What was asked for has been read.
    Fetched(Vec<Fetched>),
    /// What was asked for could not be read.
    FetchFailed(Vec<Wanted>),
    /// A worker has connected.
    WorkerConnected {
        /// Which.
        worker: WorkerId,
        /// For logs.
        name: String,
        /// The egress pools it serves.
        pools: Vec<String>,
        /// The way to it.
        outbox: Outbox,
        /// Tells this connection from a later one of the same worker.
        connection: u64,
    },
    /// A worker's connection is gone.
    WorkerLost {
        /// Which.
        worker: WorkerId,
        /// Which connection.
        connection: u64,
    },
    /// A worker speaks.
    Worker {
        /// Which.
        worker: WorkerId,
        /// Over which connection.
        connection: u64,
        /// What it says.
        frame: WorkerFrame,
    },
    /// A settlement is durable.
    Settled(Vec<Disposition>),
    /// This, and nothing else, is suspended.
    Suspended(Suspended),
    /// What was asked for of a pool's day has come, or could not be had.
    AllowanceTaken {
        /// Of which pool.
        pool: PoolId,
        /// Of which day.
        day: Day,
        /// What.
        taken: Option<Taken>,
    },
    /// What was given back of a day is back.
    AllowanceReturned,
    /// These replicas live and keep to limits together, as was asked for at a time.
    Met {
        /// Who.
        view: View,
        /// When.
        asked_at: Instant,
    },
    /// What became of a report to a lessor.
    Leased {
        /// Which.
        lessor: ReplicaId,
        /// Of the report.
        sequence: u64,
        /// What.
        answer: Answer,
    },
    /// The database was out of reach: everything is to be looked for again.
    Reconcile,
    /// An operator asks how this replica stands.
    Overview(oneshot::Sender<Overview>),
    /// Dispatch nothing more; answer when nothing is in flight, with those shards of which workers may have something
    /// that is not known here.
    Drain(oneshot::Sender<Vec<ShardId>>),
}

/// Speaks with the conductor.
#[derive(Debug, Clone)]
pub(crate) struct Conductor {
    commands: mpsc::UnboundedSender<Command>,
}

impl Conductor {
    /// With the other end.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Command>) {
        let (commands, receiver) = mpsc::unbounded_channel();
        (Self { commands }, receiver)
    }

    /// Says something. The channel is bounded by what its senders hold: the budget of submissions, the credit of workers,
    /// one page of the loader, the calls of operators and peers that may be under way.
    pub(crate) fn send(&self, command: Command) {
        let _ = self.commands.send(command);
    }
}

/// Until when this replica may dispatch, by its own monotonic clock. The keeper of shards moves it with each renewal;
/// the conductor looks at it before each dispatch, so a process that was paused past its lease wakes up harmless.
#[derive(Debug, Clone)]
pub(crate) struct Fence {
    origin: Instant,
    until_ms: Arc<AtomicU64>,
}

impl Fence {
    /// Closed.
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now(), until_ms: Arc::default() }
    }

    /// Open until then.
    pub(crate) fn extend(&self, until: Instant) {
        let until = until.saturating_duration_since(self.origin).as_millis();
        self.until_ms.store(u64::try_from(until).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// Whether dispatching is allowed now.
    pub(crate) fn is_open(&self) -> bool {
        let now = Instant::now().saturating_duration_since(self.origin);
        now < Duration::from_millis(self.until_ms.load(Ordering::Acquire))
    }
}
