//! The conductor as a whole, told what happens and looked at: what is hard to time between real programs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mailtier_api::work::{Dispatch, Holding, InFlight, QueueFrame, WorkResult, WorkerFrame};
use mailtier_schedule::{Classification, Entry, Limits, PoolClass, Rules};
use mailtier_store::TakenShard;
use mailtier_telemetry::Meters;
use mailtier_types::{
    Cause, DeliveryId, Epoch, Mailbox, MessageId, Outcome, ReplicaId, Reply, ReversePath, ShardId, Stage, TenantId,
    Timestamp, WorkerId,
};
use tokio::sync::{mpsc, oneshot};

use super::handle::{Command, Committed, Content, Fence, Fetched, FetchedRow, Place, Wanted};
use super::{ConductorTask, Outlets, Settings};
use crate::clock;
use crate::meanings::Meanings;
use crate::settle::{After, Disposition, Report, What};

const DESTINATION: &str = "b.example";
const NOTHING: [i64; 0] = [];
const GRACE: Duration = Duration::from_secs(3600);

/// A conductor, and what it says to the others.
struct Bench {
    task: ConductorTask,
    settler: mpsc::UnboundedReceiver<Report>,
    fetcher: mpsc::UnboundedReceiver<Vec<Wanted>>,
}

/// A worker's end of a connection.
struct Connection {
    worker: WorkerId,
    number: u64,
    frames: mpsc::UnboundedReceiver<QueueFrame>,
}

fn shard() -> ShardId {
    ShardId::of(DESTINATION)
}

fn id(number: i64) -> DeliveryId {
    DeliveryId::from_i64(number).unwrap()
}

impl Bench {
    /// With one attempt at a time for a destination.
    fn new() -> Self {
        let (settler, reports) = mpsc::unbounded_channel();
        let (fetcher, wanted) = mpsc::unbounded_channel();
        let outlets = Outlets {
            settler,
            fetcher,
            purser: mpsc::unbounded_channel().0,
            courier: mpsc::unbounded_channel().0,
            loader: mpsc::unbounded_channel().0,
            hints: mpsc::channel(1).0,
        };
        let settings = Settings {
            me: ReplicaId::random(),
            lease: GRACE,
            limits: Limits { max_entries: 100, max_entries_per_destination: 100 },
            rules: Rules::plain(1),
            priority_step: GRACE,
            delay_warning: GRACE,
            worker_grace: GRACE,
            cache_bytes: 1 << 20,
            inline_bytes: 1 << 20,
            meanings: Meanings::fixed(Classification::new(Some("builtin = false")).unwrap()),
            catch_up_every: GRACE,
            reconcile_every: GRACE,
            quarantine_after: 2,
            feedback: Arc::default(),
        };
        let fence = Fence::new();
        fence.extend(Instant::now() + GRACE);
        let mut task = ConductorTask::new(
            settings,
            fence,
            outlets,
            Arc::new(Meters::new(&*opentelemetry::global::meter_provider())),
        );
        task.workers_known_from = Instant::now();
        Self { task, settler: reports, fetcher: wanted }
    }

    /// With a delivery, number 1, in the hands of a worker.
    fn attempting() -> (Self, Connection) {
        let mut bench = Self::new();
        bench.gains(1, true);
        let mut worker = bench.connects(WorkerId::random(), 1);
        bench.hears_credit(&worker);
        bench.accepts(1);
        assert_eq!(worker.dispatched(), [1]);
        (bench, worker)
    }

    /// What can be dispatched is.
    fn goes_round(&mut self) {
        self.task.dispatch_all();
        self.task.workers.flush();
    }

    /// Workers that are gone do not come back in time.
    fn waits_in_vain(&mut self) {
        for (lost, worker) in self.task.flights.lost(Instant::now() + GRACE * 2) {
            self.task.lost_with_worker(lost, worker, clock::now());
        }
    }

    fn gains(&mut self, epoch: i64, clean: bool) {
        self.task.handle(Command::ShardsGained(vec![TakenShard { shard: shard(), epoch: Epoch(epoch), clean }]));
    }

    fn loses(&mut self) {
        let (forgotten, _) = oneshot::channel();
        self.task.handle(Command::ShardsLost { shards: vec![shard()], forgotten });
    }

    fn connects(&mut self, worker: WorkerId, number: u64) -> Connection {
        let (outbox, frames) = mpsc::unbounded_channel();
        let (name, pools) = (String::new(), vec!["default".to_owned()]);
        self.task.handle(Command::WorkerConnected { worker, name, pools, outbox, connection: number });
        Connection { worker, number, frames }
    }

    fn hears(&mut self, connection: &Connection, frame: WorkerFrame) {
        let Connection { worker, number, .. } = *connection;
        self.task.handle(Command::Worker { worker, connection: number, frame });
        self.goes_round();
    }

