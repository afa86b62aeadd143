//! Accepts connections and runs a session on each, up to the most that are allowed. Not responsible for what a session
//! does.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mailtier_config::ListenerTls;
use mailtier_smtp::{Connection, ServerSession};
use mailtier_transport::proxy::{self, Proxied};
use mailtier_transport::server::{Accepted, serve};
use mailtier_types::{Timestamp, reply};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::limits::ClientKey;
use crate::listeners::{Listener, holds};
use crate::peer::{Ends, Peer};
use crate::record;
use crate::session::Session;
use crate::shared::Shared;
use crate::sharing::Sharing;

/// The wait after the system had no descriptor or memory for a connection.
const EXHAUSTED_WAIT: Duration = Duration::from_millis(100);
/// How long a load balancer may take to say who is behind it, and a client for its handshake.
const PROXY_TIMEOUT: Duration = Duration::from_secs(10);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// What accepts connections on one address.
#[derive(Debug)]
pub(crate) struct Acceptor {
    pub(crate) sharing: Arc<Sharing>,
    /// Which of the listeners it is for.
    pub(crate) place: usize,
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

    /// With what the configuration says now.
    fn admit(&self, stream: TcpStream, address: SocketAddr) {
        let shared = self.sharing.now();
        let Some(listener) = shared.listeners.get(self.place).cloned() else { return };
        let reception = Reception { shared, listener, drain: self.drain.clone(), abort: self.abort.clone() };
        match Arc::clone(&self.room).try_acquire_owned() {
            Ok(permit) => {
                self.sessions.spawn(reception.begin(stream, address, permit));
            }
            Err(_) => reception.shed(&stream, address),
        }
    }
}

/// One connection, from its beginning to its end.
#[derive(Debug)]
struct Reception {
    shared: Arc<Shared>,
    listener: Arc<Listener>,
    drain: CancellationToken,
    abort: CancellationToken,
}

impl Reception {
    /// From the connection to its session, unless everything is broken off.
    async fn begin(self, stream: TcpStream, address: SocketAddr, permit: OwnedSemaphorePermit) {
        let abort = self.abort.clone();
        tokio::select! {
            () = self.converse(stream, address) => {}
            () = abort.cancelled() => {}
        }
        drop(permit);
    }

    async fn converse(self, stream: TcpStream, address: SocketAddr) {
        let begun = Instant::now();
        // Both are rare and their state is large: a session in clear does not make room for it.
        let Some((stream, ends)) = Box::pin(self.behind_proxy(stream, address)).await else { return };
        let Some(connection) = Box::pin(self.secured(stream, &ends)).await else { return };
        let peer = Peer::new(Arc::clone(&self.listener), ends, connection.tls().cloned());
        let facts = Connection {
            opened_at: Timestamp::from_system(SystemTime::now()),
            permitted: self.shared.permitted(&peer),
        };
        let engine = ServerSession::new(Arc::clone(&peer.settings.smtp), facts, begun);
        let engine = match connection.tls() {
            Some(info) => engine.within_tls(info),
            None => engine,
        };
        let mut session = Session::new(Arc::clone(&self.shared), peer);
        let end = serve(connection, engine, self.shared.tls.as_deref(), &mut session, self.drain.clone()).await;
        let (peer, tally) = session.summary();
        record::disconnected(&self.shared, peer, tally, &end, begun.elapsed());
    }

    /// The client, where a load balancer stands before us. Nobody else may: a header that anyone could send would make
    /// him anyone he likes, and without one the balancer's address would stand for all its clients.
    async fn behind_proxy(&self, mut stream: TcpStream, address: SocketAddr) -> Option<(TcpStream, Ends)> {
        let server = stream.local_addr().ok().map(|server| server.ip());
        let direct = Ends { client: address, server, is_named: self.listener.proxies.is_empty() };
        if self.listener.proxies.is_empty() {
            return Some((stream, direct));
        }
        if !holds(&self.listener.proxies, address.ip()) {
            self.turn_away(address, "proxy", "not from a listed proxy");
            return None;
        }
        match proxy::read_header(&mut stream, PROXY_TIMEOUT).await {
            Ok(Proxied::Client { source, destination }) => {
                Some((stream, Ends { client: source, server: Some(destination.ip()), is_named: true }))
            }
            // It looks whether we live, or does not know who its client is.
            Ok(Proxied::Proxy) => Some((stream, direct)),
            Err(error) => {
                self.turn_away(address, "proxy", &error.to_string());
                None
            }
        }
    }

    /// TLS, where it comes before the first word. Handshakes count as sessions do: silence must not take everyone's room.
    async fn secured(&self, stream: TcpStream, ends: &Ends) -> Option<Accepted> {
        let Some(tls) = self.shared.tls.as_deref().filter(|_| self.listener.tls == ListenerTls::Implicit) else {
            return Some(Accepted::plain(stream));
        };
        let address = ends.client;
        let is_limited = !(ends.is_named && self.listener.trusts(address.ip()));
        let limits = self.listener.settings(address.ip()).limits;
        let _handshake = match self.shared.limits.handshake(ClientKey::of(address.ip()), limits) {
            None if is_limited => {
                self.turn_away(address, "client_limit", "client_limit");
                return None;
            }
            slot => slot,
        };
        match Accepted::in_tls(stream, tls, HANDSHAKE_TIMEOUT).await {
            Ok(connection) => Some(connection),
            Err(error) => {
                self.turn_away(address, "handshake", &error.to_string());
                None
            }
        }
    }

    /// `word` is for metrics, `reason` for the log.
    fn turn_away(&self, address: SocketAddr, word: &'static str, reason: &str) {
        record::not_served(&self.shared.meters, "refused", word);
        tracing::info!(client = %address.ip(), listener = %self.listener.name, reason, status = "refused");
    }

    /// One reply, as far as the socket takes it at once: shedding must cost less than serving.
    fn shed(&self, stream: &TcpStream, address: SocketAddr) {
        record::not_served(&self.shared.meters, "shed", "sessions_limit");
        tracing::debug!(client = %address.ip(), "too many sessions");
        // Who expects a handshake, or a header first, has no use for a reply.
        if self.listener.tls != ListenerTls::Implicit {
            let mut wire = Vec::new();
            reply::TOO_MANY_SESSIONS.write_to(&mut wire);
            let _ = stream.try_write(&wire);
        }
    }
}

/// A connection that was gone before it was accepted says nothing of us.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
