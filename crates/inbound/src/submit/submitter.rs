//! One message's way to a verdict, over as many replicas and attempts as its time allows. Not responsible for the
//! streams.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mailtier_api::submit::BodyPart;
use mailtier_telemetry::Meters;
use mailtier_types::{MessageId, Reply, reply};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use super::endpoint::Endpoint;
use super::endpoints::Endpoints;
use super::job::{Answer, Job, Message};

/// With another replica to turn to, this share of the time is enough for one to answer.
const PATIENCE_SHARE: u32 = 3;
/// The longest wait before replicas that failed are tried again.
const PAUSE: Duration = Duration::from_millis(200);

/// Submits messages.
#[derive(Debug)]
pub(crate) struct Submitter {
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) timeout: Duration,
    pub(crate) meters: Arc<Meters>,
}

/// Where the parts of a message go ahead of it.
#[derive(Debug)]
pub(crate) struct Upload {
    endpoint: Arc<Endpoint>,
    generation: u64,
}

impl Submitter {
    /// Sends a chunk ahead of its message, to the endpoint that had those before. Whether it arrives does not matter
    /// here: [`Self::submit`] sends again what its stream did not carry.
    pub(crate) async fn upload(&self, upload: &mut Option<Upload>, id: MessageId, seq: u32, data: Bytes) {
        if upload.is_none() {
            *upload = self.endpoints.pick(&[]).map(|endpoint| {
                // Read before the first part is queued: on a later stream the parts count as not sent.
                let generation = endpoint.generation();
                Upload { endpoint, generation }
            });
        }
        if let Some(upload) = upload {
            let queued = upload.endpoint.queue(Job::Part(BodyPart { id, seq, data }));
            // An endpoint that takes nothing for so long will not get the message either.
            let _ = timeout(self.timeout, queued).await;
        }
    }

    /// Has the parts of a message removed that was never submitted. One that was may have been accepted, whatever was
    /// heard of it: its parts stay.
    pub(crate) fn abort(&self, upload: Upload, id: MessageId) {
        tokio::spawn(async move { upload.endpoint.queue(Job::Abort(id)).await });
    }

    /// Submits until there is a verdict or the time is up: only `Ok` means that the message is durable.
    ///
    /// # Errors
    /// The reply for the client. The message was not stored as far as we know; see the crate's documentation for the
    /// case that it was.
    pub(crate) async fn submit(&self, message: Message, upload: Option<Upload>) -> Result<(), Reply> {
        let message = Arc::new(message);
        let deadline = Instant::now() + self.timeout;
        let mut tried: Vec<Arc<Endpoint>> = Vec::new();
        let mut unknown = false;
        let mut refusal = None;
        let mut preferred = upload.as_ref().map(|upload| &upload.endpoint).filter(|endpoint| endpoint.is_healthy());
        loop {
            let Some(endpoint) = preferred.take().cloned().or_else(|| self.endpoints.pick(&tried)) else {
                // Every healthy replica has said no, and all of them know what they said.
                if let Some(refusal) = refusal.filter(|_| !unknown) {
                    return Err(refusal);
                }
                if Instant::now() >= deadline {
                    return Err(reply::QUEUE_UNAVAILABLE);
                }
                refusal = None;
                tried.clear();
                self.endpoints.changed(PAUSE.min(deadline - Instant::now())).await;
                continue;
            };
            let uploaded = upload.as_ref().filter(|upload| Arc::ptr_eq(&upload.endpoint, &endpoint));
            let uploaded = uploaded.map(|upload| upload.generation);
            tried.push(Arc::clone(&endpoint));
            if unknown {
                self.meters.inbound_resubmissions.add(1, &[]);
            }
            let patience = self.patience(&tried, deadline);
            match attempt(&endpoint, &message, unknown, uploaded, patience).await {
                Some(Answer::Accepted) => return Ok(()),
                Some(Answer::Refused(reply)) if reply.is_permanent() => return Err(reply),
                Some(Answer::Refused(reply)) => refusal = Some(reply),
                Some(Answer::NotSent) => {}
                None => unknown = true,
            }
            if Instant::now() >= deadline {
                return Err(reply::QUEUE_UNAVAILABLE);
            }
        }
    }

    /// Until when a replica may take to answer: until the end where there is no other.
    fn patience(&self, tried: &[Arc<Endpoint>], deadline: Instant) -> Instant {
        if self.endpoints.has_another(tried) {
            deadline.min(Instant::now() + self.timeout / PATIENCE_SHARE)
        } else {
            deadline
        }
    }
}

/// One attempt. Nothing where nobody knows what became of it.
async fn attempt(
    endpoint: &Endpoint,
    message: &Arc<Message>,
    resubmission: bool,
    uploaded: Option<u64>,
    until: Instant,
) -> Option<Answer> {
    let (answer, verdict) = oneshot::channel();
    let job = Job::Submit { message: Arc::clone(message), resubmission, uploaded, answer };
    timeout_at(until, async move {
        endpoint.queue(job).await;
        verdict.await.ok()
    })
    .await
    .ok()
    .flatten()
}
