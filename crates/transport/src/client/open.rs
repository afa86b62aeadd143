//! How a connection is opened and why it may not come about. Not responsible for the session on it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mailtier_smtp::{ClientConfig, SessionFailure};
use mailtier_tls::{ClientTls, Verifier};
use mailtier_types::{Cause, ServerIdentity, Stage, TlsFault, Transcript, Trouble, TroubleKind};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use super::proxied::EgressProxy;

/// Whether and how a connection is encrypted.
#[derive(Clone, Debug)]
pub enum TlsMode {
    /// In clear.
    Off,
    /// With STARTTLS where it is offered.
    Opportunistic(TlsUse),
    /// With STARTTLS or not at all.
    Required(TlsUse),
    /// From the first octet (RFC 8314 §3.3).
    Implicit(TlsUse),
}

/// How TLS is used.
#[derive(Clone, Debug)]
pub struct TlsUse {
    /// What a handshake needs.
    pub tls: Arc<ClientTls>,
    /// Who the server has to prove to be; anyone where absent.
    pub identity: Option<Expected>,
}

impl TlsUse {
    /// Encryption, whoever the server is.
    #[must_use]
    pub const fn with_anyone(tls: Arc<ClientTls>) -> Self {
        Self { tls, identity: None }
    }
}

/// Who is expected at the other end.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Who.
    pub identity: Arc<ServerIdentity>,
    /// Who judges the proof.
    pub verifier: Verifier,
    /// Without the proof there is no connection; else what came of it is only kept.
    pub enforced: bool,
}

/// How a connection is opened.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// Name and timeouts.
    pub smtp: Arc<ClientConfig>,
    /// For TCP's own handshake, and what is said to a proxy.
    pub connect_timeout: Duration,
    /// Our address; the system's choice where absent.
    pub source: Option<IpAddr>,
    /// What the connection goes through.
    pub proxy: Option<Arc<EgressProxy>>,
    /// Encryption.
    pub tls: TlsMode,
    /// The name of the host, for TLS where nobody in particular is expected.
    pub server_name: String,
}

impl ConnectOptions {
    /// What ended before the greeting may have ended at the proxy: it is named.
    pub(super) fn proxied(&self, mut failure: ConnectFailure) -> ConnectFailure {
        if let (Some(proxy), Stage::Banner, Cause::Trouble(trouble)) = (&self.proxy, failure.stage, &mut failure.cause)
        {
            trouble.text = format!("{} through {proxy}", trouble.text);
        }
        failure
    }
}

/// Why no connection came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectFailure {
    /// How far it came.
    pub stage: Stage,
    /// What decided.
    pub cause: Cause,
    /// TLS is what failed, and how, in the words of reports (RFC 8460 §4.3): without it, a connection may come about.
    pub tls_fault: Option<TlsFault>,
    /// What was said, where it came so far and is kept.
    pub transcript: Transcript,
}

impl ConnectFailure {
    /// Before anything was said.
    #[must_use]
    pub const fn new(stage: Stage, cause: Cause) -> Self {
        Self { stage, cause, tls_fault: None, transcript: Transcript::new() }
    }

    pub(super) fn trouble(stage: Stage, kind: TroubleKind, text: impl Into<String>) -> Self {
        Self::new(stage, Cause::Trouble(Trouble { kind, text: text.into() }))
    }

    /// TLS is what failed.
    pub(super) fn tls(fault: TlsFault, text: impl Into<String>) -> Self {
        Self { tls_fault: Some(fault), ..Self::trouble(Stage::StartTls, TroubleKind::Tls, text) }
    }
}

impl From<SessionFailure> for ConnectFailure {
    fn from(failure: SessionFailure) -> Self {
        let is_tls = failure.stage == Stage::StartTls;
        let tls_fault = is_tls.then_some(TlsFault::ValidationFailure);
        Self { tls_fault, ..Self::new(failure.stage, failure.cause) }
    }
}

/// The TCP connection.
pub(super) async fn connect(address: SocketAddr, options: &ConnectOptions) -> Result<TcpStream, ConnectFailure> {
    if let Some(proxy) = &options.proxy {
        return proxy.connect(address, options.source, options.connect_timeout).await;
    }
    let failed = |kind, text| ConnectFailure::trouble(Stage::Connect, kind, text);
    let socket = bound_socket(address, options.source).map_err(|error| {
        failed(
            TroubleKind::Local,
            match options.source {
                Some(source) => format!("cannot send from the source address {source}: {error}"),
                None => format!("cannot open a socket: {error}"),
            },
        )
    })?;
    match tokio::time::timeout(options.connect_timeout, socket.connect(address)).await {
        Ok(Ok(stream)) => {
            // Commands and content are written in as few pieces as can be: none should wait for another.
            stream.set_nodelay(true).map_err(|error| failed(TroubleKind::Connect, error.to_string()))?;
            Ok(stream)
        }
        Ok(Err(error)) => Err(failed(kind_of(&error), format!("connect to {address}: {error}"))),
        Err(_) => Err(failed(TroubleKind::Connect, format!("connect to {address}: timed out"))),
    }
}

/// The connection to a socket of this machine.
pub(super) async fn connect_local(path: &Path, patience: Duration) -> Result<UnixStream, ConnectFailure> {
    let failed = |text| ConnectFailure::trouble(Stage::Connect, TroubleKind::Connect, text);
    match tokio::time::timeout(patience, UnixStream::connect(path)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(failed(format!("connect to {}: {error}", path.display()))),
        Err(_) => Err(failed(format!("connect to {}: timed out", path.display()))),
    }
}

fn bound_socket(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source.filter(|source| source.is_ipv4() == address.is_ipv4()) {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    Ok(socket)
}

/// Running out of ports says nothing about the remote.
fn kind_of(error: &io::Error) -> TroubleKind {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse => TroubleKind::Local,
        _ => TroubleKind::Connect,
    }
}
