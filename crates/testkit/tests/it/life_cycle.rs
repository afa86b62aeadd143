//! How programs come and go in an orderly way, with real processes under load: every tier is restarted, one program after
//! the other, the schema is changed beneath them, and a signal is answered in time.

use std::time::{Duration, Instant};

use mailtier_testkit::fleet::{Fleet, Process, Size};
use mailtier_testkit::installation::Plan;
use mailtier_testkit::ledger::{Behaviour, Counterpart, Ledger, send};
use nix::sys::signal::Signal;

use crate::loads::{DOMAINS, Flow, LIMIT, SESSIONS, new_database, sql, wait_until};
use crate::session::Session;

const TWO_OF_EACH: Size = Size { inbounds: 2, queues: 2, outbounds: 2 };
const ONE_OF_EACH: Size = Size { inbounds: 1, queues: 1, outbounds: 1 };
/// What a drain may take with the settings of these tests, and the end after it (docs/operations.md).
const DRAIN: &str = "\"20s\"";
const GRACE: Duration = Duration::from_secs(25);
/// When a program is told to end at once, on a machine that does much else.
const AT_ONCE: Duration = Duration::from_secs(10);
/// As a program says that it was interrupted.
const INTERRUPTED: i32 = 130;
const SMTP_OPENING: &[(&str, &str)] = &[
    ("EHLO client.example", "250 "),
    ("MAIL FROM:<a@client.example>", "250 "),
    ("RCPT TO:<b@sink.example>", "250 "),
    ("DATA", "354 "),
];

fn restart(process: &mut Process) {
    let asked = Instant::now();
    process.stop().unwrap();
    assert!(asked.elapsed() < GRACE, "{} takes {:?} to end", process.name(), asked.elapsed());
    process.start().unwrap();
    process.until_ready().unwrap();
}

fn drains_in_time(plan: Plan) -> Plan {
    ["inbound", "queue", "outbound"].iter().fold(plan, |plan, tier| plan.set(tier, "drain_timeout", DRAIN))
}

#[test]
fn every_tier_is_restarted_and_clients_are_told_to_come_again_at_worst() {
    let database = new_database();
    let mut flow = Flow::start(DOMAINS, drains_in_time, TWO_OF_EACH, |_| database.url());
    for number in 0..2 {
        restart(&mut flow.fleet.queues[number]);
        flow.goes_on();
        restart(&mut flow.fleet.outbounds[number]);
        flow.goes_on();
    }
    assert_eq!(flow.ledger.balance().put_off, 0, "clients do not notice what is behind inbound");
    for number in 0..2 {
        restart(&mut flow.fleet.inbounds[number]);
        flow.goes_on();
    }
    let balance = flow.conclude("every tier restarted", database.config());
    assert!(balance.put_off <= 2 * SESSIONS, "a client is told so once for each restart of inbound: {balance:?}");
}

/// The version after this one migrates first, and then its programs come one by one.
#[test]
fn the_schema_of_the_next_version_is_made_beneath_running_programs() {
    let database = new_database();
    let mut flow = Flow::start(DOMAINS, drains_in_time, TWO_OF_EACH, |_| database.url());
    let step = "BEGIN; SET LOCAL lock_timeout = '10s';
        ALTER TABLE delivery ADD COLUMN of_the_next smallint NOT NULL DEFAULT 0;
        ALTER TABLE retry ADD COLUMN of_the_next text;
        CREATE TABLE of_the_next (id bigint PRIMARY KEY);
        INSERT INTO schema_version (version, name, checksum, oldest_program)
            SELECT max(version) + 1, 'of_the_next', '', max(version) FROM schema_version;
        COMMIT";
    sql(&database, step);
    flow.goes_on();
    restart(&mut flow.fleet.queues[0]);
    flow.goes_on();
    let balance = flow.conclude("the next schema", database.config());
    assert_eq!(balance.put_off, 0, "clients do not notice: {balance:?}");
}

#[test]
fn what_is_under_way_when_the_signal_comes_is_finished() {
    let database = new_database();
    let counterpart = Counterpart::start(&Ledger::default(), Behaviour::default()).unwrap();
    let mut fleet =
        Fleet::new(&drains_in_time(Plan::new(counterpart.address())), ONE_OF_EACH, |_| database.url()).unwrap();
    fleet.start().unwrap();
    let mut session = Session::greeted(fleet.smtp()[0]);
    session.converse(SMTP_OPENING);
    session.write("Subject: under way\r\n\r\n");

    let inbound = &mut fleet.inbounds[0];
    inbound.signal(Signal::SIGTERM).unwrap();
    wait_until("no more traffic is asked for", || !inbound.is_ready());
    assert!(inbound.is_running(), "it waits for what is under way");
    session.converse(&[("text\r\n.", "250 2.6.0 ")]);
    let told = session.reply();
    assert!(told.starts_with("421 4.3.2 "), "then the client is told: {told}");
    let status = inbound.until_ended().unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(counterpart.wait_for_letters(1, LIMIT).len(), 1);
    fleet.stop().unwrap();
}

#[test]
fn a_second_signal_ends_a_program_at_once() {
    let database = new_database();
    let slow = Behaviour { takes: GRACE, ..Behaviour::default() };
    let counterpart = Counterpart::start(&Ledger::default(), slow).unwrap();
    let plan = Plan::new(counterpart.address()).set("queue", "worker_grace", "\"1s\"");
    let mut fleet = Fleet::new(&plan, ONE_OF_EACH, |_| database.url()).unwrap();
    fleet.start().unwrap();
    let server = fleet.smtp()[0];
    assert_eq!(send(server, "<a@client.example>", &["b@sink.example"], b"Subject: x\r\n\r\nx\r\n").unwrap(), 250);
    wait_until("it is being delivered", || fleet.outbounds[0].metric("mailtier_outbound_in_flight") == Some(1.0));
    let mut session = Session::greeted(server);
    session.converse(SMTP_OPENING);

    for process in fleet.inbounds.iter_mut().chain(&mut fleet.outbounds).chain(&mut fleet.queues) {
        process.signal(Signal::SIGTERM).unwrap();
        wait_until("it drains", || process.log().contains("draining") && !process.is_ready());
        assert!(process.is_running(), "{} waits for what is under way", process.name());
        let again = Instant::now();
        process.signal(Signal::SIGTERM).unwrap();
        let status = process.until_ended().unwrap();
        assert_eq!(status.code(), Some(INTERRUPTED), "{}: {status}", process.name());
        assert!(again.elapsed() < AT_ONCE, "{} takes {:?}", process.name(), again.elapsed());
    }
    for process in fleet.all() {
        process.start().unwrap();
    }
    fleet.until_ready().unwrap();
    assert!(!counterpart.wait_for_letters(1, LIMIT).is_empty(), "nothing is lost by that");
    wait_until("it is settled", || sql(&database, "SELECT count(*) FROM delivery") == "0");
    fleet.stop().unwrap();
}
