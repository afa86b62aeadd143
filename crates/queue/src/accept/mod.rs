//! Acceptance: submissions become durable messages. Responsible for grouping recipients into deliveries, for natural
//! group commit, for uploads ahead of their submission, for what is looked into before it is accepted, and for verdicts. Not responsible for scheduling what was
//! committed.

mod examiner;
mod flusher;
mod gatherer;
mod service;
mod translate;
mod uploader;

use std::sync::Arc;

use mailtier_api::submit::StoredPart;
use mailtier_store::NewMessage;
use mailtier_types::{MessageId, Reply};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tracing::Span;

pub(crate) use examiner::Examiner;
pub(crate) use flusher::Flusher;
pub(crate) use gatherer::Gatherer;
pub(crate) use service::{AcceptLimits, Examining, SubmitService};
pub(crate) use translate::{Lifetimes, accepted_detail, content_of, group, new_message};
pub(crate) use uploader::{Upload, Uploader};

use crate::conductor::Committed;

/// Octets of submissions that may wait for their commit.
pub(crate) const WAITING_BYTES: usize = 64 << 20;
/// Messages and octets of one transaction.
pub(crate) const BATCH_MESSAGES: usize = 500;
pub(crate) const BATCH_BYTES: usize = 4 << 20;

/// A message to be committed.
#[derive(Debug)]
pub(crate) struct Job {
    /// What is written.
    pub(crate) message: NewMessage,
    /// What is scheduled afterwards.
    pub(crate) committed: Vec<Committed>,
    /// What is to be looked into before it is accepted.
    pub(crate) examine: Option<Examine>,
    /// Where the verdict goes.
    pub(crate) answer: Answer,
    /// After this the submitter no longer waits.
    pub(crate) deadline: tokio::time::Instant,
    /// Until it is durable, where its trace is recorded.
    pub(crate) span: Span,
    /// Octets it holds: its share of what may wait.
    pub(crate) bytes: usize,
    /// The share; what is scheduled afterwards keeps it until the conductor has taken it in.
    pub(crate) _room: Arc<OwnedSemaphorePermit>,
}

/// What of a message is to be looked into before it is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Examine {
    /// It came back about another message, and is read.
    Report,
    /// Its recipients may be on a suppression list.
    Recipients,
}

/// Who looks into what: neither waits for the other. What waits is bounded by what submissions may hold.
#[derive(Debug, Clone)]
pub(crate) struct Examiners {
    /// What came back.
    pub(crate) reports: mpsc::UnboundedSender<Job>,
    /// Mail to recipients who may be on a list.
    pub(crate) recipients: mpsc::UnboundedSender<Job>,
}

/// Where what a submitter is told goes, for one stream.
pub(crate) type Answer = mpsc::UnboundedSender<Told>;

/// What a submitter is told.
#[derive(Debug)]
pub(crate) enum Told {
    /// What became of a submission.
    Verdict(MessageId, Result<(), Reply>),
    /// A part is stored.
    Stored(StoredPart),
}

impl Job {
    /// Answers the submitter, if it is still there.
    pub(crate) fn answer(&self, result: Result<(), Reply>) {
        let _ = self.answer.send(Told::Verdict(self.message.id, result));
    }
}
