//! TLS between the programs of an installation: each shows a certificate of the installation's own authority, which says by
//! its role what it may do.
//!
//! Responsible for handshakes, for reading certificates again while connections last, and for ending those whose certificate
//! is no longer good. Not responsible for which role may do what.
//!
//! - `identity`: roles
//! - `trust`: the authority
//! - `material`: files become configurations
//! - `stream`: a connection, and its end
//! - `renewal`: when a connection is made anew
//! - `error`: what is wrong, in words that help

mod error;
mod identity;
mod material;
mod renewal;
mod stream;
#[cfg(test)]
mod tests;
mod trust;

use std::error::Error as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use mailtier_config::{ClusterCertificate, ClusterConfig, ConfigError};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::TlsError;
pub use error::HandshakeError;
pub use identity::{Identity, Tier};
use material::{Digests, Material};
pub use renewal::Renewal;
pub use stream::ClusterStream;
use trust::Side;

/// What a program needs for TLS with the others.
#[derive(Debug)]
pub struct ClusterTls {
    /// The files, and what they must be for; nothing for operators, who have no certificate.
    files: Option<(ClusterCertificate, Tier)>,
    current: ArcSwap<Material>,
    /// Counts the readings that changed something.
    generation: watch::Sender<u64>,
}

/// What a look at the files has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// They are as they were.
    Same,
    /// They were read again, and are used from now on.
    Renewed,
}

impl ClusterTls {
    /// Reads what `[cluster]` names for a program; nothing where that is nothing.
    ///
    /// # Errors
    /// [`ConfigError`] names the key, the file and what is wrong with it: also where the certificate is another program's.
    pub fn configured(cluster: &ClusterConfig, tier: Tier) -> Result<Option<Arc<Self>>, ConfigError> {
        let Some(files) = cluster.certificate()? else { return Ok(None) };
        let read = Material::read(&files, tier).map_err(|error| {
            let key = match error.file() {
                Some(file) if file == files.authority => "cluster.tls_ca",
                Some(file) if file == files.key => "cluster.tls_key",
                _ => "cluster.tls_certificate",
            };
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            ConfigError::bad(key, format!("cannot be used: {error}{cause}"))
        })?;
        Ok(Some(Self::new(Some((files, tier)), read)))
    }

    /// For operators: no certificate of their own, and whoever is reached must have the queue's.
    ///
    /// # Errors
    /// [`TlsError`] names the file and what is wrong with it.
    pub fn trusting(authority: &Path) -> Result<Arc<Self>, TlsError> {
        Ok(Self::new(None, Material::trusting(authority)?))
    }

    fn new(files: Option<(ClusterCertificate, Tier)>, material: Material) -> Arc<Self> {
        let generation = watch::Sender::new(0);
        Arc::new(Self { files, current: ArcSwap::from_pointee(material), generation })
    }

    /// Looks whether the files have changed, and reads them again where they have. What is half written, or does not fit
    /// together, changes nothing.
    ///
    /// # Errors
    /// [`TlsError`] says why what is there now is not used.
    pub fn look(&self) -> Result<Look, TlsError> {
        let Some((files, tier)) = &self.files else { return Ok(Look::Same) };
        if Digests::now(files).is_some_and(|now| now == self.current.load().digests) {
            return Ok(Look::Same);
        }
        let material = Material::read(files, *tier)?;
        self.current.store(Arc::new(material));
        self.generation.send_modify(|generation| *generation += 1);
        Ok(Look::Renewed)
    }

    /// When our own certificate begins and ends to be good.
    #[must_use]
    pub fn validity(&self) -> Option<(SystemTime, SystemTime)> {
        self.current.load().own.as_ref().map(|own| (own.valid.from, own.valid.until))
    }

    /// Who we are.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        self.current.load().own.as_ref().map(|own| own.identity.clone())
    }

    /// How often what is used has changed.
    fn generation(&self) -> u64 {
        *self.generation.borrow()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    fn material(&self) -> arc_swap::Guard<Arc<Material>> {
        self.current.load()
    }

    /// The client's side of a handshake with the queue, which speaks first: what it thinks of our certificate is known by
    /// then. `renewal` is told of the connection.
    ///
    /// # Errors
    /// [`HandshakeError`].
    pub async fn connect(self: &Arc<Self>, tcp: TcpStream, renewal: &Renewal) -> Result<ClusterStream, HandshakeError> {
        let (generation, material) = (self.generation(), self.current.load_full());
        // Who it is, is not a matter of names: an address is not sent (RFC 6066 §3).
        let nameless = ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let connector = TlsConnector::from(Arc::clone(&material.client));
        let io = connector.connect(nameless, tcp).await.map_err(HandshakeError::of)?;
        let mut stream = ClusterStream::new(TlsStream::Client(io), self, Side::Server);
        if let Some(presented) = stream.peer().filter(|peer| !peer.is(Tier::Queue)) {
            return Err(HandshakeError::WrongRole { presented: presented.clone(), needed: Tier::Queue });
        }
        stream.hears().await.map_err(HandshakeError::after)?;
        renewal.connected(generation, material.own.as_ref().map(|own| own.valid), stream.valid());
        Ok(stream)
    }

    /// The server's side of a handshake. A client need not show a certificate; one that it shows must be good.
    ///
    /// # Errors
    /// [`HandshakeError`].
    pub async fn accept(self: &Arc<Self>, tcp: TcpStream) -> Result<ClusterStream, HandshakeError> {
        let material = self.current.load_full();
        let Some(own) = &material.own else {
            return Err(HandshakeError::Io(std::io::Error::other("there is no certificate to serve with")));
        };
        let io = TlsAcceptor::from(Arc::clone(&own.server)).accept(tcp).await.map_err(HandshakeError::of)?;
        Ok(ClusterStream::new(TlsStream::Server(io), self, Side::Client))
    }
}
