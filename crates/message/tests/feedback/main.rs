//! What comes back, form by form: `corpus/<name>.eml` is read as `corpus/<name>.txt` says. The messages are written after
//! the documents that describe their forms.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "what helps a test may fail loudly")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use mailtier_message::feedback::{Feedback, MAX_REPORTED, Reported, addresses_at, read};

fn corpus() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/feedback/corpus");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|kind| kind == "eml")).collect();
    found.sort();
    found
}

fn told(feedback: &Feedback) -> String {
    let mut text = String::new();
    match feedback {
        Feedback::Status(report) => {
            let reporter = if report.reporter.is_empty() { "-" } else { &report.reporter };
            writeln!(text, "status {} by {reporter}", report.form).unwrap();
            report.recipients.iter().for_each(|one| text.push_str(&line(one)));
        }
        Feedback::Complaint(complaint) => {
            write!(text, "complaint {} by {}", complaint.kind, complaint.agent).unwrap();
            text.push_str(if complaint.is_against() { ", against" } else { "" });
            let recipients = complaint.recipients.join(" ");
            text.push_str(&if recipients.is_empty() { String::new() } else { format!(": {recipients}") });
            text.push('\n');
        }
        Feedback::TlsReport(report) => {
            writeln!(text, "tls report by {} ({})", report.organization, report.id).unwrap();
            for (domain, counts) in &report.policies {
                let (kind, good, failed) = (counts.policy.kind.word(), counts.successes, counts.failed());
                writeln!(text, "{domain} {kind}: {good} good, {failed} failed").unwrap();
                for (failure, sessions) in &counts.failures {
                    writeln!(text, "{sessions} {} {} {}", failure.fault.word(), failure.host, failure.reason).unwrap();
                }
            }
        }
        Feedback::BadTlsReport(why) => writeln!(text, "bad tls report: {why}").unwrap(),
        Feedback::AutoReply => text.push_str("auto reply\n"),
        Feedback::Unknown => text.push_str("unknown\n"),
    }
    text
}

fn line(one: &Reported) -> String {
    let mut text = format!("{} {}", one.fate.word(), one.recipient);
    let facts = [
        ("was", one.original.clone()),
        ("status", one.status.map(|status| status.to_string()).unwrap_or_default()),
        ("code", one.code.map(|code| code.to_string()).unwrap_or_default()),
        ("host", one.host.clone()),
    ];
    for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
        write!(text, ", {name} {value}").unwrap();
    }
    text.push_str(&if one.diagnostic.is_empty() { String::new() } else { format!(": {}", one.diagnostic) });
    text + "\n"
}

/// RFC 3464, RFC 5965, RFC 6522, RFC 6533, RFC 8460, and what keeps to none of them.
#[test]
fn each_form_is_read_as_is_said_beside_it() {
    let corpus = corpus();
    assert!(corpus.len() >= 20);
    let mut wrong = String::new();
    for path in corpus {
        let content = std::fs::read_to_string(&path).unwrap();
        let expected = std::fs::read_to_string(path.with_extension("txt")).unwrap();
        for content in [content.clone(), content.replace('\n', "\r\n")] {
            let found = told(&read(content.as_bytes()));
            if found != expected {
                writeln!(wrong, "{}\n{found}instead of\n{expected}", path.display()).unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn whatever_is_cut_off_is_read_without_harm() {
    for path in corpus() {
        let content = std::fs::read(&path).unwrap();
        for end in 0..content.len() {
            let _ = read(&content[..end]);
        }
    }
}

#[test]
fn a_report_about_everybody_names_so_many() {
    let mut content = String::from("Content-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\n");
    for number in 0..5000 {
        writeln!(content, "Final-Recipient: rfc822; u{number}@far.example\nAction: failed\nStatus: 5.1.1\n").unwrap();
    }
    let Feedback::Status(report) = read(content.as_bytes()) else { panic!("it is a report") };
    assert_eq!(report.recipients.len(), MAX_REPORTED);
}

#[test]
fn return_paths_are_found_wherever_they_stand() {
    let content = b"x <bounces+AbC2@Near.example>, a@near.example.org b@near.examples \"q\"bounces+d@near.example@";
    let found: Vec<&str> = addresses_at(content, "near.example", 10).collect();
    assert_eq!(found, ["bounces+AbC2@Near.example", "a@near.example", "b@near.example", "bounces+d@near.example"]);
    let many = "a@near.example ".repeat(1000);
    assert_eq!(addresses_at(many.as_bytes(), "near.example", 16).count(), 16);
    assert_eq!(addresses_at(b"@near.example", "near.example", 16).collect::<Vec<_>>(), ["@near.example"]);
}
