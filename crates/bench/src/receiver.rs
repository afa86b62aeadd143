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
    port: u16,
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
    /// Listens on a port of loopback, any free one for 0; needs a runtime.
    pub(crate) fn start(port: u16, manner: Manner) -> anyhow::Result<Self> {
        let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).context("the receiver cannot listen")?;
        let port = listener.local_addr()?.port();
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
        Ok(Self { port, counts, _end: guard })
    }

    /// Where it listens.
    pub(crate) const fn port(&self) -> u16 {
        self.port
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

#[cfg(test)]
mod tests {
    use mailtier_tls::{ClientTls, KeyExchange};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::certificates;
    use crate::generator::{self, Clients, Encryption, Load};

    const PATIENCE: Duration = Duration::from_secs(30);

    /// What a receiver has counted of forty messages over four sessions.
    async fn counted(encryption: Encryption, reconnect: bool) -> (u64, u64, u64) {
        let folder = tempfile::tempdir().unwrap();
        let certificate = certificates::self_made(folder.path()).unwrap();
        let receiver = Receiver::start(0, Manner { certificate: Some(certificate), ..Manner::default() }).unwrap();
        let clients = Clients::of(receiver.port(), encryption).unwrap();
        let load = Load { sessions: 4, messages: 40, octets: 2048, reconnect };
        generator::send(&clients, load).await.unwrap();
        receiver.wait_for(40, PATIENCE).await.unwrap();
        (receiver.received(), receiver.encrypted(), receiver.connections())
    }

    #[tokio::test]
    async fn each_message_arrives_in_the_way_that_was_asked_for() {
        assert_eq!(counted(Encryption::Off, false).await, (40, 0, 4));
        assert_eq!(counted(Encryption::Resumed, false).await, (40, 40, 4));
        assert_eq!(counted(Encryption::Resumed, true).await, (40, 40, 40));
        assert_eq!(counted(Encryption::Fresh, true).await, (40, 40, 40));
    }

    #[tokio::test]
    async fn arrivals_are_told_by_recipient_and_in_order_of_time() {
        let (arrivals, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let manner = Manner { arrivals: Some(arrivals), slowness: Duration::from_millis(30), ..Manner::default() };
        let receiver = Receiver::start(0, manner).unwrap();
        let clients = Clients::of(receiver.port(), Encryption::Off).unwrap();
        let (mut connection, body) = (clients.open().await.unwrap(), generator::content(1024));
        let begun = Instant::now();
        for number in 0..3 {
            generator::deliver(&mut connection, &format!("m{number}@sink.example"), &body).await.unwrap();
        }
        assert!(begun.elapsed() >= Duration::from_millis(90), "each takes its time");
        let mut before = begun;
        for number in 0..3 {
            let (recipient, at) = heard.recv().await.unwrap();
            assert_eq!(recipient, format!("m{number}"));
            assert!(at >= before);
            before = at;
        }
    }

    /// Says something and hears a whole reply.
    async fn say(stream: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin), words: &str) {
        stream.write_all(words.as_bytes()).await.unwrap();
        let (mut heard, mut buffer) = (String::new(), [0; 1024]);
        while !heard.ends_with("\r\n") || heard.lines().last().unwrap().as_bytes()[3] != b' ' {
            let read = stream.read(&mut buffer).await.unwrap();
            assert_ne!(read, 0, "closed after {heard}");
            heard.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
    }

    /// The kind of handshake that a connection to a server of this name begins with.
    async fn handshake(port: u16, tls: &ClientTls, name: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        for words in ["", "EHLO client.example\r\n", "STARTTLS\r\n"] {
            say(&mut stream, words).await;
        }
        let name = ClientTls::server_name(name, Ipv4Addr::LOCALHOST.into());
        let mut stream = tls.connector(KeyExchange::PostQuantum).connect(name, stream).await.unwrap();
        // What can be resumed comes after the handshake.
        say(&mut stream, "EHLO client.example\r\n").await;
        format!("{:?}", stream.get_ref().1.handshake_kind().unwrap())
    }

    #[tokio::test]
    async fn sessions_are_resumed_by_clients_that_were_there_and_by_no_strangers() {
        let folder = tempfile::tempdir().unwrap();
        let certificate = certificates::self_made(folder.path()).unwrap();
        let receiver = Receiver::start(0, Manner { certificate: Some(certificate), ..Manner::default() }).unwrap();
        let tls = ClientTls::new().unwrap();
        assert_eq!(handshake(receiver.port(), &tls, "a.example").await, "Full");
        assert_eq!(handshake(receiver.port(), &tls, "a.example").await, "Resumed");
        assert_eq!(handshake(receiver.port(), &tls, "b.example").await, "Full");
    }

    #[tokio::test]
    async fn what_does_not_arrive_is_noticed() {
        let receiver = Receiver::start(0, Manner::default()).unwrap();
        let clients = Clients::of(receiver.port(), Encryption::Resumed).unwrap();
        assert!(clients.open().await.is_err(), "no TLS is offered");
        assert!(receiver.wait_for(1, Duration::from_millis(20)).await.is_err());
    }
}
