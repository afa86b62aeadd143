//! Clients that send mail, in clear or in TLS: what Postfix's smtp-source cannot do. They are the project's own client
//! engine over tokio. Responsible for connections and messages; what is measured of them is their callers'.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use mailtier_smtp::{ClientConfig, Transaction, Wishes};
use mailtier_tls::ClientTls;
use mailtier_transport::client::{ConnectOptions, Connection, TlsMode, TlsUse};
use mailtier_types::{Mailbox, ReversePath};
use tokio::task::JoinSet;

use crate::certificates::NAME;

/// How long a connection may take to come about.
const PATIENCE: Duration = Duration::from_secs(60);
/// Connections from one source address: fewer than there are ephemeral ports.
const PER_SOURCE: u64 = 10_000;
/// What content is made of.
const LINE: &str = "XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX\r\n";

/// How the clients encrypt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encryption {
    /// Not at all.
    Off,
    /// With STARTTLS; each client resumes its own sessions.
    Resumed,
    /// With STARTTLS; each connection is that of a client which was never there before.
    Fresh,
}

impl Encryption {
    fn mode(self) -> anyhow::Result<TlsMode> {
        Ok(match self {
            Self::Off => TlsMode::Off,
            Self::Resumed | Self::Fresh => TlsMode::Required(TlsUse::with_anyone(ClientTls::new()?)),
        })
    }
}

/// Who connects, where to and how.
#[derive(Debug)]
pub(crate) struct Clients {
    address: SocketAddr,
    options: ConnectOptions,
    encryption: Encryption,
    opened: Arc<AtomicU64>,
}

impl Clients {
    /// For a server on loopback.
    pub(crate) fn of(port: u16, encryption: Encryption) -> anyhow::Result<Self> {
        // DATA, as most clients have it: BDAT would save a round trip.
        let smtp = ClientConfig { chunking: false, ..ClientConfig::new("client.bench.example") };
        let options = ConnectOptions {
            smtp: Arc::new(smtp),
            connect_timeout: PATIENCE,
            source: None,
            proxy: None,
            tls: encryption.mode()?,
            server_name: NAME.to_owned(),
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(Self { address, options, encryption, opened: Arc::default() })
    }

    /// The same in TLS sessions of their own: those that many share would run out when many connect at a time.
    fn on_their_own(&self) -> anyhow::Result<Self> {
        let options = ConnectOptions { tls: self.encryption.mode()?, ..self.options.clone() };
        Ok(Self { address: self.address, options, encryption: self.encryption, opened: Arc::clone(&self.opened) })
    }

    /// A session that has said EHLO, in TLS where it should be.
    pub(crate) async fn open(&self) -> anyhow::Result<Connection> {
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let mut options = self.options.clone();
        options.source = Some(source(number));
        if self.encryption == Encryption::Fresh {
            // What can be resumed is remembered by the name of the server.
            options.server_name = format!("c{number}.{NAME}");
        }
        let opened = Connection::open(self.address, &options).await;
        let connection =
            opened.map_err(|failure| anyhow::anyhow!("no session ({:?}): {}", failure.stage, failure.cause))?;
        if connection.tls().is_some() != (self.encryption != Encryption::Off) {
            bail!("the connection is not encrypted as it should be");
        }
        Ok(connection)
    }
}

/// Many connections share an address, and more than it has ports for take the next.
fn source(number: u64) -> IpAddr {
    let host = u8::try_from(number / PER_SOURCE % 250).unwrap_or_default();
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, host.saturating_add(1)))
}

/// Messages to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Sessions at a time.
    pub(crate) sessions: u32,
    /// All messages.
    pub(crate) messages: u64,
    /// Octets of each one's content.
    pub(crate) octets: usize,
    /// One connection for each.
    pub(crate) reconnect: bool,
}

/// Sends as fast as the server takes it, and returns how long that took.
pub(crate) async fn send(clients: &Clients, load: Load) -> anyhow::Result<Duration> {
    let begun = Arc::new(AtomicU64::new(0));
    let body = content(load.octets);
    let started = Instant::now();
    let mut sessions = JoinSet::new();
    for _ in 0..load.sessions {
        let (clients, begun, body) = (clients.on_their_own()?, Arc::clone(&begun), body.clone());
        sessions.spawn(async move {
            let mut open = None;
            loop {
                let number = begun.fetch_add(1, Ordering::Relaxed);
                if number >= load.messages {
                    break;
                }
                let mut connection = match open.take() {
                    Some(connection) => connection,
                    None => clients.open().await?,
                };
                let recipient = format!("m{number}@sink.example");
                deliver(&mut connection, &recipient, &body).await?;
                if load.reconnect {
                    connection.quit().await;
                } else {
                    open = Some(connection);
                }
            }
            if let Some(connection) = open {
                connection.quit().await;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = sessions.join_next().await {
        ended??;
    }
    Ok(started.elapsed())
}

/// One message; it has to be accepted.
pub(crate) async fn deliver(connection: &mut Connection, recipient: &str, body: &[Bytes]) -> anyhow::Result<()> {
    let transaction = Transaction {
        sender: ReversePath::parse("sender@source.example")?,
        recipients: vec![Mailbox::parse(recipient)?],
        eight_bit: false,
        smtputf8: false,
        proper_lines: true,
        size_bytes: 0,
        wishes: Wishes::default(),
    };
    let report = Box::pin(connection.deliver(transaction, body)).await;
    let outcome = report.recipients.first().context("no outcome")?;
    if !outcome.is_delivered() {
        bail!("{recipient} was not accepted ({:?}): {}", outcome.stage, outcome.cause);
    }
    Ok(())
}

/// A message of about so many octets.
pub(crate) fn content(octets: usize) -> Vec<Bytes> {
    let header = "From: sender@source.example\r\nTo: recipient@sink.example\r\nSubject: bench\r\n\r\n";
    let lines = octets.saturating_sub(header.len()).div_ceil(LINE.len()).max(1);
    vec![Bytes::from(format!("{header}{}", LINE.repeat(lines)))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_as_long_as_asked_to_the_line() {
        for octets in [1024, 10 * 1024, 100 * 1024] {
            let length: usize = content(octets).iter().map(Bytes::len).sum();
            assert!(length.abs_diff(octets) <= LINE.len(), "{length} for {octets}");
        }
    }

    #[test]
    fn no_source_has_more_connections_than_ports() {
        assert_eq!(source(0), source(PER_SOURCE - 1));
        assert_ne!(source(0), source(PER_SOURCE));
        assert!(source(PER_SOURCE * 249).is_loopback());
    }
}
