//! A server that serves every connection and keeps what it receives.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use mailtier_smtp::{BodyType, Connection, Question, ServerConfig, ServerSession, TlsInfo, Verdict};
use mailtier_tls::ServerTls;
use mailtier_transport::server::{Accepted, Handler, SessionEnd, serve};
use mailtier_types::{Mailbox, reply};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// What happened, in order.
#[derive(Debug)]
pub(crate) enum Seen {
    Message {
        recipients: Vec<Mailbox>,
        eight_bit: bool,
        content: Vec<u8>,
        tls: Option<Box<TlsInfo>>,
    },
    /// A transaction was abandoned.
    Reset,
    End(SessionEnd),
}

pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) seen: mpsc::UnboundedReceiver<Seen>,
    pub(crate) drain: CancellationToken,
    /// While false, the handler takes no content.
    pub(crate) gate: watch::Sender<bool>,
}

impl Served {
    pub(crate) async fn start(config: ServerConfig, tls: Option<Arc<ServerTls>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (report, seen) = mpsc::unbounded_channel();
        let (gate, opened) = watch::channel(true);
        let drain = CancellationToken::new();
        let config = Arc::new(config);
        tokio::spawn({
            let drain = drain.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let session = ServerSession::new(Arc::clone(&config), Connection::default(), Instant::now());
                    let (tls, drain, report) = (tls.clone(), drain.clone(), report.clone());
                    let mut keeper = Keeper::new(report.clone(), opened.clone());
                    tokio::spawn(async move {
                        let end = serve(Accepted::plain(stream), session, tls.as_deref(), &mut keeper, drain).await;
                        report.send(Seen::End(end)).ok();
                    });
                }
            }
        });
        Self { address, seen, drain, gate }
    }

    pub(crate) async fn next(&mut self) -> Seen {
        self.seen.recv().await.expect("the server runs")
    }

    /// The next message.
    pub(crate) async fn message(&mut self) -> (Vec<Mailbox>, Vec<u8>) {
        match self.next().await {
            Seen::Message { recipients, content, .. } => (recipients, content),
            other => panic!("no message: {other:?}"),
        }
    }
}

/// Refuses recipients whose name begins with "no", and content that says so.
struct Keeper {
    report: mpsc::UnboundedSender<Seen>,
    opened: watch::Receiver<bool>,
    recipients: Vec<Mailbox>,
    eight_bit: bool,
    content: Vec<u8>,
    tls: Option<TlsInfo>,
}

impl Keeper {
    fn new(report: mpsc::UnboundedSender<Seen>, opened: watch::Receiver<bool>) -> Self {
        Self { report, opened, recipients: Vec::new(), eight_bit: false, content: Vec::new(), tls: None }
    }
}

impl Handler for Keeper {
    async fn ask(&mut self, question: Question) -> Verdict {
        match question {
            Question::Mail(parameters) => {
                self.recipients.clear();
                self.content.clear();
                self.eight_bit = parameters.body == BodyType::EightBit;
            }
            Question::Rcpt(rcpt) if rcpt.mailbox.local_part().starts_with("no") => {
                return Verdict::Reject(reply::RELAY_DENIED);
            }
            Question::Rcpt(rcpt) => self.recipients.push(rcpt.mailbox),
            Question::EndOfData { .. } if self.content.windows(6).any(|window| window == b"REFUSE") => {
                return Verdict::Reject(reply::POLICY);
            }
            Question::EndOfData { size_bytes } => {
                assert_eq!(size_bytes, self.content.len() as u64);
                let message = Seen::Message {
                    recipients: std::mem::take(&mut self.recipients),
                    eight_bit: self.eight_bit,
                    content: std::mem::take(&mut self.content),
                    tls: self.tls.clone().map(Box::new),
                };
                self.report.send(message).ok();
            }
            _ => {}
        }
        Verdict::Accept
    }

    async fn body(&mut self, chunk: Bytes) {
        self.opened.wait_for(|is_open| *is_open).await.ok();
        self.content.extend_from_slice(&chunk);
    }

    fn reset(&mut self) {
        self.report.send(Seen::Reset).ok();
    }

    fn tls(&mut self, info: &TlsInfo) {
        self.tls = Some(info.clone());
    }
}
