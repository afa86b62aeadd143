//! One attempt of a delivery, from the plan to the result.
//!
//! Responsible for the order of things: plan, connection, content, the last question whether the delivery is still
//! ours, transaction, the next host where the session failed. Not responsible for what an outcome leads to: that is the
//! queue's.

pub(crate) mod body;
mod conversation;
mod conversion;
mod hop;
mod lookup;
pub(crate) mod open;
mod other;
pub(crate) mod record;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use mailtier_api::work::Dispatch;
use mailtier_crashpoint::{Point, reach};
use mailtier_message::NotSevenBit;
use mailtier_route::{Plan, SendersWish, Way, Withheld};
use mailtier_smtp::{RecipientReport, TlsInfo};
use mailtier_transport::client::Connection;
use mailtier_types::{Cause, Domain, Mailbox, Options, Outcome, Stage, Timestamp, TlsFailure, Trouble, TroubleKind};

use tokio::sync::OwnedSemaphorePermit;

use crate::connections::{Leased, Slot};
use crate::desk::Begin;
use crate::egress::EgressPool;
use crate::routes::{Manner, Part};
use crate::rules::Rules;
use crate::worker::Worker;
use body::BodyError;
use conversation::{Conversation, Letter, Senders, converse, deserves_another_host, was_dead};
use hop::Hop;
use lookup::Next;
use open::Unopened;
use record::{Delays, Place, Record, outcome, spokesman};

/// After so long an attempt begins with no other host: the queue will try again.
const PATIENCE: Duration = Duration::from_secs(600);

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// With these outcomes, one of which names each recipient.
    Outcomes {
        outcomes: Vec<(Vec<Mailbox>, Outcome)>,
        /// They say nothing of the destination: the mail took ways of its own.
        own_way: bool,
    },
    /// Before it began: someone else shall do it.
    NotAttempted,
    /// Before it began, because it was first to be found out who would get it: this exchanger.
    Resolved(String),
    /// Before it began, and nobody is to be told: its owner has given it up.
    Dropped,
}

/// An attempt under way.
struct Attempt<'a> {
    worker: &'a Worker,
    rules: &'a Rules,
    dispatch: &'a Dispatch,
    egress: &'a EgressPool,
    /// Of the part that is tried now.
    manner: Manner,
    /// The part that is tried now goes as all mail to the destination does.
    goes_with_all: bool,
    /// No part so far took a way that all mail to the destination takes.
    own_way: bool,
    options: Options,
    taken_at: Instant,
    content: Option<Vec<Bytes>>,
    /// The same in 7 bits, or why not, once a remote has needed it.
    seven_bit: Option<Result<Vec<Bytes>, NotSevenBit>>,
    /// Room for the content.
    room: Option<OwnedSemaphorePermit>,
    /// Recipients without an outcome.
    open: Vec<Mailbox>,
    record: Record,
    /// What stood in the way of those that are open.
    failures: Vec<Outcome>,
}

/// What a target came to.
enum Tried {
    /// Whoever is still open may go to the next.
    Next,
    /// The attempt is over before its transaction.
    Stop(Ended),
}

/// What a connection came to.
enum Transacted {
    /// Whoever is still open may go to the next host.
    Over,
    /// It had died while it idled: its slot is for another.
    Dead(Slot),
    /// The remote wants who is still open over another connection, as it says, or lets go of this one.
    Spent,
}

