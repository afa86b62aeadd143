//! A ledger of mail: what was promised with a 250 against what arrived. A load of plain SMTP clients on one side, a
//! plain SMTP server on the other, both written apart from our engines so that they do not share their mistakes.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::installation::pause;

/// The field that tells one message of a load from all others.
const FIELD: &str = "X-Ledger:";
/// What a notification says of each recipient that was not reached (RFC 3464 §2.3.2).
const RETURNED: &str = "Final-Recipient: rfc822;";
/// Longest wait for one reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(45);

/// What is known of every recipient; each has an address of its own.
#[derive(Debug, Default)]
struct Book {
    /// Answered with 250.
    promised: HashSet<String>,
    /// Sent, and the answer lost: delivery is allowed and not owed.
    unknown: HashSet<String>,
    /// How often each arrived.
    arrived: HashMap<String, u32>,
    /// Returned to the sender in a DSN.
    bounced: HashMap<String, u32>,
    /// Commands that were answered with 4xx, and with 5xx.
    put_off: usize,
    refused: usize,
    /// When the last one of each domain arrived, and the longest time without one since that was last asked for.
    last_arrivals: HashMap<String, Instant>,
    longest_gap: Duration,
}

impl Book {
    fn is_settled(&self, recipient: &str) -> bool {
        self.arrived.contains_key(recipient) || self.bounced.contains_key(recipient)
    }

    fn arrives(&mut self, recipient: String) {
        let (now, domain) = (Instant::now(), recipient.rsplit('@').next().unwrap_or_default());
        match self.last_arrivals.get_mut(domain) {
            Some(last) => self.longest_gap = self.longest_gap.max(now - std::mem::replace(last, now)),
            None => drop(self.last_arrivals.insert(domain.to_owned(), now)),
        }
        *self.arrived.entry(recipient).or_default() += 1;
    }
}

/// Both sides of the account.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    book: Arc<Mutex<Book>>,
    next: Arc<AtomicU64>,
}

/// The account at one moment, in recipients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    /// Answered with 250.
    pub promised: usize,
    /// Different recipients that were reached.
    pub arrived: usize,
    /// Promised, and neither arrived nor returned.
    pub missing: usize,
    /// Promised, and returned to the sender.
    pub bounced: usize,
    /// Arrivals beyond the first.
    pub duplicates: u32,
    /// Returns beyond the first.
    pub duplicate_bounces: u32,
    /// The most often that one recipient was reached.
    pub most_arrivals: u32,
    /// Commands that were answered with 4xx.
    pub put_off: usize,
    /// Commands that were answered with 5xx.
    pub refused: usize,
}

impl Ledger {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The account now.
    #[must_use]
    pub fn balance(&self) -> Balance {
        let book = self.book();
        let beyond_first = |counts: &HashMap<String, u32>| counts.values().map(|count| count - 1).sum();
        Balance {
            promised: book.promised.len(),
            arrived: book.arrived.len(),
            missing: book.promised.iter().filter(|one| !book.is_settled(one)).count(),
            bounced: book.promised.iter().filter(|one| book.bounced.contains_key(*one)).count(),
            duplicates: beyond_first(&book.arrived),
            duplicate_bounces: beyond_first(&book.bounced),
            most_arrivals: book.arrived.values().copied().max().unwrap_or(0),
            put_off: book.put_off,
            refused: book.refused,
        }
    }

    /// Waits until nothing is missing, or until nothing has come for as long as the limit, and returns the account: a long
    /// backlog on a slow machine is no loss.
    #[must_use]
    pub fn settle(&self, limit: Duration) -> Balance {
        let (mut least, mut since) = (usize::MAX, Instant::now());
        loop {
            let balance = self.balance();
            if balance.missing < least {
                (least, since) = (balance.missing, Instant::now());
            }
            if balance.missing == 0 || since.elapsed() >= limit {
                return balance;
            }
            pause();
        }
    }

