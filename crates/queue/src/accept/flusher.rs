//! Natural group commit: each transaction takes whatever gathered while the one before it was in flight. No timer: no
//! added latency when idle, full batches when busy. A second transaction goes beside the first only when it is worth its
//! cost, which is the same for a message and for dozens.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use mailtier_crashpoint::{Point, reach};
use mailtier_store::{Accepted, NewMessage, Refusal, Store};
use mailtier_telemetry::{Meters, spans};
use mailtier_types::{MessageId, reply};

use super::gatherer::{Gatherer, Turn};
use super::{Job, Told};
use crate::conductor::{Command, Conductor};
use crate::database::Connector;

/// One of a few loops that share the queue of jobs; while one commits, the next gathers.
#[derive(Debug)]
pub(crate) struct Flusher {
    /// Where jobs come from.
    pub(crate) gatherer: Gatherer,
    /// The database.
    pub(crate) store: Store,
    /// Told of what was committed.
    pub(crate) conductor: Conductor,
    /// Metrics.
    pub(crate) meters: Arc<Meters>,
}

impl Flusher {
    /// Runs until every sender of jobs is gone and all are answered.
    pub(crate) async fn run(self) {
        let mut connector = Connector::new(self.store.clone(), Arc::clone(&self.meters), "accept");
        let mut batch = Vec::new();
        while let Some(turn) = self.gatherer.gather(&mut batch).await {
            self.flush(&mut connector, &mut batch, turn).await;
        }
    }

    /// Commits a batch, again and again until it is known to be durable or its submitters have stopped waiting. Whoever
    /// has trouble keeps nobody else from a try of his own.
    async fn flush(&self, connector: &mut Connector, batch: &mut Vec<Job>, mut turn: Turn) {
        let mut messages: Vec<NewMessage> = batch.iter_mut().map(take_message).collect();
        give_up_late(batch, &mut messages);
        reach(Point::SubmissionsGathered);
        while !batch.is_empty() {
            let started = Instant::now();
            let outcome = match connector.session().await {
                Ok(session) => session.accept(&messages).await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(accepted) => {
                    connector.recovered();
                    self.meters.queue_accept_duration.record(started.elapsed().as_secs_f64(), &[]);
                    self.meters.queue_accept_batch.record(batch.len() as f64, &[]);
                    return self.conclude(batch, &messages, &accepted);
                }
                Err(error) => {
                    // What may have been committed is given again under the same ids, and accepted once.
                    messages.iter_mut().for_each(|message| message.resubmission |= error.is_unknown());
                    turn.end();
                    connector.trouble(&error).await;
                    give_up_late(batch, &mut messages);
                }
            }
        }
    }

    fn conclude(&self, batch: &mut Vec<Job>, messages: &[NewMessage], accepted: &Accepted) {
        reach(Point::AcceptCommitted);
        let known: HashSet<MessageId> = accepted.known.iter().copied().collect();
        let mut committed = Vec::with_capacity(batch.len());
        let (mut count, together) = (0, batch.len());
        for (job, message) in batch.drain(..).zip(messages) {
            if let Some((_, refusal)) = accepted.refused.iter().find(|(id, _)| *id == message.id) {
                tracing::error!(id = %message.id, ?refusal, "submission refused");
                let _ = job.answer.send(Told::Verdict(message.id, Err(refusal_reply(*refusal))));
                continue;
            }
            count += 1;
            spans::record_commit(&job.span, together);
            let _ = job.answer.send(Told::Verdict(message.id, Ok(())));
            // One that was known is scheduled already, or found by its owner's next look at the table.
            if !known.contains(&message.id) {
                committed.extend(job.committed);
            }
        }
        reach(Point::VerdictSent);
        self.meters.queue_accepted.add(count, &[]);
        self.conductor.send(Command::Accepted(committed));
    }
}

/// The rows move into one place for the statement; the job keeps the id for its verdict.
fn take_message(job: &mut Job) -> NewMessage {
    let accepted = job.message.accepted.clone();
    let empty = NewMessage {
        id: job.message.id,
        resubmission: false,
        deliveries: Vec::new(),
        body: None,
        accepted,
        hold_until: None,
    };
    std::mem::replace(&mut job.message, empty)
}

/// Submitters whose deadline has passed have been told to try again, or have given the message to another replica.
fn give_up_late(batch: &mut Vec<Job>, messages: &mut Vec<NewMessage>) {
    let now = tokio::time::Instant::now();
    let mut kept = Vec::with_capacity(messages.len());
    let late: Vec<bool> = batch.iter().map(|job| job.deadline <= now).collect();
    let mut lateness = late.iter();
    batch.retain(|job| {
        let late = lateness.next().copied().unwrap_or(false);
        if late {
            job.answer(Err(reply::QUEUE_UNAVAILABLE));
        }
        !late
    });
    for (message, late) in messages.drain(..).zip(late) {
        if !late {
            kept.push(message);
        }
    }
    *messages = kept;
}

pub(super) fn refusal_reply(refusal: Refusal) -> mailtier_types::Reply {
    match refusal {
        Refusal::IdTaken | Refusal::PartsMissing => reply::QUEUE_UNAVAILABLE,
        Refusal::NotStorable => reply::POLICY.with_text("Envelope has a character that cannot be stored"),
    }
}
