//! What all attempts share, and the frame of each: its span, its measures, its line in the log, and the certainty that
//! it ends with a result. Not responsible for what happens within.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use mailtier_api::Credentials;
use mailtier_api::work::{Dispatch, WorkResult};
use mailtier_config::Config;
use mailtier_directory::Directory;
use mailtier_service::Health;
use mailtier_telemetry::{Meters, spans};
use mailtier_types::{Mailbox, Outcome, Timestamp, WorkerId};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::attempt::body::BodyBudget;
use crate::attempt::{Ended, attempt, crashed};
use crate::connections::Connections;
use crate::desk::Desk;
use crate::ledger::LinkId;
use crate::rules::Rules;
use crate::start::StartError;
use crate::tls_reports::SessionCounter;

/// Recipients named in one line of the log.
const LOGGED_RECIPIENTS: usize = 20;

/// One process of mailtier-outbound.
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) name: String,
    pub(crate) credentials: Credentials,
    pub(crate) desk: Arc<Desk>,
    pub(crate) connections: Connections,
    /// For attempts that begin now.
    pub(crate) rules: ArcSwap<Rules>,
    /// The configuration that it began with.
    pub(crate) begun: Arc<Config>,
    pub(crate) directory: Directory,
    /// Where sessions are counted, while they are.
    pub(crate) sessions: Arc<SessionCounter>,
    pub(crate) bodies: BodyBudget,
    pub(crate) meters: Arc<Meters>,
    pub(crate) health: Health,
    /// Attempts under way.
    pub(crate) attempts: TaskTracker,
}

impl Worker {
    /// Takes up another configuration, for attempts that begin from now on.
    ///
    /// # Errors
    /// A value, or a file that one names, cannot be used, and nothing is changed.
    pub(crate) fn renew(&self, config: &Config) -> Result<(), StartError> {
        let rules = self.rules.load().renewed(config, &self.begun, &self.sessions)?;
        let limits = rules.connections;
        self.rules.store(Arc::new(rules));
        self.connections.renew(limits);
        self.rules.load().egress.warn_of_missing_addresses();
        Ok(())
    }

    /// Ready means that some queue replica can give work.
    pub(crate) fn tell_health(&self) {
        if self.desk.is_leaving() {
            self.health.set_not_ready("draining");
        } else if self.desk.links() == 0 {
            self.health.set_not_ready("no queue replica can be reached");
        } else {
            self.health.set_ready();
        }
    }

    /// The gauges, once a beat.
    pub(crate) fn measure(&self) {
        let (running, unsettled) = self.desk.load();
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        self.meters.outbound_in_flight.record(count(running), &[]);
        self.meters.outbound_replicas.record(count(self.desk.links()), &[]);
        self.meters.outbound_unsettled.record(count(unsettled), &[]);
        self.meters.outbound_connections_active.record(count(self.connections.open()), &[]);
    }
}

/// The attempt as part of the trace that began with the message's reception.
fn span(dispatch: &Dispatch) -> tracing::Span {
    let facts = spans::AttemptFacts {
        message: dispatch.message,
        delivery: dispatch.delivery,
        destination: &dispatch.destination,
        number: dispatch.attempt,
        recipients: dispatch.recipients.len(),
    };
    let reception = || mailtier_api::decode_options(&dispatch.options).ok()?.traceparent;
    spans::attempt(facts, dispatch.traceparent.as_deref(), reception, Timestamp::from_system(SystemTime::now()))
}

/// Carries out a delivery that was admitted, and reports it.
pub(crate) async fn carry_out(worker: Arc<Worker>, link: LinkId, dispatch: Dispatch) {
    let taken_at = Instant::now();
    let span = span(&dispatch);
    let duty = Duty { worker, link, dispatch, done: false };
    async move {
        let rules = duty.worker.rules.load_full();
        let ended = attempt((&duty.worker, &rules), &duty.dispatch, taken_at).await;
        duty.end(ended, taken_at.elapsed());
    }
    .instrument(span)
    .await;
}

/// A delivery in hand. Whatever happens to the attempt, its owner gets a result.
struct Duty {
    worker: Arc<Worker>,
    /// Over which it came.
    link: LinkId,
    dispatch: Dispatch,
    done: bool,
}

impl Duty {
    fn end(mut self, ended: Ended, took: Duration) {
        self.done = true;
        match ended {
            Ended::Outcomes { outcomes, own_way } => {
                self.tell(&outcomes, took);
                let result = WorkResult { own_way, ..self.result(outcomes) };
                self.worker.desk.finish(self.link, &self.dispatch.pool, result);
            }
            Ended::NotAttempted => self.worker.desk.finish(self.link, &self.dispatch.pool, self.result(Vec::new())),
            Ended::Resolved(exchanger) => {
                tracing::debug!(message = %self.dispatch.message, exchanger, "resolved, as was asked for");
                let answer = WorkResult { exchanger: Some(exchanger), ..self.result(Vec::new()) };
                self.worker.desk.finish(self.link, &self.dispatch.pool, answer);
            }
            Ended::Dropped => {
                tracing::warn!(message = %self.dispatch.message, "given up before it began: its owner is out of reach");
                self.worker.desk.forget(self.link, &self.dispatch.pool, self.dispatch.delivery);
            }
        }
    }

