//! The settling loop: each transaction takes what gathered while the one before it was in flight, and a moment longer. What
//! was delivered to all at the first attempt goes a fast way, in one statement; everything else is read, locked, decided and
//! written.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use mailtier_crashpoint::{Point, reach};
use mailtier_store::{Finished, NewEvent, Session, SettleTx, Store, StoreError, StoredDelivery};
use mailtier_telemetry::{Meters, together};
use mailtier_types::text::Chain;
use mailtier_types::{BodyEncoding, DeliveryId, EventDetail, EventKind, Mailbox, MessageId, Options, Return};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::aside::Aside;
use super::bounce::{RETURNED_HEADER_BYTES, RETURNED_MESSAGE_BYTES};
use super::line::Line;
use super::measures;
use super::pace::Pace;
use super::plan::{Case, Planned, Policy, Returned, Surroundings, disposition, plan};
use super::{After, Disposition, Report, What};
use crate::clock;
use crate::conductor::{Command, Conductor, Content};
use crate::database::Connector;
use crate::ids::Ids;

/// Reports of one transaction.
const BATCH_REPORTS: usize = 500;
/// A header section is looked for in so much of a decompressed first chunk.
const FIRST_CHUNK_BYTES: usize = 1 << 20;

/// What the settler needs.
#[derive(Debug)]
pub(crate) struct SettlerParts {
    /// Results.
    pub(crate) reports: mpsc::UnboundedReceiver<Report>,
    /// The database.
    pub(crate) store: Store,
    /// Told what is durable.
    pub(crate) conductor: Conductor,
    /// For notifications.
    pub(crate) ids: Arc<Ids>,
    /// Settings.
    pub(crate) policy: Settling,
    /// Metrics.
    pub(crate) meters: Arc<Meters>,
}

/// What settlement is set to, as it is now. Whoever settles takes it once for each transaction.
#[derive(Clone, Debug)]
pub(crate) struct Settling(Arc<ArcSwap<Policy>>);

impl Settling {
    pub(crate) fn new(policy: Policy) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(policy)))
    }

    /// As it is now.
    pub(crate) fn now(&self) -> Arc<Policy> {
        self.0.load_full()
    }

    /// From now on.
    pub(crate) fn set(&self, policy: Policy) {
        self.0.store(Arc::new(policy));
    }
}

/// The loop.
#[derive(Debug)]
pub(crate) struct Settler {
    parts: SettlerParts,
    connector: Connector,
    /// What the database refuses to settle.
    aside: Aside,
    /// What needs a notification, for which this replica has no number to make an id with.
    unnumbered: Vec<Report>,
}

impl Settler {
    pub(crate) fn new(parts: SettlerParts) -> Self {
        let connector = Connector::new(parts.store.clone(), Arc::clone(&parts.meters), "settle");
        Self { parts, connector, aside: Aside::default(), unnumbered: Vec::new() }
    }