    fn hears_credit(&mut self, connection: &Connection) {
        self.hears(connection, WorkerFrame { credit: 10, ..WorkerFrame::default() });
    }

    fn hears_holding(&mut self, connection: &Connection, epoch: i64, numbers: &[i64]) {
        let held = |number: &i64| InFlight { delivery: id(*number), attempt: 1, shard: Some(shard()) };
        let in_flight = numbers.iter().map(held).collect();
        let holding = Some(Holding { shards: vec![(shard(), Epoch(epoch))], in_flight });
        self.hears(connection, WorkerFrame { holding, ..WorkerFrame::default() });
    }

    fn accepts(&mut self, number: i64) {
        let committed = Committed {
            entry: entry(number),
            hold_until: None,
            destination: DESTINATION.to_owned(),
            sender: ReversePath::Null,
            content: Some(Arc::new(content())),
            room: None,
        };
        self.task.handle(Command::Accepted(vec![committed]));
        self.goes_round();
    }

    /// Reports that were not settled, but for those of lateness: these deliveries are as old as time.
    fn reports(&mut self) -> usize {
        let reports = std::iter::from_fn(|| self.settler.try_recv().ok());
        reports.filter(|report| !matches!(report.what, What::Late)).count()
    }

    /// What was asked for is read.
    fn reads(&mut self) -> Vec<i64> {
        let mut read = Vec::new();
        while let Ok(wanted) = self.fetcher.try_recv() {
            read.extend(wanted.iter().map(|wanted| wanted.delivery_number()));
            let fetched = wanted.into_iter().map(|wanted| {
                let place = Place {
                    destination: DESTINATION.to_owned(),
                    hosts: Vec::new(),
                    sender_domain: String::new(),
                    is_told: false,
                };
                let row = FetchedRow {
                    entry: entry(wanted.delivery_number()),
                    is_held: false,
                    place: (!wanted.for_dispatch).then_some(place),
                    content: wanted.for_dispatch.then(|| Arc::new(content())),
                };
                Fetched { wanted, row: Some(row) }
            });
            self.task.handle(Command::Fetched(fetched.collect()));
        }
        self.goes_round();
        read
    }
}

impl Wanted {
    const fn delivery_number(&self) -> i64 {
        self.id.as_i64()
    }
}

impl Connection {
    /// What was dispatched over it, and the question it was asked, which may have come first.
    fn dispatched(&mut self) -> Vec<i64> {
        let frames = std::iter::from_fn(|| self.frames.try_recv().ok());
        frames.flat_map(|frame| frame.dispatches).map(|dispatch: Dispatch| dispatch.delivery.as_i64()).collect()
    }
}

fn entry(number: i64) -> Entry {
    Entry {
        id: id(number),
        shard: shard(),
        tenant: TenantId(0),
        class: PoolClass::default(),
        priority: 0,
        attempts: 0,
        due: Timestamp::EPOCH,
        expires_at: clock::now().after(GRACE),
        warn_at: None,
    }
}

fn content() -> Content {
    Content {
        message: MessageId::from_i64(1).unwrap(),
        fanout: 1,
        sender: ReversePath::Null,
        recipients: vec![Mailbox::parse("x@b.example").unwrap()],
        options: Bytes::new(),
        traceparent: None,
        received_at: Timestamp::EPOCH,
        reports_success: false,
        body: Some(vec![Bytes::from_static(b"x")]),
        hosts: Vec::new(),
        was_held: false,
        last: None,
    }
}

fn result(number: i64) -> WorkerFrame {
    let reply = Cause::Reply(Reply::received(250, None, "ok".into()));
    let result = WorkResult {
        delivery: id(number),
        shard: shard(),
        epoch: Epoch(1),
        attempt: 1,
        outcomes: vec![(content().recipients, Outcome::new(Stage::Final, reply, Timestamp::EPOCH))],
        not_attempted: false,
        exchanger: None,
        own_way: false,
    };
    WorkerFrame { results: vec![result], ..WorkerFrame::default() }
}

/// A worker that reaches this replica by two addresses finds that out when it is greeted over the second.
#[test]
fn a_second_connection_that_says_nothing_changes_nothing() {
    let mut bench = Bench::new();
    bench.gains(1, true);
    let mut first = bench.connects(WorkerId::random(), 1);
    bench.hears_credit(&first);
    let second = bench.connects(first.worker, 2);
    bench.accepts(1);
    assert_eq!(first.dispatched(), [1]);
    bench.task.handle(Command::WorkerLost { worker: second.worker, connection: 2 });
    bench.hears(&first, result(1));
    assert!(bench.task.workers.is_current(first.worker, 1));
}

