//! Remote servers and clients that follow a script, on real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mailtier_smtp::{ClientConfig, ClientTimeouts, Transaction};
use mailtier_transport::client::{ConnectOptions, TlsMode};
use mailtier_types::{Cause, Mailbox, ReversePath};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// No test waits longer for what should happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn options(tls: TlsMode) -> ConnectOptions {
    ConnectOptions {
        smtp: Arc::new(ClientConfig::new("client.example")),
        connect_timeout: PATIENCE,
        source: None,
        proxy: None,
        tls,
        server_name: "mx.example.org".to_owned(),
    }
}

/// A client that waits only so long for anything.
pub(crate) fn impatient(wait: Duration) -> ConnectOptions {
    let timeouts = ClientTimeouts {
        banner: wait,
        ehlo: wait,
        mail: wait,
        rcpt: wait,
        data: wait,
        block: wait,
        end_of_data: wait,
        quit: wait,
        transaction: PATIENCE,
    };
    let smtp = Arc::new(ClientConfig { timeouts, ..ClientConfig::new("client.example") });
    ConnectOptions { smtp, ..options(TlsMode::Off) }
}

pub(crate) fn transaction(recipients: &[&str], size: usize) -> Transaction {
    Transaction {
        wishes: mailtier_smtp::Wishes::default(),
        sender: ReversePath::parse("a@example.com").unwrap(),
        recipients: recipients.iter().map(|recipient| Mailbox::parse(recipient).unwrap()).collect(),
        eight_bit: false,
        smtputf8: false,
        proper_lines: false,
        size_bytes: size as u64,
    }
}

/// As a log would say it.
pub(crate) fn said(cause: &Cause) -> String {
    match cause {
        Cause::Reply(reply) => reply.to_string(),
        Cause::Trouble(trouble) => format!("{:?}: {}", trouble.kind, trouble.text),
    }
}

/// A connection with the tools of a script.
pub(crate) struct Peer(pub(crate) TcpStream);

impl Peer {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) async fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Everything up to and with `end`.
    pub(crate) async fn hear(&mut self, end: &str) -> String {
        let mut heard = Vec::new();
        while !heard.ends_with(end.as_bytes()) {
            heard.push(self.0.read_u8().await.unwrap_or_else(|error| {
                panic!("{error}, having heard {:?}", String::from_utf8_lossy(&heard));
            }));
        }
        String::from_utf8(heard).unwrap()
    }

    /// All lines of a reply; the last one.
    pub(crate) async fn hear_reply(&mut self) -> String {
        loop {
            let line = self.hear("\r\n").await;
            if line.as_bytes().get(3) == Some(&b' ') {
                return line;
            }
        }
    }

    /// Everything until the other side closes in order.
    pub(crate) async fn hear_out(&mut self) -> String {
        let mut heard = String::new();
        self.0.read_to_string(&mut heard).await.expect("closed in order, not reset");
        heard
    }

    /// Takes the part of a server up to the client's first transaction.
    pub(crate) async fn greet(&mut self, extensions: &str) {
        self.say("220 mx.example.org\r\n").await;
        self.hear("EHLO client.example\r\n").await;
        self.say(&format!("250-mx.example.org\r\n{extensions}250 HELP\r\n")).await;
    }
}

/// Plays each script for one connection, one after the other.
pub(crate) async fn remote<F>(script: impl Fn(Peer, usize) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut number = 0;
        while let Ok((stream, _)) = listener.accept().await {
            script(Peer(stream), number).await;
            number += 1;
        }
    });
    address
}
