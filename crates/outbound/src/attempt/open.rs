//! A connection for a transaction: an idle one, or a new one with the TLS its target asks for. Not responsible for what
//! is said on it, nor for which target comes next.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mailtier_route::{Encryption, Target, TlsDemand};
use mailtier_telemetry::Meters;
use mailtier_tls::{ClientTls, Verifier};
use mailtier_transport::client::{ConnectFailure, ConnectOptions, Connection, Expected, TlsMode, TlsUse};
use mailtier_types::{Cause, Stage, Timestamp, TlsFailure, TlsFault, Trouble, TroubleKind};
use moka::sync::Cache;
use opentelemetry::KeyValue;

use crate::connections::{Connections, Key, Leased, Slot};
use crate::egress::{EgressPool, Manners, STAGE, Wish};
use crate::routes::Manner;
use crate::tls_reports::SessionCounter;

/// Hosts remembered whose TLS does not work.
const MAX_BROKEN: u64 = 10_000;
/// For so long nothing is tried with their TLS where it is a bonus: each message would wait for it to fail again.
const BROKEN_FOR: Duration = Duration::from_secs(900);
/// Addresses remembered that are silent.
const MAX_SILENT: u64 = 10_000;
/// For so long others are tried before one that was silent: not longer, since a better exchanger may be back.
const SILENT_FOR: Duration = Duration::from_secs(300);
/// What fails sooner costs nothing to try again.
const SILENCE: Duration = Duration::from_secs(1);

/// No connection, and from where there should have been one.
#[derive(Debug)]
pub(crate) struct Unopened {
    pub(crate) failure: ConnectFailure,
    pub(crate) source: Option<IpAddr>,
}

impl From<ConnectFailure> for Unopened {
    fn from(failure: ConnectFailure) -> Self {
        Self { failure, source: None }
    }
}

/// What was wrong with TLS, in the words of reports, and why.
#[derive(Clone, Debug)]
struct Fault {
    word: TlsFault,
    reason: String,
}

impl Fault {
    /// Of a connection that came about all the same.
    fn of(connection: &Connection) -> Option<Self> {
        match (connection.tls(), connection.proof()) {
            (None, _) => Some(Self { word: TlsFault::StarttlsNotSupported, reason: String::new() }),
            (Some(_), Some(Err(unproven))) => Some(Self { word: unproven.fault(), reason: unproven.to_string() }),
            (Some(_), _) => None,
        }
    }
}

/// How connections are opened.
#[derive(Clone, Debug)]
pub(crate) struct Opener {
    /// For TCP's handshake.
    connect_timeout: Duration,
    tls: Arc<ClientTls>,
    /// Who judges whether a host is who it has to be.
    verifier: Verifier,
    /// Hosts whose TLS failed a while ago, and how.
    broken: Cache<SocketAddr, Fault>,
    /// Addresses that did not answer a while ago, by the place of the pool that asked: another may reach them.
    silent: Cache<(usize, SocketAddr), ()>,
    /// Where sessions are counted, where they are.
    sessions: Option<Arc<SessionCounter>>,
    meters: Arc<Meters>,
}

impl Opener {
    /// With this patience for TCP's handshake.
    pub(crate) fn new(
        connect_timeout: Duration,
        tls: Arc<ClientTls>,
        verifier: Verifier,
        sessions: Option<Arc<SessionCounter>>,
        meters: Arc<Meters>,
    ) -> Self {
        let broken = Cache::builder().max_capacity(MAX_BROKEN).time_to_live(BROKEN_FOR).build();
        let silent = Cache::builder().max_capacity(MAX_SILENT).time_to_live(SILENT_FOR).build();
        Self { connect_timeout, tls, verifier, broken, silent, sessions, meters }
    }

    /// The same with another patience, counting sessions or not; what is known of hosts stays.
    pub(crate) fn renewed(&self, connect_timeout: Duration, sessions: Option<Arc<SessionCounter>>) -> Self {
        Self { connect_timeout, sessions, ..self.clone() }
    }

