//! A sink that notes when each numbered message has arrived: when it has read the end of data, before it says 250. Takes
//! any number of sessions, a thread for each; it is for a few messages a second, not for a load.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::client::NUMBER_FIELD;

/// A running sink. Its threads end with the process and with their sessions.
#[derive(Debug)]
pub(crate) struct Arrivals {
    port: u16,
    arrived: Receiver<(usize, Instant)>,
    seen: HashMap<usize, Instant>,
}

impl Arrivals {
    /// Listens on a port of loopback, any free one for 0.
    pub(crate) fn listen(port: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).context("cannot listen for arrivals")?;
        let port = listener.local_addr()?.port();
        let (sender, arrived) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = sender.clone();
                // A session that breaks off has not delivered what it was about to: whoever waits for it will say so.
                std::thread::spawn(move || converse(stream, &sender));
            }
        });
        Ok(Self { port, arrived, seen: HashMap::new() })
    }

    /// Where it listens.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Waits until so many different messages have arrived, and says when each of them has, for the first time.
    pub(crate) fn wait(&mut self, count: usize, limit: Duration) -> anyhow::Result<&HashMap<usize, Instant>> {
        let started = Instant::now();
        while self.seen.len() < count {
            match self.arrived.recv_timeout(limit.saturating_sub(started.elapsed())) {
                Ok((number, at)) => {
                    self.seen.entry(number).or_insert(at);
                }
                Err(RecvTimeoutError::Timeout) => bail!("only {} of {count} messages have arrived", self.seen.len()),
                Err(RecvTimeoutError::Disconnected) => bail!("the sink has ended"),
            }
        }
        Ok(&self.seen)
    }
}

fn converse(stream: TcpStream, arrived: &Sender<(usize, Instant)>) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    stream.get_mut().write_all(b"220 sink.bench.example ESMTP\r\n")?;
    let mut line = Vec::new();
    while read_line(&mut stream, &mut line)? {
        let verb = line.split(|octet| octet.is_ascii_whitespace()).next().unwrap_or_default().to_ascii_uppercase();
        let reply: &[u8] = match verb.as_slice() {
            b"EHLO" => b"250-sink.bench.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
            b"DATA" => {
                // The reply before what follows, also where commands were pipelined.
                stream.get_mut().write_all(b"354 go on\r\n")?;
                if let Some(number) = read_content(&mut stream)? {
                    arrived.send((number, Instant::now()))?;
                }
                b"250 2.0.0 taken\r\n"
            }
            b"QUIT" => b"221 2.0.0 bye\r\n",
            _ => b"250 2.0.0 yes\r\n",
        };
        stream.get_mut().write_all(reply)?;
        if verb == b"QUIT" {
            break;
        }
    }
    Ok(())
}

fn read_line(stream: &mut BufReader<TcpStream>, line: &mut Vec<u8>) -> anyhow::Result<bool> {
    line.clear();
    Ok(stream.read_until(b'\n', line)? > 0)
}

/// Reads to the end of data; the number that the message carries.
fn read_content(stream: &mut BufReader<TcpStream>) -> anyhow::Result<Option<usize>> {
    let (mut line, mut number) = (Vec::new(), None);
    while read_line(stream, &mut line)? {
        if line == b".\r\n" {
            return Ok(number);
        }
        let text = String::from_utf8_lossy(&line);
        if let Some(value) = text.strip_prefix(NUMBER_FIELD).and_then(|rest| rest.strip_prefix(':')) {
            number = number.or(value.trim().parse().ok());
        }
    }
    bail!("the client has closed within a message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;

    #[test]
    fn what_is_sent_arrives_with_its_number_before_the_client_has_its_reply() {
        let mut sink = Arrivals::listen(0).unwrap();
        let mut client = Client::open(sink.port()).unwrap();
        let sent: Vec<_> = (0..3).map(|number| client.send(number, "recipient@sink.example", 2000).unwrap()).collect();
        let arrived = sink.wait(3, Duration::from_secs(10)).unwrap();
        for (number, sent) in sent.iter().enumerate() {
            assert!(sent.began < arrived[&number] && arrived[&number] <= sent.accepted);
        }
        assert!(sink.wait(4, Duration::from_millis(1)).is_err(), "a message was made up");
    }
}
