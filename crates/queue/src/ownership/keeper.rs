//! The keeper of shards: renews, takes and gives up, one round every few seconds. The conductor is told of every change,
//! and stops by itself when a renewal does not come in time (see `Fence`). Each round also reads the operators' rules; the
//! fence is not opened before they are known.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mailtier_api::Credentials;
use mailtier_crashpoint::{Point, reach};
use mailtier_service::Health;
use mailtier_store::{Member, RuleAction, ShardOwner, Store, StoreError, TakenShard};
use mailtier_telemetry::Meters;
use mailtier_types::text::Chain;
use mailtier_types::{Epoch, ReplicaId, ShardId};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::rules::RuleBook;
use super::shares::{Change, change, is_member};
use crate::clock;
use crate::conductor::{Command, Conductor, Fence};
use crate::database::Connector;
use crate::ids::{Ids, NODE_LEASE, NODE_RENEWAL};
use crate::leasing::Leasing;
use crate::peers::{ShardMap, announce_free_shards};
use crate::suspensions::RulesChanged;

/// Every replica's weight, until they differ.
const WEIGHT: f32 = 1.0;
/// How often one that is no member looks at least: members do not know of it, and do not tell it when they leave.
const NEWCOMER_LOOKS_EVERY: Duration = Duration::from_millis(500);
/// After the lease of a shard has run out, so that the database agrees that it has.
const LEASE_MARGIN: Duration = Duration::from_millis(10);

/// How replicas tell each other of shards that are free.
#[derive(Debug)]
pub(crate) struct Peers {
    /// To show them.
    pub(crate) credentials: Credentials,
    /// Notified when one says so.
    pub(crate) shards_free: Arc<Notify>,
}

/// What the keeper needs.
#[derive(Debug)]
pub(crate) struct KeeperParts {
    /// This replica.
    pub(crate) me: ReplicaId,
    /// Where others reach it.
    pub(crate) address: String,
    /// How long ownership lasts.
    pub(crate) lease: Duration,
    /// How often it is renewed.
    pub(crate) renew_every: Duration,
    /// How long a drain may take.
    pub(crate) drain_timeout: Duration,
    /// How long a worker may be gone.
    pub(crate) worker_grace: Duration,
    /// The database.
    pub(crate) store: Store,
    /// Told of changes.
    pub(crate) conductor: Conductor,
    /// Moved with each renewal.
    pub(crate) fence: Fence,
    /// Given a node number.
    pub(crate) ids: Arc<Ids>,
    /// Told who owns what.
    pub(crate) map: watch::Sender<ShardMap>,
    /// Told of shards that are free, and says so.
    pub(crate) peers: Peers,
    /// Told who lives.
    pub(crate) leasing: Arc<Leasing>,
    /// Asks for the operators' rules to be read at once.
    pub(crate) rules_changed: mpsc::Receiver<RulesChanged>,
    /// Told whether the database is there.
    pub(crate) health: Health,
    /// When to give everything up.
    pub(crate) shutdown: CancellationToken,
    /// Metrics.
    pub(crate) meters: Arc<Meters>,
}

/// The loop.
#[derive(Debug)]
pub(crate) struct ShardKeeper {
    parts: KeeperParts,
    connector: Connector,
    held: HashMap<ShardId, Epoch>,
    node_leased_at: Option<Instant>,
    /// The conductor knows the workers that live by then.
    workers_known_from: Instant,
    /// Shards are shared with this replica, too.
    is_member: bool,
    members: usize,
    /// Where the others are reached.
    neighbours: Vec<String>,
    /// When the first lease of another runs out unless it is renewed.
    next_lapse: Option<Instant>,
    rules: RuleBook,
    /// The database was out of reach: what was committed meanwhile may be older than what is usually looked for.
    was_cut_off: bool,
}

impl ShardKeeper {
    pub(crate) fn new(parts: KeeperParts) -> Self {
        let connector = Connector::new(parts.store.clone(), Arc::clone(&parts.meters), "ownership");
        Self {
            workers_known_from: Instant::now() + parts.worker_grace,
            is_member: false,
            next_lapse: None,
            parts,
            connector,
            held: HashMap::new(),
            node_leased_at: None,
            members: 1,
            neighbours: Vec::new(),
            rules: RuleBook::default(),
            was_cut_off: false,
        }
    }

