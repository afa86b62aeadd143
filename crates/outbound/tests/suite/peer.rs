//! A remote mail server that follows a script, and remembers what it was told.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};

use mailtier_smtp::ClientCertificate;
use mailtier_tls::ServerTls;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

/// What a script says to a command.
#[derive(Clone, Debug)]
pub(crate) enum Say {
    /// This reply, without its line end.
    Line(String),
    /// Nothing: the connection closes.
    Close,
    /// This reply, and the connection closes.
    LineAndClose(String),
}

/// How a peer differs from a server that takes everything.
#[derive(Clone, Default)]
pub(crate) struct Script {
    banner: Option<Say>,
    extensions: Vec<&'static str>,
    replies: Vec<(String, VecDeque<Say>, bool)>,
    tls: Option<Arc<ServerTls>>,
    is_implicit: bool,
    break_handshake: bool,
    close_after_messages: Option<usize>,
    recipients_limit: Option<usize>,
    hold_banner: Option<watch::Receiver<bool>>,
    hold_final: Option<watch::Receiver<bool>>,
    is_lmtp: bool,
}

impl Script {
    pub(crate) fn new() -> Self {
        Self { extensions: vec!["PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES"], ..Self::default() }
    }

    /// Offers nothing else.
    pub(crate) fn with_extensions(extensions: &[&'static str]) -> Self {
        Self { extensions: extensions.to_vec(), ..Self::default() }
    }

    /// Speaks LMTP: at the end of the content each recipient has a reply, `on("DATA-END RCPT TO:<…>", …)`.
    pub(crate) fn lmtp() -> Self {
        Self { is_lmtp: true, ..Self::new() }
    }

    pub(crate) fn banner(mut self, line: &str) -> Self {
        self.banner = Some(Say::Line(line.to_owned()));
        self
    }

    pub(crate) fn close_at_banner(mut self) -> Self {
        self.banner = Some(Say::Close);
        self
    }

    /// What is said to each command that begins so; `DATA-END` is the end of the content.
    pub(crate) fn on(mut self, command: &str, line: &str) -> Self {
        self.replies.push((command.to_owned(), [Say::Line(line.to_owned())].into(), true));
        self
    }

    /// The same, once.
    pub(crate) fn once(mut self, command: &str, line: &str) -> Self {
        self.replies.push((command.to_owned(), [Say::Line(line.to_owned())].into(), false));
        self
    }

    pub(crate) fn close_on(mut self, command: &str) -> Self {
        self.replies.push((command.to_owned(), [Say::Close].into(), true));
        self
    }

    pub(crate) fn last_words(mut self, command: &str, line: &str) -> Self {
        self.replies.push((command.to_owned(), [Say::LineAndClose(line.to_owned())].into(), true));
        self
    }

    pub(crate) fn extension(mut self, name: &'static str) -> Self {
        self.extensions.push(name);
        self
    }

    pub(crate) fn with_tls(mut self, tls: Arc<ServerTls>) -> Self {
        self.tls = Some(tls);
        self.extension("STARTTLS")
    }

    /// Begins in TLS.
    pub(crate) fn implicit_tls(mut self, tls: Arc<ServerTls>) -> Self {
        (self.tls, self.is_implicit) = (Some(tls), true);
        self
    }

    /// Offers STARTTLS and talks nonsense instead of a handshake.
    pub(crate) fn with_broken_tls(mut self) -> Self {
        self.break_handshake = true;
        self.extension("STARTTLS")
    }

    /// Closes a session once it has carried so many messages, after the reply to the last.
    pub(crate) fn close_after(mut self, messages: usize) -> Self {
        self.close_after_messages = Some(messages);
        self
    }

    /// Takes so many recipients of a transaction, and says 452 to the others.
    pub(crate) fn recipients_limit(mut self, limit: usize) -> Self {
        self.recipients_limit = Some(limit);
        self
    }

    /// Replies to the end of data only once the channel says true.
    pub(crate) fn hold_final(mut self, until: watch::Receiver<bool>) -> Self {
        self.hold_final = Some(until);
        self
    }

    /// Greets only once the channel says true.
    pub(crate) fn hold_banner(mut self, until: watch::Receiver<bool>) -> Self {
        self.hold_banner = Some(until);
        self
    }

    fn reply_to(&mut self, command: &str) -> Option<Say> {
        let is_it = |(prefix, _, _): &&mut (String, VecDeque<Say>, bool)| command.starts_with(prefix.as_str());
        let (_, says, always) = self.replies.iter_mut().filter(|(_, says, _)| !says.is_empty()).find(is_it)?;
        if *always { says.front().cloned() } else { says.pop_front() }
    }
}

/// A message that a peer took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) session: usize,
    pub(crate) mail: String,
    pub(crate) recipients: Vec<String>,
    pub(crate) content: String,
    pub(crate) tls: bool,
}

