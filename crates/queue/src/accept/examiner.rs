//! Messages that are looked into before they are accepted: what comes back about another message, which is read and not
//! delivered, and what goes to recipients who may be on a suppression list. Each is committed in a transaction of its own,
//! with all that follows from it; what turns out to be ordinary mail goes on with the other. So ordinary mail waits for none
//! of this, and costs nothing more.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use mailtier_message::feedback::read;
use mailtier_store::{AsidePlan, AsideTx, NewDelivery, NewEvent, Refusal, Session, Store, StoreError};
use mailtier_telemetry::{Meters, spans};
use mailtier_types::{EventKind, Mailbox, Options, ReceivedTlsReport, Reply, ReversePath, TenantId, reply};
use tokio::sync::mpsc;

use super::flusher::refusal_reply;
use super::translate::entry_of;
use super::{Examine, Job};
use crate::clock;
use crate::conductor::{Command, Committed, Conductor};
use crate::database::Connector;
use crate::feedback::{About, Context, Feedback, Report, plan};
use crate::ids::Ids;
use crate::settle::{Reasons, Refused, Settling, Suppressed, first_chunk_text};

/// Messages whose recipients are looked for at a time.
const BATCH: usize = 100;

/// The loop.
#[derive(Debug)]
pub(crate) struct Examiner {
    /// What is looked into.
    pub(crate) jobs: mpsc::UnboundedReceiver<Job>,
    /// What is not to be looked into any more.
    pub(crate) ordinary: mpsc::Sender<Job>,
    /// The database.
    pub(crate) store: Store,
    /// Told of what was committed.
    pub(crate) conductor: Conductor,
    /// For notifications.
    pub(crate) ids: Arc<Ids>,
    /// How failures are told, and who is put on suppression lists.
    pub(crate) policy: Settling,
    /// What comes back.
    pub(crate) feedback: Arc<Feedback>,
    /// Metrics.
    pub(crate) meters: Arc<Meters>,
}

/// What a message turned out to be.
enum Found {
    /// Something that came back.
    Report,
    /// It has recipients on a list.
    Suppressed(Reasons),
}

/// What became of an attempt to commit a message.
enum Tried {
    /// It is durable, and this was written.
    Done(Written),
    /// It was accepted before.
    Known,
    /// It is not accepted.
    Refused(Reply),
}

/// What was written.
enum Written {
    Report(AsidePlan),
    Suppressed(Refused),
}

impl Written {
    const fn plan(&self) -> &AsidePlan {
        match self {
            Self::Report(plan) => plan,
            Self::Suppressed(refused) => &refused.plan,
        }
    }
}

impl Examiner {
    /// Runs until every sender of jobs is gone.
    pub(crate) async fn run(mut self) {
        let mut connector = Connector::new(self.store.clone(), Arc::clone(&self.meters), "examine");
        let mut batch = Vec::with_capacity(BATCH);
        while self.jobs.recv_many(&mut batch, BATCH).await > 0 {
            let (reports, others): (Vec<Job>, Vec<Job>) =
                batch.drain(..).partition(|job| job.examine == Some(Examine::Report));
            for job in reports {
                self.commit(&mut connector, job, &Found::Report).await;
            }
            self.screen(&mut connector, others).await;
        }
    }

    /// Looks for recipients who are on lists.
    async fn screen(&self, connector: &mut Connector, mut jobs: Vec<Job>) {
        while !jobs.is_empty() {
            let wanted: HashSet<(TenantId, String)> = jobs.iter().flat_map(wanted).collect();
            let wanted: Vec<(TenantId, String)> = wanted.into_iter().collect();
            let looked = match connector.session().await {
                Ok(session) => session.find_suppressed(&wanted, clock::now()).await,
                Err(error) => Err(error),
            };
            match looked {
                Ok(found) => return self.part(connector, jobs, &found).await,
                Err(error) => connector.trouble(&error).await,
            }
            jobs.retain(|job| !is_late(job));
        }
    }

