//! `mailtier tls-report`: a report of TLS (RFC 8460) for people, from a file as it came. Needs no queue. Not responsible for
//! reading it: `message` does.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use mailtier_api::json;
use mailtier_message::feedback::{Feedback, read};
use mailtier_message::tls_report::TlsReport;
use mailtier_types::text::Chain;
use mailtier_types::{ReceivedTlsReport, TlsFailure};

use crate::cli::Failure;
use crate::output::say;

/// The largest file that is read, in octets.
const MAX_FILE_OCTETS: u64 = 16 << 20;

/// What can be said on the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The file: JSON, the same packed with gzip, or the whole mail that brought it; `-` for standard input
    file: PathBuf,
    /// Prints JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// Shows a report.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let report = report(&content(options)?)?;
    for part in report.received() {
        if options.json {
            say!("{}", json::line(&json::TlsReport::from(&part)));
        } else {
            for line in lines(&part) {
                say!("{line}");
            }
        }
    }
    if report.policies.is_empty() {
        eprintln!("the report by {} is about no policy", report.organization);
    }
    Ok(ExitCode::SUCCESS)
}

fn content(options: &Options) -> anyhow::Result<Vec<u8>> {
    let mut content = Vec::new();
    let mut take = |from: &mut dyn std::io::Read| from.take(MAX_FILE_OCTETS + 1).read_to_end(&mut content);
    let name = options.file.display();
    let unreadable = |error| Failure::error(Failure::NO_INPUT, format!("cannot read {name}: {error}"));
    if options.file.as_os_str() == "-" {
        take(&mut std::io::stdin()).context("cannot read standard input")?;
    } else {
        let mut file = std::fs::File::open(&options.file).map_err(unreadable)?;
        take(&mut file).map_err(unreadable)?;
    }
    if content.len() as u64 > MAX_FILE_OCTETS {
        return Err(wrong(format!("{name} is larger than {MAX_FILE_OCTETS} octets: no report is")));
    }
    Ok(content)
}

/// From whatever form it has.
fn report(content: &[u8]) -> anyhow::Result<TlsReport> {
    let is_bare = content.starts_with(&[0x1f, 0x8b]) || content.trim_ascii_start().starts_with(b"{");
    if is_bare {
        return TlsReport::read(content).map_err(|error| wrong(format!("this is no report of TLS: {}", Chain(&error))));
    }
    Err(wrong(match read(content) {
        Feedback::TlsReport(report) => return Ok(report),
        Feedback::BadTlsReport(why) => format!("the mail holds a report of TLS that cannot be read: {why}"),
        _ => {
            "this is neither JSON, packed or not, nor a mail with a report of TLS (application/tlsrpt+gzip)".to_owned()
        }
    }))
}

fn wrong(what: String) -> anyhow::Error {
    Failure::error(Failure::BAD_DATA, what)
}

/// What a report says of one policy.
fn lines(report: &ReceivedTlsReport) -> Vec<String> {
    let counts = &report.counts;
    let from_to = format!("{} to {}", json::time(report.begins_at), json::time(report.ends_at));
    let mut lines = vec![
        format!("{}  by {}  {from_to}  ({})", report.domain, report.organization, report.id),
        format!("  policy {}  {} good  {} failed", counts.policy.kind.word(), counts.successes, counts.failed()),
    ];
    lines.extend(counts.failures.iter().map(|failure| format!("    {}", failure_text(failure))));
    lines
}

/// `3 certificate-expired host=mx.example[192.0.2.1] from=198.51.100.7 (reason)`.
pub(crate) fn failure_text((failure, sessions): &(TlsFailure, u64)) -> String {
    let mut text = format!("{sessions} {}", failure.fault.word());
    let address = failure.host_address.map(|address| format!("[{address}]")).unwrap_or_default();
    if !failure.host.is_empty() || failure.host_address.is_some() {
        text.push_str(&format!(" host={}{address}", failure.host));
    }
    if let Some(address) = failure.sending_address {
        text.push_str(&format!(" from={address}"));
    }
    if !failure.reason.is_empty() {
        text.push_str(&format!(" ({})", failure.reason));
    }
    text
}

#[cfg(test)]
mod tests {
    use mailtier_types::{PolicyCounts, Timestamp, TlsFault, TlsPolicyFound, TlsPolicyKind};

    use super::*;

    #[test]
    fn a_report_is_shown_whatever_form_it_has() {
        let failure = TlsFailure {
            host: "mx.d.example".to_owned(),
            host_address: Some("192.0.2.1".parse().unwrap()),
            ..TlsFailure::untold(TlsFault::CertificateExpired)
        };
        let counts = PolicyCounts {
            policy: TlsPolicyFound::untold(TlsPolicyKind::Sts),
            successes: 5,
            failures: vec![(failure, 2)],
        };
        let written = TlsReport {
            organization: "Example".to_owned(),
            contact: String::new(),
            id: "1@example".to_owned(),
            begins_at: Timestamp::from_secs(1_800_000_000),
            ends_at: Timestamp::from_secs(1_800_086_399),
            policies: vec![("d.example".to_owned(), counts)],
        };
        let packed = written.packed().unwrap();
        let read = report(&packed).unwrap();
        assert_eq!(read, written);
        assert_eq!(
            lines(&read.received()[0]),
            [
                "d.example  by Example  2027-01-15T08:00:00.000Z to 2027-01-16T07:59:59.000Z  (1@example)",
                "  policy sts  5 good  2 failed",
                "    2 certificate-expired host=mx.d.example[192.0.2.1]",
            ]
        );
        for (wrong, why) in [("From: a\r\n\r\nhello", "neither"), ("{}", "no report of TLS"), ("\u{1f}x", "neither")] {
            let error = report(wrong.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(why), "{wrong}");
            assert_eq!(error.downcast_ref::<Failure>().map(|failure| failure.code), Some(Failure::BAD_DATA), "{wrong}");
        }
    }
}
