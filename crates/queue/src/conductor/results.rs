//! What comes back: results, what workers hold, settlements, and workers that are gone.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mailtier_api::work::{Holding, InFlight, Settled, WorkResult, WorkerFrame};
use mailtier_crashpoint::{Point, reach};
use mailtier_schedule::{Correction, Feedback, PoolId, feedback};
use mailtier_types::{DeliveryId, Epoch, ShardId, TenantId, Timestamp, WorkerId};

use super::flights::Flight;
use super::handle::{Content, Wanted};
use super::task::ConductorTask;
use super::workers::Parting;
use crate::clock;
use crate::settle::{After, Disposition, Report, What};

/// How long a delivery rests after a worker has heard of a later owner of its shard. The next renewal tells whether that
/// is so.
const REST: Duration = Duration::from_secs(5);

impl ConductorTask {
    /// A worker speaks. What it holds comes first: a result that follows ends what was named. Over a connection that is
    /// not its current one only its results count.
    pub(super) fn heard(&mut self, worker: WorkerId, connection: u64, frame: WorkerFrame) {
        if self.workers.speaks(worker, connection) {
            tracing::info!(%worker, "worker is back by another connection");
            self.changed_connection(worker);
        }
        let is_current = self.workers.is_current(worker, connection);
        if let Some(holding) = frame.holding.filter(|_| is_current) {
            self.holding(worker, &holding);
        }
        self.results(worker, frame.results);
        if is_current {
            self.workers.grant(worker, PoolId::DEFAULT, frame.credit);
            for granted in frame.pool_credits {
                if let Some(pool) = self.settings.rules.pools.find(&granted.pool) {
                    self.workers.grant(worker, pool, granted.credit);
                }
            }
        }
    }

    /// Every result goes to the settler, whoever reports it and whether or not its shard is ours: the database decides
    /// what it still changes.
    fn results(&mut self, worker: WorkerId, results: Vec<WorkResult>) {
        let now = clock::now();
        for result in results {
            let flight = self.flights.get_mut(result.delivery);
            let flight = flight.filter(|flight| flight.worker == worker && flight.attempt <= result.attempt);
            if result.not_attempted {
                // One of an epoch before ours refuses what was dispatched then, and says nothing of what was since.
                let is_old = self.shards.epoch(result.shard).is_some_and(|epoch| epoch > result.epoch);
                if flight.is_some_and(|flight| flight.attempt == result.attempt && !is_old) {
                    let content = self.flights.remove(result.delivery).and_then(|flight| flight.content);
                    self.not_attempted(&result, content, now);
                }
                // No confirmation: the worker keeps nothing of it, and may keep a result of the same attempt.
                continue;
            }
            self.suspects.cleared(result.delivery);
            let (mut content, mut tenant) = (None, TenantId::default());
            if let Some(flight) = flight {
                (flight.is_settling, flight.limbo_until) = (true, None);
                (content, tenant) = (flight.content.clone(), flight.tenant);
                let is_rerouted = flight.is_rerouted;
                self.learn(&result, is_rerouted, now);
                self.scheduler.end_attempt(result.delivery, now);
            } else if self.flights.get(result.delivery).is_none() {
                self.surprised_by(result.delivery);
                self.scheduler.end_attempt(result.delivery, now);
            }
            reach(Point::ResultHeard);
            self.report(Report {
                delivery: result.delivery,
                attempt: result.attempt,
                tenant,
                what: What::Outcomes(result.outcomes),
                worker: Some(worker),
                content,
            });
        }
    }

    /// A worker that was taken for lost has a result all the same. Nothing is dispatched before that is stored.
    fn surprised_by(&mut self, id: DeliveryId) {
        self.fetching.remove(id);
        if let Some(entry) = self.scheduler.entry(id)
            && let Some(place) = self.scheduler.place_of(id).map(str::to_owned)
        {
            self.scheduler.mark_in_flight(&place, entry);
        }
    }