    /// Those with nobody on a list go on at once, the others after them.
    async fn part(&self, connector: &mut Connector, jobs: Vec<Job>, found: &[mailtier_store::Suppressed]) {
        let mut with_listed = Vec::new();
        for mut job in jobs {
            let mine: HashSet<String> = wanted_of(&job).collect();
            let of_it = found.iter().filter(|one| one.tenant == job.message.accepted.tenant);
            let of_it = of_it.filter(|one| mine.contains(&one.address));
            let reasons: Reasons = of_it.map(|one| (one.address.clone(), one.reason.clone())).collect();
            if reasons.is_empty() {
                job.examine = None;
                let _ = self.ordinary.send(job).await;
            } else {
                with_listed.push((job, reasons));
            }
        }
        for (job, reasons) in with_listed {
            self.commit(connector, job, &Found::Suppressed(reasons)).await;
        }
    }

    /// Commits a message, again and again until it is known to be durable or its submitter has stopped waiting.
    async fn commit(&self, connector: &mut Connector, mut job: Job, found: &Found) {
        while !is_late(&job) {
            let started = Instant::now();
            let tried = match connector.session().await {
                Ok(session) => self.try_commit(session, &job, found).await,
                Err(error) => Err(error),
            };
            match tried {
                Ok(Tried::Done(written)) => {
                    connector.recovered();
                    self.meters.queue_accept_duration.record(started.elapsed().as_secs_f64(), &[]);
                    return self.conclude(job, written);
                }
                Ok(Tried::Known) => return job.answer(Ok(())),
                Ok(Tried::Refused(reply)) => {
                    tracing::error!(id = %job.message.id, %reply, "submission refused");
                    return job.answer(Err(reply));
                }
                Err(error) => {
                    // What may have been committed is given again under the same id, and accepted once.
                    job.message.resubmission |= error.is_unknown();
                    connector.trouble(&error).await;
                }
            }
        }
    }

    async fn try_commit(&self, session: &mut Session, job: &Job, found: &Found) -> Result<Tried, StoreError> {
        if job.message.resubmission && session.is_accepted(&job.message).await? {
            return Ok(Tried::Known);
        }
        let mut transaction = session.begin_aside().await?;
        let error = match self.write(&mut transaction, job, found).await {
            Ok(Some(written)) => return transaction.commit().await.map(|()| Tried::Done(written)),
            Ok(None) => {
                transaction.rollback().await?;
                return Ok(Tried::Refused(refusal_reply(Refusal::PartsMissing)));
            }
            Err(error) => error,
        };
        transaction.rollback().await?;
        if error.is_duplicate_key() {
            let is_known = session.is_accepted(&job.message).await?;
            return Ok(if is_known { Tried::Known } else { Tried::Refused(refusal_reply(Refusal::IdTaken)) });
        }
        if error.is_data_error() {
            return Ok(Tried::Refused(refusal_reply(Refusal::NotStorable)));
        }
        Err(error)
    }

    /// Writes what follows from a message; nothing where parts of it, or a number for a notification, are missing.
    async fn write(
        &self,
        transaction: &mut AsideTx<'_>,
        job: &Job,
        found: &Found,
    ) -> Result<Option<Written>, StoreError> {
        let Some(first_chunk) = first_chunk(transaction, job).await? else { return Ok(None) };
        let now = clock::now();
        let written = match found {
            Found::Report => {
                let options = mailtier_api::decode_detail(&job.message.accepted.detail).ok();
                let options: Options = options.and_then(|detail| detail.options).unwrap_or_default();
                let content = first_chunk_text(&first_chunk, options.encoding);
                Written::Report(self.read(transaction, job, &content).await?)
            }
            Found::Suppressed(reasons) => {
                let Some(id) = self.ids.take(now) else { return Ok(None) };
                let suppressed = Suppressed { message: &job.message, reasons, first_chunk: &first_chunk, id, now };
                Written::Suppressed(suppressed.refuse(&self.policy.now()))
            }
        };
        transaction.write(written.plan()).await?;
        Ok(Some(written))
    }

    async fn read(&self, transaction: &mut AsideTx<'_>, job: &Job, content: &Bytes) -> Result<AsidePlan, StoreError> {
        let now = clock::now();
        let recipient = job.message.accepted.recipients.first().and_then(|text| Mailbox::parse(text).ok());
        let (about, forwards) = match &recipient {
            None => (About::Nothing("its recipient cannot be read"), false),
            Some(recipient) => self.feedback.about(recipient, content, now),
        };
        let original = match about {
            About::Delivery(returned) => transaction.original(returned.message).await?,
            About::Nothing(_) => None,
        };
        let report = Report { message: &job.message, reading: read(content), about, original, forwards };
        let policy = self.policy.now();
        let classification = policy.meanings.now();
        Ok(plan(report, Context { classification: &classification, rules: &policy.suppression, now }))
    }

