//! The settling loop: each transaction takes what gathered while the one before it was in flight. What was delivered to
//! all at the first attempt goes a fast way, in one statement; everything else is read, locked, decided and written.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use mailtier_store::{Finished, NewEvent, Session, Store, StoreError, StoredDelivery};
use mailtier_telemetry::Meters;
use mailtier_types::{BodyEncoding, DeliveryId, EventDetail, EventKind, MessageId};
use tokio::sync::{mpsc, oneshot};

use super::bounce::RETURNED_HEADER_BYTES;
use super::line::Line;
use super::plan::{Case, Planned, Policy, Surroundings, disposition, plan};
use super::{After, Disposition, Report, What};
use crate::clock;
use crate::conductor::{Command, Conductor, Content};
use crate::database::Connector;
use crate::ids::Ids;

/// Reports of one transaction.
const BATCH_REPORTS: usize = 500;
/// A header section is looked for in so much of a decompressed first chunk.
const FIRST_CHUNK_BYTES: usize = 1 << 20;

/// What an operator wants removed.
#[derive(Debug)]
pub(crate) struct Removal {
    /// Which.
    pub(crate) deliveries: Vec<DeliveryId>,
    /// Who wants it.
    pub(crate) operator: String,
    /// Told how many were removed.
    pub(crate) done: oneshot::Sender<u64>,
}

/// What the settler needs.
#[derive(Debug)]
pub(crate) struct SettlerParts {
    /// Results.
    pub(crate) reports: mpsc::UnboundedReceiver<Report>,
    /// Operators' wishes.
    pub(crate) removals: mpsc::Receiver<Removal>,
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
}

impl Settler {
    pub(crate) fn new(parts: SettlerParts) -> Self {
        let connector = Connector::new(parts.store.clone(), Arc::clone(&parts.meters), "settle");
        Self { parts, connector }
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
                Some(removal) = self.parts.removals.recv() => self.remove(removal).await,
            }
        }
    }

    /// Settles a batch, again and again until it is durable: a result is never dropped.
    async fn settle(&mut self, batch: &mut Vec<Report>) {
        let (fast, slow): (Vec<Report>, Vec<Report>) = batch.drain(..).partition(is_plain_delivery);
        if !fast.is_empty() {
            self.until_durable(&fast, Way::Fast).await;
        }
        // A delivery reported twice in one batch is settled twice, one after the other.
        let mut left = slow;
        while !left.is_empty() {
            let mut seen = HashSet::new();
            let (now, later): (Vec<Report>, Vec<Report>) =
                left.into_iter().partition(|report| seen.insert(report.delivery));
            self.until_durable(&now, Way::Slow).await;
            left = later;
        }
    }

    async fn until_durable(&mut self, reports: &[Report], way: Way) -> Vec<Disposition> {
        loop {
            let started = Instant::now();
            match self.try_settle(reports, way).await {
                Ok(planned) => {
                    self.connector.recovered();
                    return self.conclude(reports.len(), planned, started);
                }
                Err(error) => self.connector.trouble(&error).await,
            }
        }
    }

    async fn try_settle(&mut self, reports: &[Report], way: Way) -> Result<Planned, StoreError> {
        let session = self.connector.session().await?;
        match way {
            Way::Fast => settle_plain(session, reports).await,
            Way::Slow => settle_decided(session, reports, &self.parts.policy, &self.parts.ids).await,
        }
    }

    fn conclude(&self, count: usize, planned: Planned, started: Instant) -> Vec<Disposition> {
        let meters = &self.parts.meters;
        meters.queue_settle_duration.record(started.elapsed().as_secs_f64(), &[]);
        meters.queue_settle_batch.record(count as f64, &[]);
        meters.queue_notifications.add(planned.plan.dsns.len() as u64, &[]);
        for line in &planned.lines {
            let recipients = line.recipients.len() as u64;
            meters.queue_settled.add(recipients, &Meters::attribute("outcome", line.kind.name()));
            line.log();
        }
        self.parts.conductor.send(Command::Settled(planned.dispositions.clone()));
        if !planned.committed.is_empty() {
            self.parts.conductor.send(Command::Accepted(planned.committed));
        }
        planned.dispositions
    }

    async fn remove(&mut self, removal: Removal) {
        let report = |delivery: &DeliveryId| Report {
            delivery: *delivery,
            attempt: 0,
            tenant: mailtier_types::TenantId::default(),
            what: What::Removed { operator: removal.operator.clone() },
            worker: None,
            content: None,
        };
        let reports: Vec<Report> = removal.deliveries.iter().map(report).collect();
        let started = Instant::now();
        // An operator waits for this one: after an error it is for them to say it again.
        let removed = match self.try_settle(&reports, Way::Slow).await {
            Ok(planned) => {
                let removed = planned.plan.finished.len() as u64;
                self.conclude(reports.len(), planned, started);
                removed
            }
            Err(error) => {
                self.connector.trouble(&error).await;
                return;
            }
        };
        let _ = removal.done.send(removed);
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
    let named: usize = outcomes.iter().map(|(recipients, _)| recipients.len()).sum();
    report.attempt == 1
        && named == content.recipients.len()
        && outcomes.iter().all(|(_, outcome)| outcome.is_delivered())
}

