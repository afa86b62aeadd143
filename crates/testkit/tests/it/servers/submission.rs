//! The client that hands mail to Mailtier here: with BDAT, so that the content is not touched on the way in, whatever it ends
//! with. Not responsible for what becomes of it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};

use super::LIMIT;

/// A message as it is handed over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Submission<'a> {
    /// The argument of MAIL.
    pub(super) mail: &'a str,
    /// The arguments of each RCPT.
    pub(super) recipients: &'a [&'a str],
    pub(super) content: &'a [u8],
    /// What XCLIENT says before, if it is said.
    pub(super) client: Option<&'a str>,
}

impl Submission<'_> {
    /// Hands it over; the id that it was given.
    pub(super) fn send(self, server: SocketAddr) -> String {
        let stream = TcpStream::connect(server).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut session = BufReader::new(stream);
        read_reply(&mut session, "220");
        let mut say = |command: &str, content: &[u8], expected: &str| {
            session.get_mut().write_all(format!("{command}\r\n").as_bytes()).unwrap();
            session.get_mut().write_all(content).unwrap();
            read_reply(&mut session, expected)
        };
        say("EHLO client.example", b"", "250");
        if let Some(client) = self.client {
            say(&format!("XCLIENT {client}"), b"", "220");
            say("EHLO client.example", b"", "250");
        }
        say(&format!("MAIL FROM:{}", self.mail), b"", "250");
        for recipient in self.recipients {
            say(&format!("RCPT TO:{recipient}"), b"", "250");
        }
        let accepted = say(&format!("BDAT {} LAST", self.content.len()), self.content, "250");
        say("QUIT", b"", "221");
        accepted.split_whitespace().last().unwrap().to_owned()
    }
}

fn read_reply(session: &mut BufReader<TcpStream>, expected: &str) -> String {
    loop {
        let mut line = String::new();
        session.read_line(&mut line).unwrap();
        if line.as_bytes().get(3) != Some(&b'-') {
            assert!(line.starts_with(expected), "{line:?} instead of {expected}");
            return line;
        }
    }
}
