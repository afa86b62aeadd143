//! A connection for a transaction: an idle one, or a new one with the TLS its target asks for. Not responsible for what
//! is said on it, nor for which target comes next.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mailtier_route::{Target, TlsPolicy};
use mailtier_telemetry::Meters;
use mailtier_tls::ClientTls;
use mailtier_transport::client::{ConnectFailure, ConnectOptions, Connection, TlsMode};
use mailtier_types::{Cause, Stage, Trouble, TroubleKind};
use opentelemetry::KeyValue;

use crate::connections::{Connections, Key, Leased, Slot};
use crate::egress::{EgressPool, STAGE};
use crate::routes::Manner;

/// How connections are opened.
#[derive(Clone, Debug)]
pub(crate) struct Opener {
    /// For TCP's handshake.
    pub(crate) connect_timeout: Duration,
    /// Encryption without authentication.
    pub(crate) tls: Arc<ClientTls>,
    /// Encryption with authentication; absent where the system trusts nobody.
    pub(crate) verified: Option<Arc<ClientTls>>,
    pub(crate) meters: Arc<Meters>,
}

impl Opener {
    /// An idle connection, or a new one.
    ///
    /// # Errors
    /// How far opening came.
    pub(crate) async fn lease(
        &self,
        connections: &Connections,
        egress: &EgressPool,
        target: &Target,
        manner: &Manner,
    ) -> Result<Leased, ConnectFailure> {
        match connections.take(&Key::of(egress, target, manner.route)) {
            Some(leased) => {
                self.count("reused");
                Ok(leased)
            }
            None => {
                let slot = connections.slot().await.ok_or_else(closing)?;
                self.fresh(egress, target, manner, slot).await
            }
        }
    }

    /// A new connection. Where TLS is a bonus and fails, once more without it (RFC 7435 §3): a message in clear is what
    /// there would have been without the offer.
    ///
    /// # Errors
    /// How far opening came.
    pub(crate) async fn fresh(
        &self,
        egress: &EgressPool,
        target: &Target,
        manner: &Manner,
        slot: Slot,
    ) -> Result<Leased, ConnectFailure> {
        if let Some(login) = &manner.login {
            login.may_try(&target.host, Instant::now())?;
        }
        let address = SocketAddr::new(target.address, target.port);
        let source = egress.source_towards(target.address).map_err(no_source)?;
        let options = |policy| self.options((egress, source), (target, manner), policy);
        let opened = match Connection::open(address, &options(target.tls)?).await {
            Err(failure) if failure.tls_failed && target.tls == TlsPolicy::Opportunistic => {
                tracing::info!(host = target.host, %address, cause = ?failure.cause, "TLS failed: going on without it");
                Connection::open(address, &options(TlsPolicy::Off)?).await
            }
            other => other,
        };
        self.count(if opened.is_ok() { "opened" } else { "failed" });
        let mut connection = opened?;
        let version = connection.tls().map_or("none", |tls| tls.version.as_str()).to_owned();
        self.meters.outbound_tls.add(1, &[KeyValue::new("version", version)]);
        if let Some(login) = &manner.login {
            login.log_in(&mut connection, &target.host).await?;
        }
        Ok(Leased::new(connection, source, slot))
    }

    /// An idle connection to a socket of this machine, or a new one.
    ///
    /// # Errors
    /// How far opening came.
    pub(crate) async fn lease_local(
        &self,
        connections: &Connections,
        egress: &EgressPool,
        path: &Arc<PathBuf>,
        route: Option<usize>,
    ) -> Result<Leased, ConnectFailure> {
        match connections.take(&Key::of_socket(egress, path, route)) {
            Some(leased) => {
                self.count("reused");
                Ok(leased)
            }
            None => {
                let slot = connections.slot().await.ok_or_else(closing)?;
                self.fresh_local(egress, path, slot).await
            }
        }
    }

    /// A new one, which speaks LMTP.
    ///
    /// # Errors
    /// How far opening came.
    pub(crate) async fn fresh_local(
        &self,
        egress: &EgressPool,
        path: &Arc<PathBuf>,
        slot: Slot,
    ) -> Result<Leased, ConnectFailure> {
        let opened = Connection::open_local(path, &egress.lmtp, self.connect_timeout).await;
        self.count(if opened.is_ok() { "opened" } else { "failed" });
        Ok(Leased::new(opened?, None, slot))
    }

    fn count(&self, result: &'static str) {
        self.meters.outbound_connections.add(1, &Meters::attribute("result", result));
    }

    fn options(
        &self,
        (egress, source): (&EgressPool, Option<IpAddr>),
        (target, manner): (&Target, &Manner),
        policy: TlsPolicy,
    ) -> Result<ConnectOptions, ConnectFailure> {
        Ok(ConnectOptions {
            smtp: Arc::clone(if manner.is_lmtp { &egress.lmtp } else { &egress.smtp }),
            connect_timeout: self.connect_timeout,
            source,
            tls: match policy {
                TlsPolicy::Off => TlsMode::Off,
                TlsPolicy::Opportunistic => TlsMode::Opportunistic(Arc::clone(&self.tls)),
                TlsPolicy::Required => TlsMode::Required(Arc::clone(&self.tls)),
                TlsPolicy::Verified => {
                    TlsMode::Required(Arc::clone(self.verified.as_ref().ok_or_else(nobody_is_trusted)?))
                }
            },
            server_name: target.host.clone(),
        })
    }
}

/// The system has no roots.
fn nobody_is_trusted() -> ConnectFailure {
    let text = "no certificate can be verified: this system has no trusted roots (package ca-certificates)".to_owned();
    ConnectFailure {
        stage: Stage::StartTls,
        cause: Cause::Trouble(Trouble { kind: TroubleKind::Local, text }),
        tls_failed: false,
    }
}

/// The egress pool has no address for it.
fn no_source(trouble: Trouble) -> ConnectFailure {
    ConnectFailure { stage: STAGE, cause: Cause::Trouble(trouble), tls_failed: false }
}

/// No more connections are opened.
fn closing() -> ConnectFailure {
    let text = "this system is shutting down".to_owned();
    ConnectFailure {
        stage: Stage::Connect,
        cause: Cause::Trouble(Trouble { kind: TroubleKind::Local, text }),
        tls_failed: false,
    }
}
