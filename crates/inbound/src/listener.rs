//! Accepts connections and runs a session on each, up to the most that are allowed. Not responsible for what a session
//! does.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mailtier_smtp::ServerSession;
use mailtier_telemetry::Meters;
use mailtier_transport::server::serve;
use mailtier_types::reply;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::peer::Peer;
use crate::record;
use crate::session::Session;
use crate::shared::Shared;

/// The wait after the system had no descriptor or memory for a connection.
const EXHAUSTED_WAIT: Duration = Duration::from_millis(100);

/// What accepts connections on one address.
#[derive(Debug, Clone)]
pub(crate) struct Acceptor {
    pub(crate) shared: Arc<Shared>,
    /// A permit for each session there may be, on all addresses together.
    pub(crate) room: Arc<Semaphore>,
    pub(crate) sessions: TaskTracker,
    /// No new sessions, and those there are come to their end.
    pub(crate) drain: CancellationToken,
    /// Sessions end at once.
    pub(crate) abort: CancellationToken,
}

impl Acceptor {
    pub(crate) async fn run(self, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                () = self.drain.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => self.admit(stream, address),
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    tokio::time::sleep(EXHAUSTED_WAIT).await;
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream, address: SocketAddr) {
        match Arc::clone(&self.room).try_acquire_owned() {
            Ok(permit) => {
                self.sessions.spawn(self.clone().converse(stream, address, permit));
            }
            Err(_) => self.shed(&stream, address),
        }
    }

    async fn converse(self, stream: TcpStream, address: SocketAddr, permit: OwnedSemaphorePermit) {
        let begun = Instant::now();
        let trusted = self.shared.policy.trusts(address.ip());
        let engine = ServerSession::new(Arc::clone(&self.shared.smtp), begun);
        let mut session = Session::new(Arc::clone(&self.shared), Peer::new(address, trusted));
        let served = serve(stream, engine, self.shared.tls.as_deref(), &mut session, self.drain.clone());
        let end = tokio::select! {
            end = served => end,
            () = self.abort.cancelled() => return,
        };
        let (peer, tally) = session.summary();
        record::disconnected(peer, tally, &end, begun.elapsed());
        drop(permit);
    }

    /// One reply, as far as the socket takes it at once: shedding must cost less than serving.
    fn shed(&self, stream: &TcpStream, address: SocketAddr) {
        self.shared.meters.inbound_sessions.add(1, &Meters::attribute("result", "shed"));
        tracing::debug!(client = %address.ip(), "too many sessions");
        let mut wire = Vec::new();
        reply::TOO_MANY_SESSIONS.write_to(&mut wire);
        let _ = stream.try_write(&wire);
    }
}

/// A connection that was gone before it was accepted says nothing of us.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
