//! What can be wrong with a handshake between programs, in words that say what to mend. Not responsible for files: those
//! are [`TlsError`](crate::TlsError)'s.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use super::identity::{Identity, Tier};

/// No connection came of a handshake.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// What answers is no TLS.
    #[error("the other side does not speak TLS: it has no `cluster.tls_certificate`, or http:// is right")]
    NotTls,
    /// The certificate shown is not good.
    #[error("the certificate of the other side cannot be trusted: {0}")]
    Untrusted(String),
    /// The certificate is another program's.
    #[error("the certificate of the other side is for {presented}, and the role {needed} is needed")]
    WrongRole {
        /// What it is for.
        presented: Identity,
        /// What was to be expected.
        needed: Tier,
    },
    /// The other side does not take ours.
    #[error("the other side does not trust our certificate: {0}")]
    Refused(String),
    /// The connection.
    #[error("{0}")]
    Io(io::Error),
}

impl HandshakeError {
    /// Sorts what rustls and the network say.
    pub(crate) fn of(error: io::Error) -> Self {
        let Some(cause) = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>()) else {
            return match error.kind() {
                // A server that expects HTTP/2 hangs up when it sees something else.
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => Self::NotTls,
                _ => Self::Io(error),
            };
        };
        match cause {
            Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => Self::NotTls,
            Error::InvalidCertificate(reason) => Self::Untrusted(plain(reason)),
            _ => Self::after(error),
        }
    }

    /// The same where the other side has shown already that it speaks TLS.
    pub(crate) fn after(error: io::Error) -> Self {
        match error.get_ref().and_then(|cause| cause.downcast_ref::<Error>()) {
            Some(Error::AlertReceived(alert)) => refusal(*alert).map_or(Self::Io(error), Self::Refused),
            _ => Self::Io(error),
        }
    }
}

/// What an alert says of our certificate (RFC 8446 §6.2).
fn refusal(alert: AlertDescription) -> Option<String> {
    Some(match alert {
        AlertDescription::UnknownCA => "it was issued by nobody of its `cluster.tls_ca`".to_owned(),
        AlertDescription::DecryptError => {
            "it was issued by another than its `cluster.tls_ca`, although of the same name".to_owned()
        }
        AlertDescription::CertificateExpired => "it has expired".to_owned(),
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateRevoked
        | AlertDescription::AccessDenied => format!("{alert:?}; its log says more"),
        _ => return None,
    })
}

/// Why a certificate is not good.
pub(crate) fn plain(reason: &CertificateError) -> String {
    match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet: do the clocks agree?".to_owned()
        }
        CertificateError::UnknownIssuer => "it was issued by nobody of `cluster.tls_ca`".to_owned(),
        CertificateError::BadSignature => {
            "it was issued by another than `cluster.tls_ca`, although of the same name".to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its extended key usage does not allow this: programs need clientAuth, and the queue serverAuth beside"
                .to_owned()
        }
        other => other.to_string(),
    }
}