/// Carries out one attempt.
pub(crate) async fn attempt((worker, rules): (&Worker, &Rules), dispatch: &Dispatch, taken_at: Instant) -> Ended {
    let options = match mailtier_api::decode_options(&dispatch.options) {
        Ok(options) => options,
        Err(error) => return local_trouble(dispatch, format!("the envelope cannot be read: {error}")),
    };
    let Some(domain) = destination(dispatch).filter(|_| !dispatch.recipients.is_empty()) else {
        return local_trouble(dispatch, "the delivery names no recipient".to_owned());
    };
    let Some(egress) = rules.egress.find(&dispatch.pool) else {
        return local_trouble(dispatch, format!("this worker does not serve the egress pool `{}`", dispatch.pool));
    };
    let (first, others) = rules.routes.parts(dispatch);
    let mut attempt = Attempt {
        worker,
        rules,
        dispatch,
        egress,
        manner: Manner::default(),
        goes_with_all: true,
        own_way: true,
        options,
        taken_at,
        content: None,
        seven_bit: None,
        room: None,
        open: Vec::new(),
        record: Record::new(rules.transcripts),
        failures: Vec::new(),
    };
    let mut left = others.into_iter();
    let mut next = Some(first);
    while let Some(part) = next {
        if let Some(ended) = attempt.take(part, &domain).await {
            attempt.open.extend(left.flat_map(|part| part.recipients));
            return attempt.stopped(ended);
        }
        next = left.next();
    }
    Ended::Outcomes { outcomes: attempt.record.into_groups(), own_way: attempt.own_way }
}