    /// Runs until nobody can report any more.
    pub(crate) async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH_REPORTS);
        let ids = Arc::clone(&self.parts.ids);
        let mut pace = Pace::new(Instant::now());
        loop {
            let next_part = self.aside.next_part();
            tokio::select! {
                count = self.parts.reports.recv_many(&mut batch, BATCH_REPORTS) => {
                    if count == 0 {
                        return;
                    }
                    if let Some(until) = pace.wait(batch.len(), Instant::now()) {
                        tokio::time::sleep_until(until).await;
                        while batch.len() < BATCH_REPORTS && let Ok(report) = self.parts.reports.try_recv() {
                            batch.push(report);
                        }
                    }
                    pace.begin(Instant::now());
                    self.settle_fresh(std::mem::take(&mut batch)).await;
                }
                () = ids.until_held(), if !self.unnumbered.is_empty() => {
                    let count = self.unnumbered.len().min(BATCH_REPORTS);
                    let numbered = self.unnumbered.drain(..count).collect();
                    self.settle_fresh(numbered).await;
                }
                () = tokio::time::sleep_until(next_part.unwrap_or_else(Instant::now)), if next_part.is_some() => {
                    self.settle_aside().await;
                }
            }
        }
    }

    async fn settle_fresh(&mut self, batch: Vec<Report>) {
        let unnumbered = self.settle(batch, Origin::Fresh).await;
        if self.unnumbered.is_empty() && !unnumbered.is_empty() {
            tracing::warn!("results that lead to notifications wait until this replica has a number to make ids with");
        }
        self.unnumbered.extend(unnumbered);
    }

    /// Tries a part of what was set aside.
    async fn settle_aside(&mut self) {
        let part = self.aside.take_part();
        let left = self.aside.len();
        let unnumbered = self.settle(part, Origin::Aside).await;
        if !unnumbered.is_empty() {
            self.aside.add(unnumbered, Instant::now());
        }
        match self.aside.len() - left {
            0 => self.aside.go_on(Instant::now()),
            refused => tracing::error!(refused, aside = self.aside.len(), "still cannot be settled"),
        }
    }

    /// Settles a batch, until all of it is durable: a result is never dropped. A delivery reported twice is settled
    /// twice, one after the other. Returns those that wait for a number.
    async fn settle(&mut self, batch: Vec<Report>, origin: Origin) -> Vec<Report> {
        let (mut left, mut unnumbered) = (batch, Vec::new());
        while !left.is_empty() {
            let mut seen = HashSet::with_capacity(left.len());
            let (now, later): (Vec<Report>, Vec<Report>) =
                left.into_iter().partition(|report| seen.insert(report.delivery));
            let (fast, slow): (Vec<Report>, Vec<Report>) = now.into_iter().partition(is_plain_delivery);
            // What the fast way leaves alone is gone, or something is written beside it.
            let untouched = self.until_durable(fast, Way::Fast, origin).await;
            unnumbered.append(&mut self.until_durable(slow, Way::Slow, origin).await);
            unnumbered.append(&mut self.until_durable(untouched, Way::Slow, origin).await);
            left = later;
        }
        unnumbered
    }

    /// Settles reports, again and again while the database is in trouble. One that the database refuses is found by
    /// halving and set aside, so that it stops nobody else's. Returns those that are to be settled another way, or later.
    async fn until_durable(&mut self, reports: Vec<Report>, way: Way, origin: Origin) -> Vec<Report> {
        let (mut groups, mut untouched) = (vec![reports], Vec::new());
        while let Some(mut group) = groups.pop() {
            if group.is_empty() {
                continue;
            }
            let started = Instant::now();
            match self.try_settle(&group, way).await {
                Ok(mut planned) => {
                    self.connector.recovered();
                    let settled: HashSet<DeliveryId> = planned.dispositions.iter().map(|one| one.delivery).collect();
                    for disposition in &mut planned.dispositions {
                        disposition.was_reported &= origin == Origin::Fresh;
                    }
                    let policy = self.parts.policy.now();
                    let told = (&self.parts.conductor, &*policy, self.parts.meters.as_ref());
                    conclude(told, group.len(), planned, started);
                    group.retain(|report| !settled.contains(&report.delivery));
                    untouched.append(&mut group);
                }
                Err(error) if error.is_transient() => {
                    self.connector.trouble(&error).await;
                    groups.push(group);
                }
                Err(error) if group.len() > 1 => {
                    tracing::warn!(reports = group.len(), error = %Chain(&error), "refused; settled in halves");
                    groups.push(group.split_off(group.len() / 2));
                    groups.push(group);
                }
                Err(error) => self.set_aside(group, &error, origin),
            }
        }
        untouched
    }

    /// For later; the conductor does not count it any more, so that it does not keep the rest of the mail waiting.
    fn set_aside(&mut self, reports: Vec<Report>, error: &StoreError, origin: Origin) {
        if origin == Origin::Fresh {
            for report in &reports {
                tracing::error!(delivery = %report.delivery, attempt = report.attempt, error = %Chain(error),
                    "cannot be settled; it is tried again");
            }
            let aside = |report: &Report| Disposition { worker: None, ..disposition(report, After::Aside) };
            self.parts.conductor.send(Command::Settled(reports.iter().map(aside).collect()));
        }
        self.aside.add(reports, Instant::now());
    }

    async fn try_settle(&mut self, reports: &[Report], way: Way) -> Result<Planned, StoreError> {
        let session = self.connector.session().await?;
        match way {
            Way::Fast => settle_plain(session, reports).await,
            Way::Slow => {
                let SettlerParts { policy, ids, .. } = &self.parts;
                settle_decided(session, reports, &policy.now(), ids, Unnumbered::AreLeftOut).await
            }
        }
    }
}

