//! Takes the connections of the queue's port: each by its first octet over TLS or without, many handshakes at a time, each in
//! bounded time. Not responsible for who may call what.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt as _};
use mailtier_tls::{ClusterTls, HandshakeError};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};

use crate::connection::Connection;
use crate::told::Told;

/// What a record of a TLS handshake begins with (RFC 8446 §5.1); HTTP/2 begins with a letter.
const HANDSHAKE: u8 = 0x16;
/// For the first octet and the handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// Handshakes at a time; more connections wait to be taken.
const MAX_HANDSHAKES: usize = 512;
/// After a connection could not be taken.
const PAUSE: Duration = Duration::from_millis(100);

/// Connections as they come.
pub(crate) type Connections = Pin<Box<dyn Stream<Item = io::Result<Connection>> + Send>>;

/// The connections of a listener. Where there is no certificate, none is looked at.
pub(crate) fn connections(listener: TcpListener, tls: Option<Arc<ClusterTls>>) -> Connections {
    let Some(tls) = tls else {
        return Box::pin(TcpListenerStream::new(listener).map(|tcp| clear(tcp?)));
    };
    let (sender, ready) = mpsc::channel(1);
    tokio::spawn(Door { listener, tls, ready: sender, told: Arc::default() }.stand_open());
    Box::pin(ReceiverStream::new(ready))
}

fn clear(tcp: TcpStream) -> io::Result<Connection> {
    tcp.set_nodelay(true)?;
    Ok(Connection::Clear(tcp))
}

struct Door {
    listener: TcpListener,
    tls: Arc<ClusterTls>,
    ready: mpsc::Sender<io::Result<Connection>>,
    told: Arc<Told>,
}

impl Door {
    /// Until nobody takes connections any more.
    async fn stand_open(self) {
        let places = Arc::new(Semaphore::new(MAX_HANDSHAKES));
        loop {
            let accepting = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, self.listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                taken = accepting => taken,
                () = self.ready.closed() => return,
            };
            match accepted {
                Ok((tcp, address)) => {
                    let (tls, ready, told) = (Arc::clone(&self.tls), self.ready.clone(), Arc::clone(&self.told));
                    tokio::spawn(async move {
                        match tokio::time::timeout(HANDSHAKE_WITHIN, greet(tcp, address, &tls)).await {
                            Ok(Ok(connection)) => drop(ready.send(Ok(connection)).await),
                            Ok(Err(error)) => complain(&told, address, &error),
                            Err(_) => tracing::debug!(%address, "a connection said nothing, or shook no hands in time"),
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// Over TLS or without, as the client has begun.
async fn greet(tcp: TcpStream, address: SocketAddr, tls: &Arc<ClusterTls>) -> Result<Connection, HandshakeError> {
    let mut first = [0];
    tcp.peek(&mut first).await.map_err(HandshakeError::Io)?;
    if first == [HANDSHAKE] {
        tcp.set_nodelay(true).map_err(HandshakeError::Io)?;
        return Ok(Connection::Tls(Box::new(tls.accept(tcp).await?), Some(address)));
    }
    clear(tcp).map_err(HandshakeError::Io)
}

fn complain(told: &Told, address: SocketAddr, error: &HandshakeError) {
    if matches!(error, HandshakeError::Io(_)) {
        tracing::debug!(%address, %error, "a connection broke off before its handshake was done");
    } else if told.is_news(&format!("{} {error}", address.ip()), Instant::now()) {
        tracing::warn!(%address, %error, "a TLS handshake failed");
    }
}
