//! The certificate, key and authority of the moment, and the configurations of rustls made of them. Not responsible for when
//! they are read.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use mailtier_config::ClusterCertificate;
use rustls::client::Resumption;
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::error::plain;
use super::identity::{Identity, Tier};
use super::trust::{Side, Trust};
use crate::TlsError;
use crate::provider::provider;

/// The protocol spoken inside (RFC 9113 §3.2).
const ALPN: &[u8] = b"h2";

/// What was read, to tell whether it has changed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Digests(Vec<Vec<u8>>);

/// What one reading of the files gave.
pub(crate) struct Material {
    pub(crate) digests: Digests,
    pub(crate) trust: Trust,
    pub(crate) client: Arc<ClientConfig>,
    /// Nothing without a certificate of our own.
    pub(crate) own: Option<Own>,
}

/// Our own certificate.
pub(crate) struct Own {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) identity: Identity,
    pub(crate) valid: Validity,
}

/// When a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) from: SystemTime,
    pub(crate) until: SystemTime,
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material").field("own", &self.own.as_ref().map(|own| &own.identity)).finish_non_exhaustive()
    }
}

impl Material {
    /// Reads everything at once, and takes it only where it fits together: the key is the certificate's, the certificate the
    /// authority's, and good now, for a tier.
    pub(crate) fn read(files: &ClusterCertificate, tier: Tier) -> Result<Self, TlsError> {
        let certificate = Text::read(&files.certificate)?;
        let key = Text::read(&files.key)?;
        let authority = Text::read(&files.authority)?;
        let digests = Digests(vec![certificate.digest(), key.digest(), authority.digest()]);
        let trust = authority.trust()?;
        let pair = key.pair_with(&certificate)?;
        let identity = pair.cert.first().map(Identity::of);
        let Some((identity, valid)) = identity.zip(pair.cert.first().and_then(validity)) else {
            return Err(TlsError::NoCertificate { path: files.certificate.clone() });
        };
        let unfit = |problem: String| TlsError::Unfit { certificate: files.certificate.clone(), problem };
        if !identity.is(tier) {
            let problem = format!(
                "it is for {identity}, and mailtier-{tier} needs one with a URI such as spiffe://mailtier/{tier}"
            );
            return Err(unfit(problem));
        }
        // The queue calls its replicas, so it is on both sides.
        let sides = if tier == Tier::Queue { &[Side::Client, Side::Server][..] } else { &[Side::Client] };
        for side in sides {
            trust.check(*side, &pair.cert, UnixTime::now()).map_err(|error| match error {
                rustls::Error::InvalidCertificate(reason) => unfit(plain(&reason)),
                other => unfit(other.to_string()),
            })?;
        }
        let server = Arc::new(server(&trust, &pair)?);
        let client = Arc::new(client(&trust, Some(pair))?);
        Ok(Self { digests, trust, client, own: Some(Own { server, identity, valid }) })
    }

    /// The authority alone.
    pub(crate) fn trusting(authority: &Path) -> Result<Self, TlsError> {
        let authority = Text::read(authority)?;
        let (digests, trust) = (Digests(vec![authority.digest()]), authority.trust()?);
        let client = Arc::new(client(&trust, None)?);
        Ok(Self { digests, trust, client, own: None })
    }
}

impl Digests {
    /// Of the files as they are now; nothing where one cannot be read.
    pub(crate) fn now(files: &ClusterCertificate) -> Option<Self> {
        let files = [&files.certificate, &files.key, &files.authority];
        files.iter().map(|path| Text::read(path).ok().map(|text| text.digest())).collect::<Option<_>>().map(Self)
    }
}

/// A file in PEM.
struct Text<'a> {
    path: &'a Path,
    octets: Vec<u8>,
}

impl<'a> Text<'a> {
    fn read(path: &'a Path) -> Result<Self, TlsError> {
        let octets = fs::read(path).map_err(|source| TlsError::Unreadable { path: path.into(), source })?;
        Ok(Self { path, octets })
    }

    fn digest(&self) -> Vec<u8> {
        digest(&SHA256, &self.octets).as_ref().to_vec()
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let found = CertificateDer::pem_slice_iter(&self.octets).collect::<Result<Vec<_>, _>>();
        let found = found.map_err(|source| TlsError::Certificates { path: self.path.into(), source })?;
        if found.is_empty() { Err(TlsError::NoCertificate { path: self.path.into() }) } else { Ok(found) }
    }

    fn trust(&self) -> Result<Trust, TlsError> {
        let mut roots = RootCertStore::empty();
        for root in self.certificates()? {
            roots.add(root)?;
        }
        Trust::in_roots(roots).map_err(|source| TlsError::Verifier { path: self.path.into(), source })
    }

    fn pair_with(&self, certificate: &Self) -> Result<CertifiedKey, TlsError> {
        let private = PrivateKeyDer::from_pem_slice(&self.octets)
            .map_err(|source| TlsError::Key { path: self.path.into(), source })?;
        CertifiedKey::from_der(certificate.certificates()?, private, &provider()).map_err(|source| TlsError::Mismatch {
            certificate: certificate.path.into(),
            key: self.path.into(),
            source,
        })
    }
}

/// TLS 1.3 alone: both sides are ours. Nothing is resumed, so that every connection shows certificates that are good now.
fn client(trust: &Trust, own: Option<CertifiedKey>) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(trust.clone()));
    let mut config = match own {
        Some(own) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn server(trust: &Trust, own: &CertifiedKey) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])?;
    let builder = builder.with_client_cert_verifier(trust.clients());
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(own.clone())));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// When a certificate is good.
pub(crate) fn validity(certificate: &CertificateDer<'_>) -> Option<Validity> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let at = |seconds: i64| UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let (from, until) = (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
    Some(Validity { from: at(from), until: at(until) })
}
