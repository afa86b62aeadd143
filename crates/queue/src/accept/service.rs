//! The stream of one submitter: submissions and parts in, verdicts out. Not responsible for committing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mailtier_api::server::SubmitHandler;
use mailtier_api::submit::{NodeLease, Submission, SubmitFrame, Verdict, VerdictFrame};
use mailtier_api::{ApiError, Incoming};
use mailtier_store::Store;
use mailtier_telemetry::spans;
use mailtier_types::text::Chain;
use mailtier_types::{Mailbox, ReplicaId, reply};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::translate::new_message;
use super::{Answer, Examine, Job, Told, Upload, WAITING_BYTES};
use crate::feedback::Feedback;
use crate::ids::NODE_LEASE;
use crate::settle::Settling;
use crate::suppression::Listed;

/// Verdicts of one frame.
const VERDICTS_PER_FRAME: usize = 1000;
/// A submission that is not committed by then is refused; inbound gives up later than that.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(20);
/// What a message costs besides its body, and each recipient: as text in its row, in the event, in the schedule.
const ENVELOPE_BYTES: usize = 1024;
const RECIPIENT_BYTES: usize = 192;

/// How long messages live.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AcceptLimits {
    /// Messages with a sender.
    pub(crate) lifetime: Duration,
    /// Notifications.
    pub(crate) bounce_lifetime: Duration,
}

/// Serves submitters.
#[derive(Debug)]
pub(crate) struct SubmitService {
    store: Store,
    jobs: mpsc::Sender<Job>,
    uploads: mpsc::Sender<Upload>,
    room: Arc<Semaphore>,
    /// Has how long messages live.
    policy: Settling,
    examining: Examining,
    shutdown: CancellationToken,
}

/// What tells which messages are looked into.
#[derive(Debug, Clone)]
pub(crate) struct Examining {
    /// What comes back.
    pub(crate) feedback: Arc<Feedback>,
    /// Which tenants have anybody on their suppression lists.
    pub(crate) listed: Listed,
}

impl Examining {
    fn of(&self, submission: &Submission) -> Option<Examine> {
        if self.feedback.takes(&submission.envelope) {
            return Some(Examine::Report);
        }
        let is_wanted = submission.screened && self.listed.has_any(submission.envelope.tenant);
        is_wanted.then_some(Examine::Recipients)
    }
}

impl SubmitService {
    pub(crate) fn new(
        store: Store,
        jobs: mpsc::Sender<Job>,
        uploads: mpsc::Sender<Upload>,
        policy: Settling,
        examining: Examining,
        shutdown: CancellationToken,
    ) -> Self {
        let room = Arc::new(Semaphore::new(WAITING_BYTES));
        Self { store, jobs, uploads, room, policy, examining, shutdown }
    }

    /// Takes frames until the stream or this replica ends. What was taken is answered in either case.
    async fn read(&self, mut incoming: Incoming<SubmitFrame>, answer: &Answer) {
        loop {
            let frame = tokio::select! {
                frame = incoming.next() => frame,
                () = self.shutdown.cancelled() => return,
            };
            let frame = match frame {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return tracing::info!(%error, "submitter lost"),
                None => return,
            };
            if self.take(frame, answer).await.is_none() {
                return;
            }
        }
    }

    async fn take(&self, frame: SubmitFrame, answer: &Answer) -> Option<()> {
        for part in frame.parts {
            let room = self.reserve(part.data.len()).await?;
            self.uploads.send(Upload::Part(part, room, answer.clone())).await.ok()?;
        }
        for submission in frame.submissions {
            self.submit(submission, answer).await?;
        }
        for id in frame.aborted {
            self.uploads.send(Upload::Abort(id)).await.ok()?;
        }
        Some(())
    }

