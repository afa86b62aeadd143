//! The settling loop: each transaction takes what gathered while the one before it was in flight. What was delivered to
//! all at the first attempt goes a fast way, in one statement; everything else is read, locked, decided and written.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mailtier_crashpoint::{Point, reach};
use mailtier_store::{Finished, NewEvent, Session, Store, StoreError, StoredDelivery};
use mailtier_telemetry::Meters;
use mailtier_types::{BodyEncoding, DeliveryId, EventDetail, EventKind, Options, Return};
use tokio::sync::mpsc;

use super::bounce::{RETURNED_HEADER_BYTES, RETURNED_MESSAGE_BYTES};
use super::line::Line;
use super::plan::{Case, Planned, Policy, Returned, Surroundings, disposition, plan};
use super::{After, Report, What};
use crate::clock;
use crate::conductor::{Command, Conductor, Content};
use crate::database::{Chain, Connector};
use crate::ids::Ids;

/// Reports of one transaction.
const BATCH_REPORTS: usize = 500;
/// Between two tries of what the database refuses.
const ASIDE_PAUSE: Duration = Duration::from_secs(30);
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
    pub(crate) policy: Policy,
    /// Metrics.
    pub(crate) meters: Arc<Meters>,
}

/// What settlement is set to, under the name others use.
pub(crate) type Settling = Policy;

/// The loop.
#[derive(Debug)]
pub(crate) struct Settler {
    parts: SettlerParts,
    connector: Connector,
    /// What the database refuses to settle, and when it is tried again.
    aside: Vec<Report>,
    aside_until: tokio::time::Instant,
}

impl Settler {
    pub(crate) fn new(parts: SettlerParts) -> Self {
        let connector = Connector::new(parts.store.clone(), Arc::clone(&parts.meters), "settle");
        Self { parts, connector, aside: Vec::new(), aside_until: tokio::time::Instant::now() }
    }

    /// Runs until nobody can report any more.
    pub(crate) async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH_REPORTS);
        loop {
            tokio::select! {
                count = self.parts.reports.recv_many(&mut batch, BATCH_REPORTS) => {
                    if count == 0 {
                        return;
                    }
                    self.settle(&mut batch).await;
                }
                () = tokio::time::sleep_until(self.aside_until), if !self.aside.is_empty() => {
                    batch.append(&mut self.aside);
                    self.settle(&mut batch).await;
                }
            }
        }
    }

    /// Settles a batch, until all of it is durable: a result is never dropped. A delivery reported twice is settled
    /// twice, one after the other.
    async fn settle(&mut self, batch: &mut Vec<Report>) {
        let mut left = std::mem::take(batch);
        while !left.is_empty() {
            let mut seen = HashSet::with_capacity(left.len());
            let (now, later): (Vec<Report>, Vec<Report>) =
                left.into_iter().partition(|report| seen.insert(report.delivery));
            let (fast, slow): (Vec<Report>, Vec<Report>) = now.into_iter().partition(is_plain_delivery);
            // What the fast way leaves alone is gone, or something is written beside it.
            let untouched = self.until_durable(fast, Way::Fast).await;
            self.until_durable(slow, Way::Slow).await;
            self.until_durable(untouched, Way::Slow).await;
            left = later;
        }
    }

    /// Settles reports, again and again while the database is in trouble. One that the database refuses is found by
    /// halving and set aside, so that it stops nobody else's. Returns those that are to be settled another way.
    async fn until_durable(&mut self, reports: Vec<Report>, way: Way) -> Vec<Report> {
        let (mut groups, mut untouched) = (vec![reports], Vec::new());
        while let Some(mut group) = groups.pop() {
            if group.is_empty() {
                continue;
            }
            let started = Instant::now();
            match self.try_settle(&group, way).await {
                Ok(planned) => {
                    self.connector.recovered();
                    let settled: HashSet<DeliveryId> = planned.dispositions.iter().map(|one| one.delivery).collect();
                    conclude(&self.parts.conductor, &self.parts.meters, group.len(), planned, started);
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
                Err(error) => self.set_aside(group, &error),
            }
        }
        untouched
    }

    fn set_aside(&mut self, reports: Vec<Report>, error: &StoreError) {
        for report in &reports {
            tracing::error!(delivery = %report.delivery, attempt = report.attempt, error = %Chain(error),
                retry_in = ?ASIDE_PAUSE, "cannot be settled");
        }
        if self.aside.is_empty() {
            self.aside_until = tokio::time::Instant::now() + ASIDE_PAUSE;
        }
        self.aside.extend(reports);
    }

    async fn try_settle(&mut self, reports: &[Report], way: Way) -> Result<Planned, StoreError> {
        let session = self.connector.session().await?;
        match way {
            Way::Fast => settle_plain(session, reports).await,
            Way::Slow => settle_decided(session, reports, &self.parts.policy, &self.parts.ids).await,
        }
    }
}