/// What happened at a peer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) sessions: usize,
    /// From where each session came.
    pub(crate) clients: Vec<IpAddr>,
    pub(crate) commands: Vec<String>,
    /// Whom the certificate of each session in TLS was for.
    pub(crate) shown: Vec<Option<String>>,
    pub(crate) taken: Vec<Taken>,
    /// Contents that came in whole, taken or not.
    pub(crate) contents: usize,
}

/// A mail server of a test.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    seen: Arc<watch::Sender<Seen>>,
    script: Arc<Mutex<Script>>,
}

impl Peer {
    /// On a port of its own of the loopback address.
    pub(crate) async fn start(script: Script) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), script)
    }

    /// At this address.
    pub(crate) async fn there(address: SocketAddr, script: Script) -> Self {
        Self::on(TcpListener::bind(address).await.unwrap(), script)
    }

    /// Peers at these addresses, on one port that is the same for all.
    pub(crate) async fn several<const N: usize>(peers: [(&str, Script); N]) -> (u16, [Self; N]) {
        'port: loop {
            let mut port = 0;
            let mut listeners = Vec::new();
            for (address, _) in &peers {
                let address: IpAddr = address.parse().unwrap();
                let Ok(listener) = TcpListener::bind((address, port)).await else { continue 'port };
                port = listener.local_addr().unwrap().port();
                listeners.push(listener);
            }
            let mut listeners = listeners.into_iter();
            return (port, peers.map(|(_, script)| Self::on(listeners.next().unwrap(), script)));
        }
    }

    fn on(listener: TcpListener, script: Script) -> Self {
        let peer = Self {
            address: listener.local_addr().unwrap(),
            seen: Arc::new(watch::Sender::default()),
            script: Arc::new(Mutex::new(script)),
        };
        let accepting = peer.clone();
        tokio::spawn(async move {
            loop {
                let (stream, client) = listener.accept().await.unwrap();
                let mut number = 0;
                accepting.seen.send_modify(|seen| {
                    seen.sessions += 1;
                    seen.clients.push(client.ip());
                    number = seen.sessions;
                });
                let session = Session { peer: accepting.clone(), number, tls: false };
                tokio::spawn(session.run(stream));
            }
        });
        peer
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits until something is true of what was seen.
    pub(crate) async fn until(&self, what: impl FnMut(&Seen) -> bool) -> Seen {
        self.seen.subscribe().wait_for(what).await.unwrap().clone()
    }

    /// On a socket of this machine.
    pub(crate) fn at(path: &Path, script: Script) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let peer = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            seen: Arc::new(watch::Sender::default()),
            script: Arc::new(Mutex::new(script)),
        };
        let accepting = peer.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let mut number = 0;
                accepting.seen.send_modify(|seen| {
                    seen.sessions += 1;
                    number = seen.sessions;
                });
                let session = Session { peer: accepting.clone(), number, tls: false };
                tokio::spawn(session.run(stream));
            }
        });
        peer
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        self.seen.send_modify(change);
    }
}

struct Session {
    peer: Peer,
    number: usize,
    tls: bool,
}

/// How a dialogue ended.
enum Ended {
    Closed,
    StartTls,
}

