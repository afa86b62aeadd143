//! The message that carries a report (RFC 8460 §5.3). Not responsible for its signature, nor for who gets it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mailtier_types::{Mailbox, MessageId, Timestamp};

use super::TlsReport;
use crate::date;
use crate::text::{self, Charset};

/// Octets of base64 in a line (RFC 2045 §6.8).
const LINE_OCTETS: usize = 76;
/// Characters of a line for people.
const WIDTH: usize = 72;

/// What a message with a report is made of.
#[derive(Clone, Copy, Debug)]
pub struct TlsReportMail<'a> {
    /// What it says.
    pub report: &'a TlsReport,
    /// Whose sessions it is about.
    pub domain: &'a str,
    /// The report as it is sent, packed.
    pub packed: &'a [u8],
    /// Who sends it.
    pub from: &'a Mailbox,
    /// Who gets it.
    pub to: &'a Mailbox,
    /// The message's own id.
    pub message: MessageId,
    /// Its date.
    pub now: Timestamp,
}

/// RFC 8460 §5.1: `sender ! policy-domain ! begin ! end . extension`.
#[must_use]
pub fn file_name(report: &TlsReport, submitter: &str, domain: &str) -> String {
    let (begin, end) = (report.begins_at.as_secs(), report.ends_at.as_secs());
    format!("{}!{}!{begin}!{end}.json.gz", text::host(submitter), text::host(domain))
}

/// Header section and body, CRLF line ends, ASCII only.
#[must_use]
pub fn report_mail(mail: TlsReportMail<'_>) -> Vec<u8> {
    let submitter = mail.from.domain_str().to_owned();
    let domain = text::host(mail.domain);
    let id = text::one_line(&mail.report.id, Charset::Ascii, 200);
    let file_name = file_name(mail.report, &submitter, &domain);
    let boundary = format!("=_tlsrpt_{}", mail.message);
    let mut out = String::new();
    text::field(&mut out, "From", &format!("<{}>", mail.from));
    text::field(&mut out, "To", &format!("<{}>", mail.to));
    text::field(&mut out, "Date", &date::rfc5322(mail.now));
    text::field(&mut out, "Message-ID", &format!("<{}@{submitter}>", mail.message));
    text::field(&mut out, "Subject", &format!("Report Domain: {domain} Submitter: {submitter} Report-ID: <{id}>"));
    text::field(&mut out, "TLS-Report-Domain", &domain);
    text::field(&mut out, "TLS-Report-Submitter", &submitter);
    // RFC 8460 §5.3: what is reported must not keep the report away (RFC 8689 §5).
    text::field(&mut out, "TLS-Required", "No");
    text::field(&mut out, "Auto-Submitted", "auto-generated");
    text::field(&mut out, "MIME-Version", "1.0");
    text::field(
        &mut out,
        "Content-Type",
        &format!("multipart/report; report-type=\"tlsrpt\"; boundary=\"{boundary}\""),
    );
    out.push_str(&format!("\r\n--{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"));
    for_people(&mut out, mail.report, &domain);
    out.push_str(&format!(
        "\r\n--{boundary}\r\nContent-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment;\r\n filename=\"{file_name}\"\r\n\r\n"
    ));
    let encoded = STANDARD.encode(mail.packed);
    for line in encoded.as_bytes().chunks(LINE_OCTETS) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push_str("\r\n");
    }
    out.push_str(&format!("\r\n--{boundary}--\r\n"));
    out.into_bytes()
}

fn for_people(out: &mut String, report: &TlsReport, domain: &str) {
    let organization = text::one_line(&report.organization, Charset::Ascii, 200);
    let contact = text::one_line(&report.contact, Charset::Ascii, 200);
    let begins = date::rfc5322(report.begins_at);
    let successes: u64 = report.policies.iter().map(|(_, counts)| counts.successes).sum();
    let failures: u64 = report.policies.iter().map(|(_, counts)| counts.failed()).sum();
    let sentences = [
        format!("This is an aggregate report of TLS connections to the mail servers of {domain}, by {organization}."),
        format!(
            "On the day that began on {begins}, {successes} sessions were encrypted as they should be, and {failures} \
             were not. The attached file has the details (RFC 8460)."
        ),
        format!("Whom to ask: {contact}"),
    ];
    for sentence in sentences {
        text::paragraph(out, 0, WIDTH, &sentence);
        out.push_str("\r\n");
    }
}

#[cfg(test)]
mod tests {
    use mailtier_types::{
        Day, IdSource, NodeNumber, PolicyCounts, TlsFailure, TlsFault, TlsPolicyFound, TlsPolicyKind,
    };

    use super::*;
    use crate::feedback::{Feedback, read};

    #[test]
    fn a_message_of_ours_says_what_was_counted() {
        let day: Day = "2026-11-25".parse().unwrap();
        let failure = TlsFailure {
            fault: TlsFault::CertificateExpired,
            sending_address: Some("192.0.2.1".parse().unwrap()),
            host: "mx.d.example".to_owned(),
            host_address: Some("198.51.100.7".parse().unwrap()),
            reason: "expired".to_owned(),
        };
        let policy = TlsPolicyFound {
            kind: TlsPolicyKind::Sts,
            lines: vec!["version: STSv1".to_owned(), "mode: enforce".to_owned()],
            hosts: vec!["*.d.example".to_owned()],
        };
        let report = TlsReport {
            organization: "Example GmbH".to_owned(),
            contact: "postmaster@example.com".to_owned(),
            id: "20261125.d.example".to_owned(),
            begins_at: day.begins_at(),
            ends_at: Timestamp::from_secs(day.ends_at().as_secs() - 1),
            policies: vec![(
                "d.example".to_owned(),
                PolicyCounts { policy, successes: 5, failures: vec![(failure, 2)] },
            )],
        };
        let packed = report.packed().unwrap();
        let (from, to) = (Mailbox::parse("tls@example.com").unwrap(), Mailbox::parse("r@d.example").unwrap());
        let now = day.ends_at();
        let message = IdSource::new(NodeNumber::new(1).unwrap()).take(1, now);
        let mail =
            TlsReportMail { report: &report, domain: "d.example", packed: &packed, from: &from, to: &to, message, now };
        let content = report_mail(mail);
        assert_eq!(read(&content), Feedback::TlsReport(report));
        let text = String::from_utf8(content).unwrap();
        let header = text.split("\r\n\r\n").next().unwrap().replace("\r\n ", " ");
        for field in [
            "Subject: Report Domain: d.example Submitter: example.com Report-ID: <20261125.d.example>",
            "TLS-Report-Domain: d.example",
            "TLS-Report-Submitter: example.com",
            "TLS-Required: No",
        ] {
            assert!(header.lines().any(|line| line == field), "{field}\n{header}");
        }
        assert!(text.contains("filename=\"example.com!d.example!1795564800!1795651199.json.gz\""), "{text}");
        assert!(text.lines().all(|line| line.len() <= 100), "{text}");
    }
}