/// Tells of what is durable: the log, the metrics, the schedule.
pub(super) fn conclude(conductor: &Conductor, meters: &Meters, count: usize, planned: Planned, started: Instant) {
    reach(Point::Settled);
    meters.queue_settle_duration.record(started.elapsed().as_secs_f64(), &[]);
    meters.queue_settle_batch.record(count as f64, &[]);
    meters.queue_notifications.add(planned.plan.dsns.len() as u64, &[]);
    for line in &planned.lines {
        if line.kind.is_outcome() {
            let recipients = line.recipients.len() as u64;
            meters.queue_settled.add(recipients, &Meters::attribute("outcome", line.kind.name()));
        }
        line.log();
    }
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
                detail: mailtier_api::encode_detail(&detail),
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
        operator: None,
        received_at: content.received_at,
    }
}

/// Locks, decides by what is then there, writes.
pub(super) async fn settle_decided(
    session: &mut Session,
    reports: &[Report],
    policy: &Policy,
    ids: &Ids,
) -> Result<Planned, StoreError> {
    let now = clock::now();
    let wanted: Vec<DeliveryId> = reports.iter().map(|report| report.delivery).collect();
    let mut transaction = session.begin_settle().await?;
    let locked = transaction.lock(&wanted).await?;
    reach(Point::SettleLocked);
    let rows: HashMap<DeliveryId, &StoredDelivery> = locked.iter().map(|row| (row.id, row)).collect();
    let cases: Vec<Case<'_>> = reports
        .iter()
        .filter_map(|report| Some(Case { report, stored: rows.get(&report.delivery)?, chance: rand::random() }))
        .collect();
    let (mut headers, mut dsn_ids) = (HashMap::new(), Vec::new());
    for case in &cases {
        let (stored, count) = (case.stored, case.notifications(policy, now));
        // Without an id a failure could not be returned to its sender.
        for _ in 0..count {
            dsn_ids.push(ids.take(now).ok_or(StoreError::NoNodeNumber)?);
        }
        if count == 0 {
            continue;
        }
        if let Entry::Vacant(place) = headers.entry(stored.message) {
            let chunk = transaction.first_chunk(stored.message).await?.unwrap_or_default();
            let options = mailtier_api::decode_options(&stored.options).unwrap_or_default();
            place.insert(returned(&chunk, &options));
        }
    }
    let mut planned = plan(&cases, Surroundings { policy, now, returned: &headers, ids: dsn_ids });
    transaction.apply(&planned.plan).await?;
    transaction.commit().await?;
    // What is not there any more is over, whoever settled it.
    let gone = reports.iter().filter(|report| !rows.contains_key(&report.delivery));
    planned.dispositions.extend(gone.map(|report| disposition(report, After::Over)));
    Ok(planned)
}

/// What a notification returns of a message: its header section, or all of it where its sender asked for that and it is
/// not too large (RFC 3461 §4.3). Nothing where the first chunk cannot be read.
fn returned(chunk: &Bytes, options: &Options) -> Returned {
    let text = match options.encoding {
        BodyEncoding::Identity => chunk.clone(),
        BodyEncoding::Zstd => {
            let decoded = zstd::bulk::decompress(chunk, FIRST_CHUNK_BYTES).unwrap_or_default();
            Bytes::from(decoded)
        }
    };
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