impl Session {
    async fn run<S: AsyncRead + AsyncWrite + Unpin + Send>(mut self, stream: S) {
        let implicit = {
            let script = self.peer.script.lock().unwrap();
            script.tls.clone().filter(|_| script.is_implicit)
        };
        let Some(tls) = implicit else { return self.serve(stream).await };
        if let Ok(stream) = tls.acceptor().accept(stream).await {
            self.in_tls(tls.describe(stream.get_ref().1).client);
            self.serve(stream).await;
        }
    }

    fn in_tls(&mut self, client: Option<ClientCertificate>) {
        self.tls = true;
        self.peer.note(|seen| seen.shown.push(client.and_then(|client| client.common_name)));
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut self, stream: S) {
        let mut stream = BufStream::new(stream);
        let (banner, hold) = {
            let script = self.peer.script.lock().unwrap();
            (script.banner.clone(), script.hold_banner.clone())
        };
        wait_for(hold).await;
        let banner = banner.unwrap_or_else(|| Say::Line("220 peer.example ESMTP".to_owned()));
        if !say(&mut stream, banner).await {
            return;
        }
        if let Ended::StartTls = self.dialogue(&mut stream).await {
            let (tls, broken) = {
                let script = self.peer.script.lock().unwrap();
                (script.tls.clone(), script.break_handshake)
            };
            if broken {
                let _ = stream.read_u8().await;
                let _ = stream.write_all(b"this is no handshake\r\n").await;
                let _ = stream.flush().await;
                return;
            }
            let tls = tls.unwrap();
            if let Ok(stream) = tls.acceptor().accept(stream.into_inner()).await {
                self.in_tls(tls.describe(stream.get_ref().1).client);
                self.dialogue(&mut BufStream::new(stream)).await;
            }
        }
    }

