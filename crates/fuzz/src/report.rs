//! Reports that come back: everything taken out of one has its limit and is harmless to show, and nobody
//! makes a return path.

use mailtier_message::feedback::{Feedback, MAX_REPORTED, addresses_at, read};
use mailtier_message::{Claim, ReturnPaths};
use mailtier_types::{Domain, Timestamp};

/// The longest text that is kept, in octets: what is cut off ends with an ellipsis.
const MAX_TEXT_OCTETS: usize = 503;

pub(crate) fn run(data: &[u8]) {
    match read(data) {
        Feedback::Status(report) => {
            assert!((1..=MAX_REPORTED).contains(&report.recipients.len()));
            harmless(&report.reporter);
            for one in &report.recipients {
                [&one.recipient, &one.original, &one.diagnostic, &one.host].into_iter().for_each(|text| harmless(text));
                assert!(one.code.is_none_or(|code| (400..600).contains(&code)));
            }
        }
        Feedback::Complaint(complaint) => {
            assert!(complaint.recipients.len() <= MAX_REPORTED);
            complaint.recipients.iter().chain([&complaint.kind, &complaint.agent]).for_each(|text| harmless(text));
        }
        Feedback::TlsReport(report) => {
            harmless(&report.organization);
            for part in report.received() {
                [&part.domain, &part.id].into_iter().for_each(|text| harmless(text));
                for (failure, _) in &part.counts.failures {
                    [&failure.host, &failure.reason].into_iter().for_each(|text| harmless(text));
                }
            }
        }
        Feedback::BadTlsReport(why) => harmless(&why),
        Feedback::AutoReply | Feedback::Unknown => {}
    }
    let domain = Domain::parse("near.example").expect("it is a domain");
    let secret = "a secret that no fuzzer will ever guess";
    let paths = ReturnPaths::new(domain, secret, std::time::Duration::MAX).expect("it is long enough");
    for address in addresses_at(data, "near.example", 16) {
        assert!(!matches!(paths.judge_text(address, Timestamp::EPOCH), Claim::Genuine(_)), "{address} is forged");
    }
}

fn harmless(text: &str) {
    assert!(text.len() <= MAX_TEXT_OCTETS, "{} octets", text.len());
    assert!(text.chars().all(|one| !one.is_control()), "{text:?}");
}
