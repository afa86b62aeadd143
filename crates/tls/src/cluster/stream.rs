//! A connection between programs over TLS, which ends when the other side's certificate is no longer good. Not responsible
//! for what is said over it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::ClusterTls;
use super::identity::Identity;
use super::material::{Validity, validity};
use super::trust::Side;

/// How often the other side's chain is looked at again: an issuer's end, or a clock that was set, is noticed then.
const CHECK_EVERY: Duration = Duration::from_secs(60);

/// A connection.
pub struct ClusterStream {
    io: TlsStream<TcpStream>,
    peer: Option<Identity>,
    valid: Option<Validity>,
    /// Ends when the other side's certificate is no longer good, and says why; never for one who has shown none.
    lapse: Pin<Box<dyn Future<Output = String> + Send>>,
}

impl std::fmt::Debug for ClusterStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterStream").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl ClusterStream {
    /// After a handshake.
    pub(super) fn new(io: TlsStream<TcpStream>, tls: &Arc<ClusterTls>, shown_by: Side) -> Self {
        let chain = io.get_ref().1.peer_certificates().map(<[_]>::to_vec);
        let own = chain.as_ref().and_then(|chain| chain.first());
        let (peer, valid) = (own.map(Identity::of), own.and_then(validity));
        let lapse: Pin<Box<dyn Future<Output = String> + Send>> = match chain {
            Some(chain) => Box::pin(lapsed(
                Arc::clone(tls),
                shown_by,
                chain.into_iter().map(CertificateDer::into_owned).collect(),
                valid,
            )),
            None => Box::pin(std::future::pending()),
        };
        Self { io, peer, valid, lapse }
    }

    /// Who is on the other side, where it has shown a certificate.
    #[must_use]
    pub const fn peer(&self) -> Option<&Identity> {
        self.peer.as_ref()
    }

    pub(super) const fn valid(&self) -> Option<Validity> {
        self.valid
    }

    /// Waits for the other side's first octets, which stay to be read; an end instead of them, too, is an answer.
    pub(super) async fn hears(&mut self) -> io::Result<()> {
        std::future::poll_fn(|context| Pin::new(&mut self.io).poll_fill_buf(context).map_ok(|_| ())).await
    }
}

/// Waits until a chain is no longer good by what `tls` is at the time.
async fn lapsed(
    tls: Arc<ClusterTls>,
    side: Side,
    chain: Vec<CertificateDer<'static>>,
    valid: Option<Validity>,
) -> String {
    let mut changes = tls.changes();
    loop {
        if let Err(error) = tls.material().trust.check(side, &chain, UnixTime::now()) {
            return error.to_string();
        }
        let left = valid.and_then(|valid| valid.until.duration_since(SystemTime::now()).ok()).unwrap_or_default();
        // A little more, so that the end is over by then.
        let wait = (left + Duration::from_secs(1)).min(CHECK_EVERY);
        let _ = tokio::time::timeout(wait, changes.changed()).await;
    }
}

impl AsyncRead for ClusterStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(reason) = self.lapse.as_mut().poll(context) {
            self.lapse = Box::pin(std::future::ready(reason.clone()));
            let ended = format!("the certificate of the other side is no longer good: {reason}");
            return Poll::Ready(Err(io::Error::other(ended)));
        }
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl AsyncWrite for ClusterStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, octets)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
