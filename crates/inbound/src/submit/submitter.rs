//! One message's way to a verdict, over as many replicas and attempts as its time allows. Not responsible for the
//! streams.

use std::sync::Arc;
use std::time::Duration;

use mailtier_telemetry::Meters;
use mailtier_types::{Reply, reply};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::Route;
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

impl Submitter {
    /// Submits until there is a verdict or the time is up: only `Ok` means that the message is durable.
    ///
    /// # Errors
    /// The reply for the client. The message was not stored as far as we know; see the crate's documentation for the
    /// case that it was.
    pub(crate) async fn submit(&self, message: Message, route: Option<Route>) -> Result<(), Reply> {
        let message = Arc::new(message);
        let deadline = Instant::now() + self.timeout;
        let mut tried: Vec<Arc<Endpoint>> = Vec::new();
        let mut unknown = false;
        let mut refusal = None;
        let mut preferred = route.as_ref().map(|route| &route.endpoint).filter(|endpoint| endpoint.is_healthy());
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
            let uploaded = route.as_ref().filter(|route| Arc::ptr_eq(&route.endpoint, &endpoint));
            let uploaded = uploaded.map(|route| route.generation);
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

    /// A replica that was not tried yet; when all were, any after a while, until the time is up.
    pub(super) async fn pick_before(&self, deadline: Instant, tried: &mut Vec<Arc<Endpoint>>) -> Option<Arc<Endpoint>> {
        loop {
            if let Some(endpoint) = self.endpoints.pick(tried) {
                return Some(endpoint);
            }
            let now = Instant::now();
            if now >= deadline {
                return None;
            }
            tried.clear();
            self.endpoints.changed(PAUSE.min(deadline - now)).await;
        }
    }

    /// Until when a replica may take to answer: until the end where there is no other.
    pub(super) fn patience(&self, tried: &[Arc<Endpoint>], deadline: Instant) -> Instant {
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
    let answered = timeout_at(until, async move {
        endpoint.queue(job).await;
        verdict.await.ok()
    });
    answered.await.unwrap_or_else(|_| {
        endpoint.kept_waiting();
        None
    })
}
