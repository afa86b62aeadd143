//! A program that may open no more descriptors: the sessions there are go on, others wait and are served in their turn.

use std::time::Duration;

use mailtier_testkit::installation::{Installation, Plan};
use mailtier_testkit::ledger::{Behaviour, Counterpart, Ledger};
use rlimit::Resource;

use crate::session::Session;

/// The longest wait for mail.
const LIMIT: Duration = Duration::from_secs(20);
/// Descriptors left, and connections that want one.
const LEFT: u64 = 4;
const WANTED: usize = 40;

#[test]
fn without_descriptors_sessions_go_on_and_others_wait_their_turn() {
    let counterpart = Counterpart::start(&Ledger::default(), Behaviour::default()).unwrap();
    let installation = Installation::start(&Plan::new(counterpart.address())).unwrap();
    let mut session = Session::greeted(installation.smtp());

    let pid = installation.pid_of("mailtier-inbound").unwrap();
    let used = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64;
    let mut old = (0, 0);
    rlimit::prlimit(pid, Resource::NOFILE, None, Some((&mut old.0, &mut old.1))).unwrap();
    rlimit::prlimit(pid, Resource::NOFILE, Some((used + LEFT, old.1)), None).unwrap();

    let waiting: Vec<Session> = (0..WANTED).map(|_| Session::open(installation.smtp())).collect();
    session.converse(&[
        ("EHLO client.example", "250 "),
        ("MAIL FROM:<a@client.example>", "250 "),
        ("RCPT TO:<b@sink.example>", "250 "),
        ("DATA", "354 "),
        ("Subject: still here\r\n\r\ntext\r\n.", "250 2.6.0 "),
    ]);
    // Each ends before the next is looked at, and so makes room for it.
    for mut waited in waiting {
        assert!(waited.reply().starts_with("220 "));
    }
    assert_eq!(counterpart.wait_for_letters(1, LIMIT).len(), 1);
    let warnings = installation.log().matches("cannot accept connections").count();
    assert!(warnings > 0, "the operator is told");
    installation.stop().unwrap();
}
