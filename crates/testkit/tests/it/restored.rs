//! A database that was restored from a backup: what was delivered since is found in the log and taken out, and the rest is
//! sent once.

use std::collections::BTreeSet;
use std::time::Duration;

use mailtier_testkit::fleet::{Fleet, Size, at, audit, migrate};
use mailtier_testkit::installation::Plan;
use mailtier_testkit::ledger::{Behaviour, Counterpart, Ledger, send};
use mailtier_testkit::postgres::PostgresServer;

use crate::loads::wait_until;

/// Longest wait for mail.
const LIMIT: Duration = Duration::from_secs(60);
const ONE_OF_EACH: Size = Size { inbounds: 1, queues: 1, outbounds: 1 };

/// Mail goes nowhere by itself a second time; operators say when.
fn fleet(counterpart: &Counterpart, database: &str, settings: impl FnOnce(Plan) -> Plan) -> Fleet {
    let plan =
        Plan::new(counterpart.address()).set("queue", "retry_first", "\"1h\"").set("queue", "retry_max", "\"1h\"");
    let mut fleet = Fleet::new(&settings(plan), ONE_OF_EACH, |_| database.to_owned()).unwrap();
    fleet.start().unwrap();
    fleet
}

fn submit(fleet: &Fleet, recipients: &[&str]) {
    let content = b"Subject: x\r\n\r\nx\r\n";
    assert_eq!(send(fleet.smtp()[0], "<s@client.example>", recipients, content).unwrap(), 250, "{recipients:?}");
}

/// `recipient: is over` or `recipient: sent again`, as the command tells of each.
fn told(fleet: &Fleet, log: &str) -> BTreeSet<String> {
    let lines = fleet.mailtier(&["queue", "restored", "--json", "--log", log]).unwrap();
    let mut told = BTreeSet::new();
    for line in lines.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        for (list, fate) in [("over", "is over"), ("sent_again", "sent again")] {
            let recipients = line[list].as_array().unwrap().iter();
            told.extend(recipients.map(|recipient| format!("{}: {fate}", recipient.as_str().unwrap())));
        }
    }
    told
}

#[test]
fn what_was_delivered_since_the_backup_is_taken_out_and_the_rest_is_sent_once() {
    let behaviour = Behaviour { defer_once: &["later.example"], ..Behaviour::default() };
    let counterpart = Counterpart::start(&Ledger::default(), behaviour).unwrap();
    let server = PostgresServer::start().unwrap();
    migrate(&server.url("postgres")).unwrap();
    let count = |database: &str, table: &str| server.sql(database, &format!("SELECT count(*) FROM {table}")).unwrap();
    let arrived = |recipient: &str| {
        let is_there =
            |letter: &&mailtier_testkit::ledger::Letter| letter.recipients.iter().any(|one| one == recipient);
        counterpart.letters().iter().filter(is_there).count()
    };

    let before = fleet(&counterpart, &server.url("postgres"), |plan| plan);
    before.mailtier(&["queue", "suspend", "--destination", "waits.example"]).unwrap();
    submit(&before, &["gone@now.example"]);
    submit(&before, &["over@later.example"]);
    submit(&before, &["again@later.example"]);
    submit(&before, &["again@waits.example"]);
    submit(&before, &["both-over@later.example", "both-again@waits.example"]);
    wait_until("it is delivered", || arrived("gone@now.example") == 1);
    wait_until("some are deferred, some were not attempted", || {
        (count("postgres", "retry"), count("postgres", "delivery")) == ("3".to_owned(), "5".to_owned())
    });
    let backup = server.back_up("postgres").unwrap();

    for recipient in ["over@later.example", "both-over@later.example"] {
        before.mailtier(&["queue", "retry", "--recipient", recipient]).unwrap();
    }
    submit(&before, &["since@now.example"]);
    wait_until("all of that is settled", || count("postgres", "delivery") == "3");
    let log = before.folder().join("log-queue-0").to_string_lossy().into_owned();
    let kept = server.folder().join("log-of-that-time");
    std::fs::copy(&log, &kept).unwrap();
    before.stop().unwrap();

    server.restore("restored", &backup).unwrap();
    let after = fleet(&counterpart, &server.url("restored"), |plan| plan.set("queue", "start_paused", "true"));
    let kept = kept.to_string_lossy().into_owned();
    let again = ["again@later.example", "again@waits.example", "both-again@waits.example"];
    let over = ["over@later.example", "both-over@later.example"];
    let left: BTreeSet<String> = again.iter().map(|recipient| format!("{recipient}: sent again")).collect();
    let mut all = left.clone();
    all.extend(over.map(|recipient| format!("{recipient}: is over")));
    assert_eq!(told(&after, &kept), all);

    let delete = ["queue", "restored", "--log", &kept, "--delete"];
    let trial = after.mailtier(&[&delete[..], &["--dry-run"]].concat()).unwrap();
    assert!(trial.contains("2 removed if it were no trial"), "{trial}");
    assert_eq!(told(&after, &kept), all, "a trial changes nothing");
    let removed = after.mailtier(&delete).unwrap();
    assert!(removed.contains("2 removed") && removed.contains("3 would be sent again;"), "{removed}");
    assert_eq!(told(&after, &kept), left);
    let history = after.mailtier(&["trace", "over@later.example"]).unwrap();
    assert!(history.contains("removed") && history.contains("says the log"), "{history}");

    submit(&after, &["new@now.example"]);
    after.mailtier(&["queue", "resume", "--all"]).unwrap();
    after.mailtier(&["queue", "resume", "--destination", "waits.example"]).unwrap();
    after.mailtier(&["queue", "retry", "--all"]).unwrap();
    wait_until("everything is over", || count("restored", "delivery") == "0");
    let everyone = [&again[..], &over, &["gone@now.example", "since@now.example", "new@now.example"]].concat();
    assert_eq!(counterpart.wait_for_letters(everyone.len(), LIMIT).len(), everyone.len());
    everyone.iter().for_each(|recipient| assert_eq!(arrived(recipient), 1, "{recipient}"));
    let findings = audit(&at(&server.url("restored"))).unwrap();
    assert!(findings.is_empty(), "{findings:?}");
    after.stop().unwrap();
}
