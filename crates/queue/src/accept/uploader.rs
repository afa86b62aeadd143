//! Bodies too large for one frame arrive in parts ahead of their submission; each part is a row of its own, so neither
//! side holds the whole. A submission with parts waits here until its parts are stored. Parts of a submission that never
//! comes are swept.

use std::sync::Arc;

use bytes::Bytes;
use mailtier_api::submit::{BodyPart, StoredPart};
use mailtier_crashpoint::{Point, reach};
use mailtier_store::Store;
use mailtier_telemetry::Meters;
use mailtier_types::MessageId;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Duration, Instant};

use super::{Answer, BATCH_BYTES, Job, Told};
use crate::database::Connector;

/// Uploads looked at together.
const UPLOADS_AT_ONCE: usize = 64;
/// How long parts are tried.
const PART_TIMEOUT: Duration = Duration::from_secs(25);

/// What the uploader does, in order.
#[derive(Debug)]
pub(crate) enum Upload {
    /// Stores a part, and says so.
    Part(BodyPart, OwnedSemaphorePermit, Answer),
    /// Passes a submission on, now that its parts are stored.
    Complete(Box<Job>),
    /// Removes the parts of an upload given up.
    Abort(MessageId),
}

/// The loop.
#[derive(Debug)]
pub(crate) struct Uploader {
    /// What is to be done.
    pub(crate) uploads: mpsc::Receiver<Upload>,
    /// Where complete submissions go.
    pub(crate) jobs: mpsc::Sender<Job>,
    /// The database.
    pub(crate) store: Store,
    /// Metrics.
    pub(crate) meters: Arc<Meters>,
}

impl Uploader {
    /// Runs until every sender is gone. Parts that gathered while others were stored go together.
    pub(crate) async fn run(mut self) {
        let mut connector = Connector::new(self.store.clone(), Arc::clone(&self.meters), "upload");
        let (mut gathered, mut parts) = (Vec::new(), Parts::default());
        while self.uploads.recv_many(&mut gathered, UPLOADS_AT_ONCE).await > 0 {
            for upload in gathered.drain(..) {
                match upload {
                    Upload::Part(part, room, answer) => {
                        parts.push(part, room, answer);
                        if parts.bytes >= BATCH_BYTES {
                            parts.store(&mut connector).await;
                        }
                    }
                    Upload::Complete(job) => {
                        parts.store(&mut connector).await;
                        // A part that could not be stored is missed by the acceptance, which then refuses.
                        if self.jobs.send(*job).await.is_err() {
                            return;
                        }
                    }
                    Upload::Abort(id) => {
                        parts.store(&mut connector).await;
                        drop_parts(&mut connector, id).await;
                    }
                }
            }
            parts.store(&mut connector).await;
        }
    }
}

/// Parts that are stored together, each with its share of what may wait and with who is told.
#[derive(Default)]
struct Parts {
    rows: Vec<(MessageId, u32, Bytes)>,
    rooms: Vec<OwnedSemaphorePermit>,
    answers: Vec<Answer>,
    bytes: usize,
}

impl Parts {
    fn push(&mut self, part: BodyPart, room: OwnedSemaphorePermit, answer: Answer) {
        self.bytes += part.data.len();
        self.rows.push((part.id, part.seq, part.data));
        self.rooms.push(room);
        self.answers.push(answer);
    }

    /// Who is gone need not be told.
    fn tell(&self) {
        for ((id, seq, _), answer) in self.rows.iter().zip(&self.answers) {
            let _ = answer.send(Told::Stored(StoredPart { id: *id, seq: *seq }));
        }
    }

    /// Writing the same part twice does no harm, so every error is an invitation to try again, for a while.
    async fn store(&mut self, connector: &mut Connector) {
        let deadline = Instant::now() + PART_TIMEOUT;
        while !self.rows.is_empty() && Instant::now() < deadline {
            let stored = match connector.session().await {
                Ok(session) => session.put_parts(&self.rows).await,
                Err(error) => Err(error),
            };
            match stored {
                Ok(()) => {
                    connector.recovered();
                    reach(Point::PartStored);
                    self.tell();
                    break;
                }
                Err(error) => connector.trouble(&error).await,
            }
        }
        *self = Self::default();
    }
}

async fn drop_parts(connector: &mut Connector, id: MessageId) {
    if let Ok(session) = connector.session().await
        && let Err(error) = session.drop_body(id).await
    {
        tracing::warn!(%id, %error, "parts of an upload given up are left to the sweeper");
    }
}
