//! The streams to workers. Responsible for frames and their order; not for what is in them, which is the conductor's.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use mailtier_api::server::WorkHandler;
use mailtier_api::work::{QueueFrame, Welcome, WorkerFrame};
use mailtier_api::{ApiError, Incoming};
use mailtier_crashpoint::{Point, reach};
use mailtier_store::{Store, StoreError};
use mailtier_types::text::Chain;
use mailtier_types::{MessageId, ReplicaId, WorkerId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::conductor::{Command, Conductor};

/// Serves workers.
#[derive(Debug)]
pub(crate) struct WorkService {
    conductor: Conductor,
    store: Store,
    me: ReplicaId,
    name: String,
    connections: AtomicU64,
    /// Cut when everything that was in flight is settled.
    end: CancellationToken,
}

impl WorkService {
    pub(crate) const fn new(
        conductor: Conductor,
        store: Store,
        me: ReplicaId,
        name: String,
        end: CancellationToken,
    ) -> Self {
        Self { conductor, store, me, name, connections: AtomicU64::new(0), end }
    }

    /// Passes on what a worker says, until it or this replica ends.
    async fn read(&self, worker: WorkerId, connection: u64, mut incoming: Incoming<WorkerFrame>) {
        loop {
            let frame = tokio::select! {
                frame = incoming.next() => frame,
                () = self.end.cancelled() => return,
            };
            match frame {
                Some(Ok(frame)) => self.conductor.send(Command::Worker { worker, connection, frame }),
                Some(Err(error)) => return tracing::info!(%worker, %error, "worker's stream broke"),
                None => return,
            }
        }
    }
}

impl WorkHandler for WorkService {
    async fn session(&self, mut incoming: Incoming<WorkerFrame>, outgoing: mpsc::Sender<QueueFrame>) {
        let hello = match incoming.next().await {
            Some(Ok(WorkerFrame { hello: Some(hello), .. })) => hello,
            _ => return tracing::info!("a worker did not say who it is"),
        };
        let welcome = Welcome { replica: self.me, name: self.name.clone() };
        let first = QueueFrame { welcome: Some(welcome), ..QueueFrame::default() };
        if outgoing.send(first).await.is_err() {
            return;
        }
        let (outbox, frames) = mpsc::unbounded_channel();
        let writing = tokio::spawn(write(frames, outgoing));
        let (worker, connection) = (hello.worker, self.connections.fetch_add(1, Ordering::Relaxed));
        self.conductor.send(Command::WorkerConnected {
            worker,
            name: hello.name,
            pools: hello.pools,
            outbox,
            connection,
        });
        self.read(worker, connection, incoming).await;
        self.conductor.send(Command::WorkerLost { worker, connection });
        writing.abort();
    }

    async fn fetch_body(&self, message: MessageId, chunks: mpsc::Sender<Result<Bytes, ApiError>>) {
        if let Err(error) = send_body(&self.store, message, &chunks).await {
            let _ = chunks.send(Err(error)).await;
        }
    }
}

/// Sends the chunks of a body until there are no more, or nobody wants them.
async fn send_body(
    store: &Store,
    message: MessageId,
    chunks: &mpsc::Sender<Result<Bytes, ApiError>>,
) -> Result<(), ApiError> {
    let unavailable = |error: StoreError| ApiError::Unavailable(Chain(&error).to_string());
    let mut session = store.borrow().await.map_err(unavailable)?;
    let mut read = session.body_chunk(message, 0).await;
    if read.as_ref().is_err_and(StoreError::is_transient) {
        // It may have been broken since its last use; a new one is not, and takes its place.
        drop(session);
        session = store.session().await.map_err(unavailable)?;
        read = session.body_chunk(message, 0).await;
    }
    let mut next =
        Some(read.map_err(unavailable)?.ok_or_else(|| ApiError::NotFound(format!("the body of {message}")))?);
    let mut seq = 0;
    while let Some(chunk) = next {
        if chunks.send(Ok(chunk)).await.is_err() {
            break;
        }
        seq += 1;
        next = session.body_chunk(message, seq).await.map_err(unavailable)?;
    }
    store.give_back(session);
    Ok(())
}

async fn write(mut frames: mpsc::UnboundedReceiver<QueueFrame>, outgoing: mpsc::Sender<QueueFrame>) {
    while let Some(frame) = frames.recv().await {
        let is_work = !frame.dispatches.is_empty();
        if outgoing.send(frame).await.is_err() {
            return;
        }
        if is_work {
            reach(Point::Dispatched);
        }
    }
}
