//! What either half of the engine is told about TLS. Not responsible for TLS.

/// The facts of an established TLS connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsInfo {
    /// Protocol version as in a Received field: `TLSv1.3`.
    pub version: String,
    /// Cipher suite: `TLS_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// What a login can be bound to (RFC 5056).
    pub bindings: ChannelBindings,
    /// The client's certificate, where it showed one and that was verified.
    pub client: Option<ClientCertificate>,
}

/// What identifies a TLS connection to both of its ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelBindings {
    /// `tls-exporter` (RFC 9266).
    pub exporter: Option<Vec<u8>>,
    /// `tls-server-end-point` (RFC 5929 §4).
    pub end_point: Option<Vec<u8>>,
}

/// Who a verified client certificate says its holder is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Its rfc822Name entries (RFC 5280 §4.2.1.6).
    pub addresses: Vec<String>,
    /// Its dNSName entries.
    pub names: Vec<String>,
    /// The common name of its subject.
    pub common_name: Option<String>,
}
