//! What an established connection uses, in the words of logs and Received fields. Not responsible for judging it.

use mailtier_smtp::TlsInfo;
use rustls::{CommonState, ProtocolVersion};

/// Version and cipher suite of a connection whose handshake is done.
#[must_use]
pub fn describe(connection: &CommonState) -> TlsInfo {
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLS",
    };
    let cipher = connection.negotiated_cipher_suite().map(|suite| {
        let name = suite.suite().as_str().unwrap_or("unknown");
        // rustls says TLS13_…, the IANA registry says TLS_… for the same suites (RFC 8446 appendix B.4).
        name.strip_prefix("TLS13_").map_or_else(|| name.to_owned(), |rest| format!("TLS_{rest}"))
    });
    TlsInfo { version: version.to_owned(), cipher: cipher.unwrap_or_default(), ..TlsInfo::default() }
}
