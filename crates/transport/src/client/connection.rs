//! A session on a connection, from its opening to QUIT. Not responsible for what is said: the engine is.

use std::future::pending;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mailtier_smtp::{
    Capabilities, ClientAction, ClientConfig, ClientSession, RecipientReport, TlsInfo, Transaction, TransactionReport,
};
use mailtier_tls::{ClientTls, KeyExchange, Unproven, describe};
use mailtier_types::{Cause, Proof, Stage, TlsFault, Transcript, Trouble, TroubleKind};
use tokio_rustls::TlsStream;

use super::content::{Content, look_at};
use super::open::{connect, connect_local};
use super::{ConnectFailure, ConnectOptions, TlsMode, TlsUse};
use crate::link::{Link, now};
use crate::stream::Stream;

/// A session ready for transactions. Dropping it closes the connection, also in the midst of a transaction; a
/// transaction whose future was dropped leaves a connection that carries no other.
#[derive(Debug)]
pub struct Connection {
    pub(super) session: ClientSession,
    link: Link,
    /// Absent where it is a socket of this machine.
    peer: Option<SocketAddr>,
    proof: Option<Result<Proof, Unproven>>,
    /// Of connections that came to nothing before this one.
    earlier: Transcript,
    /// Transactions that it was used for.
    transactions: u32,
}

/// Why an opening came to nothing.
enum Failed {
    /// For good.
    For(ConnectFailure),
    /// In the handshake, so that a plainer one may do.
    InHandshake(ConnectFailure),
}

impl Failed {
    fn into_failure(self) -> ConnectFailure {
        match self {
            Self::For(failure) | Self::InHandshake(failure) => failure,
        }
    }

    fn with(self, transcript: Transcript) -> Self {
        match self {
            Self::For(failure) => Self::For(ConnectFailure { transcript, ..failure }),
            Self::InHandshake(failure) => Self::InHandshake(ConnectFailure { transcript, ..failure }),
        }
    }
}

impl<F: Into<ConnectFailure>> From<F> for Failed {
    fn from(failure: F) -> Self {
        Self::For(failure.into())
    }
}

impl Connection {
    /// Connects, with TLS at once or with STARTTLS as the options ask for, waits for the greeting and says EHLO. Every wait
    /// has its end.
    ///
    /// # Errors
    /// [`ConnectFailure`], from which the caller decides whether to try without TLS, another host, or later.
    pub async fn open(address: SocketAddr, options: &ConnectOptions) -> Result<Self, ConnectFailure> {
        let first = match Self::open_once(address, options, KeyExchange::PostQuantum).await {
            // Some old servers break on the large ClientHello of post-quantum key exchange. The same without it comes
            // before any thought of doing without TLS.
            Err(Failed::InHandshake(failure)) => {
                let again = Self::open_once(address, options, KeyExchange::Classical).await;
                return Self::after(again.map_err(Failed::into_failure), failure.transcript);
            }
            other => other,
        };
        first.map_err(Failed::into_failure)
    }

    /// What was said in vain belongs to the transcript of what came of it in the end.
    ///
    /// # Errors
    /// That of `opened`.
    pub fn after(opened: Result<Self, ConnectFailure>, mut earlier: Transcript) -> Result<Self, ConnectFailure> {
        match opened {
            Ok(mut connection) => {
                earlier.append(&std::mem::take(&mut connection.earlier));
                connection.earlier = earlier;
                Ok(connection)
            }
            Err(mut failure) => {
                earlier.append(&failure.transcript);
                failure.transcript = earlier;
                Err(failure)
            }
        }
    }

    async fn open_once(address: SocketAddr, options: &ConnectOptions, keys: KeyExchange) -> Result<Self, Failed> {
        let stream = connect(address, options).await?;
        let session = ClientSession::new(Arc::clone(&options.smtp), now());
        let link = Link::new(Stream::Plain(stream));
        let mut connection =
            Self { session, link, peer: Some(address), proof: None, earlier: Transcript::new(), transactions: 0 };
        match connection.set_up(options, keys).await {
            Ok(()) => Ok(connection),
            Err(failed) => Err(failed.with(connection.take_transcript())),
        }
    }

