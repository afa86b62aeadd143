//! The chunks of a large body that go ahead of their message. A chunk is kept until a replica says that it is stored,
//! because another may have to be given it; then it is there for all of them. So many are kept at a time and no more:
//! the client waits meanwhile, and a message costs the same memory however large it is. Not responsible for what is in
//! them.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use mailtier_api::submit::BodyPart;
use mailtier_types::{MessageId, Reply, reply};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::Submitter;
use super::endpoint::Endpoint;
use super::job::Job;

/// Chunks of one message that may wait to be stored: one travels while one is written.
const WAITING_PARTS: usize = 2;
/// What a message holds in memory at most, whatever its size: beside those chunks the one that is full and waits to be
/// one of them, and the one that is filled.
pub(crate) const MOST_HELD_OCTETS: u64 = (WAITING_PARTS as u64 + 2) << 20;

/// The upload of one message.
#[derive(Debug)]
pub(crate) struct Upload {
    id: MessageId,
    parts: u32,
    octets: usize,
    /// Not known to be stored, the oldest first.
    unstored: VecDeque<Part>,
    route: Option<Route>,
}

#[derive(Debug)]
struct Part {
    seq: u32,
    data: Bytes,
    /// Ends without a word where the stream is lost; nothing once that was noticed.
    stored: Option<oneshot::Receiver<()>>,
}

impl Part {
    /// Whether it is known to be stored by now.
    fn is_stored(&mut self) -> bool {
        match self.stored.as_mut().map(oneshot::Receiver::try_recv) {
            Some(Ok(())) => true,
            Some(Err(oneshot::error::TryRecvError::Closed)) => {
                self.stored = None;
                false
            }
            Some(Err(oneshot::error::TryRecvError::Empty)) | None => false,
        }
    }

    /// Waits until it is stored; false where it will not be on the way it went, or not by then.
    async fn stored_by(&mut self, until: Instant) -> bool {
        let Some(stored) = &mut self.stored else { return false };
        let answer = timeout_at(until, &mut *stored).await;
        if matches!(answer, Ok(Err(_))) {
            self.stored = None;
        }
        matches!(answer, Ok(Ok(())))
    }
}

/// The way that all chunks went which are not stored.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(super) endpoint: Arc<Endpoint>,
    /// Read before the first of them was queued: on a later stream they count as not sent.
    pub(super) generation: u64,
}

impl Upload {
    pub(crate) const fn new(id: MessageId) -> Self {
        Self { id, parts: 0, octets: 0, unstored: VecDeque::new(), route: None }
    }

    /// Chunks so far.
    pub(crate) const fn parts(&self) -> u32 {
        self.parts
    }

    /// Octets of all chunks so far.
    pub(crate) const fn octets(&self) -> usize {
        self.octets
    }

    /// Octets of the chunks that are kept.
    pub(crate) fn kept_octets(&self) -> usize {
        self.unstored.iter().map(|part| part.data.len()).sum()
    }

    /// What the message brings along where it does not follow its chunks on their way, and which way that was.
    pub(crate) fn finish(self) -> (Vec<BodyPart>, Option<Route>) {
        let part = |part: Part| BodyPart { id: self.id, seq: part.seq, data: part.data };
        (self.unstored.into_iter().map(part).collect(), self.route)
    }

    fn forget_stored(&mut self) {
        while self.unstored.front_mut().is_some_and(Part::is_stored) {
            self.unstored.pop_front();
        }
    }
}

impl Submitter {
    /// Sends a chunk, and waits while too many are not stored yet.
    ///
    /// # Errors
    /// The reply for the client: no replica stores them.
    pub(crate) async fn upload(&self, upload: &mut Upload, data: Bytes) -> Result<(), Reply> {
        let deadline = Instant::now() + self.timeout;
        let seq = upload.parts;
        upload.parts = seq.checked_add(1).ok_or(reply::MESSAGE_TOO_BIG)?;
        upload.octets += data.len();
        upload.forget_stored();
        let on_their_way = upload.route.as_ref().filter(|_| !upload.unstored.is_empty());
        let endpoint = match on_their_way.map(|route| Arc::clone(&route.endpoint)) {
            Some(endpoint) => endpoint,
            None => self.choose(upload, &mut Vec::new(), deadline).await?,
        };
        send(upload, &endpoint, seq, data, deadline).await;
        self.make_room(upload, deadline).await
    }

    async fn make_room(&self, upload: &mut Upload, deadline: Instant) -> Result<(), Reply> {
        let mut tried: Vec<Arc<Endpoint>> = upload.route.iter().map(|route| Arc::clone(&route.endpoint)).collect();
        while upload.unstored.len() > WAITING_PARTS {
            let Some(oldest) = upload.unstored.front_mut() else { break };
            if oldest.stored_by(self.patience(&tried, deadline)).await {
                upload.unstored.pop_front();
                continue;
            }
            // Its stream is lost, or it takes too long.
            let endpoint = self.choose(upload, &mut tried, deadline).await?;
            for part in std::mem::take(&mut upload.unstored) {
                send(upload, &endpoint, part.seq, part.data, deadline).await;
            }
        }
        Ok(())
    }

    /// A replica for what is not stored: one that was not tried yet, or any after a while.
    async fn choose(
        &self,
        upload: &mut Upload,
        tried: &mut Vec<Arc<Endpoint>>,
        deadline: Instant,
    ) -> Result<Arc<Endpoint>, Reply> {
        let endpoint = self.pick_before(deadline, tried).await.ok_or(reply::QUEUE_UNAVAILABLE)?;
        tried.push(Arc::clone(&endpoint));
        upload.route = Some(Route { generation: endpoint.generation(), endpoint: Arc::clone(&endpoint) });
        Ok(endpoint)
    }

    /// Has the chunks of a message removed that was never submitted. One that was may have been accepted, whatever was
    /// heard of it: its chunks stay.
    pub(crate) fn abort(&self, upload: Upload) {
        if let Some(route) = upload.route {
            tokio::spawn(async move { route.endpoint.queue(Job::Abort(upload.id)).await });
        }
    }
}

/// Sends one chunk and keeps it.
async fn send(upload: &mut Upload, endpoint: &Endpoint, seq: u32, data: Bytes, deadline: Instant) {
    let (told, stored) = oneshot::channel();
    let part = BodyPart { id: upload.id, seq, data: data.clone() };
    upload.unstored.push_back(Part { seq, data, stored: Some(stored) });
    // One that is not taken in time is not stored, and noticed by that.
    let _ = timeout_at(deadline, endpoint.queue(Job::Part(part, told))).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part() -> (Part, oneshot::Sender<()>) {
        let (told, stored) = oneshot::channel();
        (Part { seq: 0, data: Bytes::new(), stored: Some(stored) }, told)
    }

    #[tokio::test]
    async fn a_chunk_that_is_lost_may_be_asked_about_again() {
        let soon = || Instant::now() + std::time::Duration::from_millis(1);
        let (mut lost, told) = part();
        assert!(!lost.is_stored() && !lost.stored_by(soon()).await, "nobody has said anything");
        drop(told);
        for _ in 0..2 {
            assert!(!lost.is_stored() && !lost.stored_by(soon()).await);
        }
        let (mut kept, told) = part();
        told.send(()).unwrap();
        assert!(kept.stored_by(soon()).await);
        let (mut kept, told) = part();
        told.send(()).unwrap();
        assert!(kept.is_stored());
    }
}