/// One statement; events are written only for deliveries that were still there.
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
            lines.push((report.delivery, line(content, recipients, outcome)));
        }
    }
    let removed: HashSet<DeliveryId> = session.finish_delivered(&finished, &events).await?.into_iter().collect();
    Ok(Planned {
        dispositions: reports.iter().map(|report| disposition(report, After::Over)).collect(),
        lines: lines.into_iter().filter(|(id, _)| removed.contains(id)).map(|(_, line)| line).collect(),
        ..Planned::default()
    })
}

fn line(content: &Content, recipients: Vec<String>, outcome: &mailtier_types::Outcome) -> Line {
    Line {
        message: content.message,
        kind: EventKind::RecipientDelivered,
        recipients,
        outcome: Some(outcome.clone()),
        received_at: content.received_at,
    }
}

/// Reads what is needed, locks, decides by what is then there, writes.
async fn settle_decided(
    session: &mut Session,
    reports: &[Report],
    policy: &Policy,
    ids: &Ids,
) -> Result<Planned, StoreError> {
    let now = clock::now();
    let wanted: Vec<DeliveryId> = reports.iter().map(|report| report.delivery).collect();
    let headers = headers_to_return(session, reports, &wanted).await?;
    let ids: Vec<MessageId> = reports.iter().map_while(|_| ids.take(now)).collect();
    if ids.len() < reports.len() {
        // Without ids failures could not be returned to their senders: wait for a node number.
        return Err(StoreError::NoNodeNumber);
    }
    let chances: Vec<f32> = reports.iter().map(|_| rand::random()).collect();
    let mut transaction = session.begin_settle().await?;
    let locked = transaction.lock(&wanted).await?;
    let rows: HashMap<DeliveryId, &StoredDelivery> = locked.iter().map(|row| (row.id, row)).collect();
    let cases: Vec<Case<'_>> = reports
        .iter()
        .zip(chances)
        .filter_map(|(report, chance)| Some(Case { report, stored: rows.get(&report.delivery)?, chance }))
        .collect();
    let mut planned = plan(&cases, Surroundings { policy, now, headers: &headers, ids });
    transaction.apply(&planned.plan).await?;
    transaction.commit().await?;
    // What is not there any more is over, whoever settled it.
    let gone = reports.iter().filter(|report| !rows.contains_key(&report.delivery));
    planned.dispositions.extend(gone.map(|report| disposition(report, After::Over)));
    Ok(planned)
}

/// The header sections of messages that this batch may return to their senders.
async fn headers_to_return(
    session: &mut Session,
    reports: &[Report],
    wanted: &[DeliveryId],
) -> Result<HashMap<MessageId, Bytes>, StoreError> {
    let may_fail = |report: &Report| match &report.what {
        What::Expired => true,
        What::Outcomes(outcomes) => outcomes.iter().any(|(_, outcome)| !outcome.is_delivered()),
        What::Removed { .. } => false,
    };
    let mut headers = HashMap::new();
    if !reports.iter().any(may_fail) {
        return Ok(headers);
    }
    let suspects: HashSet<DeliveryId> = reports.iter().filter(|report| may_fail(report)).map(|r| r.delivery).collect();
    for row in session.fetch(wanted).await? {
        if row.sender.is_empty() || !suspects.contains(&row.id) || headers.contains_key(&row.message) {
            continue;
        }
        let encoding = mailtier_api::decode_options(&row.options).map_or(BodyEncoding::Identity, |o| o.encoding);
        let chunk = session.body_chunk(row.message, 0).await?.unwrap_or_default();
        headers.insert(row.message, header_section(&chunk, encoding));
    }
    Ok(headers)
}

/// The header section at the beginning of a first chunk; empty where that cannot be read.
fn header_section(chunk: &Bytes, encoding: BodyEncoding) -> Bytes {
    let text = match encoding {
        BodyEncoding::Identity => chunk.clone(),
        BodyEncoding::Zstd => {
            let decoded = zstd::bulk::decompress(chunk, FIRST_CHUNK_BYTES).unwrap_or_default();
            Bytes::from(decoded)
        }
    };
    Bytes::copy_from_slice(mailtier_message::original_headers(&text, RETURNED_HEADER_BYTES))
}
