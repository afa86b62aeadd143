//! A server that takes whatever it is sent with our own engine, and remembers it whole.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use mailtier_smtp::{BodyType, Connection, MailParameters, Question, ServerConfig, ServerSession, TlsInfo, Verdict};
use mailtier_transport::server::{Accepted, Handler, serve};
use mailtier_types::{Mailbox, ReversePath};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A message that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Who brought it.
    pub peer: SocketAddr,
    /// What it said in EHLO or HELO.
    pub hello: String,
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
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (told, received) = watch::channel(Vec::new());
        let stop = CancellationToken::new();
        let shared = Shared { config: Arc::new(ServerConfig::new("sink.example")), told, stop: stop.clone() };
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
    let stop = shared.stop.clone();
    let mut taker =
        Taker { shared, peer, hello: String::new(), mail: None, recipients: Vec::new(), content: Vec::new() };
    serve(Accepted::plain(stream), session, None, &mut taker, stop).await;
}

/// One session.
struct Taker {
    shared: Shared,
    peer: SocketAddr,
    hello: String,
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
        self.note(question);
        Verdict::Accept
    }

    async fn body(&mut self, chunk: Bytes) {
        self.content.extend_from_slice(&chunk);
    }

    fn reset(&mut self) {
        self.mail = None;
        self.recipients.clear();
        self.content.clear();
    }

    /// Never offered.
    fn tls(&mut self, _info: &TlsInfo) {}
}

#[cfg(test)]
mod tests {
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
}