    async fn dialogue<S: AsyncRead + AsyncWrite + Unpin>(&mut self, stream: &mut BufStream<S>) -> Ended {
        let (mut mail, mut recipients, mut messages) = (String::new(), Vec::new(), 0);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return Ended::Closed;
            }
            let line = line.trim_end().to_owned();
            self.peer.note(|seen| seen.commands.push(line.clone()));
            let scripted = self.peer.script.lock().unwrap().reply_to(&line);
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            if verb == "MAIL" {
                (mail, recipients) = (line.clone(), Vec::new());
            }
            if verb == "BDAT" && scripted.is_none() {
                let octets = line.split(' ').nth(1).and_then(|octets| octets.parse().ok()).unwrap();
                let mut content = vec![0; octets];
                if stream.read_exact(&mut content).await.is_err() {
                    return Ended::Closed;
                }
                if recipients.is_empty() {
                    say(stream, Say::Line("554 5.5.1 no valid recipients".to_owned())).await;
                    continue;
                }
                let content = String::from_utf8(content).unwrap();
                let (session, tls) = (self.number, self.tls);
                let taken = Taken { session, mail: mail.clone(), recipients: recipients.clone(), content, tls };
                if !self.end_of_data(stream, taken).await {
                    return Ended::Closed;
                }
                messages += 1;
                continue;
            }
            let reply = scripted.unwrap_or_else(|| self.ordinary(&verb, recipients.len()));
            let accepted = matches!(&reply, Say::Line(text) if text.starts_with(['2', '3']));
            if verb == "RCPT" && accepted {
                recipients.push(line.clone());
            }
            if !say(stream, reply).await || verb == "QUIT" {
                return Ended::Closed;
            }
            if verb == "STARTTLS" && accepted {
                return Ended::StartTls;
            }
            if verb == "DATA" && accepted {
                let Some(content) = self.content(stream).await else { return Ended::Closed };
                let taken = Taken {
                    session: self.number,
                    mail: mail.clone(),
                    recipients: recipients.clone(),
                    content,
                    tls: self.tls,
                };
                if !self.end_of_data(stream, taken).await {
                    return Ended::Closed;
                }
                messages += 1;
                if self.peer.script.lock().unwrap().close_after_messages == Some(messages) {
                    return Ended::Closed;
                }
            }
        }
    }

    fn ordinary(&self, verb: &str, recipients: usize) -> Say {
        let script = self.peer.script.lock().unwrap();
        Say::Line(match verb {
            "LHLO" if !script.is_lmtp => "500 5.5.1 what?".to_owned(),
            "EHLO" if script.is_lmtp => "500 5.5.1 LHLO is what is said here".to_owned(),
            "EHLO" | "LHLO" => {
                let offered = script.extensions.iter().filter(|name| !(self.tls && **name == "STARTTLS"));
                let mut lines: Vec<_> = std::iter::once(&"peer.example").chain(offered).copied().collect();
                let last = lines.pop().unwrap();
                let mut text: String = lines.iter().map(|line| format!("250-{line}\r\n")).collect();
                text.push_str(&format!("250 {last}"));
                text
            }
            "RCPT" if script.recipients_limit.is_some_and(|limit| recipients >= limit) => {
                "452 4.5.3 too many recipients".to_owned()
            }
            "DATA" if recipients == 0 => "554 5.5.1 no valid recipients".to_owned(),
            "DATA" => "354 go on".to_owned(),
            "STARTTLS" => "220 2.0.0 go on".to_owned(),
            "QUIT" => "221 2.0.0 bye".to_owned(),
            _ => "250 2.0.0 ok".to_owned(),
        })
    }

    async fn content<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: &mut BufStream<S>) -> Option<String> {
        let mut content = Vec::new();
        while !content.ends_with(b"\r\n.\r\n") && content != b".\r\n" {
            content.push(stream.read_u8().await.ok()?);
        }
        content.truncate(content.len() - 3);
        String::from_utf8(content).ok()
    }

    async fn end_of_data<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: &mut BufStream<S>, taken: Taken) -> bool {
        self.peer.note(|seen| seen.contents += 1);
        let hold = self.peer.script.lock().unwrap().hold_final.clone();
        wait_for(hold).await;
        if self.peer.script.lock().unwrap().is_lmtp {
            return self.end_of_data_for_each(stream, taken).await;
        }
        let reply = self.peer.script.lock().unwrap().reply_to("DATA-END");
        let reply = reply.unwrap_or_else(|| Say::Line("250 2.0.0 taken".to_owned()));
        if matches!(&reply, Say::Line(text) | Say::LineAndClose(text) if text.starts_with('2')) {
            self.peer.note(|seen| seen.taken.push(taken));
        }
        say(stream, reply).await
    }
}

impl Session {
    /// RFC 2033 section 4.2.
    async fn end_of_data_for_each<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut BufStream<S>,
        taken: Taken,
    ) -> bool {
        let (mut replies, mut happy) = (Vec::new(), Vec::new());
        for recipient in &taken.recipients {
            let reply = self.peer.script.lock().unwrap().reply_to(&format!("DATA-END {recipient}"));
            let reply = reply.unwrap_or_else(|| Say::Line("250 2.0.0 stored".to_owned()));
            if matches!(&reply, Say::Line(text) if text.starts_with('2')) {
                happy.push(recipient.clone());
            }
            replies.push(reply);
        }
        self.peer.note(|seen| seen.taken.push(Taken { recipients: happy, ..taken }));
        for reply in replies {
            if !say(stream, reply).await {
                return false;
            }
        }
        true
    }
}

async fn wait_for(signal: Option<watch::Receiver<bool>>) {
    if let Some(mut signal) = signal {
        let _ = signal.wait_for(|go| *go).await;
    }
}

/// Whether the session goes on.
async fn say<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufStream<S>, what: Say) -> bool {
    let (text, goes_on) = match what {
        Say::Line(text) => (text, true),
        Say::LineAndClose(text) => (text, false),
        Say::Close => return false,
    };
    stream.write_all(format!("{text}\r\n").as_bytes()).await.is_ok() && stream.flush().await.is_ok() && goes_on
}