    async fn submit(&self, submission: Submission, answer: &Answer) -> Option<()> {
        let examine = self.examining.of(&submission);
        if submission.report && examine != Some(Examine::Report) {
            return self.refuse_report(&submission, answer).await;
        }
        let bytes = cost(&submission);
        let room = Arc::new(self.reserve(bytes).await?);
        let has_parts = submission.parts > 0;
        let traceparent = submission.envelope.options.traceparent.as_deref();
        let span = spans::commit(traceparent, submission.id);
        let (message, mut committed) = new_message(submission, self.policy.now().bounces.lifetimes());
        committed.iter_mut().for_each(|committed| committed.room = Some(Arc::clone(&room)));
        let deadline = tokio::time::Instant::now() + COMMIT_TIMEOUT;
        let job = Job { message, committed, examine, answer: answer.clone(), deadline, span, bytes, _room: room };
        if has_parts {
            self.uploads.send(Upload::Complete(Box::new(job))).await.ok()
        } else {
            self.jobs.send(job).await.ok()
        }
    }

    /// A report that nobody would read: delivered, it would come to the same door again. Whoever has sent it keeps it meanwhile.
    async fn refuse_report(&self, submission: &Submission, answer: &Answer) -> Option<()> {
        let to = submission.envelope.recipients.iter().map(Mailbox::as_str).collect::<Vec<_>>().join(",");
        tracing::error!(
            id = %submission.id,
            to,
            "a report is refused for now: this queue does not read what inbound takes; give both the same `[feedback]`"
        );
        if submission.parts > 0 {
            self.uploads.send(Upload::Abort(submission.id)).await.ok()?;
        }
        let _ = answer.send(Told::Verdict(submission.id, Err(reply::REPORTS_UNREAD)));
        Some(())
    }

    /// Waits until there is room: the stream is not read meanwhile, and HTTP/2 holds the submitter back.
    async fn reserve(&self, bytes: usize) -> Option<tokio::sync::OwnedSemaphorePermit> {
        let permits = u32::try_from(bytes.clamp(1, WAITING_BYTES)).unwrap_or(u32::MAX);
        Arc::clone(&self.room).acquire_many_owned(permits).await.ok()
    }
}

impl SubmitHandler for SubmitService {
    async fn lease_node(&self, holder: ReplicaId) -> Result<NodeLease, ApiError> {
        let store = self.store.clone();
        // In a task of its own: a handler may be cancelled in the middle, a session must not.
        let leasing = tokio::spawn(async move {
            let mut session = store.session().await?;
            session.lease_node(holder.uuid(), NODE_LEASE).await
        });
        let leased = leasing.await.map_err(|error| ApiError::Internal(error.to_string()))?;
        let node = leased.map_err(|error| ApiError::Unavailable(Chain(&error).to_string()))?;
        Ok(NodeLease { node, valid_for: NODE_LEASE })
    }

    async fn session(&self, incoming: Incoming<SubmitFrame>, outgoing: mpsc::Sender<VerdictFrame>) {
        let (answer, verdicts) = mpsc::unbounded_channel();
        let writing = tokio::spawn(write(verdicts, outgoing));
        let started = Instant::now();
        self.read(incoming, &answer).await;
        // Jobs under way hold the other ends: the writer goes on until the last of them is answered.
        drop(answer);
        let _ = writing.await;
        tracing::debug!(seconds = started.elapsed().as_secs(), "submitter's stream ended");
    }
}

/// Octets that a submission holds until it is committed.
fn cost(submission: &Submission) -> usize {
    let recipients = &submission.envelope.recipients;
    let texts: usize = recipients.iter().map(|recipient| RECIPIENT_BYTES + 3 * recipient.as_str().len()).sum();
    ENVELOPE_BYTES + texts + submission.body.len()
}

/// Sends what the submitter is told, as much at once as has gathered.
async fn write(mut told: mpsc::UnboundedReceiver<Told>, outgoing: mpsc::Sender<VerdictFrame>) {
    let mut gathered = Vec::new();
    while told.recv_many(&mut gathered, VERDICTS_PER_FRAME).await > 0 {
        let mut frame = VerdictFrame::default();
        for told in gathered.drain(..) {
            match told {
                Told::Verdict(id, result) => frame.verdicts.push(Verdict { id, result }),
                Told::Stored(part) => frame.stored.push(part),
            }
        }
        if outgoing.send(frame).await.is_err() {
            return;
        }
    }
}
