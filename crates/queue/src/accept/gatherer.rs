//! What one transaction takes: jobs that gathered while the one before it was in flight. Not responsible for committing them.

use std::pin::pin;
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};

use super::{BATCH_BYTES, BATCH_MESSAGES, Examine, Examiners, Job};

/// So many messages go beside a transaction that is in flight; fewer wait for its end.
const WORTH_ANOTHER: usize = 64;

/// The queue of jobs, as a few flushers share it.
#[derive(Debug, Clone)]
pub(crate) struct Gatherer {
    /// Taken by one flusher at a time.
    jobs: Arc<Mutex<mpsc::Receiver<Job>>>,
    /// Who has it may commit however little has gathered.
    turn: Arc<Semaphore>,
    /// For what is to be looked into first.
    examiners: Examiners,
}

/// Until its end nobody else commits less than what is worth another transaction. One who commits beside another has none
/// to end.
#[derive(Debug)]
pub(crate) struct Turn(Option<OwnedSemaphorePermit>);

impl Turn {
    /// It is somebody else's.
    pub(crate) fn end(&mut self) {
        self.0 = None;
    }
}

impl Gatherer {
    pub(crate) fn new(jobs: mpsc::Receiver<Job>, examiners: Examiners) -> Self {
        Self { jobs: Arc::new(Mutex::new(jobs)), turn: Arc::new(Semaphore::new(1)), examiners }
    }

    /// Waits for a job, and for the turn to commit or for so many jobs that it need not be waited for; takes what else is
    /// there, until the batch is full. Nothing when no more jobs will come.
    pub(crate) async fn gather(&self, batch: &mut Vec<Job>) -> Option<Turn> {
        let mut jobs = self.jobs.lock().await;
        let (mut bytes, mut turn) = (0, None);
        while batch.is_empty() {
            let first = jobs.recv().await?;
            self.sort_in(first, batch, &mut bytes);
        }
        let mut waiting = pin!(Arc::clone(&self.turn).acquire_owned());
        loop {
            while batch.len() < BATCH_MESSAGES && bytes < BATCH_BYTES {
                let Ok(job) = jobs.try_recv() else { break };
                self.sort_in(job, batch, &mut bytes);
            }
            if turn.is_some() || batch.len() >= WORTH_ANOTHER || bytes >= BATCH_BYTES {
                return Some(Turn(turn));
            }
            tokio::select! {
                biased;
                permit = &mut waiting => turn = permit.ok(),
                job = jobs.recv() => match job {
                    Some(job) => self.sort_in(job, batch, &mut bytes),
                    None => return Some(Turn(None)),
                },
            }
        }
    }

    fn sort_in(&self, job: Job, batch: &mut Vec<Job>, bytes: &mut usize) {
        let examiner = match job.examine {
            Some(Examine::Report) => &self.examiners.reports,
            Some(Examine::Recipients) => &self.examiners.recipients,
            None => {
                *bytes += job.bytes;
                batch.push(job);
                return;
            }
        };
        let _ = examiner.send(job);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::FutureExt as _;
    use mailtier_store::{NewEvent, NewMessage};
    use mailtier_types::{EventKind, IdSource, NodeNumber, TenantId, Timestamp};
    use tracing::Span;

    use super::*;

    fn job(bytes: usize, examine: Option<Examine>) -> Job {
        let at = Timestamp::from_secs(1_800_000_000);
        let id = IdSource::new(NodeNumber::new(3).unwrap()).take(1, at);
        let accepted = NewEvent {
            at,
            kind: EventKind::MessageAccepted,
            message: id,
            delivery: None,
            tenant: TenantId(0),
            attempt: 0,
            sender: String::new(),
            recipients: Vec::new(),
            detail: Bytes::new(),
        };
        let message =
            NewMessage { id, resubmission: false, deliveries: Vec::new(), body: None, accepted, hold_until: None };
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        Job {
            message,
            committed: Vec::new(),
            examine,
            answer: mpsc::unbounded_channel().0,
            deadline: tokio::time::Instant::now(),
            span: Span::none(),
            bytes,
            _room: Arc::new(permit),
        }
    }

    struct World {
        jobs: mpsc::Sender<Job>,
        reports: mpsc::UnboundedReceiver<Job>,
        gatherer: Gatherer,
    }

    fn world() -> World {
        let (jobs, queue) = mpsc::channel(1000);
        let (report_sender, reports) = mpsc::unbounded_channel();
        let examiners = Examiners { reports: report_sender, recipients: mpsc::unbounded_channel().0 };
        World { jobs, reports, gatherer: Gatherer::new(queue, examiners) }
    }

    impl World {
        fn send(&self, count: usize, bytes: usize) {
            (0..count).for_each(|_| self.jobs.try_send(job(bytes, None)).unwrap());
        }

        /// What is gathered without waiting for anything.
        fn at_once(&self) -> Option<(usize, Turn)> {
            let mut batch = Vec::new();
            let turn = self.gatherer.gather(&mut batch).now_or_never()??;
            Some((batch.len(), turn))
        }
    }

    #[tokio::test]
    async fn few_wait_for_the_transaction_before_them_and_many_do_not() {
        let world = world();
        world.send(3, 100);
        let (count, first) = world.at_once().expect("nothing is in flight");
        assert_eq!((count, first.0.is_some()), (3, true));
        world.send(WORTH_ANOTHER, 100);
        let (count, beside) = world.at_once().expect("it is worth another");
        assert_eq!((count, beside.0.is_some()), (WORTH_ANOTHER, false));
        world.send(2, BATCH_BYTES);
        let (count, _) = world.at_once().expect("so many octets are, too");
        assert_eq!(count, 1);
        assert_eq!(world.at_once().expect("the other").0, 1);
    }

    #[tokio::test]
    async fn what_waits_goes_when_the_turn_ends_with_all_that_has_come_meanwhile() {
        let world = world();
        world.send(1, 100);
        let (_, mut first) = world.at_once().unwrap();
        let mut batch = Vec::new();
        {
            let mut waiting = pin!(world.gatherer.gather(&mut batch));
            world.send(2, 100);
            assert!(waiting.as_mut().now_or_never().is_none());
            world.send(5, 100);
            assert!(waiting.as_mut().now_or_never().is_none());
            first.end();
            let turn = waiting.await.unwrap();
            assert!(turn.0.is_some());
        }
        assert_eq!(batch.len(), 7);
    }

    #[tokio::test]
    async fn what_is_looked_into_first_goes_its_own_way_and_the_end_is_told() {
        let mut world = world();
        world.jobs.try_send(job(100, Some(Examine::Report))).unwrap();
        world.send(1, 100);
        assert_eq!(world.at_once().unwrap().0, 1);
        assert!(world.reports.try_recv().is_ok());
        let World { jobs, gatherer, .. } = world;
        drop(jobs);
        assert!(gatherer.gather(&mut Vec::new()).await.is_none());
    }
}
