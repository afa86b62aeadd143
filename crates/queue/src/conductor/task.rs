//! The conductor's loop: takes in what it is told, looks at its timers, hands out what can be handed out. Not responsible
//! for the parts it moves: each has a file of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mailtier_api::peer::{Hint, News};
use mailtier_api::work::Inquire;
use mailtier_crashpoint::{Point, reach};
use mailtier_schedule::{
    Avoidance, Correction, Entry, Insert, Limits, PoolClass, Rules, Scheduler, Suspended, place_name,
};
use mailtier_store::{Loaded, TakenShard};
use mailtier_telemetry::Meters;
use mailtier_types::{DeliveryId, MessageId, ReplicaId, ReversePath, ShardId, Timestamp, WorkerId};
use tokio::sync::{mpsc, oneshot};

use super::cache::Cache;
use super::flights::Flights;
use super::gauges::Gauges;
use super::handle::{Command, Committed, Fence, Hinted, Renewed, Wanted};
use super::pools::{Fetching, PoolDesk, domain_of};
use super::shards::Shards;
use super::slices::SliceDesk;
use super::suspects::Suspects;
use super::workers::Workers;
use crate::allowance::Order;
use crate::clock;
use crate::feedback::Feedback;
use crate::leasing::Addressed;
use crate::load::{Purpose, Walk};
use crate::meanings::Meanings;
use crate::settle::Report;
use crate::stored::due;

/// Commands taken in between two rounds of dispatching.
const COMMANDS_PER_ROUND: usize = 256;
/// How often timers without a time of their own are looked at.
const TICK: Duration = Duration::from_millis(500);
/// How far back a catch-up looks: ids are made before they are committed, in no order.
const CATCH_UP_REACH: Duration = Duration::from_secs(45);
/// Between two walks that fill up what had no room.
const REFILL_PAUSE: Duration = Duration::from_secs(1);

/// What the conductor is set to.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// This replica.
    pub(crate) me: ReplicaId,
    /// How long its membership lasts unless it is renewed.
    pub(crate) lease: Duration,
    /// Of the schedule.
    pub(crate) limits: Limits,
    /// The operator's limits.
    pub(crate) rules: Rules,
    /// What outcomes mean.
    pub(crate) meanings: Arc<Meanings>,
    /// By which waiting makes up for one step of priority.
    pub(crate) priority_step: Duration,
    /// When senders are told that a delivery is late.
    pub(crate) delay_warning: Duration,
    /// How long a worker may be gone.
    pub(crate) worker_grace: Duration,
    /// Of contents kept for their first attempt.
    pub(crate) cache_bytes: usize,
    /// Of bodies that travel with their delivery.
    pub(crate) inline_bytes: u64,
    /// Between looks for what no hint told of.
    pub(crate) catch_up_every: Duration,
    /// Between walks over everything.
    pub(crate) reconcile_every: Duration,
    /// A delivery that so many workers were lost with is quarantined; 0: none is.
    pub(crate) quarantine_after: u16,
    /// With which reverse-path deliveries go out.
    pub(crate) feedback: Arc<Feedback>,
}

/// The task.
#[derive(Debug)]
pub(crate) struct ConductorTask {
    pub(super) settings: Settings,
    pub(super) scheduler: Scheduler,
    pub(super) shards: Shards,
    pub(super) workers: Workers,
    pub(super) flights: Flights,
    pub(super) suspects: Suspects,
    pub(super) cache: Cache,
    /// Being read for their dispatch.
    pub(super) fetching: Fetching,
    pub(super) pools: PoolDesk,
    /// Which of our addresses are blocked where.
    pub(super) avoidance: Avoidance,
    pub(super) slices: SliceDesk,
    pub(super) gauges: Gauges,
    /// Reports the settler has not answered.
    pub(super) settling: usize,
    pub(super) fence: Fence,
    pub(super) settler: mpsc::UnboundedSender<Report>,
    pub(super) fetcher: mpsc::UnboundedSender<Vec<Wanted>>,
    pub(super) purser: mpsc::UnboundedSender<Order>,
    pub(super) courier: mpsc::UnboundedSender<Addressed>,
    loader: mpsc::UnboundedSender<Walk>,
    hints: mpsc::Sender<Vec<Hint>>,
    pub(super) meters: Arc<Meters>,
    /// From then on every worker that lives is connected, or has been lost for longer than it is waited for.
    pub(super) workers_known_from: Instant,
    /// Walks that are under way or wait for their turn.
    walking: Vec<Purpose>,
    next_catch_up: Instant,
    next_reconcile: Instant,
    next_refill: Instant,
    next_tick: Instant,
    pub(super) draining: Option<oneshot::Sender<Vec<ShardId>>>,
    pub(super) has_drained: bool,
}