    async fn set_up(&mut self, options: &ConnectOptions, keys: KeyExchange) -> Result<(), Failed> {
        if let TlsMode::Implicit(tls) = &options.tls {
            self.shake_hands(tls, &options.server_name, keys).await?;
        }
        self.settle().await.map_err(|failure| options.proxied(failure))?;
        let starttls = self.capabilities().starttls;
        match &options.tls {
            TlsMode::Opportunistic(tls) | TlsMode::Required(tls) if starttls => {
                self.start_tls(tls, &options.server_name, keys).await
            }
            TlsMode::Required(_) => {
                let text = "TLS is required and the remote does not offer STARTTLS".to_owned();
                Err(self.no_tls(TlsFault::StarttlsNotSupported, text).into())
            }
            TlsMode::Opportunistic(_) | TlsMode::Off | TlsMode::Implicit(_) => Ok(()),
        }
    }

    /// Connects to a socket of this machine, waits for the greeting and says LHLO or EHLO, without TLS: nobody else is on
    /// the way.
    ///
    /// # Errors
    /// [`ConnectFailure`], from which the caller decides whether to try another socket, or later.
    pub async fn open_local(path: &Path, smtp: &Arc<ClientConfig>, patience: Duration) -> Result<Self, ConnectFailure> {
        let stream = connect_local(path, patience).await?;
        let session = ClientSession::new(Arc::clone(smtp), now());
        let link = Link::new(Stream::Local(stream));
        let mut connection =
            Self { session, link, peer: None, proof: None, earlier: Transcript::new(), transactions: 0 };
        match connection.settle().await {
            Ok(()) => Ok(connection),
            Err(failure) => Err(ConnectFailure { transcript: connection.take_transcript(), ..failure }),
        }
    }

    /// Carries out one transaction. `body` is the content in order, decoded. Bounded by the timeouts of the session.
    ///
    /// Whether 8BITMIME and SMTPUTF8 are needed is judged by the content: a declaration alone keeps no message from an
    /// old server, and 8-bit content is never sent undeclared.
    pub async fn deliver(&mut self, mut transaction: Transaction, body: &[Bytes]) -> TransactionReport {
        let count = transaction.recipients.len();
        self.transactions = self.transactions.saturating_add(1);
        look_at(body, self.capabilities().chunking, &mut transaction);
        self.session.begin(transaction, now());
        let mut content = Content::new(body);
        loop {
            match self.session.poll() {
                ClientAction::Send | ClientAction::NeedInput => self.advance().await,
                ClientAction::NeedBody => content.give(&mut self.session),
                ClientAction::Finished(report) => return report,
                ClientAction::Failed(_)
                | ClientAction::UpgradeTls
                | ClientAction::Challenge(_)
                | ClientAction::Ready
                | ClientAction::Closed => {
                    return undecided(count);
                }
            }
        }
    }