    fn result(&self, outcomes: Vec<(Vec<Mailbox>, Outcome)>) -> WorkResult {
        let Dispatch { delivery, shard, epoch, attempt, .. } = self.dispatch;
        let not_attempted = outcomes.is_empty();
        WorkResult { delivery, shard, epoch, attempt, not_attempted, outcomes, exchanger: None, own_way: false }
    }

    /// The log, the counters and the span.
    fn tell(&self, outcomes: &[(Vec<Mailbox>, Outcome)], took: Duration) {
        for (recipients, outcome) in outcomes {
            self.log(recipients, outcome);
        }
        let result = result_name(outcomes);
        self.worker.meters.outbound_attempts.add(1, &Meters::attribute("result", result));
        self.worker.meters.outbound_attempt_duration.record(took.as_secs_f64(), &[]);
        let all: Vec<&Outcome> = outcomes.iter().map(|(_, outcome)| outcome).collect();
        spans::record_attempt(&tracing::Span::current(), result, &all);
    }

    /// What the remote said, at once; the queue's line follows when it is durable.
    fn log(&self, recipients: &[Mailbox], outcome: &Outcome) {
        tracing::debug!(
            message = %self.dispatch.message,
            delivery = %self.dispatch.delivery,
            attempt = self.dispatch.attempt,
            from = %self.dispatch.sender,
            to = addresses(recipients),
            relay = relay(outcome),
            pool = self.dispatch.pool,
            source = source(outcome),
            delay = %seconds(outcome.at.since(self.dispatch.message.made_at())),
            delays = delays(outcome, self.dispatch.message.made_at()),
            dsn = %outcome.status(),
            tls = outcome.tls.as_deref().unwrap_or("none"),
            status = status(outcome),
            reply = %outcome,
        );
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        if !self.done {
            if std::thread::panicking() {
                tracing::error!(message = %self.dispatch.message, "an attempt crashed");
            } else {
                tracing::warn!(message = %self.dispatch.message, "an attempt was broken off");
            }
            self.worker.desk.finish(self.link, &self.dispatch.pool, self.result(crashed(&self.dispatch)));
        }
    }
}

/// What an outcome looks like from here; whether it is final decides the queue.
fn status(outcome: &Outcome) -> &'static str {
    match outcome.status().class() {
        _ if outcome.is_delivered() => "delivered",
        5 => "failed",
        _ => "deferred",
    }
}

fn result_name(outcomes: &[(Vec<Mailbox>, Outcome)]) -> &'static str {
    let is = |name| move |(_, outcome): &(Vec<Mailbox>, Outcome)| status(outcome) == name;
    if outcomes.iter().all(is("delivered")) {
        "delivered"
    } else if outcomes.iter().any(is("delivered")) {
        "partial"
    } else if outcomes.iter().any(is("deferred")) {
        "deferred"
    } else {
        "failed"
    }
}

/// `host[address]`, as Postfix writes it.
fn relay(outcome: &Outcome) -> String {
    match &outcome.remote {
        Some(remote) => match remote.address {
            Some(address) => format!("{}[{address}]", remote.name),
            None => remote.name.clone(),
        },
        None => "none".to_owned(),
    }
}

/// Our address, where an egress pool named one.
fn source(outcome: &Outcome) -> String {
    let source = outcome.egress.as_ref().and_then(|egress| egress.source);
    source.map_or_else(|| "none".to_owned(), |address| address.to_string())
}

/// Postfix's delays a/b/c/d: before our hands, waiting in them, connecting, sending.
fn delays(outcome: &Outcome, made_at: Timestamp) -> String {
    let ours = outcome.waiting + outcome.connecting + outcome.sending;
    let before = outcome.at.since(made_at).saturating_sub(ours);
    let parts = [before, outcome.waiting, outcome.connecting, outcome.sending];
    parts.map(|part| seconds(part).to_string()).join("/")
}

/// Seconds to the millisecond.
fn seconds(duration: Duration) -> impl std::fmt::Display {
    format!("{:.3}", duration.as_secs_f64())
}

fn addresses(recipients: &[Mailbox]) -> String {
    let mut text = String::new();
    for (place, recipient) in recipients.iter().take(LOGGED_RECIPIENTS).enumerate() {
        let separator = if place == 0 { "" } else { "," };
        let _ = write!(text, "{separator}<{recipient}>");
    }
    if recipients.len() > LOGGED_RECIPIENTS {
        let _ = write!(text, " and {} more", recipients.len() - LOGGED_RECIPIENTS);
    }
    text
}
