//! A server that takes everything and throws it away, in clear or in TLS: what Postfix's smtp-sink cannot do. It is the
//! project's own server engine over tokio. It counts, and says when what arrived where that is asked for.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use mailtier_smtp::{Connection, Question, ServerConfig, ServerSession, TlsInfo, Verdict};
use mailtier_tls::{CertificateFiles, ServerTls};
use mailtier_transport::server::{Accepted, Handler, listen, serve};
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Between two looks at the number of messages.
const LOOK: Duration = Duration::from_millis(2);

/// The local part of a recipient, and when its message was complete.
pub(crate) type Arrival = (String, Instant);

/// What a receiver does beside accepting.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manner {
    /// Offers STARTTLS with it.
    pub(crate) certificate: Option<CertificateFiles>,
    /// How long it takes for each message.
    pub(crate) slowness: Duration,
    /// Is told of each message.
    pub(crate) arrivals: Option<UnboundedSender<Arrival>>,
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Receiver {
    counts: Arc<Counts>,
    _end: DropGuard,
}

#[derive(Debug, Default)]
struct Counts {
    received: AtomicU64,
    encrypted: AtomicU64,
    connections: AtomicU64,
}

impl Receiver {
    /// Listens on loopback; needs a runtime.
    pub(crate) fn start(port: u16, manner: Manner) -> anyhow::Result<Self> {
        let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).context("the receiver cannot listen")?;
        let tls = manner.certificate.iter().map(|files| ServerTls::load(std::slice::from_ref(files), None)).next();
        let tls = tls.transpose()?;
        let mut config = ServerConfig::new("sink.bench.example");
        config.starttls = tls.is_some();
        let (config, counts, end) = (Arc::new(config), Arc::new(Counts::default()), CancellationToken::new());
        let (guard, shared) = (end.clone().drop_guard(), Arc::clone(&counts));
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = end.cancelled() => return,
                };
                let Ok((stream, _)) = accepted else { continue };
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let taker = Taker {
                    counts: Arc::clone(&shared),
                    manner: manner.clone(),
                    recipients: Vec::new(),
                    in_tls: false,
                };
                tokio::spawn(session(stream, Arc::clone(&config), tls.clone(), taker, end.clone()));
            }
        });
        Ok(Self { counts, _end: guard })
    }

    /// Messages until now.
    pub(crate) fn received(&self) -> u64 {
        self.counts.received.load(Ordering::Relaxed)
    }

    /// Those of them that came in TLS.
    pub(crate) fn encrypted(&self) -> u64 {
        self.counts.encrypted.load(Ordering::Relaxed)
    }

    /// Connections until now.
    pub(crate) fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// Until so many messages are there.
    pub(crate) async fn wait_for(&self, messages: u64, patience: Duration) -> anyhow::Result<()> {
        let started = Instant::now();
        while self.received() < messages {
            if started.elapsed() > patience {
                bail!("only {} of {messages} messages arrived within {patience:?}", self.received());
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }
}

async fn session(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    tls: Option<Arc<ServerTls>>,
    mut taker: Taker,
    end: CancellationToken,
) {
    let session = ServerSession::new(config, Connection::default(), Instant::now());
    let _ = serve(Accepted::plain(stream), session, tls.as_deref(), &mut taker, end).await;
}

/// One session's transaction.
struct Taker {
    counts: Arc<Counts>,
    manner: Manner,
    recipients: Vec<String>,
    in_tls: bool,
}

impl Handler for Taker {
    async fn ask(&mut self, question: Question) -> Verdict {
        match question {
            Question::Mail(_) => self.recipients.clear(),
            Question::Rcpt(recipient) if self.manner.arrivals.is_some() => {
                self.recipients.push(recipient.mailbox.local_part().to_owned());
            }
            Question::EndOfData { .. } => self.complete().await,
            _ => {}
        }
        Verdict::Accept
    }

    async fn body(&mut self, _chunk: Bytes) {}

    fn reset(&mut self) {
        self.recipients.clear();
    }

    fn tls(&mut self, _info: &TlsInfo) {
        self.in_tls = true;
    }
}

impl Taker {
    async fn complete(&mut self) {
        let now = Instant::now();
        if !self.manner.slowness.is_zero() {
            tokio::time::sleep(self.manner.slowness).await;
        }
        if let Some(arrivals) = &self.manner.arrivals {
            for recipient in self.recipients.drain(..) {
                // Nobody hears it where the measurement is over.
                let _ = arrivals.send((recipient, now));
            }
        }
        self.counts.encrypted.fetch_add(u64::from(self.in_tls), Ordering::Relaxed);
        self.counts.received.fetch_add(1, Ordering::Relaxed);
    }
}