    /// Keeps shards until the shutdown, then drains and gives everything up.
    pub(crate) async fn run(mut self) {
        while !self.parts.shutdown.is_cancelled() {
            let began = Instant::now();
            match self.round().await {
                Ok(()) => {
                    self.connector.recovered();
                    if std::mem::take(&mut self.was_cut_off) {
                        self.parts.conductor.send(Command::Reconcile);
                    }
                    if !self.parts.shutdown.is_cancelled() {
                        self.parts.health.set_ready();
                    }
                }
                Err(error) => {
                    self.was_cut_off = true;
                    self.parts.health.set_not_ready("the database cannot be reached");
                    self.connector.trouble(&error).await;
                    continue;
                }
            }
            self.rest(self.next_round(began)).await;
        }
        self.leave().await;
    }

    /// When to look again after a round that began then. Who is gone has left its shards to the others at the moment when
    /// its lease runs out, not at their next renewal.
    fn next_round(&self, began: Instant) -> Instant {
        let renewal = began + self.parts.renew_every;
        let newcomer = (!self.is_member).then(|| self.workers_known_from.min(began + NEWCOMER_LOOKS_EVERY));
        [newcomer, self.next_lapse].into_iter().flatten().fold(renewal, Instant::min)
    }

    /// Until the next round. An operator who has changed the rules is not kept waiting for that, nor is the mail of shards
    /// that another has given up.
    async fn rest(&mut self, until: Instant) {
        loop {
            let changed = tokio::select! {
                () = tokio::time::sleep_until(until.into()) => return,
                () = self.parts.shutdown.cancelled() => return,
                () = self.parts.peers.shards_free.notified() => return,
                Some(changed) = self.parts.rules_changed.recv() => changed,
            };
            if self.read_rules().await.is_ok() {
                let _ = changed.send(());
            }
        }
    }

    /// Reads what operators have ordered, and tells the conductor what that changes. Where it cannot be read, what is
    /// known stays; an error only where nothing is known.
    async fn read_rules(&mut self) -> Result<(), StoreError> {
        let now = clock::now();
        let read = match self.connector.session().await {
            Ok(session) => session.rules(RuleAction::Suspend, now).await,
            Err(error) => Err(error),
        };
        match read {
            Ok(rules) => self.rules.learn(rules),
            Err(error) if self.rules.is_known() => {
                tracing::warn!(error = %Chain(&error), "the rules cannot be read; those known stay");
            }
            Err(error) => return Err(error),
        }
        if let Some(suspended) = self.rules.news(now) {
            self.parts.conductor.send(Command::Suspended(suspended));
        }
        Ok(())
    }

    /// One renewal. Dispatching is allowed until two thirds of the lease after it was *asked for*: by then no other
    /// replica can have taken a shard.
    async fn round(&mut self) -> Result<(), StoreError> {
        let (me, lease, address) = (self.parts.me, self.parts.lease, self.parts.address.clone());
        // Before there are shards: their mail may lead to notifications at once.
        self.lease_node().await?;
        let knew_rules = self.rules.is_known();
        if !knew_rules {
            self.read_rules().await?;
        }
        // Before the shards are renewed: so whoever is gone is no member any more when its shards can be taken.
        let members = self.members().await?;
        let asked_at = Instant::now();
        let renewed = self.connector.session().await?.renew(me, lease).await?;
        reach(Point::LeaseRenewed);
        // In this order: with the fence open, what was lost would be dispatched until the conductor hears of the loss.
        self.compare(&renewed).await;
        self.parts.fence.extend(asked_at + lease * 2 / 3);
        if knew_rules {
            self.read_rules().await?;
        }
        self.meet(members.iter());
        let rank = members.iter().position(|member| member.id == me);
        match change(members.len(), rank, self.held.len(), self.knows_workers()) {
            Change::Take(want) => {
                let taken = self.connector.session().await?.take_shards(me, &address, want, lease).await?;
                self.gain(taken);
            }
            Change::Release(count) => self.release(usize::from(count)).await?,
            Change::Keep => {}
        }
        self.read_map().await
    }

