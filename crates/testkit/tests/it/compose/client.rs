//! A client that says one line at a time and shows every reply, and a load of such clients.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longest wait for a reply.
const REPLY_LIMIT: Duration = Duration::from_secs(60);
/// Sessions at a time.
pub(super) const SESSIONS: usize = 6;

/// One session.
pub(super) struct Session(BufReader<TcpStream>);

impl Session {
    /// Connects and says EHLO.
    pub(super) fn open(server: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(server)?;
        stream.set_read_timeout(Some(REPLY_LIMIT))?;
        let mut session = Self(BufReader::new(stream));
        let greeting = session.reply()?;
        match greeting.starts_with("220") {
            true => session.say("EHLO client.example\r\n").map(|_| session),
            false => Err(std::io::Error::other(greeting)),
        }
    }

    /// Says something and returns the last line of the reply.
    pub(super) fn say(&mut self, text: &str) -> std::io::Result<String> {
        self.0.get_mut().write_all(text.as_bytes())?;
        self.reply()
    }

    /// The last line of the next reply.
    pub(super) fn reply(&mut self) -> std::io::Result<String> {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line.trim_end().to_owned());
            }
        }
    }

    /// One transaction; the reply that ended it.
    pub(super) fn transact(&mut self, recipient: &str) -> std::io::Result<String> {
        let content = format!("To: {recipient}\r\nSubject: load\r\n\r\nHello.\r\n.\r\n");
        let lines = [
            "MAIL FROM:<load@client.example>\r\n".to_owned(),
            format!("RCPT TO:<{recipient}>\r\n"),
            "DATA\r\n".to_owned(),
        ];
        for line in lines {
            let reply = self.say(&line)?;
            if !reply.starts_with(['2', '3']) {
                return Ok(reply);
            }
        }
        self.say(&content)
    }
}

/// What became of a load.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Recipients that were promised with a 250.
    pub(super) promised: Vec<String>,
    /// Replies that were neither success nor "try again".
    pub(super) refused: Vec<String>,
    /// Replies and failures that a client tries again after.
    pub(super) put_off: Vec<String>,
}

/// Clients that send one message after the other, three in each session.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    account: Arc<Mutex<Account>>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    pub(super) fn start(server: SocketAddr) -> Self {
        let (stop, account) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Account::default())));
        let count = Arc::new(AtomicUsize::new(0));
        let one = |_| {
            let (stop, account, count) = (Arc::clone(&stop), Arc::clone(&account), Arc::clone(&count));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    session(server, &account, &count);
                }
            })
        };
        let threads = (0..SESSIONS).map(one).collect();
        Self { stop, account, threads }
    }

    /// How many recipients have been promised.
    pub(super) fn promised(&self) -> usize {
        self.account.lock().unwrap_or_else(PoisonError::into_inner).promised.len()
    }

    pub(super) fn stop(self) -> Account {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        std::mem::take(&mut *self.account.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn session(server: SocketAddr, account: &Mutex<Account>, count: &AtomicUsize) {
    let note = |outcome: std::io::Result<String>, recipient: String| {
        let mut account = account.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(reply) if reply.starts_with("250") => account.promised.push(recipient),
            Ok(reply) if reply.starts_with('5') => account.refused.push(reply),
            Ok(reply) => account.put_off.push(reply),
            Err(error) => account.put_off.push(error.to_string()),
        }
    };
    let mut session = match Session::open(server) {
        Ok(session) => session,
        Err(error) => return note(Err(error), String::new()),
    };
    for _ in 0..3 {
        let recipient = format!("load-{}@recipient.example", count.fetch_add(1, Ordering::Relaxed));
        let outcome = session.transact(&recipient);
        let goes_on = outcome.as_ref().is_ok_and(|reply| reply.starts_with("250"));
        note(outcome, recipient);
        if !goes_on {
            return;
        }
    }
    let _ = session.say("QUIT\r\n");
}