    /// Up to ten recipients that are missing, for the report of a failure.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let book = self.book();
        book.promised.iter().filter(|one| !book.is_settled(one)).take(10).cloned().collect()
    }

    /// Domains that any mail has arrived for.
    #[must_use]
    pub fn reached_domains(&self) -> usize {
        self.book().last_arrivals.len()
    }

    /// The longest time for which some domain's mail did not arrive, since this was last asked.
    #[must_use]
    pub fn take_longest_gap(&self) -> Duration {
        std::mem::take(&mut self.book().longest_gap)
    }

    /// Waits until mail of every domain that any arrived for has arrived again, or until the limit; says whether it has.
    #[must_use]
    pub fn wait_for_every_domain(&self, limit: Duration) -> bool {
        let started = Instant::now();
        while started.elapsed() < limit {
            if self.book().last_arrivals.values().all(|last| *last > started) {
                return true;
            }
            pause();
        }
        false
    }
}

/// Clients that send until they are stopped.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    sessions: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts `sessions` clients, spread over the servers, each sending one message after the other, and connecting anew,
    /// to the next server, whenever it must. Every fourth message has two recipients in the first domain and one in each
    /// other; the rest have one, in turn.
    #[must_use]
    pub fn start(ledger: &Ledger, servers: &[SocketAddr], sessions: usize, domains: &'static [&'static str]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let session = |number: usize| {
            let (ledger, stop, servers) = (ledger.clone(), Arc::clone(&stop), servers.to_vec());
            std::thread::spawn(move || {
                for server in servers.iter().cycle().skip(number).take_while(|_| !stop.load(Ordering::Relaxed)) {
                    if let Err(error) = send_until_trouble(&ledger, *server, domains, number, &stop) {
                        ledger.note(&error);
                        pause();
                    }
                }
            })
        };
        Self { sessions: (0..sessions).map(session).collect(), stop }
    }

    /// Lets each client finish its message.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for session in self.sessions {
            let _ = session.join();
        }
    }
}

/// Why a client connects anew.
enum Trouble {
    /// It was answered with this code.
    Answer(u16),
    /// The connection broke, or nobody answered.
    Connection,
}

impl From<io::Error> for Trouble {
    fn from(_: io::Error) -> Self {
        Self::Connection
    }
}

impl Ledger {
    fn note(&self, trouble: &Trouble) {
        match trouble {
            Trouble::Answer(500..) => self.book().refused += 1,
            Trouble::Answer(_) => self.book().put_off += 1,
            Trouble::Connection => {}
        }
    }
}

/// Whom message number `id` is for.
fn recipients_of(id: u64, domains: &[&str]) -> Vec<String> {
    let address = |number: usize, domain: &str| format!("r{id}-{number}@{domain}");
    let Some(first) = domains.first() else { return Vec::new() };
    if id.is_multiple_of(4) {
        let all = domains.iter().chain([first]).enumerate();
        return all.map(|(number, domain)| address(number, domain)).collect();
    }
    let turn = usize::try_from(id).unwrap_or(0) % domains.len();
    vec![address(0, domains.get(turn).unwrap_or(first))]
}

fn send_until_trouble(
    ledger: &Ledger,
    server: SocketAddr,
    domains: &[&str],
    session: usize,
    stop: &AtomicBool,
) -> Result<(), Trouble> {
    let mut client = Client::connect(server)?;
    client.expect("EHLO load.example\r\n", 250)?;
    while !stop.load(Ordering::Relaxed) {
        let id = ledger.next.fetch_add(1, Ordering::Relaxed);
        let recipients = recipients_of(id, domains);
        client.expect(&format!("MAIL FROM:<sender{session}@load.example>\r\n"), 250)?;
        for recipient in &recipients {
            client.expect(&format!("RCPT TO:<{recipient}>\r\n"), 250)?;
        }
        client.expect("DATA\r\n", 354)?;
        let text =
            format!("{FIELD} {id}\r\nSubject: load\r\n\r\nline one\r\n..line two\r\n{}\r\n.\r\n", "x".repeat(600));
        client.write(&text)?;
        match client.reply() {
            Ok(250) => ledger.book().promised.extend(recipients),
            Ok(code) => return Err(Trouble::Answer(code)),
            Err(error) => {
                ledger.book().unknown.extend(recipients);
                return Err(error.into());
            }
        }
    }
    let _ = client.command("QUIT\r\n", 221);
    Ok(())
}

