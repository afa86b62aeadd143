//! `mailtier healthcheck`: asks a program whether it is ready, for container engines, whose images have no other client.
//! Not responsible for what ready means.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::cli::{Failure, duration};
use crate::output::say;

/// What is asked for when a URL names no path.
const READY: &str = "/healthz/ready";
/// The most octets of an answer that are read: health is told in a line.
const MOST_OCTETS: u64 = 16 << 10;
/// The exit code that container engines take for unhealthy.
const UNHEALTHY: u8 = 1;

/// What can be said on the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The program's `http_listen` as a URL, such as http://127.0.0.1:9101; /healthz/ready is asked for when it has no path
    #[arg(value_parser = Target::parse)]
    url: Target,
    /// How long the answer may take
    #[arg(long, value_parser = duration, default_value = "5s")]
    timeout: Duration,
}

/// What is asked, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    /// host:port, as it is connected to.
    authority: String,
    path: String,
}

impl Target {
    fn parse(text: &str) -> Result<Self, String> {
        let rest = text
            .strip_prefix("http://")
            .ok_or("expected http://host:port, such as http://127.0.0.1:9101; health is served without TLS")?;
        let (host, path) = rest.find('/').map_or((rest, READY), |at| rest.split_at(at));
        let path = if path == "/" { READY } else { path };
        let has_port =
            host.rsplit_once(':').is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok());
        if !has_port || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err("expected a host and a port, such as http://127.0.0.1:9101".to_owned());
        }
        Ok(Self { authority: host.to_owned(), path: path.to_owned() })
    }
}

/// Prints what was answered; fails where that is not that all is well.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let Options { url, timeout } = options;
    let unhealthy =
        |problem: String| Failure::error(UNHEALTHY, format!("http://{}{}: {problem}", url.authority, url.path));
    let answer = match tokio::time::timeout(timeout, ask(&url)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(unhealthy(format!("{error:#}"))),
        Err(_) => return Err(unhealthy(format!("no answer within {}", humantime::format_duration(timeout)))),
    };
    match answer {
        Answer { status: 200, text } => {
            say!("{text}");
            Ok(ExitCode::SUCCESS)
        }
        Answer { status, text } => Err(unhealthy(format!("{text} (status {status})"))),
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    text: String,
}

/// HTTP/1.0: the answer ends with the connection, and is in no pieces.
async fn ask(target: &Target) -> anyhow::Result<Answer> {
    let mut stream = TcpStream::connect(&target.authority).await.context("cannot connect")?;
    let request = format!("GET {} HTTP/1.0\r\nHost: {}\r\n\r\n", target.path, target.authority);
    stream.write_all(request.as_bytes()).await.context("cannot ask")?;
    let mut reply = Vec::new();
    stream.take(MOST_OCTETS).read_to_end(&mut reply).await.context("the answer broke off")?;
    read(&String::from_utf8_lossy(&reply)).context("the answer is not HTTP")
}

/// The status, and the first line of the content without what a terminal would act on.
fn read(reply: &str) -> Option<Answer> {
    let (header, content) = reply.split_once("\r\n\r\n")?;
    let mut words = header.lines().next()?.split(' ');
    let status = words.next().filter(|version| version.starts_with("HTTP/1.")).and_then(|_| words.next())?;
    let text = content.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
    Some(Answer { status: status.parse().ok()?, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_urls_with_a_port() {
        let target = |authority: &str, path: &str| Ok(Target { authority: authority.into(), path: path.into() });
        assert_eq!(Target::parse("http://127.0.0.1:9101"), target("127.0.0.1:9101", READY));
        assert_eq!(Target::parse("http://[::1]:9101/"), target("[::1]:9101", READY));
        assert_eq!(Target::parse("http://queue:9102/healthz/live"), target("queue:9102", "/healthz/live"));
        for text in
            ["https://a:1", "127.0.0.1:9101", "http://a", "http://:1", "http://a:x", "http://a:1/ b", "http://a:1/\r\n"]
        {
            assert!(Target::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn answers_are_read_as_far_as_they_say_something() {
        let answer = |status, text: &str| Some(Answer { status, text: text.into() });
        assert_eq!(read("HTTP/1.0 200 OK\r\nA: b\r\n\r\nready\n"), answer(200, "ready"));
        assert_eq!(
            read("HTTP/1.1 503 X\r\n\r\nnot ready: \x1b[31mdraining\r\nmore"),
            answer(503, "not ready: [31mdraining")
        );
        assert_eq!(read("HTTP/1.1 204 No Content\r\n\r\n"), answer(204, ""));
        for reply in ["", "HTTP/1.1 200 OK\r\n", "220 mx ESMTP\r\n\r\n", "HTTP/1.1\r\n\r\n", "HTTP/1.1 x\r\n\r\n"] {
            assert_eq!(read(reply), None, "{reply:?}");
        }
    }
}