/// Where the conductor sends what it does not do itself.
#[derive(Debug)]
pub(crate) struct Outlets {
    /// Results.
    pub(crate) settler: mpsc::UnboundedSender<Report>,
    /// Deliveries to be read.
    pub(crate) fetcher: mpsc::UnboundedSender<Vec<Wanted>>,
    /// What is wanted of the days of warm-ups.
    pub(crate) purser: mpsc::UnboundedSender<Order>,
    /// What lessors are told.
    pub(crate) courier: mpsc::UnboundedSender<Addressed>,
    /// Walks over the table.
    pub(crate) loader: mpsc::UnboundedSender<Walk>,
    /// Deliveries of others.
    pub(crate) hints: mpsc::Sender<Vec<Hint>>,
}

impl ConductorTask {
    pub(crate) fn new(settings: Settings, fence: Fence, outlets: Outlets, meters: Arc<Meters>) -> Self {
        let now = Instant::now();
        Self {
            scheduler: Scheduler::new(settings.limits, settings.rules.clone())
                .with_priority_step(settings.priority_step),
            shards: Shards::default(),
            workers: Workers::new(settings.rules.pools.iter().count()),
            flights: Flights::default(),
            suspects: Suspects::new(settings.quarantine_after),
            cache: Cache::new(settings.cache_bytes),
            fetching: Fetching::default(),
            pools: PoolDesk::new(settings.rules.pools.iter().map(|(_, pool)| pool.name.clone()), now),
            avoidance: Avoidance::default(),
            slices: SliceDesk::new(settings.me, settings.lease),
            gauges: Gauges::new(&settings.rules, now),
            settling: 0,
            fence,
            settler: outlets.settler,
            fetcher: outlets.fetcher,
            purser: outlets.purser,
            courier: outlets.courier,
            loader: outlets.loader,
            hints: outlets.hints,
            meters,
            workers_known_from: now + settings.worker_grace,
            walking: Vec::new(),
            next_catch_up: now + settings.catch_up_every,
            next_reconcile: now + settings.reconcile_every,
            next_refill: now,
            next_tick: now,
            draining: None,
            has_drained: false,
            settings,
        }
    }