/// Sends one message and returns the code of the last reply: 250 when it was accepted for all recipients.
///
/// # Errors
/// A command before the end of data is refused, or the connection fails.
pub fn send(server: SocketAddr, mail: &str, recipients: &[&str], content: &[u8]) -> io::Result<u16> {
    let mut client = Client::connect(server)?;
    client.command("EHLO client.example\r\n", 250)?;
    client.command(&format!("MAIL FROM:{mail}\r\n"), 250)?;
    for recipient in recipients {
        client.command(&format!("RCPT TO:<{recipient}>\r\n"), 250)?;
    }
    client.command("DATA\r\n", 354)?;
    let mut wire = Vec::with_capacity(content.len() + 100);
    for line in content.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
    }
    wire.extend_from_slice(b".\r\n");
    client.reader.get_mut().write_all(&wire)?;
    let code = client.reply()?;
    let _ = client.command("QUIT\r\n", 221);
    Ok(code)
}

/// The barest of clients.
struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    fn connect(server: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(server)?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        stream.set_nodelay(true)?;
        let mut client = Self { reader: BufReader::new(stream) };
        match client.reply()? {
            220 => Ok(client),
            code => Err(io::Error::other(format!("greeted with {code}"))),
        }
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.reader.get_mut().write_all(text.as_bytes())
    }

    fn command(&mut self, command: &str, expected: u16) -> io::Result<()> {
        self.write(command)?;
        match self.reply()? {
            code if code == expected => Ok(()),
            code => Err(io::Error::other(format!("{} answered with {code}", command.trim_end()))),
        }
    }

    fn expect(&mut self, command: &str, expected: u16) -> Result<(), Trouble> {
        self.write(command)?;
        match self.reply()? {
            code if code == expected => Ok(()),
            code => Err(Trouble::Answer(code)),
        }
    }

    fn reply(&mut self) -> io::Result<u16> {
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return line.get(..3).and_then(|code| code.parse().ok()).ok_or_else(|| io::Error::other(line.clone()));
            }
        }
    }
}

/// How the other side answers, by the recipient's domain.
#[derive(Debug, Default)]
pub struct Behaviour {
    /// Domains whose recipients get 451 the first time.
    pub defer_once: &'static [&'static str],
    /// Domains whose recipients get 451 each time.
    pub defer_always: &'static [&'static str],
    /// Domains whose recipients get 550.
    pub reject: &'static [&'static str],
    /// How long it takes to take the content of a message.
    pub takes: Duration,
}

/// A message that belongs to no load, as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The argument of MAIL.
    pub mail: String,
    /// The arguments of the accepted RCPTs.
    pub recipients: Vec<String>,
    /// The content, dots unstuffed.
    pub content: Vec<u8>,
    /// When it was all there.
    pub arrived_at: Instant,
}

impl Letter {
    /// One that begins.
    fn of(mail: String) -> Self {
        Self { mail, recipients: Vec::new(), content: Vec::new(), arrived_at: Instant::now() }
    }
}

/// The other side: takes mail, enters it in the ledger, keeps what belongs to no load.
#[derive(Debug)]
pub struct Counterpart {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    letters: Arc<Mutex<Vec<Letter>>>,
    at_once: Arc<AtOnce>,
}

/// Contents that are being taken.
#[derive(Debug, Default)]
struct AtOnce {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl AtOnce {
    fn begin(&self) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
    }

