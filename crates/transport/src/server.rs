//! Listening, and serving one accepted connection. Not responsible for which are accepted, nor for any answer: a
//! [`Handler`] gives those.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use mailtier_smtp::{Question, ServerAction, ServerSession, TlsInfo, Verdict};
use mailtier_tls::ServerTls;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::link::{Link, Waited, now};
use crate::stream::Stream;

/// Connections that wait to be accepted, where the system's own limit (`net.core.somaxconn`) is not lower. A burst that
/// does not fit is told nothing and tries again after a second.
const BACKLOG: u32 = 4096;

/// Listens for connections to [`serve`].
///
/// # Errors
/// The address is not ours, is in use, or needs more rights.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A port whose last connections are still closing is not in use.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Answers the questions of one session and takes its content.
pub trait Handler: Send {
    /// Decides. Nothing is read from the client meanwhile.
    fn ask(&mut self, question: Question) -> impl Future<Output = Verdict> + Send;
    /// Takes the next piece of the content. Nothing is read from the client meanwhile.
    fn body(&mut self, chunk: Bytes) -> impl Future<Output = ()> + Send;
    /// The transaction was abandoned, or the session ended within it.
    fn reset(&mut self);
    /// TLS is active: the session begins anew.
    fn tls(&mut self, info: &TlsInfo);
}

/// How a session ended.
#[derive(Debug)]
pub enum SessionEnd {
    /// In order: by QUIT, by the client closing, by a limit or timeout, by the drain.
    Finished,
    /// The connection broke.
    Lost(io::Error),
    /// The TLS handshake failed.
    TlsFailed(io::Error),
}

/// A connection that was accepted and can be served.
#[derive(Debug)]
pub struct Accepted {
    stream: Stream,
    tls: Option<TlsInfo>,
}

impl Accepted {
    /// In clear, till the client asks for TLS.
    #[must_use]
    pub const fn plain(stream: TcpStream) -> Self {
        Self { stream: Stream::Plain(stream), tls: None }
    }

    /// In TLS from the first octet (RFC 8314 §3.3).
    ///
    /// # Errors
    /// The handshake failed, or took longer than `within`.
    pub async fn in_tls(stream: TcpStream, tls: &ServerTls, within: Duration) -> io::Result<Self> {
        let accepted = tokio::time::timeout(within, Box::pin(tls.acceptor().accept(stream))).await;
        let stream = accepted.map_err(|_| io::ErrorKind::TimedOut)??;
        let info = tls.describe(stream.get_ref().1);
        Ok(Self { stream: Stream::Tls(Box::new(TlsStream::Server(stream))), tls: Some(info) })
    }

    /// The facts of TLS, where it is active already.
    #[must_use]
    pub const fn tls(&self) -> Option<&TlsInfo> {
        self.tls.as_ref()
    }
}

/// Serves a session to its end. `tls` is needed where the session offers STARTTLS. When `drain` is cancelled, the
/// session ends with 421 as soon as no transaction is open.
pub async fn serve<H: Handler>(
    connection: Accepted,
    mut session: ServerSession,
    tls: Option<&ServerTls>,
    handler: &mut H,
    drain: CancellationToken,
) -> SessionEnd {
    // Replies are written whole: waiting for more to fill a segment can only delay them.
    if let Err(error) = connection.stream.set_nodelay() {
        return SessionEnd::Lost(error);
    }
    let mut link = Link::new(connection.stream);
    let end = drive(&mut link, &mut session, tls, handler, &drain).await;
    match end {
        SessionEnd::Finished => link.close().await,
        // What the engine did not see end, its handler must.
        SessionEnd::Lost(_) | SessionEnd::TlsFailed(_) => handler.reset(),
    }
    end
}

async fn drive<H: Handler>(
    link: &mut Link,
    session: &mut ServerSession,
    tls: Option<&ServerTls>,
    handler: &mut H,
    drain: &CancellationToken,
) -> SessionEnd {
    let mut drained = pin!(drain.cancelled());
    let mut draining = false;
    loop {
        let done = match session.poll() {
            ServerAction::Ask(question) => {
                ask(link, session, handler, question).await;
                Ok(())
            }
            ServerAction::Body(chunk) => {
                handler.body(chunk).await;
                Ok(())
            }
            ServerAction::Reset => {
                handler.reset();
                Ok(())
            }
            ServerAction::Send => link.write(session, false).await,
            // A handshake is rare and its state large: an idle session does not make room for it.
            ServerAction::UpgradeTls => match Box::pin(upgrade(link, session, tls)).await {
                Ok(info) => {
                    handler.tls(&info);
                    session.handle_tls(&info, now());
                    Ok(())
                }
                Err(error) => return SessionEnd::TlsFailed(error),
            },
            ServerAction::NeedInput if !draining && drain.is_cancelled() => {
                draining = true;
                session.shut_down(now());
                Ok(())
            }
            ServerAction::NeedInput if draining => {
                link.read(session, pin!(std::future::pending())).await.map(|_: Waited| ())
            }
            ServerAction::NeedInput => link.read(session, drained.as_mut()).await.map(|_: Waited| ()),
            ServerAction::Close => return SessionEnd::Finished,
        };
        if let Err(error) = done {
            return SessionEnd::Lost(error);
        }
    }
}

async fn ask<H: Handler>(link: &mut Link, session: &mut ServerSession, handler: &mut H, question: Question) {
    let is_greeting = matches!(question, Question::Connect);
    let verdict = handler.ask(question).await;
    if is_greeting {
        // RFC 5321 §4.3.1: the engine turns away who spoke before being greeted. An end of the stream, or an error, is
        // found again by the first write or read.
        link.read_at_once(session);
    }
    session.answer(verdict, now());
}

async fn upgrade(link: &mut Link, session: &ServerSession, tls: Option<&ServerTls>) -> io::Result<TlsInfo> {
    let (Some(tls), Some(stream)) = (tls, link.stream.take_plain()) else {
        return Err(io::Error::other("TLS is not configured"));
    };
    let Some(accepted) = link.within(session, tls.acceptor().accept(stream)).await else {
        return Err(io::ErrorKind::TimedOut.into());
    };
    let stream = accepted?;
    let info = tls.describe(stream.get_ref().1);
    link.stream = Stream::Tls(Box::new(TlsStream::Server(stream)));
    Ok(info)
}
