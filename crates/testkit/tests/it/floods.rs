//! Floods against the real program: whoever sends a million recipients or a line without an end is refused, and neither
//! he nor anyone else makes the program use more memory than a session may have.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use mailtier_testkit::installation::{Installation, Plan, free_port};
use mailtier_testkit::ledger::{Behaviour, Counterpart, Ledger, send};

/// The longest wait for anything.
const LIMIT: Duration = Duration::from_secs(60);
/// What the program may grow by under any of these floods: a message of the largest size on its way, a session's buffers
/// and the allocator's slack. Each flood would be more.
const GROWTH_KIB: u64 = 64 * 1024;
/// Octets of a line that has no end.
const ENDLESS_OCTETS: usize = 1 << 30;
/// Largest message of these tests: refused content is heard out for as much again.
const MESSAGE_OCTETS: usize = 8 << 20;
/// What the sockets of both sides hold.
const SOCKET_OCTETS: usize = 16 << 20;
const RECIPIENTS: usize = 1_000_000;
const MAX_RECIPIENTS: usize = 1000;

struct World {
    installation: Installation,
    counterpart: Counterpart,
    repairing: SocketAddr,
}

impl World {
    fn start() -> Self {
        let counterpart = Counterpart::start(&Ledger::default(), Behaviour::default()).unwrap();
        let repairing = free_port().unwrap();
        let listeners = format!("[{{name = \"repairing\", listen = [\"{repairing}\"], lines = \"normalize\"}}]");
        let plan = Plan::new(counterpart.address()).set("inbound", "listeners", listeners).set(
            "inbound",
            "max_message_size",
            format!("\"{}MiB\"", MESSAGE_OCTETS >> 20),
        );
        Self { installation: Installation::start(&plan).unwrap(), counterpart, repairing }
    }

    fn memory_kib(&self, field: &str) -> u64 {
        let pid = self.installation.pid_of("mailtier-inbound").unwrap();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// The peak of memory that a flood takes the program to is near what it had before.
    fn bounded<T>(&self, name: &str, flood: impl FnOnce() -> T) -> T {
        let pid = self.installation.pid_of("mailtier-inbound").unwrap();
        // Resets the peak (proc(5)).
        std::fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
        let before = self.memory_kib("VmRSS:");
        let result = flood();
        let grown = self.memory_kib("VmHWM:").saturating_sub(before);
        assert!(grown < GROWTH_KIB, "{name}: the program has grown by {grown} KiB");
        println!("{name}: {grown} KiB");
        result
    }

    /// Others are served as if nothing were.
    fn still_serves(&self, name: &str) {
        let recipient = format!("{}@sink.example", name.replace(' ', "-"));
        let taken = send(self.installation.smtp(), "<a@client.example>", &[&recipient], b"Subject: x\r\n\r\nx\r\n");
        assert_eq!(taken.unwrap(), 250, "{name}");
        assert_eq!(self.counterpart.wait_for_letters_to(&recipient, 1, LIMIT).len(), 1, "{name}");
    }
}

fn connect(server: SocketAddr) -> (TcpStream, BufReader<TcpStream>) {
    let stream = TcpStream::connect(server).unwrap();
    for (set, limit) in [(TcpStream::set_read_timeout as fn(&_, _) -> _, LIMIT), (TcpStream::set_write_timeout, LIMIT)]
    {
        set(&stream, Some(limit)).unwrap();
    }
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut greeting = String::new();
    reader.read_line(&mut greeting).unwrap();
    assert!(greeting.starts_with("220 "), "{greeting}");
    (stream, reader)
}

#[test]
fn a_million_recipients_in_one_transaction() {
    let world = World::start();
    let (mut writer, mut reader) = connect(world.installation.smtp());
    let (taken, refused) = world.bounded("recipients", || {
        let sending = std::thread::spawn(move || {
            writer.write_all(b"HELO c.example\r\nMAIL FROM:<a@client.example>\r\n").unwrap();
            for thousand in 0..RECIPIENTS / 1000 {
                let rcpt = |number| format!("RCPT TO:<r{}@sink.example>\r\n", thousand * 1000 + number);
                writer.write_all((0..1000).map(rcpt).collect::<String>().as_bytes()).unwrap();
            }
            writer.write_all(b"DATA\r\nSubject: x\r\n\r\nx\r\n.\r\nQUIT\r\n").unwrap();
        });
        let (mut taken, mut refused, mut line) = (0, 0, String::new());
        while {
            line.clear();
            reader.read_line(&mut line).unwrap() > 0
        } {
            taken += usize::from(line.starts_with("250 2.1.5 "));
            refused += usize::from(line.starts_with("452 4.5.3 "));
            assert!(line.starts_with(['2', '3']) || line.starts_with("452 4.5.3 "), "{line}");
        }
        sending.join().unwrap();
        (taken, refused)
    });
    // RFC 5321 §4.5.3.1.10: those that were taken get the message.
    assert_eq!((taken, refused), (MAX_RECIPIENTS, RECIPIENTS - MAX_RECIPIENTS));
    let last = format!("r{}@sink.example", MAX_RECIPIENTS - 1);
    assert_eq!(world.counterpart.wait_for_letters_to(&last, 1, LIMIT).len(), 1);
    world.installation.stop().unwrap();
}

/// Says something, then a gibibyte of one octet without a line's end. How much was taken, and what was answered.
fn endless(server: SocketAddr, said: &str) -> (usize, String) {
    let (mut writer, mut reader) = connect(server);
    let said = said.to_owned();
    let sending = std::thread::spawn(move || {
        writer.write_all(said.as_bytes()).unwrap();
        let piece = vec![b'x'; 1 << 16];
        let mut sent = 0;
        while sent < ENDLESS_OCTETS && writer.write_all(&piece).is_ok() {
            sent += piece.len();
        }
        let _ = writer.shutdown(Shutdown::Write);
        sent
    });
    let mut answers = Vec::new();
    let mut octets = [0; 4096];
    loop {
        match reader.read(&mut octets) {
            Ok(0) => break,
            Ok(count) => answers.extend_from_slice(&octets[..count]),
            // Who keeps talking after the last word is cut off.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{error}"),
        }
    }
    (sending.join().unwrap(), String::from_utf8(answers).unwrap())
}

#[test]
fn a_line_of_a_gibibyte_is_not_heard_out() {
    let world = World::start();
    let envelope = "EHLO c.example\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<b@sink.example>\r\n";
    let (data, chunk) = (format!("{envelope}DATA\r\n"), format!("{envelope}BDAT {ENDLESS_OCTETS} LAST\r\n"));
    let strict = world.installation.smtp();
    for (name, server, said, answer, heard_octets) in [
        ("in a command", strict, "NOOP ", "500 5.5.6 ", 1 << 20),
        ("in content", strict, &data, "550 5.6.0 ", MESSAGE_OCTETS),
        ("in content that is repaired", world.repairing, &data, "552 5.3.4 ", 2 * MESSAGE_OCTETS),
        ("in a chunk", strict, &chunk, "550 5.6.0 ", MESSAGE_OCTETS),
    ] {
        let (sent, answers) = world.bounded(name, || endless(server, said));
        let last = answers.lines().last().unwrap_or_default();
        assert!(last.starts_with(answer), "{name}: {answers}");
        assert!(sent <= heard_octets + SOCKET_OCTETS, "{name}: {sent} octets were taken");
        world.still_serves(name);
    }
    world.installation.stop().unwrap();
}