    /// Says that this replica lives, once it is a member; returns all members. Whoever keeps to limits with them hears of
    /// them, too.
    async fn members(&mut self) -> Result<Vec<Member>, StoreError> {
        let asked_at = Instant::now();
        let members = self.ask_for_members().await?;
        let view = self.parts.leasing.meet(&members, asked_at);
        self.parts.conductor.send(Command::Met { view, asked_at });
        Ok(members)
    }

    async fn ask_for_members(&mut self) -> Result<Vec<Member>, StoreError> {
        let (me, lease, knows_workers) = (self.parts.me, self.parts.lease, self.knows_workers());
        let session = self.connector.session().await?;
        if !self.is_member || !knows_workers {
            let live = session.members().await?.into_iter().map(|live| live.member);
            let others: Vec<Member> = live.filter(|member| member.id != me).collect();
            let was_member =
                std::mem::replace(&mut self.is_member, is_member(knows_workers, others.len(), self.held.len()));
            match (was_member, self.is_member) {
                (true, false) => session.leave(me).await?,
                (false, true) => tracing::info!(others = others.len(), "takes its share of the shards from now on"),
                _ => {}
            }
            if !self.is_member {
                return Ok(others);
            }
        }
        session.heartbeat(me, &self.parts.address, WEIGHT, lease).await
    }

    /// Every worker that lives is connected by now, as far as this process has been up for long enough.
    fn knows_workers(&self) -> bool {
        Instant::now() >= self.workers_known_from
    }

    /// Reads who owns what.
    async fn read_map(&mut self) -> Result<(), StoreError> {
        let map = self.connector.session().await?.shard_map().await?;
        let now = Instant::now();
        let is_other = |owner: &ShardOwner| owner.owner.is_some_and(|owner| owner != self.parts.me);
        let leases = map.iter().filter(|owner| is_other(owner)).filter_map(|owner| owner.lease_left);
        self.next_lapse = leases.min().map(|left| now + left + LEASE_MARGIN);
        self.parts.map.send_modify(|addresses| {
            for owner in map {
                if let Some(slot) = addresses.get_mut(owner.shard.index()) {
                    *slot = if is_other(&owner) { owner.address } else { String::new() };
                }
            }
        });
        Ok(())
    }