impl Attempt<'_> {
    /// Recipients that take one way: they have an outcome afterwards, or the attempt is over.
    async fn take(&mut self, part: Part, domain: &Domain) -> Option<Ended> {
        self.goes_with_all = part.is_for_all();
        self.own_way &= !self.goes_with_all;
        let Part { route, recipients } = part;
        let route = route.as_deref();
        self.open = recipients;
        self.manner = self.rules.routes.manner(route);
        let ended = match route.map(|route| (route, &route.way)) {
            Some((route, Way::Discard)) => {
                self.discard(route);
                None
            }
            Some((route, Way::Hold)) => {
                self.hold(route);
                None
            }
            Some((route, Way::Post)) => self.post(route).await,
            Some((_, Way::Sockets(paths))) => self.follow_sockets(paths).await,
            Some((_, Way::Exchangers { .. } | Way::Hosts { .. })) | None => {
                let policy = Arc::clone(&self.egress.policy);
                let wish = senders_wish(&self.options);
                let mut plan = Plan::new(policy, domain.clone(), route, wish, rand::random());
                if self.rules.sessions.as_ref().is_some_and(|sessions| sessions.wants(plan.domain())) {
                    plan = plan.reported();
                }
                let ended = self.follow(&mut plan).await;
                self.count_withheld(&mut plan, ended.as_ref());
                ended
            }
        };
        if ended.is_none() {
            self.end_part();
        }
        ended
    }

    /// The sockets of a route, one after the other.
    async fn follow_sockets(&mut self, paths: &[Arc<PathBuf>]) -> Option<Ended> {
        for path in paths {
            if self.open.is_empty() {
                break;
            }
            if let Tried::Stop(ended) = self.try_hop(Hop::Socket(path)).await {
                return Some(ended);
            }
        }
        None
    }

    /// Tries what the plan names until every recipient has an outcome or nothing is left. What did not answer a while ago is
    /// tried when nothing else is left (RFC 5321 §4.5.4.1), so that a dead address, or a family of addresses that leads nowhere
    /// (RFC 8305 §1), costs one message its time and not each.
    async fn follow(&mut self, plan: &mut Plan) -> Option<Ended> {
        let mut silent = VecDeque::new();
        while !self.open.is_empty() && (self.failures.is_empty() || self.taken_at.elapsed() < PATIENCE) {
            let target = match lookup::next(plan, &self.worker.directory).await {
                // The owner of the shard first decides under whose limits this is.
                Next::Try(target) if self.dispatch.resolve_first && self.record.is_empty() => {
                    return Some(Ended::Resolved(target.host));
                }
                Next::Try(target) if self.rules.opener.is_silent(self.egress, &target) => {
                    if self.record.wants_transcript(false) {
                        self.record.pass_over(&Hop::Host(&target).place());
                    }
                    silent.push_back(target);
                    continue;
                }
                Next::Try(target) => target,
                Next::Exhausted(trouble) => match silent.pop_front() {
                    Some(target) => target,
                    None => {
                        self.exhausted(trouble);
                        break;
                    }
                },
            };
            if let Tried::Stop(ended) = self.try_hop(Hop::Host(&target)).await {
                return Some(ended);
            }
        }
        None
    }

    /// Hosts with which there was no session for what was wrong before count as well; those that were only looked up for the
    /// queue will be met again.
    fn count_withheld(&self, plan: &mut Plan, ended: Option<&Ended>) {
        let Some(sessions) = self.rules.sessions.as_ref() else { return };
        if matches!(ended, Some(Ended::Resolved(_))) {
            return;
        }
        for Withheld { host, against } in plan.take_withheld() {
            if let Some((fault, reason)) = &against.fault {
                let failure = TlsFailure { host, reason: reason.clone(), ..TlsFailure::untold(*fault) };
                sessions.count(&against, Some(failure), now());
            }
        }
    }

    /// One place: a connection, and the transaction on it. A connection that turns out to have died while it idled is
    /// replaced once by a new one.
    async fn try_hop(&mut self, hop: Hop<'_>) -> Tried {
        let asked_at = Instant::now();
        let mut delays = Delays { waiting: asked_at - self.taken_at, ..Delays::default() };
        let mut lease = self.lease(hop).await;
        loop {
            delays.connecting = asked_at.elapsed();
            let leased = match lease {
                Ok(leased) => leased,
                Err(unopened) => {
                    self.not_connected(hop, unopened, delays);
                    return Tried::Next;
                }
            };
            if let Err(ended) = self.fetch_content().await {
                self.worker.connections.park(self.key(hop), leased);
                return Tried::Stop(ended);
            }
            if let Some(ended) = self.refused() {
                self.worker.connections.park(self.key(hop), leased);
                return Tried::Stop(ended);
            }
            lease = match self.transact(hop, leased, delays).await {
                Transacted::Over => return Tried::Next,
                Transacted::Dead(slot) => self.fresh(hop, slot).await,
                Transacted::Spent => self.lease(hop).await,
            };
        }
    }

    /// Whether the delivery is still ours, just before it is begun.
    fn refused(&self) -> Option<Ended> {
        match self.worker.desk.begin(self.dispatch.shard) {
            Begin::Go => None,
            Begin::Leaving => Some(Ended::NotAttempted),
            Begin::OwnerGone => Some(Ended::Dropped),
        }
    }

    /// The transactions that a connection carries.
    async fn transact(&mut self, hop: Hop<'_>, mut leased: Leased, mut delays: Delays) -> Transacted {
        let is_converted = self.convert_for(leased.connection.capabilities()).await;
        let Some(content) = self.content_to_send(is_converted) else { return Transacted::Over };
        let mut place = hop.place();
        place.egress = self.egress.egress(leased.source);
        place.notifies = leased.connection.capabilities().dsn;
        place.tls = described(&leased.connection);
        let sent_octets = content.iter().map(|part| part.len() as u64).sum();
        let letter = Letter {
            senders: Senders::of(self.dispatch),
            deadline: self.taken_at + PATIENCE,
            options: &self.options,
            priority: self.dispatch.priority,
            now: now(),
            content,
            binary: self.options.binary && !is_converted,
            tells_origin: self.manner.tells_origin,
        };
        let began_at = Instant::now();
        if leased.reused {
            leased.connection.restart_transcript();
        }
        reach(Point::TransactionBegins);
        let told = converse(&mut leased.connection, &letter, self.open.clone()).await;
        if leased.reused && was_dead(&told) {
            return Transacted::Dead(leased.into_slot());
        }
        if told.reports.iter().any(|(_, report)| report.is_delivered()) {
            reach(Point::RemoteAccepted);
            self.worker.meters.outbound_sent.add(sent_octets, &[]);
        }
        self.keep_transcript(&mut leased.connection, &place, &told.reports);
        delays.sending = began_at.elapsed();
        let let_go = told.let_go;
        let (left, reusable) = self.take_reports(told, &place, delays);
        if reusable {
            self.worker.connections.park(self.key(hop), leased);
        }
        let is_spent = (reusable || let_go) && !left.is_empty() && self.taken_at.elapsed() < PATIENCE;
        if !left.is_empty() && !is_spent && self.failures.is_empty() {
            let text = "the session ended before this recipient's turn".to_owned();
            let cause = Cause::Trouble(Trouble { kind: TroubleKind::Closed, text });
            self.failures.push(outcome(Stage::Mail, cause, &place, delays, now()));
        }
        self.open.extend(left);
        if is_spent { Transacted::Spent } else { Transacted::Over }
    }

    /// What became of the recipients; those whose turn did not come, and whether the connection stands.
    fn take_reports(&mut self, told: Conversation, place: &Place, delays: Delays) -> (Vec<Mailbox>, bool) {
        let at = now();
        let mut passed_on: Option<Outcome> = None;
        self.open.clear();
        for (recipient, mut report) in told.reports {
            self.explain_conversion(&mut report);
            let again = deserves_another_host(&report);
            let outcome = outcome(report.stage, report.cause, place, delays, at);
            if again {
                self.open.push(recipient);
                passed_on = Some(outcome);
            } else {
                self.record.add(recipient, outcome);
            }
        }
        self.failures.extend(passed_on);
        (told.left, told.reusable)
    }

    fn keep_transcript(&mut self, connection: &mut Connection, place: &Place, reports: &[(Mailbox, RecipientReport)]) {
        let in_trouble = reports.iter().find(|(_, report)| !report.is_delivered()).or(reports.first());
        let is_delivered = reports.iter().all(|(_, report)| report.is_delivered());
        if let Some((_, report)) = in_trouble.filter(|_| self.record.wants_transcript(is_delivered)) {
            self.record.say(place, &connection.take_transcript(), &report.cause);
        }
    }

    /// RFC 5321 §5.1: the next host is tried, whatever the reason.
    fn not_connected(&mut self, hop: Hop<'_>, unopened: Unopened, delays: Delays) {
        let Unopened { failure, source } = unopened;
        let place = Place { egress: self.egress.egress(source), ..hop.place() };
        if self.record.wants_transcript(false) {
            self.record.say(&place, &failure.transcript, &failure.cause);
        }
        let mut failure = outcome(failure.stage, failure.cause, &place, delays, now());
        // Whoever waits until then does not try in a circle.
        failure.retry_after = self.blocked_for(hop);
        tracing::debug!(%failure, "no connection");
        self.failures.push(failure);
    }

    /// RFC 8689 §4.2.1, with the status of its §5.
    fn not_secure(&mut self, text: &str) {
        let trouble = Trouble { kind: TroubleKind::RequireTls, text: text.to_owned() };
        let delays = Delays { waiting: self.taken_at.elapsed(), ..Delays::default() };
        self.failures.push(outcome(Stage::Resolve, Cause::Trouble(trouble), &Place::default(), delays, now()));
    }

    /// The plan ended; trouble that it names speaks as well.
    fn exhausted(&mut self, trouble: Option<Trouble>) {
        let trouble = match trouble {
            Some(trouble) => self.egress.judge(trouble),
            None if !self.failures.is_empty() => return,
            None => Trouble { kind: TroubleKind::DnsTemporary, text: "no host to try".to_owned() },
        };
        let delays = Delays { waiting: self.taken_at.elapsed(), ..Delays::default() };
        // What was tried says more than what could not be looked up, unless it is final.
        let failure = outcome(Stage::Resolve, Cause::Trouble(trouble), &Place::default(), delays, now());
        self.failures.insert(0, failure);
    }

    /// Who is left has what stood in the way.
    fn end_part(&mut self) {
        if let Some(failure) = spokesman(std::mem::take(&mut self.failures)) {
            for recipient in std::mem::take(&mut self.open) {
                self.record.add(recipient, failure.clone());
            }
        }
    }

    /// The attempt is broken off. What has happened to some recipients must be told all the same: who has the message must
    /// not get it again.
    fn stopped(mut self, ended: Ended) -> Ended {
        if self.record.is_empty() {
            return ended;
        }
        let Ended::Outcomes { outcomes, .. } = ended else {
            let text = "the attempt was broken off before this recipient's turn".to_owned();
            let cause = Cause::Trouble(Trouble { kind: TroubleKind::Local, text });
            let rest = outcome(Stage::Resolve, cause, &Place::default(), Delays::default(), now());
            for recipient in std::mem::take(&mut self.open) {
                self.record.add(recipient, rest.clone());
            }
            return Ended::Outcomes { outcomes: self.record.into_groups(), own_way: self.own_way };
        };
        // Trouble of ours, said of all.
        for (_, trouble) in outcomes {
            for recipient in std::mem::take(&mut self.open) {
                self.record.add(recipient, trouble.clone());
            }
        }
        Ended::Outcomes { outcomes: self.record.into_groups(), own_way: self.own_way }
    }

    /// The content, once an attempt. What cannot be had or read is our trouble, not the remote's.
    async fn fetch_content(&mut self) -> Result<(), Ended> {
        if self.content.is_some() {
            return Ok(());
        }
        self.room = self.worker.bodies.reserve(self.options.size_bytes).await;
        let fetched = match &self.dispatch.body {
            Some(chunks) => Ok(chunks.clone()),
            None => self.worker.desk.fetch_body(self.dispatch.message, self.options.size_bytes).await,
        };
        let content = match fetched {
            Ok(chunks) => body::content(chunks, &self.options).await,
            Err(reason) => Err(BodyError::Unavailable { reason }),
        };
        match content {
            Ok(content) => {
                self.content = Some(content);
                Ok(())
            }
            Err(error) => {
                tracing::error!(message = %self.dispatch.message, %error, "cannot send a message");
                Err(local_trouble(self.dispatch, error.to_string()))
            }
        }
    }
}

