//! An SMTP session that a test speaks itself, line by line.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The longest wait for a reply.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Session(BufReader<TcpStream>);

impl Session {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Self(BufReader::new(stream))
    }

    /// One that has been greeted.
    pub(crate) fn greeted(address: SocketAddr) -> Self {
        let mut session = Self::open(address);
        let greeting = session.reply();
        assert!(greeting.starts_with("220 "), "{greeting}");
        session
    }

    /// The last line of the next reply.
    pub(crate) fn reply(&mut self) -> String {
        self.lines().pop().unwrap()
    }

    /// The next reply.
    pub(crate) fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.last().is_none_or(|line: &String| line.get(3..4) != Some(" ")) {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the connection was closed");
            lines.push(line);
        }
        lines
    }

    pub(crate) fn write(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn say(&mut self, line: &str) -> String {
        self.write(&format!("{line}\r\n"));
        self.reply()
    }

    /// Says each line; its reply must begin so.
    pub(crate) fn converse(&mut self, lines: &[(&str, &str)]) {
        for (line, expected) in lines {
            let reply = self.say(line);
            assert!(reply.starts_with(expected), "{line}: {reply}");
        }
    }
}