    /// Where there are more or fewer than before, the others are to see so, too: shards change hands at once.
    fn meet<'a>(&mut self, members: impl ExactSizeIterator<Item = &'a Member>) {
        let count = members.len().max(1);
        let others = members.filter(|member| member.id != self.parts.me);
        self.neighbours = others.map(|member| member.address.clone()).collect();
        if std::mem::replace(&mut self.members, count) != count {
            tokio::spawn(self.announce());
        }
    }

    /// What a renewal did not bring back is another's, or was taken in a newer epoch.
    async fn compare(&mut self, renewed: &[(ShardId, Epoch)]) {
        let now: HashMap<ShardId, Epoch> = renewed.iter().copied().collect();
        let lost: Vec<ShardId> =
            self.held.iter().filter(|(shard, epoch)| now.get(shard) != Some(epoch)).map(|(shard, _)| *shard).collect();
        self.lose(lost).await;
        // Ours in the table and not known here: the answer to taking it was lost, or giving it up failed, and workers may
        // have something of it.
        let found = renewed.iter().filter(|(shard, _)| !self.held.contains_key(shard));
        let found: Vec<TakenShard> = found.map(|&(shard, epoch)| TakenShard { shard, epoch, clean: false }).collect();
        self.gain(found);
    }

    /// Waits until the conductor dispatches nothing of these shards any more.
    async fn lose(&mut self, shards: Vec<ShardId>) {
        if shards.is_empty() {
            return;
        }
        for shard in &shards {
            self.held.remove(shard);
        }
        let (forgotten, done) = oneshot::channel();
        self.parts.conductor.send(Command::ShardsLost { shards, forgotten });
        // Resolves, with an error, when the conductor drops its end.
        let _ = done.await;
    }

    fn gain(&mut self, taken: Vec<TakenShard>) {
        if taken.is_empty() {
            return;
        }
        reach(Point::ShardsTaken);
        self.held.extend(taken.iter().map(|taken| (taken.shard, taken.epoch)));
        self.parts.conductor.send(Command::ShardsGained(taken));
    }

    /// Gives shards up for others to take. The conductor forgets them first; what workers have of them they report to
    /// the new owner.
    async fn release(&mut self, count: usize) -> Result<(), StoreError> {
        let released: Vec<ShardId> = self.held.keys().copied().take(count).collect();
        self.lose(released.clone()).await;
        let me = self.parts.me;
        self.connector.session().await?.release(me, &released, false).await?;
        tokio::spawn(self.announce());
        Ok(())
    }

    fn announce(&self) -> impl Future<Output = ()> + use<> {
        announce_free_shards(self.neighbours.clone(), self.parts.peers.credentials.clone())
    }

    /// A node number for this replica's own ids, renewed long before it runs out. Without one only notifications wait.
    async fn lease_node(&mut self) -> Result<(), StoreError> {
        if self.node_leased_at.is_some_and(|leased_at| leased_at.elapsed() < NODE_RENEWAL) {
            return Ok(());
        }
        let asked_at = Instant::now();
        let holder = self.parts.me.uuid();
        match self.connector.session().await?.lease_node(holder, NODE_LEASE).await {
            Ok(node) => {
                self.parts.ids.leased(node, asked_at);
                self.node_leased_at = Some(asked_at);
                Ok(())
            }
            Err(error @ StoreError::NoNodeNumber) => {
                tracing::error!(%error, "notifications of failure wait: programs that were killed hold the numbers for an hour");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Nothing more is dispatched, what is in flight is settled, then the shards go to the others at once. The lease is
    /// renewed meanwhile: they must not take them before that.
    async fn leave(&mut self) {
        let (answer, mut drained) = oneshot::channel();
        self.parts.conductor.send(Command::Drain(answer));
        reach(Point::DrainBegun);
        // Whoever waits for a rule to be applied need not: nothing more is dispatched.
        self.parts.rules_changed.close();
        while self.parts.rules_changed.try_recv().is_ok() {}
        let deadline = Instant::now() + self.parts.drain_timeout;
        let mut unknown = None;
        while Instant::now() < deadline {
            match tokio::time::timeout(self.parts.renew_every, &mut drained).await {
                Ok(answer) => {
                    unknown = answer.ok();
                    break;
                }
                Err(_) => {
                    if let Err(error) = self.renew_while_draining().await {
                        tracing::warn!(error = %Chain(&error), "cannot renew while draining");
                    }
                }
            }
        }
        reach(Point::Drained);
        // Of what was never asked for, and of what was not drained in time, workers may have something.
        let is_clean = |shard: &ShardId| unknown.as_ref().is_some_and(|unknown| !unknown.contains(shard));
        let (clean, unclean): (Vec<_>, Vec<_>) = self.held.keys().copied().partition(is_clean);
        self.lose(self.held.keys().copied().collect()).await;
        if let Err(error) = self.give_all_up(&clean, &unclean).await {
            tracing::warn!(error = %Chain(&error), "shards are not given up; others take them when the lease runs out");
            return;
        }
        self.announce().await;
    }

    /// Its shards, and that it lives: what it has under way counts under the limits that it keeps to with others.
    async fn renew_while_draining(&mut self) -> Result<(), StoreError> {
        let (me, lease) = (self.parts.me, self.parts.lease);
        self.members().await?;
        self.connector.session().await?.renew(me, lease).await.map(|_| ())
    }

    async fn give_all_up(&mut self, clean: &[ShardId], unclean: &[ShardId]) -> Result<(), StoreError> {
        let me = self.parts.me;
        for (shards, is_clean) in [(clean, true), (unclean, false)] {
            if !shards.is_empty() {
                self.connector.session().await?.release(me, shards, is_clean).await?;
            }
        }
        reach(Point::ShardsReleased);
        let members = self.connector.session().await?.members().await?;
        self.meet(members.iter().map(|live| &live.member));
        self.connector.session().await?.leave(me).await?;
        reach(Point::Left);
        Ok(())
    }
}
