//! Makes the TCP connections of https:// and shakes hands over them, each time that a channel needs one. Not responsible for
//! when that is.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use mailtier_tls::{ClusterTls, HandshakeError, Renewal};
use tokio::net::TcpStream;
use tonic::codegen::{BoxFuture, Service, http};

use crate::connection::Connection;

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// Nobody is there.
    #[error("cannot connect to {authority}")]
    Connect {
        /// Where.
        authority: String,
        /// Why.
        source: io::Error,
    },
    /// The handshake.
    #[error("no TLS with {authority}")]
    Handshake {
        /// With whom.
        authority: String,
        /// Why.
        source: HandshakeError,
    },
}

/// Where and how to connect.
#[derive(Clone, Debug)]
pub(crate) struct Dial {
    pub(crate) authority: Arc<str>,
    pub(crate) tls: Arc<ClusterTls>,
    pub(crate) renewal: Renewal,
    pub(crate) falls_back: bool,
}

impl Dial {
    async fn dial(self) -> Result<Connection, DialError> {
        match self.tls.connect(self.tcp().await?, &self.renewal).await {
            Ok(stream) => Ok(Connection::Tls(Box::new(stream), None)),
            Err(HandshakeError::NotTls) if self.falls_back => {
                tracing::debug!(queue = %self.authority, "speaks no TLS yet: it is spoken to without");
                Ok(Connection::Clear(self.tcp().await?))
            }
            Err(source) => Err(DialError::Handshake { authority: self.authority.to_string(), source }),
        }
    }

    async fn tcp(&self) -> Result<TcpStream, DialError> {
        let failed = |source| DialError::Connect { authority: self.authority.to_string(), source };
        let tcp = TcpStream::connect(&*self.authority).await.map_err(failed)?;
        tcp.set_nodelay(true).map_err(failed)?;
        Ok(tcp)
    }
}

impl Service<http::Uri> for Dial {
    type Response = TokioIo<Connection>;
    type Error = DialError;
    type Future = BoxFuture<Self::Response, DialError>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let dial = self.clone();
        Box::pin(async move { dial.dial().await.map(TokioIo::new) })
    }
}