/// Version, cipher and, where the remote proved who it is, how.
fn described(connection: &Connection) -> Option<String> {
    let TlsInfo { version, cipher, .. } = connection.tls()?;
    Some(match connection.proof() {
        Some(Ok(proof)) => format!("{version} {cipher} {proof}"),
        _ => format!("{version} {cipher}"),
    })
}

/// RFC 8689 §5: REQUIRETLS is the stronger word.
const fn senders_wish(options: &Options) -> SendersWish {
    match (options.require_tls, options.tls_optional) {
        (true, _) => SendersWish::RequireTls,
        (false, true) => SendersWish::TlsOptional,
        (false, false) => SendersWish::None,
    }
}

/// The domain that decides where to go.
fn destination(dispatch: &Dispatch) -> Option<Domain> {
    Domain::parse(&dispatch.destination).ok().or_else(|| dispatch.recipients.first().map(Mailbox::domain))
}

/// All recipients, for a reason of our own.
fn local_trouble(dispatch: &Dispatch, text: String) -> Ended {
    let cause = Cause::Trouble(Trouble { kind: TroubleKind::Local, text });
    let outcome = outcome(Stage::Resolve, cause, &Place::default(), Delays::default(), now());
    Ended::Outcomes { outcomes: vec![(dispatch.recipients.clone(), outcome)], own_way: false }
}

/// The outcome of an attempt that came to no end: a message that breaks us is put off like any other trouble, so that
/// it does not break us again at once.
pub(crate) fn crashed(dispatch: &Dispatch) -> Vec<(Vec<Mailbox>, Outcome)> {
    match local_trouble(dispatch, "the attempt crashed".to_owned()) {
        Ended::Outcomes { outcomes, .. } => outcomes,
        Ended::NotAttempted | Ended::Resolved(_) | Ended::Dropped => Vec::new(),
    }
}

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}