    /// Whether the remote takes no further transaction (RFC 9422 §4.1): QUIT is all that is left to say.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.capabilities().limits.transactions.is_some_and(|most| self.transactions >= most)
    }

    /// What was said since the opening, or since [`Self::restart_transcript`]; empty unless the options have it kept.
    pub fn take_transcript(&mut self) -> Transcript {
        let mut transcript = std::mem::take(&mut self.earlier);
        transcript.append(&self.session.take_transcript());
        transcript
    }

    /// What was said until now belongs to somebody else's attempt.
    pub fn restart_transcript(&mut self) {
        self.earlier.clear();
        self.session.restart_transcript(now());
        self.session.note("a connection that was open is used again", now());
    }

    /// What the remote offers.
    #[must_use]
    pub const fn capabilities(&self) -> &Capabilities {
        self.session.capabilities()
    }

    /// The facts of TLS, where it is active.
    #[must_use]
    pub const fn tls(&self) -> Option<&TlsInfo> {
        self.session.tls()
    }

    /// What came of the proof that was expected of the server; absent where none was.
    #[must_use]
    pub const fn proof(&self) -> Option<&Result<Proof, Unproven>> {
        self.proof.as_ref()
    }

    /// The remote's address; a socket of this machine has none.
    #[must_use]
    pub const fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Whether an idle connection still stands: neither closed nor spoken on by the remote.
    pub fn is_alive(&mut self) -> bool {
        !self.link.read_at_once(&mut self.session) && self.session.poll() == ClientAction::Ready
    }

    /// Says QUIT and closes, after the reply or a short while.
    pub async fn quit(mut self) {
        self.session.quit(now());
        while let ClientAction::Send | ClientAction::NeedInput = self.session.poll() {
            self.advance().await;
        }
        self.link.close().await;
    }

    /// One step of writing, reading or waiting.
    pub(super) async fn advance(&mut self) {
        let moved = if self.session.output().is_empty() {
            self.link.read(&mut self.session, pin!(pending())).await.map(drop)
        } else {
            self.link.write(&mut self.session, true).await
        };
        if moved.is_err() {
            // A remote that gives up early says why before it closes: that is worth more than the broken pipe.
            self.link.read_at_once(&mut self.session);
            self.session.handle_eof(now());
        }
    }

    /// Until the session waits for a transaction, STARTTLS, or the handshake.
    async fn settle(&mut self) -> Result<(), ConnectFailure> {
        loop {
            match self.session.poll() {
                ClientAction::Send | ClientAction::NeedInput => self.advance().await,
                ClientAction::Ready | ClientAction::UpgradeTls => return Ok(()),
                ClientAction::Failed(failure) => return Err(failure.into()),
                ClientAction::Finished(_)
                | ClientAction::NeedBody
                | ClientAction::Challenge(_)
                | ClientAction::Closed => {
                    return Err(ConnectFailure::trouble(Stage::Ehlo, TroubleKind::Local, "the session ended"));
                }
            }
        }
    }

    async fn start_tls(&mut self, with: &TlsUse, host: &str, keys: KeyExchange) -> Result<(), Failed> {
        self.session.start_tls(now());
        self.settle().await?;
        self.shake_hands(with, host, keys).await?;
        // A remote that loses its words once TLS is active may still have them in clear.
        self.settle().await.map_err(|failure| {
            let is_tls = matches!(failure.cause, Cause::Trouble(_));
            Failed::For(ConnectFailure { tls_fault: is_tls.then_some(TlsFault::ValidationFailure), ..failure })
        })
    }

    /// The handshake, and the proof that is expected of the server.
    async fn shake_hands(&mut self, with: &TlsUse, host: &str, keys: KeyExchange) -> Result<(), Failed> {
        let name = with.identity.as_ref().and_then(|expected| expected.identity.server_name()).unwrap_or(host);
        let info = self.encrypt(&with.tls, name, keys).await?;
        self.look_for_proof(with)?;
        self.session.handle_tls(info, now());
        Ok(())
    }

    async fn encrypt(&mut self, tls: &ClientTls, name: &str, keys: KeyExchange) -> Result<TlsInfo, Failed> {
        let failed = |text: &str| ConnectFailure::tls(TlsFault::ValidationFailure, text);
        let Some(peer) = self.peer else { return Err(failed("no TLS is spoken over a socket").into()) };
        let name = ClientTls::server_name(name, peer.ip());
        let Some(stream) = self.link.stream.take_plain() else {
            return Err(failed("TLS is active already").into());
        };
        match self.link.within(&self.session, tls.connector(keys).connect(name, stream)).await {
            Some(Ok(stream)) => {
                let info = describe(stream.get_ref().1);
                self.link.stream = Stream::Tls(Box::new(TlsStream::Client(stream)));
                Ok(info)
            }
            Some(Err(error)) => {
                let text = format!("TLS handshake failed: {error}");
                Err(Failed::InHandshake(self.no_tls(TlsFault::ValidationFailure, text)))
            }
            None => Err(self.no_tls(TlsFault::ValidationFailure, "TLS handshake timed out".to_owned()).into()),
        }
    }

    /// TLS is what the connection is given up for.
    fn no_tls(&mut self, fault: TlsFault, why: String) -> ConnectFailure {
        self.session.note(&why, now());
        ConnectFailure::tls(fault, why)
    }

    /// Before anything is said over the connection.
    fn look_for_proof(&mut self, with: &TlsUse) -> Result<(), Failed> {
        let Some(expected) = &with.identity else { return Ok(()) };
        let proof = expected.verifier.prove(&expected.identity, self.link.stream.peer_certificates());
        let missing = proof.as_ref().err().filter(|_| expected.enforced);
        let missing = missing.map(|why| (why.fault(), why.to_string()));
        self.proof = Some(proof);
        missing.map_or(Ok(()), |(fault, why)| Err(self.no_tls(fault, why).into()))
    }
}

/// The engine always reports; this stands for what it cannot say.
fn undecided(count: usize) -> TransactionReport {
    let trouble = Trouble { kind: TroubleKind::Local, text: "the session ended without a report".to_owned() };
    let report = RecipientReport { stage: Stage::Mail, cause: Cause::Trouble(trouble) };
    TransactionReport { recipients: vec![report; count], reusable: false }
}
