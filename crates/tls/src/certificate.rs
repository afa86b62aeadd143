//! What a certificate says of its holder, and its digest for channel binding. Not responsible for believing it.

use aws_lc_rs::digest;
use mailtier_smtp::ClientCertificate;
use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

/// The host names a server certificate is for, lower case; its common name where it has no others.
pub(crate) fn host_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Some(holder) = holder(certificate) else { return Vec::new() };
    let names = if holder.names.is_empty() { holder.common_name.into_iter().collect() } else { holder.names };
    names.into_iter().map(|name: String| name.to_ascii_lowercase()).collect()
}

/// Whether a name is one of these, or fits a wildcard among them for its first label (RFC 6125 §6.4.3). All are lower case.
pub(crate) fn is_among(name: &str, names: &[String]) -> bool {
    let parent = name.split_once('.').map(|(_, parent)| parent);
    names.iter().any(|known| known == name || (parent.is_some() && known.strip_prefix("*.") == parent))
}

/// Who it is for.
pub(crate) fn holder(certificate: &CertificateDer<'_>) -> Option<ClientCertificate> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let mut holder = ClientCertificate {
        common_name: parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok()).map(str::to_owned),
        ..ClientCertificate::default()
    };
    let alternatives = parsed.subject_alternative_name().ok().flatten();
    for name in alternatives.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::RFC822Name(address) => holder.addresses.push((*address).to_owned()),
            GeneralName::DNSName(name) => holder.names.push((*name).to_owned()),
            _ => {}
        }
    }
    Some(holder)
}

/// `tls-server-end-point` (RFC 5929 §4.1): the digest of the certificate, by the hash of its signature, or SHA-256
/// where that is weaker. Nothing where the signature names none.
pub(crate) fn end_point(certificate: &CertificateDer<'static>) -> Option<Vec<u8>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let algorithm = match parsed.signature_algorithm.algorithm.to_id_string().as_str() {
        // MD5, SHA-1 and SHA-256 with RSA; SHA-1 and SHA-256 with ECDSA.
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.2.840.113549.1.1.11"
        | "1.2.840.10045.4.1"
        | "1.2.840.10045.4.3.2" => &digest::SHA256,
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => &digest::SHA384,
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => &digest::SHA512,
        _ => return None,
    };
    Some(digest::digest(algorithm, certificate).as_ref().to_vec())
}