/// Tells of what is durable: the log, the metrics, the schedule.
pub(super) fn conclude(
    (conductor, policy, meters): (&Conductor, &Policy, &Meters),
    count: usize,
    planned: Planned,
    started: Instant,
) {
    reach(Point::Settled);
    meters.queue_settle_duration.record(started.elapsed().as_secs_f64(), &[]);
    meters.queue_settle_batch.record(count as f64, &[]);
    meters.queue_notifications.add(planned.plan.dsns.len() as u64, &[]);
    measures::count(&planned.lines, &policy.providers, meters);
    together(|| planned.lines.iter().for_each(Line::log));
    policy.listed.add(&planned.plan.suppressions);
    conductor.send(Command::Settled(planned.dispositions));
    if !planned.committed.is_empty() {
        reach(Point::NotificationUnscheduled);
        conductor.send(Command::Accepted(planned.committed));
    }
}

#[derive(Clone, Copy)]
enum Way {
    Fast,
    Slow,
}

/// Where a batch comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// It was reported, and the conductor counts it.
    Fresh,
    /// It was set aside.
    Aside,
}

/// What becomes of a report that leads to a notification while there is no number to make its id with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unnumbered {
    /// None of the batch is settled.
    AreRefused,
    /// The others are settled.
    AreLeftOut,
}

/// Delivered to every recipient at the first attempt, as this replica dispatched it.
fn is_plain_delivery(report: &Report) -> bool {
    let (What::Outcomes(outcomes), Some(content)) = (&report.what, &report.content) else { return false };
    report.attempt == 1
        && !content.reports_success
        && outcomes.iter().all(|(_, outcome)| outcome.is_delivered())
        && outcomes.iter().flat_map(|(recipients, _)| recipients).eq(&content.recipients)
}

/// One statement, which leaves alone what is gone and what has something written beside it.
async fn settle_plain(session: &mut Session, reports: &[Report]) -> Result<Planned, StoreError> {
    let now = clock::now();
    let mut finished = Vec::with_capacity(reports.len());
    let mut events = Vec::with_capacity(reports.len());
    let mut lines = Vec::with_capacity(reports.len());
    for report in reports {
        let (What::Outcomes(outcomes), Some(content)) = (&report.what, &report.content) else { continue };
        finished.push(Finished { delivery: report.delivery, message: content.message, fanout: content.fanout });
        for (recipients, outcome) in outcomes {
            let recipients: Vec<String> = recipients.iter().map(|recipient| recipient.as_str().to_owned()).collect();
            let detail = EventDetail { outcome: Some(outcome.clone()), ..EventDetail::default() };
            events.push(NewEvent {
                at: now,
                kind: EventKind::RecipientDelivered,
                message: content.message,
                delivery: Some(report.delivery),
                tenant: report.tenant,
                attempt: report.attempt,
                sender: content.sender.as_str().to_owned(),
                recipients: recipients.clone(),
                detail: mailtier_api::encode_detail(detail),
            });
            lines.push((report.delivery, line(content, report.attempt, recipients, outcome)));
        }
    }
    let removed: HashSet<DeliveryId> = session.finish_delivered(&finished, &events).await?.into_iter().collect();
    Ok(Planned {
        dispositions: reports
            .iter()
            .filter(|report| removed.contains(&report.delivery))
            .map(|report| disposition(report, After::Over))
            .collect(),
        lines: lines.into_iter().filter(|(id, _)| removed.contains(id)).map(|(_, line)| line).collect(),
        ..Planned::default()
    })
}

fn line(content: &Content, attempt: u16, recipients: Vec<String>, outcome: &mailtier_types::Outcome) -> Line {
    Line {
        message: content.message,
        attempt,
        sender: content.sender.as_str().to_owned(),
        kind: EventKind::RecipientDelivered,
        recipients,
        outcome: Some(outcome.clone()),
        class: None,
        operator: None,
        received_at: content.received_at,
        traceparent: content.traceparent.clone(),
    }
}

