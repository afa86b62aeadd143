//! A server that takes mail with our own engine and remembers it whole. What it answers can be decided by the test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use mailtier_smtp::{BodyType, Connection, MailParameters, Question, ServerConfig, ServerSession, TlsInfo, Verdict};
use mailtier_tls::ServerTls;
use mailtier_transport::server::{Accepted, Handler, serve};
use mailtier_types::{Mailbox, ReversePath};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::certificate::Certificate;

/// A message that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Who brought it.
    pub peer: SocketAddr,
    /// What it said in EHLO or HELO.
    pub hello: String,
    /// Version and cipher, with TLS.
    pub tls: Option<TlsInfo>,
    /// The reverse-path.
    pub sender: ReversePath,
    /// BODY=8BITMIME was said.
    pub eight_bit: bool,
    /// SMTPUTF8 was said.
    pub smtputf8: bool,
    /// In the order they came.
    pub recipients: Vec<Mailbox>,
    /// The content, without what SMTP added to it.
    pub content: Vec<u8>,
}

/// Decides what is answered.
type Policy = dyn Fn(&Question) -> Verdict + Send + Sync;

/// A running sink; it stops when it is dropped.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    received: watch::Receiver<Vec<Received>>,
    _stop: DropGuard,
}

impl Sink {
    /// Takes everything, in clear.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(None, |_| Verdict::Accept).await
    }

    /// Offers STARTTLS where it is given a certificate, and answers as `policy` decides.
    ///
    /// # Errors
    /// No port is free, or the certificate cannot be used.
    pub async fn start_with(
        certificate: Option<&Certificate>,
        policy: impl Fn(&Question) -> Verdict + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let tls = certificate.map(Certificate::server).transpose()?;
        let config = ServerConfig { starttls: tls.is_some(), ..ServerConfig::new("sink.example") };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (told, received) = watch::channel(Vec::new());
        let stop = CancellationToken::new();
        let shared = Shared { config: Arc::new(config), tls, policy: Arc::new(policy), told, stop: stop.clone() };
        tokio::spawn(listen(listener, shared));
        Ok(Self { address, received, _stop: stop.drop_guard() })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has taken so far.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.received.borrow().clone()
    }

    /// Waits until it has taken `count` messages and returns all.
    ///
    /// # Errors
    /// It does not listen any more.
    pub async fn wait_for(&self, count: usize) -> anyhow::Result<Vec<Received>> {
        Ok(self.received.clone().wait_for(|all| all.len() >= count).await?.clone())
    }
}

#[derive(Clone)]
struct Shared {
    config: Arc<ServerConfig>,
    tls: Option<Arc<ServerTls>>,
    policy: Arc<Policy>,
    told: watch::Sender<Vec<Received>>,
    stop: CancellationToken,
}

async fn listen(listener: TcpListener, shared: Shared) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.stop.cancelled() => return,
        };
        if let Ok((stream, peer)) = accepted {
            tokio::spawn(session(stream, peer, shared.clone()));
        }
    }
}

async fn session(stream: TcpStream, peer: SocketAddr, shared: Shared) {
    let session = ServerSession::new(Arc::clone(&shared.config), Connection::default(), Instant::now());
    let (tls, stop) = (shared.tls.clone(), shared.stop.clone());
    let mut taker = Taker {
        shared,
        peer,
        hello: String::new(),
        tls: None,
        mail: None,
        recipients: Vec::new(),
        content: Vec::new(),
    };
    serve(Accepted::plain(stream), session, tls.as_deref(), &mut taker, stop).await;
}

/// One session.
struct Taker {
    shared: Shared,
    peer: SocketAddr,
    hello: String,
    tls: Option<TlsInfo>,
    mail: Option<MailParameters>,
    recipients: Vec<Mailbox>,
    content: Vec<u8>,
}

impl Taker {
    fn note(&mut self, question: Question) {
        match question {
            Question::Hello { name, .. } => self.hello = name,
            Question::Mail(parameters) => {
                self.reset();
                self.mail = Some(*parameters);
            }
            Question::Rcpt(rcpt) => self.recipients.push(rcpt.mailbox),
            Question::EndOfData { .. } => self.take(),
            _ => {}
        }
    }

    fn take(&mut self) {
        let Some(mail) = self.mail.take() else { return };
        let received = Received {
            peer: self.peer,
            hello: self.hello.clone(),
            tls: self.tls.clone(),
            sender: mail.sender,
            eight_bit: mail.body == BodyType::EightBit,
            smtputf8: mail.smtputf8,
            recipients: std::mem::take(&mut self.recipients),
            content: std::mem::take(&mut self.content),
        };
        self.shared.told.send_modify(|all| all.push(received));
    }
}

impl Handler for Taker {
    async fn ask(&mut self, question: Question) -> Verdict {
        let verdict = (self.shared.policy)(&question);
        if matches!(verdict, Verdict::Accept | Verdict::AcceptWith(_)) {
            self.note(question);
        }
        verdict
    }

    async fn body(&mut self, chunk: Bytes) {
        self.content.extend_from_slice(&chunk);
    }

    fn reset(&mut self) {
        self.mail = None;
        self.recipients.clear();
        self.content.clear();
    }

    fn tls(&mut self, info: &TlsInfo) {
        self.tls = Some(info.clone());
        self.hello.clear();
        self.reset();
    }
}

#[cfg(test)]
mod tests {
    use mailtier_types::reply;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn send(sink: &Sink, dialogue: &str) -> String {
        let mut stream = TcpStream::connect(sink.address()).await.unwrap();
        let mut answers = String::new();
        // The greeting is awaited (RFC 5321 §4.3.1), then everything is said at once (RFC 2920).
        let mut octet = [0];
        while !answers.ends_with("\r\n") {
            stream.read_exact(&mut octet).await.unwrap();
            answers.push(char::from(octet[0]));
        }
        stream.write_all(dialogue.as_bytes()).await.unwrap();
        stream.read_to_string(&mut answers).await.unwrap();
        answers
    }

    #[tokio::test]
    async fn it_remembers_messages_whole() {
        let sink = Sink::start().await.unwrap();
        let dialogue = "EHLO me.example\r\nMAIL FROM:<a@example.com> BODY=8BITMIME\r\nRCPT TO:<b@example.net>\r\nDATA\r\n\
                        Subject: x\r\n\r\n..dot\r\n.\r\nQUIT\r\n";
        let answers = send(&sink, dialogue).await;
        assert!(answers.contains("\r\n354 "), "{answers}");
        let received = sink.wait_for(1).await.unwrap().remove(0);
        assert_eq!((received.hello.as_str(), received.sender.as_str()), ("me.example", "a@example.com"));
        assert_eq!((received.eight_bit, received.recipients[0].as_str()), (true, "b@example.net"));
        assert_eq!(received.content, b"Subject: x\r\n\r\n.dot\r\n");
        assert_eq!(sink.received().len(), 1);
    }

    #[tokio::test]
    async fn it_answers_as_it_was_told() {
        let refuse = |question: &Question| match question {
            Question::Rcpt(_) => Verdict::Reject(reply::RELAY_DENIED),
            _ => Verdict::Accept,
        };
        let sink = Sink::start_with(None, refuse).await.unwrap();
        let answers = send(&sink, "EHLO x.example\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.net>\r\nQUIT\r\n").await;
        assert!(answers.contains("550 5.7.1"), "{answers}");
        assert!(sink.received().is_empty());
    }
}
