//! The configuration is changed beneath running programs under load, by a signal and by the file alone: what is said to count
//! at once counts, what cannot be used changes nothing, and no client and no message notices.

use std::fs;
use std::path::PathBuf;

use mailtier_testkit::fleet::{Fleet, Process, Size};
use mailtier_testkit::installation::Plan;
use mailtier_testkit::ledger::{Behaviour, Counterpart, Ledger, send};
use mailtier_testkit::postgres::TestDatabase;
use nix::sys::signal::Signal;

use crate::loads::{BEHAVIOUR, Flow, LIMIT, new_database, wait_until};
use crate::session::Session;

const ONE_OF_EACH: Size = Size { inbounds: 1, queues: 1, outbounds: 1 };
/// Of the load; what is tried again is the test's own.
const DOMAINS: &[&str] = &["one.example", "two.example", "never.example"];
/// So many signals in a row are one after the other, or fewer.
const STORM: usize = 100;

/// Programs under load, and another host than that of the load, which defers once what is for later.example.
struct Running {
    flow: Flow,
    other: Counterpart,
    file: PathBuf,
}

impl Running {
    fn start(database: &TestDatabase) -> Self {
        let ledger = Ledger::default();
        let counterpart = Counterpart::start(&ledger, BEHAVIOUR).unwrap();
        let deferring = Behaviour { defer_once: &["later.example"], ..Behaviour::default() };
        let other = Counterpart::start(&Ledger::default(), deferring).unwrap();
        let plan = Plan::new(counterpart.address())
            .set("cluster", "watch_files", "false")
            .set("inbound", "max_message_size", "\"1MiB\"")
            .set("queue", "retry_first", "\"1h\"")
            .set("queue", "retry_max", "\"1h\"")
            .with_route("later.example", format!("hosts = [\"{}\"]", other.address()));
        let mut fleet = Fleet::new(&plan, ONE_OF_EACH, |_| database.url()).unwrap();
        fleet.start().unwrap();
        let file = fleet.folder().join("mailtier.toml");
        Self { flow: Flow::through(fleet, ledger, counterpart, DOMAINS), other, file }
    }

    fn write(&self, text: &str) {
        fs::write(&self.file, text).unwrap();
    }

    fn send(&self, recipient: &str) {
        let content = b"Subject: x\r\n\r\nx\r\n";
        assert_eq!(send(self.flow.fleet.smtp()[0], "<s@client.example>", &[recipient], content).unwrap(), 250);
    }

    /// The size of a message that clients are told.
    fn offered_size(&self) -> u64 {
        let mut session = Session::greeted(self.flow.fleet.smtp()[0]);
        session.write("EHLO client.example\r\n");
        let lines = session.lines();
        let size = lines.iter().find_map(|line| line.get(4..)?.strip_prefix("SIZE ")).unwrap();
        size.trim().parse().unwrap()
    }

    fn signal(&mut self) {
        self.flow.fleet.all().for_each(|process| process.signal(Signal::SIGHUP).unwrap());
    }

    fn until_all(&mut self, what: &str, holds: impl Fn(&Process) -> bool) {
        for process in self.flow.fleet.all() {
            wait_until(&format!("{}: {what}", process.name()), || holds(process));
        }
    }
}

fn is_good(process: &Process) -> Option<bool> {
    process.metric("mailtier_config_reload_successful").map(|value| value > 0.0)
}

#[test]
fn a_running_installation_is_set_to_something_else() {
    let database = new_database();
    let mut running = Running::start(&database);
    assert_eq!(running.offered_size(), 1 << 20);
    running.send("waits@later.example");

    let text = fs::read_to_string(&running.file).unwrap();
    let changed = text
        .replace("watch_files = false", "watch_files = true")
        .replace("max_message_size = \"1MiB\"", "max_message_size = \"2MiB\"")
        .replace("retry_first = \"1h\"", "retry_first = \"1s\"")
        + &format!("[[outbound.routes]]\ndomain = \"moved.example\"\nhosts = [\"{}\"]\n", running.other.address());
    running.write(&changed);
    running.signal();
    running.until_all("it is taken up", |process| process.log().contains("the configuration is taken up"));
    assert_eq!(running.offered_size(), 2 << 20, "reception");
    running.send("a@moved.example");
    running.send("again@later.example");
    let came = |recipient: &str| !running.other.wait_for_letters_to(recipient, 1, LIMIT).is_empty();
    assert!(came("a@moved.example"), "routes");
    assert!(came("again@later.example"), "the wait for another attempt");
    running.flow.goes_on();

    // From here on by the file alone.
    running.write(&changed.replace("max_message_size", "max_mesage_size"));
    running.until_all("it complains", |process| is_good(process) == Some(false));
    running.until_all("it says what is wrong", |process| process.log().contains("max_message_size"));
    assert_eq!(running.offered_size(), 2 << 20, "what it has stays");
    running.flow.goes_on();
    running.write(&changed.replace("\"2MiB\"", "\"3MiB\""));
    running.until_all("it is mended", |process| is_good(process) == Some(true));
    wait_until("the size is the third", || running.offered_size() == 3 << 20);

    for _ in 0..STORM {
        running.signal();
    }
    running.flow.goes_on();
    // It was put off by the wait of before.
    running.flow.fleet.mailtier(&["queue", "retry", "--all"]).unwrap();
    assert!(!running.other.wait_for_letters_to("waits@later.example", 1, LIMIT).is_empty());
    let balance = running.flow.conclude("reloaded", database.config());
    assert_eq!(balance.put_off, 0, "clients do not notice: {balance:?}");
}