/// Locks, decides by what is then there, writes.
pub(super) async fn settle_decided(
    session: &mut Session,
    reports: &[Report],
    policy: &Policy,
    ids: &Ids,
    unnumbered: Unnumbered,
) -> Result<Planned, StoreError> {
    let mut transaction = session.begin_settle().await?;
    match decide(&mut transaction, reports, policy, ids, unnumbered).await {
        Ok(planned) => transaction.commit().await.map(|()| planned),
        Err(error) => {
            // What was refused is tried in halves: on this session, unless it is lost.
            let _ = transaction.rollback().await;
            Err(error)
        }
    }
}

async fn decide(
    transaction: &mut SettleTx<'_>,
    reports: &[Report],
    policy: &Policy,
    ids: &Ids,
    unnumbered: Unnumbered,
) -> Result<Planned, StoreError> {
    let now = clock::now();
    let wanted: Vec<DeliveryId> = reports.iter().map(|report| report.delivery).collect();
    let locked = transaction.lock(&wanted).await?;
    reach(Point::SettleLocked);
    let rows: HashMap<DeliveryId, &StoredDelivery> = locked.iter().map(|row| (row.id, row)).collect();
    let (mut cases, mut headers, mut dsn_ids) = (Vec::with_capacity(reports.len()), HashMap::new(), Vec::new());
    for report in reports {
        let Some(&stored) = rows.get(&report.delivery) else { continue };
        let case = Case::new(report, stored, rand::random(), policy, now);
        let count = case.notifications();
        // Without an id a failure could not be returned to its sender.
        match (0..count).map(|_| ids.take(now)).collect::<Option<Vec<MessageId>>>() {
            Some(taken) => dsn_ids.extend(taken),
            None if unnumbered == Unnumbered::AreLeftOut => continue,
            None => return Err(StoreError::NoNodeNumber),
        }
        if count > 0
            && let Entry::Vacant(place) = headers.entry(stored.message)
        {
            let chunk = transaction.first_chunk(stored.message).await?.unwrap_or_default();
            place.insert(returned(&chunk, case.options()));
        }
        cases.push(case);
    }
    let mut planned = plan(cases, Surroundings { policy, now, returned: &headers, ids: dsn_ids });
    transaction.apply(&planned.plan).await?;
    // What is not there any more is over, whoever settled it.
    let gone = reports.iter().filter(|report| !rows.contains_key(&report.delivery));
    gone.clone().for_each(tell_of_late_delivery);
    planned.dispositions.extend(gone.map(|report| disposition(report, After::Over)));
    Ok(planned)
}

/// What arrived although its delivery was over has no place in the history: its recipients are in another state. The log
/// says so, where this replica knows what it was.
fn tell_of_late_delivery(report: &Report) {
    let (What::Outcomes(outcomes), Some(content)) = (&report.what, &report.content) else { return };
    for (recipients, outcome) in outcomes.iter().filter(|(_, outcome)| outcome.is_delivered()) {
        let to: Vec<&str> = recipients.iter().map(Mailbox::as_str).collect();
        tracing::warn!(
            message = %content.message, from = content.sender.as_str(), to = to.join(","), attempt = report.attempt, %outcome,
            "delivered although it was over: an operator had ended it meanwhile, or its result has come twice"
        );
    }
}

/// The first chunk of a body as it came; nothing where it cannot be read.
pub(crate) fn first_chunk_text(chunk: &Bytes, encoding: BodyEncoding) -> Bytes {
    match encoding {
        BodyEncoding::Identity => chunk.clone(),
        BodyEncoding::Zstd => {
            let decoded = zstd::bulk::decompress(chunk, FIRST_CHUNK_BYTES).unwrap_or_default();
            Bytes::from(decoded)
        }
    }
}

/// What a notification returns of a message: its header section, or all of it where its sender asked for that and it is
/// not too large (RFC 3461 §4.3). Nothing where the first chunk cannot be read.
pub(super) fn returned(chunk: &Bytes, options: &Options) -> Returned {
    let text = first_chunk_text(chunk, options.encoding);
    let is_whole = options.ret == Some(Return::Full)
        && !options.binary
        && options.size_bytes <= RETURNED_MESSAGE_BYTES
        && options.size_bytes == text.len() as u64;
    let octets = match is_whole {
        true => text,
        false => Bytes::copy_from_slice(mailtier_message::original_headers(&text, RETURNED_HEADER_BYTES)),
    };
    Returned { octets, is_whole }
}