/// It has come back before it was noticed that its first connection is dead.
#[test]
fn a_second_connection_that_speaks_is_the_workers_own() {
    let (mut bench, mut first) = Bench::attempting();
    let mut second = bench.connects(first.worker, 2);
    bench.hears_credit(&second);
    let asked = std::iter::from_fn(|| second.frames.try_recv().ok()).filter(|frame| frame.inquire.is_some()).count();
    assert_eq!(asked, 1, "it is asked what it holds");
    bench.hears_holding(&second, 1, &[1]);
    bench.hears(&second, result(1));
    bench.accepts(2);
    assert_eq!((first.dispatched(), second.dispatched()), (NOTHING.to_vec(), vec![2]));
    // The other way round: the first is found to be dead while the second has said nothing yet.
    let mut third = bench.connects(first.worker, 3);
    bench.task.handle(Command::WorkerLost { worker: first.worker, connection: 2 });
    assert!(bench.task.workers.is_current(first.worker, 3) && third.frames.try_recv().unwrap().inquire.is_some());
}

#[test]
fn what_workers_hold_of_a_shard_counts_before_it_is_dispatched_from() {
    let mut bench = Bench::new();
    let mut worker = bench.connects(WorkerId::random(), 1);
    bench.hears_holding(&worker, 0, &[]);
    bench.gains(4, false);
    bench.hears_credit(&worker);
    bench.hears_holding(&worker, 4, &[1]);
    assert_eq!(bench.task.shards.active(shard()), None, "it is not known what it holds");
    assert_eq!(bench.reads(), [1]);
    assert_eq!(bench.task.shards.active(shard()), Some(Epoch(4)));
    bench.accepts(2);
    assert_eq!(worker.dispatched(), NOTHING, "one at a time");
    bench.hears(&worker, result(1));
    assert_eq!(worker.dispatched(), [2]);
}

/// It was away for longer than is waited for, and its delivery is being read for another.
#[test]
fn what_a_worker_has_after_all_is_not_given_to_another() {
    for reports in [false, true] {
        let (mut bench, first) = Bench::attempting();
        bench.task.handle(Command::WorkerLost { worker: first.worker, connection: 1 });
        bench.waits_in_vain();
        let mut second = bench.connects(WorkerId::random(), 2);
        bench.hears_credit(&second);
        let back = bench.connects(first.worker, 3);
        match reports {
            true => bench.hears(&back, result(1)),
            false => bench.hears_holding(&back, 1, &[1]),
        }
        assert_eq!(bench.reads(), [1]);
        assert_eq!(second.dispatched(), NOTHING, "{reports}");
        assert_eq!(bench.reports(), usize::from(reports));
    }
}

/// Its owner between may have changed what was kept here.
#[test]
fn contents_from_before_another_owner_had_the_shard_are_read_again() {
    let mut bench = Bench::new();
    bench.gains(1, true);
    bench.accepts(1);
    bench.loses();
    bench.gains(3, true);
    let mut worker = bench.connects(WorkerId::random(), 1);
    bench.hears_credit(&worker);
    bench.task.schedule((DESTINATION, &[]), "", entry(1), clock::now());
    bench.goes_round();
    assert_eq!(worker.dispatched(), NOTHING);
    assert_eq!(bench.reads(), [1]);
    assert_eq!(worker.dispatched(), [1]);
}

#[test]
fn a_delivery_that_is_removed_while_it_is_attempted_keeps_its_place_under_the_limits() {
    let (mut bench, mut worker) = Bench::attempting();
    bench.accepts(2);
    let over = |worker| Disposition { delivery: id(1), attempt: 1, worker, after: After::Over, was_reported: false };
    bench.task.handle(Command::Settled(vec![over(None)]));
    bench.goes_round();
    assert_eq!(worker.dispatched(), NOTHING);
    bench.hears(&worker, result(1));
    assert_eq!(worker.dispatched(), [2]);
    bench.task.handle(Command::Settled(vec![over(Some(worker.worker))]));
    assert!(!bench.task.scheduler.is_known(id(1)));
}

#[test]
fn what_is_in_workers_hands_has_its_body_there_only() {
    let (bench, _worker) = Bench::attempting();
    let flight = bench.task.flights.get(id(1)).unwrap();
    assert!(flight.content.as_ref().unwrap().body.is_none());
}

/// Only what ends workers is to be found: one that is there, and does not have a delivery, was not ended by it.
#[test]
fn a_worker_that_comes_back_without_a_delivery_was_not_ended_by_it() {
    let (mut bench, Connection { worker, .. }) = Bench::attempting();
    for round in 1..=3_u64 {
        bench.task.handle(Command::WorkerLost { worker, connection: 2 * round - 1 });
        let mut back = bench.connects(worker, 2 * round + 1);
        bench.hears_credit(&back);
        bench.hears_holding(&back, 1, &[]);
        bench.waits_in_vain();
        bench.goes_round();
        assert_eq!(bench.reads(), [1]);
        assert_eq!(back.dispatched(), [1], "{round}");
    }
    assert_eq!(bench.reports(), 0, "nothing is quarantined");
}