    /// What an attempt says of its destination counts once, while it is the one under way.
    fn learn(&mut self, result: &WorkResult, is_rerouted: bool, now: Timestamp) {
        let outcomes = || result.outcomes.iter().map(|(_, outcome)| outcome);
        // Whose exchanger an operator's choice is says nothing of the destination.
        let remote = outcomes().find_map(|outcome| outcome.remote.as_ref()).filter(|_| !is_rerouted && !result.own_way);
        let exchanger = remote.map(|remote| remote.name.as_str());
        let classification = self.settings.meanings.now();
        let judged: Vec<_> = outcomes().map(|outcome| (outcome, classification.judge(outcome))).collect();
        let said = feedback(judged.iter().copied());
        if let Feedback::Suspend { whom, time } = said {
            let rules: Vec<_> = judged.iter().filter_map(|(_, judgement)| judgement.and_then(|one| one.rule)).collect();
            let (destination, whom) = (self.scheduler.place_of(result.delivery), whom.name());
            tracing::warn!(destination, whom, ?time, ?rules, "nothing more is attempted for a time: a rule says so");
        }
        if !is_rerouted && !result.own_way {
            judged.iter().for_each(|(outcome, judgement)| self.note_block(result.delivery, outcome, *judgement, now));
        }
        // What is met on a way of this mail's own, such as one sender's smarthost, keeps nobody else's from going.
        let said = if result.own_way { Feedback::Nothing } else { said };
        self.scheduler.learn(result.delivery, said, exchanger, rand::random(), now);
    }

    /// The delivery is ready again; but where the worker knows a later epoch than this replica, another owns the shard.
    /// After a question it goes out again when the limits of its destination's provider allow it, and takes its content
    /// along.
    fn not_attempted(&mut self, result: &WorkResult, content: Option<Arc<Content>>, now: Timestamp) {
        self.suspects.set_down(result.delivery);
        let Some(entry) = self.scheduler.entry(result.delivery) else { return };
        if self.shards.active(entry.shard).is_some_and(|epoch| epoch < result.epoch) {
            tracing::warn!(delivery = %result.delivery, shard = %entry.shard, "refused: the shard has a later owner");
            self.lay_aside(entry, REST, now);
            return;
        }
        match &result.exchanger {
            Some(exchanger) => self.scheduler.resolved(result.delivery, exchanger, now),
            None => self.scheduler.release_unused(result.delivery, now),
        };
        // What was attempted before is read from the table: only there is what is left of it.
        if let Some(content) = content.filter(|_| entry.attempts == 0) {
            self.keep(entry, content);
        }
    }

    pub(super) fn settled(&mut self, dispositions: Vec<Disposition>) {
        let (now, mut wanted) = (clock::now(), Vec::new());
        for disposition in dispositions {
            self.settling = self.settling.saturating_sub(usize::from(disposition.was_reported));
            let id = disposition.delivery;
            if let Some(worker) = disposition.worker {
                self.workers.settled(worker, Settled { delivery: id, attempt: disposition.attempt });
            }
            // In other hands, or in the same for a later attempt: the word that the earlier one is durable was lost.
            let is_other =
                |flight: &Flight| Some(flight.worker) != disposition.worker || flight.attempt > disposition.attempt;
            let flies_elsewhere = self.flights.get(id).is_some_and(is_other);
            match disposition.after {
                // It keeps its place under the limits until its attempt ends.
                After::Over if flies_elsewhere => self.distrust(id),
                After::Over => {
                    self.suspects.cleared(id);
                    self.scheduler.finish(id);
                    self.cache.drop(id);
                    self.flights.remove(id);
                }
                After::Told { not_before } => {
                    if let Some(at) = not_before {
                        self.scheduler.warn_at(id, at);
                    }
                }
                // It stays as it is until it can be settled, and is not counted meanwhile.
                After::Aside => {}
                // An opinion about an attempt does not end another that is under way.
                After::Later { .. } | After::Held if flies_elsewhere => {}
                After::Later { attempts, due, expires_at } => {
                    self.flights.remove(id);
                    self.scheduler.defer(id, attempts, due);
                    self.scheduler.correct(id, Correction { attempts, due: None, expires_at }, now);
                }
                After::Held => {
                    self.suspects.cleared(id);
                    self.flights.remove(id);
                    self.scheduler.finish(id);
                    self.cache.drop(id);
                    // Released meanwhile, perhaps, while it was in flight here.
                    wanted.push(Wanted { id, for_dispatch: false });
                }
            }
        }
        self.want(wanted);
    }

