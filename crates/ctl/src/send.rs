//! `mailtier send`: hands one message to an SMTP server, as a person would with a mail client, and says what became of
//! it. Not responsible for finding the server of a recipient: that is named.

use std::io::{IsTerminal as _, Read as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use bytes::Bytes;
use mailtier_message::date;
use mailtier_smtp::{ClientConfig, Transaction, TransactionReport};
use mailtier_tls::ClientTls;
use mailtier_transport::client::{ConnectOptions, Connection, TlsMode, TlsUse};
use mailtier_types::{Cause, Domain, Mailbox, MessageId, ReplicaId, ReversePath, Timestamp};

use crate::cli::Failure;
use crate::output::say;

/// For the connection alone; the conversation has the timeouts of RFC 5321 §4.5.3.2.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// What can be said on the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The server, host:port
    #[arg(long, default_value = "127.0.0.1:2525")]
    server: String,
    /// The envelope's sender; empty for the null sender
    #[arg(long)]
    from: String,
    /// A recipient; may be given several times
    #[arg(long, required = true)]
    to: Vec<Mailbox>,
    /// A whole message, header and all; standard input when neither this nor --text is given
    #[arg(long, conflicts_with = "text")]
    file: Option<PathBuf>,
    /// The subject of a message made here
    #[arg(long, default_value = "Test", requires = "text")]
    subject: String,
    /// The text of a message made here
    #[arg(long)]
    text: Option<String>,
    /// The name to say in EHLO
    #[arg(long, default_value = "localhost")]
    helo: String,
    /// Never STARTTLS
    #[arg(long)]
    no_tls: bool,
    /// Prints nothing but the id the server gave the message
    #[arg(long)]
    print_id: bool,
}

/// Sends, and prints a line for each recipient.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let sender = ReversePath::parse(&options.from)
        .map_err(|error| Failure::error(Failure::USAGE, format!("--from {}: {error}", options.from)))?;
    if let Err(error) = Domain::parse(&options.helo) {
        return Err(Failure::error(Failure::USAGE, format!("--helo {}: {error}", options.helo)));
    }
    let content = crlf(&content(&options)?);
    let mut connection = connect(&options).await?;
    let capabilities = connection.capabilities().clone();
    let smtputf8 = options.to.iter().chain(sender.mailbox()).any(Mailbox::needs_smtputf8);
    let transaction = Transaction {
        sender,
        recipients: options.to.clone(),
        eight_bit: !content.is_ascii() && capabilities.eight_bit,
        smtputf8,
        proper_lines: false,
        size_bytes: content.len() as u64,
        wishes: mailtier_smtp::Wishes::default(),
    };
    let report = connection.deliver(transaction, &[Bytes::from(content)]).await;
    connection.quit().await;
    conclude(&options, &report)
}

async fn connect(options: &Options) -> anyhow::Result<Connection> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host(&options.server)
        .await
        .map_err(|error| {
            let text = format!("--server {}: {error} (expected host:port)", options.server);
            let is_syntax = error.kind() == std::io::ErrorKind::InvalidInput;
            Failure::error(if is_syntax { Failure::USAGE } else { Failure::UNAVAILABLE }, text)
        })?
        .collect();
    let server_name = options.server.rsplit_once(':').map_or(options.server.as_str(), |(host, _)| host).to_owned();
    let connect = ConnectOptions {
        smtp: Arc::new(ClientConfig::new(options.helo.clone())),
        connect_timeout: CONNECT_TIMEOUT,
        source: None,
        proxy: None,
        tls: if options.no_tls { TlsMode::Off } else { TlsMode::Opportunistic(TlsUse::with_anyone(ClientTls::new()?)) },
        server_name,
    };
    let mut last = None;
    for address in addresses {
        match Connection::open(address, &connect).await {
            Ok(connection) => return Ok(connection),
            Err(failure) => last = Some(format!("no session with {address}: {}", failure.cause)),
        }
    }
    let reason = last.unwrap_or_else(|| format!("{} has no address", options.server));
    Err(Failure::error(Failure::UNAVAILABLE, reason))
}

fn content(options: &Options) -> anyhow::Result<Vec<u8>> {
    if let Some(path) = &options.file {
        return std::fs::read(path)
            .map_err(|error| Failure::error(Failure::NO_INPUT, format!("cannot read {}: {error}", path.display())));
    }
    if let Some(text) = &options.text {
        return Ok(compose(options, text).into_bytes());
    }
    if std::io::stdin().is_terminal() {
        eprintln!("type the message, header first; end it with Ctrl-D");
    }
    let mut content = Vec::new();
    std::io::stdin().read_to_end(&mut content).context("cannot read standard input")?;
    Ok(content)
}

/// A message of RFC 5322 with what its §3.6 asks for.
fn compose(options: &Options, text: &str) -> String {
    let now = Timestamp::from_system(SystemTime::now());
    let to: Vec<String> = options.to.iter().map(ToString::to_string).collect();
    let from = if options.from.is_empty() { "mailer-daemon@localhost" } else { &options.from };
    let charset = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit";
    format!(
        "Date: {}\r\nFrom: {from}\r\nTo: {}\r\nSubject: {}\r\nMessage-ID: <{}@{}>\r\n{charset}\r\n\r\n{text}\r\n",
        date::rfc5322(now),
        to.join(",\r\n\t"),
        options.subject.replace(['\r', '\n'], " "),
        ReplicaId::random().uuid().simple(),
        options.helo,
    )
}

/// Files have the line ends of their system; the wire has CRLF (RFC 5321 §2.3.8).
fn crlf(content: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(content.len() + 64);
    let mut rest = content;
    while let Some(end) = rest.iter().position(|octet| *octet == b'\n') {
        let (line, next) = rest.split_at(end);
        wire.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        wire.extend_from_slice(b"\r\n");
        rest = next.get(1..).unwrap_or_default();
    }
    wire.extend_from_slice(rest);
    wire
}

fn conclude(options: &Options, report: &TransactionReport) -> anyhow::Result<ExitCode> {
    let (mut worst, mut id) = (None, None);
    for (recipient, result) in options.to.iter().zip(&report.recipients) {
        let said = result.cause.to_string();
        let code = match &result.cause {
            Cause::Reply(reply) => reply.code,
            Cause::Trouble(_) => 451,
        };
        if (200..300).contains(&code) {
            if options.print_id {
                // One of ours ends the reply; what another server says may end in anything.
                id = said.rsplit(' ').next().and_then(|word| word.parse::<MessageId>().ok());
            } else {
                say!("<{recipient}>: {said}");
            }
        } else {
            worst = worst.max(Some(code));
            eprintln!("<{recipient}>: {said} (in reply to {})", result.stage.name());
        }
    }
    if let Some(id) = id {
        say!("{id}");
    }
    match worst {
        None if options.print_id && id.is_none() => {
            Err(Failure::error(Failure::UNAVAILABLE, "accepted, but the reply gives no id"))
        }
        None => Ok(ExitCode::SUCCESS),
        Some(code) if code < 500 => {
            Err(Failure::error(Failure::TRY_AGAIN, "not accepted for every recipient, for now"))
        }
        Some(_) => Err(Failure::error(Failure::UNAVAILABLE, "not accepted for every recipient")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_line_end_becomes_crlf() {
        assert_eq!(crlf(b"a\nb\r\n\nc"), b"a\r\nb\r\n\r\nc");
        assert_eq!(crlf(b""), b"");
    }
}