    /// Runs until nobody can tell it anything any more.
    pub(crate) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut taken = Vec::with_capacity(COMMANDS_PER_ROUND);
        loop {
            let wake = tokio::time::Instant::from_std(self.next_wake());
            tokio::select! {
                count = commands.recv_many(&mut taken, COMMANDS_PER_ROUND) => {
                    if count == 0 {
                        return;
                    }
                }
                () = tokio::time::sleep_until(wake) => {}
            }
            for command in taken.drain(..) {
                self.handle(command);
            }
            let now = Instant::now();
            if now >= self.next_tick {
                self.next_tick = now + TICK;
                self.tick(now);
            }
            // Before anything is dispatched: what was leased may be over.
            self.report_to_lessors(now);
            self.dispatch_all();
            self.workers.flush();
            self.answer_drain();
        }
    }

    /// The next tick, or the next delivery's time when that comes first and something can be done about it.
    fn next_wake(&self) -> Instant {
        let now = Instant::now();
        let can_act = self.may_dispatch() && self.may_give_up();
        let due = can_act.then(|| self.scheduler.next_due()).flatten();
        let due = due.map(|due| now + due.since(clock::now()));
        let times = due.into_iter().chain(self.next_report(now));
        times.fold(self.next_tick, Instant::min)
    }

    pub(super) fn handle(&mut self, command: Command) {
        match command {
            Command::Accepted(committed) => self.accepted(committed),
            Command::Hinted(hints) => self.hinted(hints),
            Command::Renewed(renewed) => self.renew(*renewed),
            Command::ShardsGained(gained) => self.gained(&gained),
            Command::ShardsLost { shards, forgotten } => {
                self.lost(&shards);
                drop(forgotten);
            }
            Command::Loaded { rows, taken } => {
                self.loaded(&rows);
                drop(taken);
            }
            Command::Walked(walk) => self.walking.retain(|purpose| *purpose != walk.purpose),
            Command::Fetched(fetched) => self.fetched(fetched),
            Command::FetchFailed(wanted) => self.fetch_failed(wanted),
            Command::WorkerConnected { worker, name, pools, outbox, connection } => {
                tracing::info!(%worker, name, ?pools, "worker connected");
                let pools = self.known_pools(&name, &pools);
                if self.workers.connect(worker, name, &pools, outbox, connection) {
                    self.welcome(worker);
                }
            }
            Command::WorkerLost { worker, connection } => self.worker_lost(worker, connection),
            Command::Worker { worker, connection, frame } => self.heard(worker, connection, frame),
            Command::Settled(dispositions) => self.settled(dispositions),
            Command::Suspended(suspended) => self.suspend(suspended),
            Command::AllowanceTaken { pool, day, taken } => self.allowance_taken(pool, day, taken),
            Command::AllowanceReturned => self.allowance_returned(),
            Command::Met { view, asked_at } => self.met(view, asked_at),
            Command::Leased { lessor, sequence, answer } => self.leased(lessor, sequence, answer),
            Command::Reconcile => self.next_reconcile = Instant::now(),
            Command::Overview(answer) => {
                // Who has asked may have gone.
                let _ = answer.send(self.overview());
            }
            Command::Drain(answer) => {
                self.workers.announce_drain();
                self.return_allowances();
                self.draining = Some(answer);
            }
        }
    }

    /// A worker has a connection, or another one: it is asked what it holds.
    pub(super) fn welcome(&mut self, worker: WorkerId) {
        self.shards.worker_connected(worker);
        self.workers.inquire(worker, Inquire { shards: self.shards.epochs() });
    }

    fn renew(&mut self, renewed: Renewed) {
        self.settings.rules = self.settings.rules.renewed(renewed.rules);
        self.settings.delay_warning = renewed.delay_warning;
        self.scheduler.set_rules(self.settings.rules.clone(), clock::now());
        self.renew_gauges(Instant::now());
    }

    fn suspend(&mut self, suspended: Suspended) {
        let (destinations, providers) = (suspended.destinations.len(), suspended.providers.len());
        tracing::info!(
            destinations,
            providers,
            tenants = suspended.tenants.len(),
            pools = suspended.pools.len(),
            "suspensions changed"
        );
        self.scheduler.set_suspended(suspended);
    }

    fn accepted(&mut self, committed: Vec<Committed>) {
        let now = clock::now();
        let mut others = Vec::new();
        for Committed { mut entry, hold_until, destination, sender, content, room: _ } in committed {
            entry.due = due(entry.id, hold_until, now);
            entry.warn_at = self.warning(entry.due, entry.warn_at);
            let is_held = entry.due > now;
            if !self.shards.is_owned(entry.shard) {
                // A hint says "now": what is held is found by its owner in the table, with its time.
                if is_held {
                    continue;
                }
                others.push(Hint {
                    delivery: entry.id,
                    destination,
                    tenant: entry.tenant,
                    priority: entry.priority,
                    expires_at: entry.expires_at,
                    sender: Some(sender),
                    news: News::Accepted,
                });
                continue;
            }
            if self.schedule((&destination, &[]), domain_of(&sender), entry, now) == Some(Insert::Scheduled)
                && let Some(content) = content.filter(|_| !is_held)
            {
                self.keep(entry, content);
            }
            reach(Point::Scheduled);
        }
        if !others.is_empty() {
            // A hint that finds no room is lost: its owner finds the delivery at its next look.
            let _ = self.hints.try_send(others);
        }
    }

    /// Of what is not known a hint says that it is there; of what is known, that an operator has changed it. Then the
    /// table tells, of one in flight, too: what was read of it may be older than the change.
    fn hinted(&mut self, hints: Vec<Hinted>) {
        let now = clock::now();
        let mut wanted = Vec::new();
        for hint in hints {
            if hint.news == News::Answers {
                self.scheduler.revive(&hint.destination, now);
                continue;
            }
            self.distrust(hint.delivery);
            let is_known = self.scheduler.is_known(hint.delivery);
            if hint.sender.is_none() && self.settings.rules.pools.ask_for_senders() {
                // Of an earlier version, which does not say whose it is: the next look at the table tells.
                if is_known {
                    wanted.push(Wanted { id: hint.delivery, for_dispatch: false });
                }
                continue;
            }
            if hint.news == News::Withdrawn && !is_known {
                continue;
            }
            if hint.news != News::Accepted {
                wanted.push(Wanted { id: hint.delivery, for_dispatch: false });
                continue;
            }
            let entry = Entry {
                id: hint.delivery,
                shard: ShardId::of(&hint.destination),
                tenant: hint.tenant,
                class: PoolClass::default(),
                priority: hint.priority,
                attempts: 0,
                due: now,
                expires_at: hint.expires_at,
                warn_at: self.warning(hint.delivery.made_at(), None),
            };
            let sender = hint.sender.as_ref().map_or("", domain_of);
            if self.schedule((&hint.destination, &[]), sender, entry, now) == Some(Insert::Known) {
                wanted.push(Wanted { id: hint.delivery, for_dispatch: false });
            }
        }
        self.want(wanted);
    }

    /// What is in memory of a delivery may be older than an operator's change: nothing is dispatched of it.
    pub(super) fn distrust(&mut self, id: DeliveryId) {
        self.cache.drop(id);
        if let Some(flight) = self.flights.get_mut(id) {
            flight.content = None;
        }
    }

    /// Takes rows of the table in. One that was settled since it was read does no harm: a dispatch that is not from the
    /// cache reads the row again, and finds it gone.
    fn loaded(&mut self, rows: &[Loaded]) {
        let now = clock::now();
        let mut wanted = Vec::new();
        for row in rows {
            if row.is_held {
                // The hint that told of it was lost. It may have been released since this was read.
                if self.scheduler.is_known(row.id) {
                    self.distrust(row.id);
                    wanted.push(Wanted { id: row.id, for_dispatch: false });
                }
                continue;
            }
            let entry = Entry {
                id: row.id,
                shard: row.shard,
                tenant: row.tenant,
                class: PoolClass::default(),
                priority: row.priority,
                attempts: row.attempts,
                due: due(row.id, row.next_attempt_at, now),
                expires_at: row.expires_at,
                warn_at: row.told_at.is_none().then(|| self.warning(row.id.made_at(), None)).flatten(),
            };
            let sender = ReversePath::parse(&row.sender).unwrap_or(ReversePath::Null);
            self.leave_other_way(row.id, &row.hosts);
            if self.schedule((&row.destination, &row.hosts), domain_of(&sender), entry, now) == Some(Insert::Known) {
                // Of one that waits for the same attempt it may have been hastened, and the hint that told of it lost.
                let known = self.scheduler.entry(row.id);
                let is_hastened = |known: &Entry| known.attempts == row.attempts && entry.due < known.due;
                let due = known.is_some_and(|known| is_hastened(&known)).then_some(entry.due);
                let correction = Correction { attempts: row.attempts, due, expires_at: row.expires_at };
                self.scheduler.correct(row.id, correction, now);
            }
            if !row.last_outcome.is_empty() {
                self.scheduler.recall(row.id, || exchanger(&row.last_outcome));
            }
        }
        self.want(wanted);
        reach(Point::PageLoaded);
    }

    /// When a sender is told that a delivery is late: earlier than usual where he asked for that. What else he asked for is
    /// looked at when it is time.
    pub(super) fn warning(&self, from: Timestamp, asked: Option<Timestamp>) -> Option<Timestamp> {
        let usual = from.after(self.settings.delay_warning);
        Some(asked.map_or(usual, |asked| asked.min(usual)))
    }

    /// An operator has sent a delivery another way since it was put into the schedule: it leaves, unless it is under way.
    pub(super) fn leave_other_way(&mut self, id: DeliveryId, hosts: &[String]) {
        if self.scheduler.goes_elsewhere(id, hosts) && !self.scheduler.in_flight(id) {
            self.scheduler.finish(id);
        }
    }

    /// Puts a delivery into the schedule, or into flight where a worker has it already: that counts from before its shard
    /// is dispatched from. What nobody has is left alone while its shard is being taken over: it is in the table, and read
    /// when that is done.
    pub(super) fn schedule(
        &mut self,
        (destination, hosts): (&str, &[String]),
        sender_domain: &str,
        entry: Entry,
        now: Timestamp,
    ) -> Option<Insert> {
        let flies = self.flights.get(entry.id).is_some();
        if !(self.shards.active(entry.shard).is_some() || flies && self.shards.is_owned(entry.shard)) {
            return None;
        }
        let entry = Entry { class: self.scheduler.class_of(entry.tenant, sender_domain, destination), ..entry };
        let destination = &*place_name(destination, hosts);
        if let Some(flight) = self.flights.get_mut(entry.id) {
            flight.shard = Some(entry.shard);
            if !self.scheduler.is_known(entry.id) {
                self.scheduler.mark_in_flight(destination, entry);
            }
            return Some(Insert::Known);
        }
        Some(self.scheduler.insert(destination, entry, now))
    }

    fn gained(&mut self, gained: &[TakenShard]) {
        let (now, wall) = (Instant::now(), clock::now());
        let not_before = self.workers_known_from;
        let deadline = (now + self.settings.worker_grace).max(not_before);
        let mut asked = Vec::new();
        let mut clean = Vec::new();
        for gain in gained {
            // What is left of an earlier ownership is stale; the table tells.
            self.scheduler.gain_shard(gain.shard, gain.epoch, wall);
            self.shards.gain(*gain, self.workers.ids(), not_before, deadline);
            if gain.clean {
                clean.push(gain.shard);
            } else {
                asked.push((gain.shard, gain.epoch));
            }
        }
        let epochs: Vec<_> = gained.iter().map(|gain| (gain.shard, gain.epoch)).collect();
        let workers: Vec<_> = self.workers.ids().collect();
        for worker in workers {
            self.workers.inquire(worker, Inquire { shards: epochs.clone() });
        }
        reach(Point::WorkersAsked);
        tracing::info!(clean = clean.len(), taken_over = asked.len(), owned = self.shards.len(), "shards gained");
        self.walk(Purpose::Takeover, clean, 0);
    }

    fn lost(&mut self, lost: &[ShardId]) {
        let now = clock::now();
        // By then their next owner knows what workers have of them.
        let until = now.after(self.settings.worker_grace);
        for shard in lost {
            if self.shards.lose(*shard) {
                self.scheduler.give_up_shard(*shard, until, now);
                self.flights.drop_shard(*shard);
            }
        }
        self.suspects.retain(|id| self.scheduler.is_known(id));
        tracing::info!(lost = lost.len(), owned = self.shards.len(), "shards lost");
    }

    fn walk(&mut self, purpose: Purpose, shards: Vec<ShardId>, after: i64) {
        if !shards.is_empty() {
            self.walking.push(purpose);
            let _ = self.loader.send(Walk { purpose, shards, after });
        }
    }

    fn tick(&mut self, now: Instant) {
        let wall = clock::now();
        for (id, worker) in self.flights.lost(now) {
            self.lost_with_worker(id, worker, wall);
        }
        self.end_takeovers(now);
        if now >= self.next_catch_up && !self.walking.contains(&Purpose::CatchUp) {
            self.next_catch_up = now + self.settings.catch_up_every;
            let reach = self.settings.catch_up_every + CATCH_UP_REACH;
            self.walk(Purpose::CatchUp, self.shards.all_active(), MessageId::first_at(wall.before(reach)) - 1);
        }
        if now >= self.next_reconcile && !self.walking.contains(&Purpose::Reconcile) {
            self.next_reconcile = now + self.settings.reconcile_every;
            self.walk(Purpose::Reconcile, self.shards.all_active(), 0);
        }
        if now >= self.next_refill && !self.walking.contains(&Purpose::Refill) {
            self.refill(wall);
            self.next_refill = now + REFILL_PAUSE;
        }
        if !self.avoidance.is_empty() {
            self.avoidance.forget_over(wall);
        }
        self.look_after_pools(now);
        self.look_after_lessors();
        self.gauge(now);
    }

    /// Those shards of which everything is known are read.
    pub(super) fn end_takeovers(&mut self, now: Instant) {
        let flights = &self.flights;
        let taken_over = self.shards.taken_over(now, || flights.unread());
        if !taken_over.is_empty() {
            tracing::info!(shards = taken_over.len(), "takeover complete");
            reach(Point::TakenOver);
            self.walk(Purpose::Takeover, taken_over, 0);
        }
    }

    /// Reads again what had no room, once there is some.
    fn refill(&mut self, wall: Timestamp) {
        let shards: Vec<ShardId> = self.scheduler.reloadable_shards(wall).collect();
        for shard in &shards {
            self.scheduler.clear_spilled(*shard);
        }
        self.walk(Purpose::Refill, shards, 0);
    }
}

/// Whom the attempt with this outcome, as it is stored, was made at, and when.
fn exchanger(outcome: &[u8]) -> Option<(String, Timestamp)> {
    let outcome = mailtier_api::decode_outcome(outcome).ok()?;
    Some((outcome.remote?.name, outcome.at))
}
