//! An SMTP client that does what a test says and waits for nothing it is not told to wait for.

use std::net::SocketAddr;
use std::time::Duration;

use mailtier_types::MessageId;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufStream};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

pub(crate) struct Client {
    stream: BufStream<Box<dyn Stream>>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) fn over(stream: impl Stream + 'static) -> Self {
        Self { stream: BufStream::new(Box::new(stream)) }
    }

    /// Connected, greeted, EHLO said.
    pub(crate) async fn greeted(address: SocketAddr) -> Self {
        let mut client = Self::connect(address).await;
        assert_eq!(client.reply().await, "220 mx.example.org ESMTP");
        client.say("EHLO client.example.com").await;
        client
    }

    pub(crate) async fn send(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next line; nothing at the end.
    pub(crate) async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, self.stream.read_line(&mut line)).await.expect("no reply");
        // A connection that was reset has ended, too.
        (read.unwrap_or(0) > 0).then(|| line.trim_end_matches("\r\n").to_owned())
    }

    /// The last line of the next reply.
    pub(crate) async fn reply(&mut self) -> String {
        loop {
            let line = self.line().await.expect("the server has closed");
            if line.as_bytes().get(3) == Some(&b' ') {
                return line;
            }
        }
    }

    pub(crate) async fn say(&mut self, command: &str) -> String {
        self.send(format!("{command}\r\n").as_bytes()).await;
        self.reply().await
    }

    /// What EHLO announces.
    pub(crate) async fn offered(&mut self) -> Vec<String> {
        self.send(b"EHLO client.example.com\r\n").await;
        let mut offered = Vec::new();
        loop {
            let line = self.line().await.expect("the server has closed");
            assert!(line.starts_with("250"), "{line}");
            offered.push(line[4..].to_owned());
            if line.starts_with("250 ") {
                return offered;
            }
        }
    }

    /// A transaction up to the end of data, whose reply is returned.
    pub(crate) async fn mail(&mut self, recipients: &[&str], content: &[u8]) -> String {
        assert!(self.say("MAIL FROM:<sender@example.com>").await.starts_with("250 "));
        for recipient in recipients {
            assert!(self.say(&format!("RCPT TO:<{recipient}>")).await.starts_with("250 "), "{recipient}");
        }
        assert!(self.say("DATA").await.starts_with("354 "));
        self.send(content).await;
        self.say(".").await
    }

    pub(crate) fn into_inner(self) -> Box<dyn Stream> {
        self.stream.into_inner()
    }
}

/// Lines of noise, so that compression saves little: as many chunks as there are mebibytes, more or less.
pub(crate) fn noise(octets: usize) -> Vec<u8> {
    const LINE_OCTETS: usize = 72;
    let mut state = 1_u64;
    let mut content = Vec::with_capacity(octets + LINE_OCTETS);
    while content.len() < octets {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        content.push(b'0' + u8::try_from(state >> 58).unwrap());
        if content.len() % LINE_OCTETS == LINE_OCTETS - 2 {
            content.extend_from_slice(b"\r\n");
        }
    }
    content.extend_from_slice(b"\r\n");
    content
}

/// The id in the reply to the end of data.
pub(crate) fn queued_as(reply: &str) -> MessageId {
    let id = reply.strip_prefix("250 2.6.0 Queued as ").unwrap_or_else(|| panic!("{reply}"));
    id.parse().unwrap()
}
