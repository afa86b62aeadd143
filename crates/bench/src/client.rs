//! A client that sends numbered messages one after the other over one session, and notes when it began and when it had
//! the 250. Not a load: smtp-source is that.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// The header field that carries the number.
pub(crate) const NUMBER_FIELD: &str = "X-Number";
/// How long a reply may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// A line of the content, without its end.
const LINE: &str = "The quick brown fox jumps over the lazy dog, and the dog does not mind it at all.";

/// An open session.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

/// When it happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// MAIL FROM is about to be said.
    pub(crate) began: Instant,
    /// The 250 to the end of data has been read.
    pub(crate) accepted: Instant,
}

impl Client {
    /// Connects and says EHLO.
    pub(crate) fn open(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).context("cannot connect")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut client = Self { stream: BufReader::new(stream) };
        client.expect("220")?;
        client.say("EHLO client.bench.example\r\n", "250")?;
        Ok(client)
    }

    /// Sends message `number` of about so many octets to one recipient, a command at a time.
    pub(crate) fn send(&mut self, number: usize, recipient: &str, octets: usize) -> anyhow::Result<Sent> {
        let content = content(number, recipient, octets);
        let began = Instant::now();
        self.say("MAIL FROM:<sender@source.example>\r\n", "250")?;
        self.say(&format!("RCPT TO:<{recipient}>\r\n"), "250")?;
        self.say("DATA\r\n", "354")?;
        self.say(&content, "250")?;
        Ok(Sent { began, accepted: Instant::now() })
    }

    fn say(&mut self, words: &str, code: &str) -> anyhow::Result<()> {
        self.stream.get_mut().write_all(words.as_bytes())?;
        self.expect(code).with_context(|| format!("after {:?}", words.lines().next().unwrap_or_default()))
    }

    fn expect(&mut self, code: &str) -> anyhow::Result<()> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.stream.read_line(&mut line)? == 0 {
                bail!("the server has closed");
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                break;
            }
        }
        if !line.starts_with(code) {
            bail!("the reply was {}", line.trim_end());
        }
        Ok(())
    }
}

/// The message with its end of data.
fn content(number: usize, recipient: &str, octets: usize) -> String {
    let mut text = format!(
        "{NUMBER_FIELD}: {number}\r\nFrom: sender@source.example\r\nTo: {recipient}\r\n\
         Message-ID: <{number}@source.example>\r\nSubject: message {number}\r\n\r\n"
    );
    while text.len() + LINE.len() + 2 <= octets {
        text.push_str(LINE);
        text.push_str("\r\n");
    }
    text.push_str(".\r\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_number_and_about_its_size() {
        let text = content(17, "recipient@sink.example", 4096);
        assert!(text.starts_with("X-Number: 17\r\n"));
        assert!(text.ends_with("\r\n.\r\n"));
        assert!((4000..=4099).contains(&text.len()), "{}", text.len());
    }
}