    pub(super) fn worker_lost(&mut self, worker: WorkerId, connection: u64) {
        let name = self.workers.name(worker).to_owned();
        match self.workers.disconnect(worker, connection) {
            Parting::Old => {}
            Parting::Changed => self.changed_connection(worker),
            Parting::Lost => {
                match self.flights.held_by(worker) {
                    0 => tracing::info!(%worker, name, "worker gone"),
                    deliveries => tracing::warn!(%worker, name, deliveries, "worker lost"),
                }
                let until = Instant::now() + self.settings.worker_grace;
                self.flights.worker_lost(worker, until);
                // It may come back with deliveries of a shard that becomes ours meanwhile.
                self.workers_known_from = self.workers_known_from.max(until);
            }
        }
    }

    /// What went over the connection before may not have arrived.
    fn changed_connection(&mut self, worker: WorkerId) {
        self.flights.worker_lost(worker, Instant::now() + self.settings.worker_grace);
        self.welcome(worker);
    }

    /// A worker has said what it holds of shards it was asked for.
    fn holding(&mut self, worker: WorkerId, holding: &Holding) {
        let Some(inquiry) = self.workers.answers(worker) else { return };
        self.shards.worker_answered(worker, &holding.shards);
        let asked: HashSet<ShardId> = holding.shards.iter().map(|(shard, _)| *shard).collect();
        self.flights.worker_holds(worker, &asked, inquiry, Instant::now() + self.settings.worker_grace);
        // An answer that comes too late says nothing: the shard is another's by now, or will be asked for again.
        let is_ours = |(shard, epoch): &&(ShardId, Epoch)| self.shards.epoch(*shard) == Some(*epoch);
        let ours: HashSet<ShardId> = holding.shards.iter().filter(is_ours).map(|(shard, _)| *shard).collect();
        let mut unread = Vec::new();
        for held in &holding.in_flight {
            if held.shard.map_or(!ours.is_empty(), |shard| ours.contains(&shard)) {
                unread.extend(self.hold(worker, *held, inquiry));
            }
        }
        self.want(unread);
        self.end_takeovers(Instant::now());
    }

    /// A worker holds a delivery; it is to be read where nothing is known of it.
    fn hold(&mut self, worker: WorkerId, held: InFlight, inquiry: u64) -> Option<Wanted> {
        match self.flights.get_mut(held.delivery) {
            Some(flight) if flight.worker == worker => {
                flight.limbo_until = None;
                // What it was sent before the question and does not have never arrived.
                if flight.inquiries < inquiry {
                    flight.attempt = held.attempt;
                }
                return None;
            }
            // An earlier attempt is over, and its worker has not heard so; this one is under way.
            Some(flight) if held.attempt > flight.attempt => {}
            // Given to another since: both may deliver it, and the first to say so is believed.
            Some(_) => return None,
            None => {}
        }
        let entry = self.scheduler.entry(held.delivery);
        if let Some(entry) = entry
            && let Some(place) = self.scheduler.place_of(held.delivery).map(str::to_owned)
        {
            self.scheduler.mark_in_flight(&place, entry);
        }
        self.flights.insert(
            held.delivery,
            Flight {
                worker,
                attempt: held.attempt,
                shard: held.shard.or(entry.map(|entry| entry.shard)),
                tenant: entry.map(|entry| entry.tenant).unwrap_or_default(),
                content: None,
                inquiries: self.workers.inquiries(),
                limbo_until: (!self.workers.is_connected(worker)).then(|| Instant::now() + self.settings.worker_grace),
                is_settling: false,
                is_unread: entry.is_none(),
                is_rerouted: false,
            },
        );
        entry.is_none().then_some(Wanted { id: held.delivery, for_dispatch: false })
    }

    /// Answers the drain once nothing is in anyone's hands, as far as is known: with the shards of which it is not. What
    /// known workers were asked they answer soon, and the next owner need not ask again; nobody waits for unknown ones.
    pub(super) fn answer_drain(&mut self) {
        let is_asking = self.shards.is_taking_over() && Instant::now() >= self.workers_known_from;
        if self.flights.len() == 0
            && !is_asking
            && self.settling == 0
            && self.draining.is_some()
            && self.return_allowances()
            && let Some(answer) = self.draining.take()
        {
            self.has_drained = true;
            let _ = answer.send(self.shards.unknown());
        }
    }
}