    fn conclude(&self, mut job: Job, written: Written) {
        spans::record_commit(&job.span, 1);
        job.answer(Ok(()));
        self.meters.queue_accepted.add(1, &[]);
        let policy = self.policy.now();
        policy.listed.add(&written.plan().suppressions);
        let committed: Vec<Committed> = std::mem::take(&mut job.committed);
        let going = match written {
            Written::Report(plan) => {
                plan.events.iter().for_each(|event| self.tell(&job, event));
                plan.messages.iter().flat_map(|message| &message.deliveries).map(passed_on).collect()
            }
            Written::Suppressed(refused) => refused.conclude(committed, &policy, &self.meters),
        };
        if !going.is_empty() {
            self.conductor.send(Command::Accepted(going));
        }
    }

    /// Tells of what came back.
    fn tell(&self, job: &Job, event: &NewEvent) {
        if event.kind == EventKind::RecipientDelivered {
            return;
        }
        self.meters.queue_reports.add(1, &Meters::attribute("kind", event.kind.name()));
        let detail = mailtier_api::decode_detail(&event.detail).unwrap_or_default();
        if let Some(report) = &detail.tls_report {
            return self.tell_tls(job, report);
        }
        tracing::info!(
            message = %event.message,
            report = %job.message.id,
            tenant = event.tenant.0,
            from = event.sender,
            to = event.recipients.join(","),
            status = event.kind.name(),
            class = detail.class.map(|class| class.name()),
            // A stranger's words: never where a line's own are expected.
            reply = detail.outcome.map(|outcome| outcome.cause.to_string()),
            reason = detail.reason,
        );
    }

    /// Tells of what somebody has counted.
    fn tell_tls(&self, job: &Job, report: &ReceivedTlsReport) {
        let counts = &report.counts;
        self.meters.queue_tls_reported.add(counts.successes, &Meters::attribute("result", "success"));
        for (failure, sessions) in &counts.failures {
            self.meters.queue_tls_reported.add(*sessions, &Meters::attribute("result", failure.fault.word()));
        }
        tracing::info!(
            report = %job.message.id,
            organization = report.organization,
            domain = report.domain,
            policy = counts.policy.kind.word(),
            successes = counts.successes,
            failures = counts.failed(),
            status = EventKind::TlsReportReceived.name(),
        );
    }
}

/// What is scheduled of a report that is passed on. It is read when it is due.
fn passed_on(row: &NewDelivery) -> Committed {
    Committed {
        entry: entry_of(row, row.id.made_at(), None),
        hold_until: None,
        destination: row.destination.clone(),
        sender: ReversePath::Null,
        content: None,
        room: None,
    }
}

/// The first chunk of a body as it is stored; nothing where parts are missing.
async fn first_chunk(transaction: &mut AsideTx<'_>, job: &Job) -> Result<Option<Bytes>, StoreError> {
    match &job.message.body {
        Some((0, body)) => Ok(Some(body.clone())),
        Some((parts, _)) if transaction.lock_parts(job.message.id, *parts).await? => {
            transaction.first_chunk(job.message.id).await
        }
        _ => Ok(None),
    }
}

/// Submitters whose deadline has passed have been told to try again, or have given the message to another replica.
fn is_late(job: &Job) -> bool {
    let is_late = job.deadline <= tokio::time::Instant::now();
    if is_late {
        job.answer(Err(reply::QUEUE_UNAVAILABLE));
    }
    is_late
}

fn wanted(job: &Job) -> impl Iterator<Item = (TenantId, String)> + '_ {
    let tenant = job.message.accepted.tenant;
    wanted_of(job).map(move |address| (tenant, address))
}

fn wanted_of(job: &Job) -> impl Iterator<Item = String> + '_ {
    job.message.accepted.recipients.iter().map(|recipient| recipient.to_lowercase())
}