    /// An idle connection, or a new one.
    ///
    /// # Errors
    /// How far opening came.
    pub(crate) async fn lease(
        &self,
        (connections, key): (&Connections, &Key),
        egress: &EgressPool,
        (target, wish): (&Target, Wish<'_>),
        manner: &Manner,
    ) -> Result<Leased, Unopened> {
        let suits = |leased: &Leased| egress.suits(leased.source, wish);
        match connections.take(key, suits) {
            Some(leased) => {
                self.count("reused");
                Ok(leased)
            }
            None => {
                let slot = connections.slot().await.ok_or_else(closing)?;
                self.fresh(egress, (target, wish), manner, slot).await
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
        (target, wish): (&Target, Wish<'_>),
        manner: &Manner,
        slot: Slot,
    ) -> Result<Leased, Unopened> {
        if let Some(login) = &manner.login {
            login.may_try(&target.host, Instant::now())?;
        }
        let (source, manners) = egress.source_towards(target.address, wish).map_err(no_source)?;
        let began = Instant::now();
        let opened = self.connect((egress, source, manners), (target, manner)).await;
        self.note_silence((egress.number, address_of(target)), opened.as_ref().err(), began.elapsed());
        match opened {
            Ok(connection) => {
                self.meters.outbound_connect_duration.record(began.elapsed().as_secs_f64(), &[]);
                Ok(Leased::new(connection, source, slot))
            }
            Err(failure) => Err(Unopened { failure, source }),
        }
    }

    /// Whether a target did not answer a while ago, so that mail waits less where others are tried first.
    pub(crate) fn is_silent(&self, egress: &EgressPool, target: &Target) -> bool {
        self.silent.contains_key(&(egress.number, address_of(target)))
    }

    /// RFC 5321 §4.5.4.1: a list of hosts that cannot be reached. Those that waste nobody's time are not on it.
    fn note_silence(&self, place: (usize, SocketAddr), failure: Option<&ConnectFailure>, waited: Duration) {
        match failure {
            None => self.silent.invalidate(&place),
            Some(failure) if waited >= SILENCE && is_silence(failure) => self.silent.insert(place, ()),
            Some(_) => {}
        }
    }

    async fn connect(
        &self,
        leaving: Leaving<'_>,
        (target, manner): (&Target, &Manner),
    ) -> Result<Connection, ConnectFailure> {
        let address = address_of(target);
        let (_, source, _) = leaving;
        let options = |encryption| self.options(leaving, (target, manner), encryption);
        // Where TLS comes first there is nothing to go on with without it.
        let is_bonus = target.tls.encryption == Encryption::Opportunistic && !manner.implicit_tls.is_on(target.port);
        let mut fault = is_bonus.then(|| self.broken.get(&address)).flatten();
        let encryption = if fault.is_some() { Encryption::Off } else { target.tls.encryption };
        let mut opened = Connection::open(address, &options(encryption)).await;
        if opened.is_err() {
            // What is remembered says nothing of a session that did not come about.
            fault = None;
        }
        if let Err(failure) = &mut opened
            && let Some(word) = failure.tls_fault
            && is_bonus
        {
            tracing::info!(host = target.host, %address, cause = ?failure.cause, "TLS failed: going on without it");
            let found = Fault { word, reason: failure.cause.to_string() };
            self.broken.insert(address, found.clone());
            fault = Some(found);
            let said = std::mem::take(&mut failure.transcript);
            opened = Connection::after(Connection::open(address, &options(Encryption::Off)).await, said);
        }
        self.count_session(target, source, fault, &opened);
        self.count(if opened.is_ok() { "opened" } else { "failed" });
        let mut connection = opened?;
        let version = connection.tls().map_or("none", |tls| tls.version.as_str()).to_owned();
        self.meters.outbound_tls.add(1, &[KeyValue::new("version", version)]);
        self.note_proof(&connection, target);
        if let Some(login) = &manner.login {
            login.log_in(&mut connection, &target.host).await?;
        }
        Ok(connection)
    }

    /// For reports of TLS: a session counts once, whatever it carries. One that did not come as far as TLS says nothing of it.
    fn count_session(
        &self,
        target: &Target,
        source: Option<IpAddr>,
        fault: Option<Fault>,
        opened: &Result<Connection, ConnectFailure>,
    ) {
        let (Some(sessions), Some(against)) = (&self.sessions, &target.against) else { return };
        let met = match opened {
            Ok(connection) => Fault::of(connection),
            Err(failure) => failure.tls_fault.map(|word| Fault { word, reason: failure.cause.to_string() }),
        };
        if opened.is_err() && fault.is_none() && met.is_none() {
            return;
        }
        let before = against.fault.clone().map(|(word, reason)| Fault { word, reason });
        let failure = before.or(fault).or(met).map(|Fault { word, reason }| TlsFailure {
            fault: word,
            sending_address: source.or_else(|| own_address_towards(target)),
            host: target.host.clone(),
            host_address: Some(target.address),
            reason,
        });
        sessions.count(against, failure, Timestamp::from_system(SystemTime::now()));
    }

    /// An idle connection to a socket of this machine, or a new one.
    ///
    /// # Errors
    /// How far opening came.
    pub(crate) async fn lease_local(
        &self,
        (connections, key): (&Connections, &Key),
        egress: &EgressPool,
        path: &Arc<PathBuf>,
    ) -> Result<Leased, Unopened> {
        match connections.take(key, |_| true) {
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
    ) -> Result<Leased, Unopened> {
        let began = Instant::now();
        let opened = Connection::open_local(path, &egress.manners.lmtp, self.connect_timeout).await;
        self.count(if opened.is_ok() { "opened" } else { "failed" });
        let leased = Leased::new(opened?, None, slot);
        self.meters.outbound_connect_duration.record(began.elapsed().as_secs_f64(), &[]);
        Ok(leased)
    }

    fn count(&self, result: &'static str) {
        self.meters.outbound_connections.add(1, &Meters::attribute("result", result));
    }

    fn note_proof(&self, connection: &Connection, target: &Target) {
        let Some(proof) = connection.proof() else { return };
        let result = proof.as_ref().map_or_else(|_| "unproven".to_owned(), ToString::to_string);
        self.meters.outbound_proofs.add(1, &[KeyValue::new("result", result)]);
        if let Err(error) = proof {
            let (host, authority) = (&target.host, target.tls.authority);
            tracing::info!(host, %authority, %error, "a host did not prove who it is; it did not have to");
        }
    }

    fn options(
        &self,
        (egress, source, manners): Leaving<'_>,
        (target, manner): (&Target, &Manner),
        encryption: Encryption,
    ) -> ConnectOptions {
        // The certificate that is shown: the route's, else the pool's.
        let with = manner.tls.as_ref().or(egress.tls.as_ref()).unwrap_or(&self.tls);
        let tls = || self.tls_use(with, &target.tls);
        ConnectOptions {
            smtp: Arc::clone(if manner.is_lmtp { &manners.lmtp } else { &manners.smtp }),
            connect_timeout: self.connect_timeout,
            source,
            proxy: egress.proxy.clone(),
            tls: match encryption {
                Encryption::Off => TlsMode::Off,
                Encryption::Opportunistic | Encryption::Required if manner.implicit_tls.is_on(target.port) => {
                    TlsMode::Implicit(tls())
                }
                Encryption::Opportunistic => TlsMode::Opportunistic(tls()),
                Encryption::Required => TlsMode::Required(tls()),
            },
            server_name: target.host.clone(),
        }
    }

    fn tls_use(&self, tls: &Arc<ClientTls>, demand: &TlsDemand) -> TlsUse {
        let expected = |identity: &Arc<_>| Expected {
            identity: Arc::clone(identity),
            verifier: self.verifier.clone(),
            enforced: demand.enforced,
        };
        TlsUse { tls: Arc::clone(tls), identity: demand.identity.as_ref().map(expected) }
    }
}

/// How a connection leaves: through which pool, from which address, and how we speak from it.
type Leaving<'a> = (&'a EgressPool, Option<IpAddr>, &'a Manners);

const fn address_of(target: &Target) -> SocketAddr {
    SocketAddr::new(target.address, target.port)
}

/// Nobody was there, or nobody spoke.
const fn is_silence(failure: &ConnectFailure) -> bool {
    let is_early = matches!(failure.stage, Stage::Connect | Stage::Banner);
    is_early
        && matches!(&failure.cause, Cause::Trouble(trouble) if matches!(trouble.kind, TroubleKind::Connect | TroubleKind::Timeout))
}

/// The address that the system sends from to a host; nothing is sent to find it out.
fn own_address_towards(target: &Target) -> Option<IpAddr> {
    let any: IpAddr =
        if target.address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
    socket.connect(SocketAddr::new(target.address, target.port)).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// The egress pool has no address for it.
fn no_source(trouble: Trouble) -> ConnectFailure {
    ConnectFailure::new(STAGE, Cause::Trouble(trouble))
}

/// No more connections are opened.
fn closing() -> ConnectFailure {
    let text = "this system is shutting down".to_owned();
    ConnectFailure::new(Stage::Connect, Cause::Trouble(Trouble { kind: TroubleKind::Local, text }))
}
