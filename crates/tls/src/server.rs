//! The server's certificates and keys, replaceable while it runs, and what it makes of a client's. Not responsible for
//! watching files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use mailtier_smtp::{ChannelBindings, TlsInfo};
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ProtocolVersion, RootCertStore, ServerConfig, ServerConnection};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::TlsAcceptor;

use crate::TlsError;
use crate::certificate::{end_point, holder, host_names, is_among};
use crate::client_certificate::Lenient;
use crate::describe::describe;
use crate::provider::provider;

/// Octets of the exported binding (RFC 9266 §2).
const EXPORTER_OCTETS: usize = 32;

/// A certificate chain and its key, as files in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The key of the first certificate.
    pub key: PathBuf,
}

/// What a server needs to accept TLS.
#[derive(Debug)]
pub struct ServerTls {
    files: Vec<CertificateFiles>,
    current: Arc<Current>,
    config: Arc<ServerConfig>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

impl ServerTls {
    /// Reads the chains and keys. A client that names a host (SNI, RFC 6066 §3) is shown the first certificate for that
    /// name, any other the first of all. With `client_ca`, PEM, clients may show certificates, and those issued by it
    /// say who they are; others are let in, but are nobody.
    ///
    /// # Errors
    /// [`TlsError`] names the file and what is wrong with it.
    pub fn load(files: &[CertificateFiles], client_ca: Option<&Path>) -> Result<Arc<Self>, TlsError> {
        let current = Arc::new(Current(ArcSwap::from_pointee(Certificates::read(files)?)));
        let clients = client_ca.map(client_verifier).transpose()?;
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let builder = match &clients {
            Some(clients) => builder.with_client_cert_verifier(Arc::new(Lenient::new(Arc::clone(clients)))),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::<Current>::clone(&current));
        config.ignore_client_order = true;
        // Tickets keep the state of resumable sessions with the clients: no memory is held for them here. A resumed session
        // gives a new one, so a client that uses each once never runs out of them.
        config.ticketer = Ticketer::new()?;
        config.send_tls13_tickets = 1;
        Ok(Arc::new(Self { files: files.to_vec(), current, config: Arc::new(config), clients }))
    }

    /// Whether it was read from these files and no others, so that [`Self::reload`] is as good as a new one.
    #[must_use]
    pub fn is_made_of(&self, files: &[CertificateFiles]) -> bool {
        self.files == files && self.clients.is_none()
    }

    /// Reads the files again. Established connections keep what they have; on an error so do new ones.
    ///
    /// # Errors
    /// [`TlsError`] names the file and what is wrong with it.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.current.0.store(Arc::new(Certificates::read(&self.files)?));
        Ok(())
    }

    /// What is read, and read again.
    #[must_use]
    pub fn files(&self) -> &[CertificateFiles] {
        &self.files
    }

    /// For the next handshake.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }

    /// The facts of a connection this accepted, what a login can be bound to and who the client is among them.
    #[must_use]
    pub fn describe(&self, connection: &ServerConnection) -> TlsInfo {
        let current = self.current.0.load();
        let end_point = current.for_name(connection.server_name()).and_then(|shown| shown.end_point.clone());
        // Only there the exported value is bound to the whole handshake by itself (RFC 9266 §4).
        let has_exporter = connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        let export = || {
            let empty = vec![0; EXPORTER_OCTETS];
            connection.export_keying_material(empty, b"EXPORTER-Channel-Binding", None).ok()
        };
        let bindings = ChannelBindings { exporter: has_exporter.then(export).flatten(), end_point };
        TlsInfo { bindings, client: self.client(connection), ..describe(connection) }
    }

    /// Who the client's certificate says it is, where that was issued by whom we trust for it.
    fn client(&self, connection: &ServerConnection) -> Option<mailtier_smtp::ClientCertificate> {
        let (own, issuers) = connection.peer_certificates()?.split_first()?;
        self.clients.as_ref()?.verify_client_cert(own, issuers, UnixTime::now()).ok()?;
        holder(own)
    }
}

/// The certificates of the moment.
#[derive(Debug)]
struct Current(ArcSwap<Certificates>);

impl ResolvesServerCert for Current {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load().for_name(client_hello.server_name()).map(|shown| Arc::clone(&shown.key))
    }
}

/// One of ours, and what each of its connections needs to know of it.
#[derive(Debug)]
struct Certificate {
    /// The host names it is for, lower case.
    names: Vec<String>,
    /// What a login over its connections can be bound to (RFC 5929 §4).
    end_point: Option<Vec<u8>>,
    key: Arc<CertifiedKey>,
}

/// In the order of their files.
#[derive(Debug)]
struct Certificates(Vec<Certificate>);

impl Certificates {
    fn read(files: &[CertificateFiles]) -> Result<Self, TlsError> {
        let read = |files: &CertificateFiles| {
            let key = read(&files.certificate, &files.key)?;
            let own = key.cert.first();
            let names = own.map(host_names).unwrap_or_default();
            Ok(Certificate { names, end_point: own.and_then(end_point), key: Arc::new(key) })
        };
        files.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    fn for_name(&self, name: Option<&str>) -> Option<&Certificate> {
        let name = name.map(str::to_ascii_lowercase);
        let named = self.0.iter().find(|known| name.as_ref().is_some_and(|name| is_among(name, &known.names)));
        named.or_else(|| self.0.first())
    }
}

fn client_verifier(path: &Path) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for root in read_chain(path)? {
        roots.add(root)?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|source| TlsError::Verifier { path: path.into(), source })
}

/// A chain and its key, which belong together.
pub(crate) fn read(certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let chain = read_chain(certificate)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::Key { path: key.into(), source })?;
    CertifiedKey::from_der(chain, private, &provider()).map_err(|source| TlsError::Mismatch {
        certificate: certificate.into(),
        key: key.into(),
        source,
    })
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |source| TlsError::Certificates { path: path.into(), source };
    let chain =
        CertificateDer::pem_file_iter(path).map_err(unreadable)?.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    if chain.is_empty() { Err(TlsError::NoCertificate { path: path.into() }) } else { Ok(chain) }
}
