//! What either half of the engine is told about TLS. Not responsible for TLS.

/// The facts of an established TLS connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsInfo {
    /// Protocol version as in a Received field: `TLSv1.3`.
    pub version: String,
    /// Cipher suite: `TLS_AES_256_GCM_SHA384`.
    pub cipher: String,
}
