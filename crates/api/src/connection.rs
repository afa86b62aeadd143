//! A connection between programs, over TLS or without, and what the other side has shown on it. Not responsible for making
//! one.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use mailtier_tls::{ClusterStream, Identity};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tonic::transport::server::Connected;

/// A connection.
#[derive(Debug)]
pub(crate) enum Connection {
    /// Between programs that have certificates.
    Tls(Box<ClusterStream>, Option<SocketAddr>),
    /// With one that has none.
    Clear(TcpStream),
}

/// What a call comes with beside its headers.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// Whether the call is over TLS.
    pub(crate) is_secure: bool,
    /// Who its certificate says it is, where it has shown one.
    pub(crate) identity: Option<Arc<Identity>>,
    /// Where it comes from.
    pub(crate) address: Option<SocketAddr>,
}

impl Connected for Connection {
    type ConnectInfo = Shown;

    fn connect_info(&self) -> Shown {
        match self {
            Self::Tls(stream, address) => {
                Shown { is_secure: true, identity: stream.peer().cloned().map(Arc::new), address: *address }
            }
            Self::Clear(stream) => Shown { is_secure: false, identity: None, address: stream.peer_addr().ok() },
        }
    }
}

macro_rules! either {
    ($stream:expr, $inner:ident => $what:expr) => {
        match $stream.get_mut() {
            Self::Tls(stream, _) => {
                let $inner = Pin::new(&mut **stream);
                $what
            }
            Self::Clear(stream) => {
                let $inner = Pin::new(stream);
                $what
            }
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write(context, octets))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write_vectored(context, parts))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tls(stream, _) => stream.is_write_vectored(),
            Self::Clear(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_shutdown(context))
    }
}
