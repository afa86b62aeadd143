//! `mailtier sink`: an SMTP server that accepts everything for anyone, stores each message in a file of its own, and
//! prints a line for it. For trying things out; it relays nothing.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use mailtier_smtp::{Connection, Question, ServerConfig, ServerSession, TlsInfo, Verdict};
use mailtier_tls::{CertificateFiles, ServerTls};
use mailtier_transport::server::{Accepted, Handler, listen, serve};
use mailtier_types::{Mailbox, ReversePath, reply};
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cli::Failure;

/// After a signal, sessions have this long to finish their transaction.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// The wait after `accept` failed, for want of descriptors for instance.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What can be said on the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:2526")]
    listen: SocketAddr,
    /// Where to store messages, each in a file <number>.eml; they are counted and thrown away without it
    #[arg(long)]
    directory: Option<PathBuf>,
    /// The name in the greeting
    #[arg(long, default_value = "sink.localhost")]
    hostname: String,
    /// The largest message, in bytes
    #[arg(long, default_value_t = 100 << 20)]
    max_message_bytes: u64,
    /// Offers STARTTLS with this certificate chain (PEM)
    #[arg(long, requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The certificate's key (PEM)
    #[arg(long, requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Stops after so many messages
    #[arg(long)]
    count: Option<u64>,
}

/// What all sessions share.
struct Sink {
    directory: Option<PathBuf>,
    received: AtomicU64,
    /// The number of the last file.
    stored: AtomicU64,
    limit: Option<u64>,
    stop: CancellationToken,
}

/// Serves until a signal, or until the asked-for number of messages is there.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    if let Some(directory) = &options.directory {
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    let tls = match (&options.tls_certificate, &options.tls_key) {
        (Some(certificate), Some(key)) => {
            Some(ServerTls::load(&[CertificateFiles { certificate: certificate.clone(), key: key.clone() }], None)?)
        }
        _ => None,
    };
    let mut config = ServerConfig::new(options.hostname.clone());
    config.max_message_bytes = options.max_message_bytes;
    config.starttls = tls.is_some();
    let config = Arc::new(config);
    let listener = listen(options.listen).map_err(|error| {
        Failure::error(Failure::UNAVAILABLE, format!("cannot listen on {}: {error}", options.listen))
    })?;
    eprintln!("sink: listening on {}", listener.local_addr()?);
    let stop = CancellationToken::new();
    let sink = Arc::new(Sink {
        received: AtomicU64::new(0),
        stored: AtomicU64::new(options.directory.as_deref().map_or(0, stored_before)),
        directory: options.directory,
        limit: options.count,
        stop: stop.clone(),
    });
    stop_at_signals(stop.clone())?;
    let sessions = TaskTracker::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    eprintln!("sink: cannot accept: {error}");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            },
            () = stop.cancelled() => break,
        };
        sessions.spawn(session(stream, Arc::clone(&config), tls.clone(), Arc::clone(&sink)));
    }
    sessions.close();
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, sessions.wait()).await;
    eprintln!("sink: {} messages", sink.received.load(Ordering::Relaxed));
    Ok(ExitCode::SUCCESS)
}

fn stop_at_signals(stop: CancellationToken) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stop.cancel();
    });
    Ok(())
}

/// The highest number of a message stored by an earlier run.
fn stored_before(directory: &Path) -> u64 {
    std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".eml")?.parse().ok())
        .max()
        .unwrap_or(0)
}

async fn session(stream: TcpStream, config: Arc<ServerConfig>, tls: Option<Arc<ServerTls>>, sink: Arc<Sink>) {
    let session = ServerSession::new(config, Connection::default(), Instant::now());
    let mut receiver = Receiver {
        stop: sink.stop.clone(),
        sink,
        tls: None,
        sender: ReversePath::Null,
        recipients: Vec::new(),
        file: None,
        failed: false,
    };
    let stop = receiver.stop.clone();
    let _ = serve(Accepted::plain(stream), session, tls.as_deref(), &mut receiver, stop).await;
}

/// One session's transaction.
struct Receiver {
    sink: Arc<Sink>,
    stop: CancellationToken,
    tls: Option<String>,
    sender: ReversePath,
    recipients: Vec<Mailbox>,
    file: Option<(PathBuf, File)>,
    failed: bool,
}

impl Handler for Receiver {
    async fn ask(&mut self, question: Question) -> Verdict {
        match question {
            Question::Mail(parameters) => {
                self.reset();
                self.sender = parameters.sender;
                Verdict::Accept
            }
            Question::Rcpt(recipient) => {
                self.recipients.push(recipient.mailbox);
                Verdict::Accept
            }
            Question::Data => self.open().await,
            Question::EndOfData { size_bytes } => self.close(size_bytes).await,
            _ => Verdict::Accept,
        }
    }

    async fn body(&mut self, chunk: Bytes) {
        if let Some((path, file)) = &mut self.file
            && let Err(error) = file.write_all(&chunk).await
        {
            eprintln!("sink: cannot write {}: {error}", path.display());
            self.failed = true;
        }
    }

    fn reset(&mut self) {
        if let Some((path, _)) = self.file.take() {
            let _ = std::fs::remove_file(path);
        }
        self.recipients.clear();
        self.failed = false;
    }

    fn tls(&mut self, info: &TlsInfo) {
        self.tls = Some(format!("{} {}", info.version, info.cipher));
    }
}

impl Receiver {
    async fn open(&mut self) -> Verdict {
        let Some(directory) = &self.sink.directory else { return Verdict::Accept };
        let number = self.sink.stored.fetch_add(1, Ordering::Relaxed) + 1;
        let path = directory.join(format!("{number:08}.part"));
        match File::create(&path).await {
            Ok(file) => {
                self.file = Some((path, file));
                Verdict::Accept
            }
            Err(error) => {
                eprintln!("sink: cannot make {}: {error}", path.display());
                Verdict::Reject(reply::INSUFFICIENT_STORAGE)
            }
        }
    }

    /// A message is there under its final name only when it is whole.
    async fn close(&mut self, size_bytes: u64) -> Verdict {
        let mut stored = String::new();
        if let Some((path, mut file)) = self.file.take() {
            let whole = path.with_extension("eml");
            if self.failed || file.flush().await.is_err() || tokio::fs::rename(&path, &whole).await.is_err() {
                let _ = tokio::fs::remove_file(&path).await;
                return Verdict::Reject(reply::INSUFFICIENT_STORAGE);
            }
            stored = format!(" file={}", whole.display());
        }
        let recipients: Vec<String> = self.recipients.drain(..).map(|recipient| format!("<{recipient}>")).collect();
        let tls = self.tls.as_deref().map(|tls| format!(" tls=\"{tls}\"")).unwrap_or_default();
        println!("from={} to={} size={size_bytes}{tls}{stored}", self.sender, recipients.join(","));
        let received = self.sink.received.fetch_add(1, Ordering::Relaxed) + 1;
        if self.sink.limit.is_some_and(|limit| received >= limit) {
            self.stop.cancel();
        }
        Verdict::Accept
    }
}