    fn end(&self) {
        self.now.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Shared {
    ledger: Ledger,
    behaviour: Behaviour,
    /// Recipients that were deferred once.
    deferred: Mutex<HashSet<String>>,
    letters: Arc<Mutex<Vec<Letter>>>,
    at_once: Arc<AtOnce>,
    stop: Arc<AtomicBool>,
}

impl Counterpart {
    /// Listens on a free port of loopback.
    ///
    /// # Errors
    /// There is none.
    pub fn start(ledger: &Ledger, behaviour: Behaviour) -> io::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), ledger, behaviour)
    }

    /// Listens there.
    ///
    /// # Errors
    /// It is not free.
    pub fn start_at(address: SocketAddr, ledger: &Ledger, behaviour: Behaviour) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let (address, stop) = (listener.local_addr()?, Arc::new(AtomicBool::new(false)));
        let (letters, at_once) = (Arc::new(Mutex::default()), Arc::new(AtOnce::default()));
        let shared = Arc::new(Shared {
            ledger: ledger.clone(),
            behaviour,
            deferred: Mutex::default(),
            letters: Arc::clone(&letters),
            at_once: Arc::clone(&at_once),
            stop: Arc::clone(&stop),
        });
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.stop.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || {
                    let _ = shared.serve(stream);
                });
            }
        });
        Ok(Self { address, stop, letters, at_once })
    }

    /// The most messages whose content was being taken at one moment.
    #[must_use]
    pub fn most_at_once(&self) -> usize {
        self.at_once.most.load(Ordering::SeqCst)
    }

    /// What arrived and belongs to no load.
    #[must_use]
    pub fn letters(&self) -> Vec<Letter> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until at least `count` letters are there, or until the limit, and returns them.
    #[must_use]
    pub fn wait_for_letters(&self, count: usize, limit: Duration) -> Vec<Letter> {
        let started = Instant::now();
        while self.letters().len() < count && started.elapsed() < limit {
            pause();
        }
        self.letters()
    }

    /// Waits until at least `count` letters to a recipient are there, or until the limit, and returns them.
    #[must_use]
    pub fn wait_for_letters_to(&self, recipient: &str, count: usize, limit: Duration) -> Vec<Letter> {
        let started = Instant::now();
        loop {
            let mut letters = self.letters();
            letters.retain(|letter| letter.recipients.iter().any(|one| one == recipient));
            if letters.len() >= count || started.elapsed() >= limit {
                return letters;
            }
            pause();
        }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Counterpart {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        writer.write_all(b"220 counterpart.example ESMTP\r\n")?;
        let mut line = Vec::new();
        let mut letter = Letter::of(String::new());
        while {
            line.clear();
            reader.read_until(b'\n', &mut line)? > 0
        } {
            let command = String::from_utf8_lossy(&line).trim_end().to_owned();
            let verb = command.get(..4).unwrap_or_default().to_ascii_uppercase();
            let reply = match verb.as_str() {
                "EHLO" => "250-counterpart.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n",
                "MAIL" => {
                    letter = Letter::of(command);
                    "250 2.1.0 ok\r\n"
                }
                "RCPT" => self.recipient(&command, &mut letter),
                "DATA" if letter.recipients.is_empty() => "554 5.5.1 no recipients\r\n",
                "DATA" => {
                    writer.write_all(b"354 go on\r\n")?;
                    self.at_once.begin();
                    let taken = self.content(&mut reader, &mut letter);
                    self.at_once.end();
                    taken?;
                    "250 2.0.0 taken\r\n"
                }
                "QUIT" => return writer.write_all(b"221 2.0.0 bye\r\n"),
                _ => "250 2.0.0 ok\r\n",
            };
            writer.write_all(reply.as_bytes())?;
        }
        Ok(())
    }

    fn recipient(&self, command: &str, letter: &mut Letter) -> &'static str {
        let address = command.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        let domain = address.rsplit('@').next().unwrap_or_default();
        if self.behaviour.reject.contains(&domain) {
            return "550 5.1.1 no such user\r\n";
        }
        let mut deferred = self.deferred.lock().unwrap_or_else(PoisonError::into_inner);
        let comes_back = self.behaviour.defer_once.contains(&domain) && deferred.insert(address.clone());
        if comes_back || self.behaviour.defer_always.contains(&domain) {
            return "451 4.3.0 come again\r\n";
        }
        letter.recipients.push(address);
        "250 2.1.5 ok\r\n"
    }

    /// Reads to the end of data, takes its time, and enters the message before its 250 is written.
    fn content(&self, reader: &mut BufReader<TcpStream>, letter: &mut Letter) -> io::Result<()> {
        let (mut line, mut is_load, mut returned) = (Vec::new(), false, Vec::new());
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if line == b".\r\n" {
                break;
            }
            is_load |= line.starts_with(FIELD.as_bytes());
            if let Some(value) = line.strip_prefix(RETURNED.as_bytes()) {
                returned.push(String::from_utf8_lossy(value).trim().to_owned());
            }
            letter.content.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
        let ends = Instant::now() + self.behaviour.takes;
        while Instant::now() < ends {
            pause();
        }
        if !is_load {
            letter.arrived_at = Instant::now();
            self.letters.lock().unwrap_or_else(PoisonError::into_inner).push(letter.clone());
            return Ok(());
        }
        let mut book = self.ledger.book();
        if letter.mail.contains("<>") {
            for recipient in returned {
                *book.bounced.entry(recipient).or_default() += 1;
            }
        } else {
            letter.recipients.drain(..).for_each(|recipient| book.arrives(recipient));
        }
        Ok(())
    }
}
