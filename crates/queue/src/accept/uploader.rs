//! Bodies too large for one frame arrive in parts ahead of their submission; each part is a row of its own, so neither
//! side holds the whole. A submission with parts waits here until its parts are stored. Parts of a submission that never
//! comes are swept.

use std::sync::Arc;

use mailtier_api::submit::BodyPart;
use mailtier_store::Store;
use mailtier_telemetry::Meters;
use mailtier_types::MessageId;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Duration, Instant};

use super::Job;
use crate::database::Connector;

/// How long a part is tried.
const PART_TIMEOUT: Duration = Duration::from_secs(25);

/// What the uploader does, in order.
#[derive(Debug)]
pub(crate) enum Upload {
    /// Stores a part.
    Part(BodyPart, OwnedSemaphorePermit),
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
    /// Runs until every sender is gone.
    pub(crate) async fn run(mut self) {
        let mut connector = Connector::new(self.store.clone(), Arc::clone(&self.meters), "upload");
        while let Some(upload) = self.uploads.recv().await {
            match upload {
                Upload::Part(part, room) => {
                    store_part(&mut connector, part).await;
                    drop(room);
                }
                // A part that could not be stored is missed by the acceptance, which then refuses.
                Upload::Complete(job) => {
                    if self.jobs.send(*job).await.is_err() {
                        return;
                    }
                }
                Upload::Abort(id) => {
                    if let Ok(session) = connector.session().await
                        && let Err(error) = session.drop_body(id).await
                    {
                        tracing::warn!(%id, %error, "parts of an upload given up are left to the sweeper");
                    }
                }
            }
        }
    }
}

/// Writing the same part twice does no harm, so every error is an invitation to try again, for a while.
async fn store_part(connector: &mut Connector, part: BodyPart) {
    let deadline = Instant::now() + PART_TIMEOUT;
    let row = [(part.id, part.seq, part.data)];
    while Instant::now() < deadline {
        let stored = match connector.session().await {
            Ok(session) => session.put_parts(&row).await,
            Err(error) => Err(error),
        };
        match stored {
            Ok(()) => return connector.recovered(),
            Err(error) => connector.trouble(&error).await,
        }
    }
}
