//! The document of a report (RFC 8460 §4.4). Read as others write it: what is missing is empty, lists of one may be the one,
//! words that are not known are the general one.

use mailtier_types::{PolicyCounts, Timestamp, TlsFailure, TlsFault, TlsPolicyFound, TlsPolicyKind};
use serde::{Deserialize, Deserializer, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{MAX_FAILURES, MAX_POLICIES, TlsReport, TlsReportError};
use crate::text::{self, Charset};

/// The longest text that is kept of a stranger's report, in octets.
const MAX_TEXT_OCTETS: usize = 500;
/// The most lines of a policy, or patterns in it, that are kept.
const MAX_LINES: usize = 100;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    #[serde(default)]
    organization_name: String,
    date_range: DateRange,
    #[serde(default)]
    contact_info: Option<String>,
    #[serde(default)]
    report_id: String,
    #[serde(default)]
    policies: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct DateRange {
    start_datetime: String,
    end_datetime: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Entry {
    policy: Policy,
    summary: Summary,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    failure_details: Vec<Detail>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Policy {
    #[serde(default)]
    policy_type: String,
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    policy_string: Vec<String>,
    #[serde(default)]
    policy_domain: String,
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    mx_host: Vec<String>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Summary {
    #[serde(default)]
    total_successful_session_count: u64,
    #[serde(default)]
    total_failure_session_count: u64,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Detail {
    result_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sending_mta_ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receiving_mx_hostname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receiving_ip: Option<String>,
    failed_session_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_reason_code: Option<String>,
}

/// The RFC shows lists, and some write a text.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
        Nothing(()),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
        OneOrMany::Nothing(()) => Vec::new(),
    })
}

/// The document of a report.
pub(super) fn write(report: &TlsReport) -> Result<Vec<u8>, TlsReportError> {
    let document = Document {
        organization_name: report.organization.clone(),
        date_range: DateRange {
            start_datetime: date_time(report.begins_at)?,
            end_datetime: date_time(report.ends_at)?,
        },
        contact_info: Some(report.contact.clone()),
        report_id: report.id.clone(),
        policies: report.policies.iter().map(|(domain, counts)| entry(domain, counts)).collect(),
    };
    Ok(serde_json::to_vec(&document)?)
}

fn entry(domain: &str, counts: &PolicyCounts) -> Entry {
    let present = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let detail = |(failure, count): &(TlsFailure, u64)| Detail {
        result_type: failure.fault.word().to_owned(),
        sending_mta_ip: failure.sending_address.map(|address| address.to_string()),
        receiving_mx_hostname: present(&failure.host),
        receiving_ip: failure.host_address.map(|address| address.to_string()),
        failed_session_count: *count,
        failure_reason_code: present(&failure.reason),
    };
    Entry {
        policy: Policy {
            policy_type: counts.policy.kind.word().to_owned(),
            policy_string: counts.policy.lines.clone(),
            policy_domain: domain.to_owned(),
            mx_host: counts.policy.hosts.clone(),
        },
        summary: Summary {
            total_successful_session_count: counts.successes,
            total_failure_session_count: counts.failed(),
        },
        failure_details: counts.failures.iter().map(detail).collect(),
    }
}

/// Reads a document.
pub(super) fn read(octets: &[u8]) -> Result<TlsReport, TlsReportError> {
    let document: Document = serde_json::from_slice(octets)?;
    let Document { organization_name, date_range, contact_info, report_id, policies } = document;
    let counted = |entry: Entry| (kept(&entry.policy.policy_domain), counts(entry));
    Ok(TlsReport {
        organization: kept(&organization_name),
        contact: kept(&contact_info.unwrap_or_default()),
        id: kept(&report_id),
        begins_at: timestamp(&date_range.start_datetime)?,
        ends_at: timestamp(&date_range.end_datetime)?,
        policies: policies.into_iter().take(MAX_POLICIES).map(counted).collect(),
    })
}

fn counts(entry: Entry) -> PolicyCounts {
    let Entry { policy, summary, failure_details } = entry;
    let lines = |lines: Vec<String>| lines.iter().take(MAX_LINES).map(|line| kept(line)).collect();
    let mut counts = PolicyCounts {
        policy: TlsPolicyFound {
            kind: TlsPolicyKind::from_word(&policy.policy_type).unwrap_or(TlsPolicyKind::NoPolicyFound),
            lines: lines(policy.policy_string),
            hosts: lines(policy.mx_host),
        },
        successes: summary.total_successful_session_count,
        failures: Vec::new(),
    };
    for detail in failure_details {
        let count = detail.failed_session_count;
        let mut failure = failure(detail);
        if counts.failures.len() >= MAX_FAILURES {
            failure = TlsFailure::untold(failure.fault);
        }
        add(&mut counts, failure, count);
    }
    // A total without details is still a total.
    let untold = summary.total_failure_session_count.saturating_sub(counts.failed());
    if untold > 0 {
        add(&mut counts, TlsFailure::untold(TlsFault::ValidationFailure), untold);
    }
    counts
}

fn add(counts: &mut PolicyCounts, failure: TlsFailure, count: u64) {
    match counts.failures.iter_mut().find(|(known, _)| *known == failure) {
        Some((_, known)) => *known = known.saturating_add(count),
        None => counts.failures.push((failure, count)),
    }
}

fn failure(detail: Detail) -> TlsFailure {
    let text = |text: Option<String>| kept(&text.unwrap_or_default());
    let address = |text: Option<String>| text.and_then(|text| text.trim_matches(['[', ']']).parse().ok());
    TlsFailure {
        fault: TlsFault::from_word(&detail.result_type).unwrap_or(TlsFault::ValidationFailure),
        sending_address: address(detail.sending_mta_ip),
        host: text(detail.receiving_mx_hostname),
        host_address: address(detail.receiving_ip),
        reason: text(detail.failure_reason_code),
    }
}

/// A stranger's text as it is kept: one harmless line.
fn kept(text: &str) -> String {
    text::one_line(text, Charset::Utf8, MAX_TEXT_OCTETS)
}

/// RFC 3339, to the second.
fn date_time(at: Timestamp) -> Result<String, TlsReportError> {
    let instant = OffsetDateTime::from_unix_timestamp(at.as_secs()).map_err(|_| TlsReportError::Dates)?;
    instant.format(&Rfc3339).map_err(|_| TlsReportError::Dates)
}

fn timestamp(text: &str) -> Result<Timestamp, TlsReportError> {
    let instant = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| TlsReportError::Dates)?;
    Ok(Timestamp::from_secs(instant.unix_timestamp()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::MAX_JSON_OCTETS;
    use super::*;

    /// RFC 8460, Appendix B, with a type that nobody knows.
    const EXAMPLE: &str = r#"{"organization-name": "Company-X",
        "date-range": {"start-datetime": "2016-04-01T00:00:00Z", "end-datetime": "2016-04-01T23:59:59Z"},
        "contact-info": "sts-reporting@company-x.example", "report-id": "5065427c-23d3-47ca-b6e0-946ea0e8c4be",
        "policies": [{"policy": {"policy-type": "sts",
            "policy-string": ["version: STSv1","mode: testing", "mx: *.mail.company-y.example","max_age: 86400"],
            "policy-domain": "company-y.example", "mx-host": "*.mail.company-y.example"},
          "summary": {"total-successful-session-count": 5326, "total-failure-session-count": 303},
          "failure-details": [
            {"result-type": "certificate-expired", "sending-mta-ip": "2001:db8:abcd:0012::1",
             "receiving-mx-hostname": "mx1.mail.company-y.example", "failed-session-count": 100},
            {"result-type": "starttls-not-supported", "sending-mta-ip": "2001:db8:abcd:0013::1",
             "receiving-mx-hostname": "mx2.mail.company-y.example", "receiving-ip": "203.0.113.56",
             "failed-session-count": 200, "additional-information": "https://reports.company-x.example/report_info"},
            {"result-type": "new-fault", "sending-mta-ip": "198.51.100.62", "receiving-ip": "203.0.113.58",
             "receiving-mx-hostname": "mx-backup.mail.company-y.example", "failed-session-count": 3,
             "failure-reason-code": "X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED"}]}]}"#;

    #[test]
    fn the_example_of_the_rfc_is_read() {
        let report = read(EXAMPLE.as_bytes()).unwrap();
        assert_eq!(
            (report.organization.as_str(), report.begins_at),
            ("Company-X", Timestamp::from_secs(1_459_468_800))
        );
        assert_eq!(report.ends_at, Timestamp::from_secs(1_459_468_800 + 86_399));
        let (domain, counts) = &report.policies[0];
        assert_eq!(
            (domain.as_str(), counts.policy.kind, counts.successes),
            ("company-y.example", TlsPolicyKind::Sts, 5326)
        );
        assert_eq!(counts.policy.hosts, ["*.mail.company-y.example"]);
        assert_eq!((counts.policy.lines.len(), counts.failed()), (4, 303));
        let told: Vec<_> = counts.failures.iter().map(|(failure, count)| (failure.fault, *count)).collect();
        let expected = [
            (TlsFault::CertificateExpired, 100),
            (TlsFault::StarttlsNotSupported, 200),
            (TlsFault::ValidationFailure, 3),
        ];
        assert_eq!(told, expected);
        assert_eq!(counts.failures[1].0.host_address, Some("203.0.113.56".parse().unwrap()));
        assert_eq!(counts.failures[2].0.reason, "X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED");
    }

    #[test]
    fn what_is_written_is_read_as_it_was() {
        let report = read(EXAMPLE.as_bytes()).unwrap();
        assert_eq!(TlsReport::read(&report.packed().unwrap()).unwrap(), report, "packed");
        assert_eq!(TlsReport::read(&write(&report).unwrap()).unwrap(), report, "plain");
    }

    fn counted() -> impl Strategy<Value = PolicyCounts> {
        let text = || "[a-z0-9.äß-]{0,20}";
        let address = || proptest::option::of(any::<std::net::IpAddr>());
        let fault = proptest::sample::select(TlsFault::ALL.to_vec());
        let failure = (fault, address(), text(), address(), text()).prop_map(
            |(fault, sending_address, host, host_address, reason)| TlsFailure {
                fault,
                sending_address,
                host,
                host_address,
                reason,
            },
        );
        let kind = proptest::sample::select(TlsPolicyKind::ALL.to_vec());
        let lines = || proptest::collection::vec(text(), 0..4);
        let failures = proptest::collection::btree_map(failure, 1..1_000_u64, 0..6);
        (kind, lines(), lines(), any::<u64>(), failures).prop_map(|(kind, lines, hosts, successes, failures)| {
            let policy = TlsPolicyFound { kind, lines, hosts };
            PolicyCounts { policy, successes, failures: failures.into_iter().collect() }
        })
    }

    proptest! {
        #[test]
        fn whatever_was_counted_is_read_as_it_was_written(
            policies in proptest::collection::vec(("[a-z]{1,8}\\.example", counted()), 0..4),
            (begins, lasts) in (0_i64..4_000_000_000, 0_i64..100_000),
        ) {
            let (begins_at, ends_at) = (Timestamp::from_secs(begins), Timestamp::from_secs(begins + lasts));
            let (organization, contact, id) = ("Ä GmbH".to_owned(), "a@b.example".to_owned(), "1".to_owned());
            let report = TlsReport { organization, contact, id, begins_at, ends_at, policies };
            prop_assert_eq!(TlsReport::read(&report.packed().unwrap()).unwrap(), report);
        }
    }

    #[test]
    fn odd_reports_are_read_as_far_as_they_go() {
        let document = |policies: &str| {
            format!(
                r#"{{"date-range": {{"start-datetime": "2016-04-01T02:00:00+02:00", "end-datetime": "2016-04-01T23:59:59.9Z"}},
                    "contact-info": null, "policies": [{policies}]}}"#
            )
        };
        let empty = read(document("").as_bytes()).unwrap();
        assert_eq!((empty.begins_at, empty.policies.len()), (Timestamp::from_secs(1_459_468_800), 0));
        let untold =
            r#"{"policy": {"policy-type": "?", "mx-host": null}, "summary": {"total-failure-session-count": 7}}"#;
        let report = read(document(untold).as_bytes()).unwrap();
        assert_eq!(report.policies[0].1.policy, TlsPolicyFound::untold(TlsPolicyKind::NoPolicyFound));
        assert_eq!(report.policies[0].1.failures, [(TlsFailure::untold(TlsFault::ValidationFailure), 7)]);
        let many = vec![untold; 1_000].join(",");
        assert_eq!(read(document(&many).as_bytes()).unwrap().policies.len(), MAX_POLICIES);
        let hosts = (0..1_000).map(|host| {
            format!(
                r#"{{"result-type": "dane-required", "receiving-mx-hostname": "h{host}", "failed-session-count": 2}}"#
            )
        });
        let details = hosts.collect::<Vec<_>>().join(",");
        let crowded = format!(r#"{{"policy": {{}}, "summary": {{}}, "failure-details": [{details}]}}"#);
        let (_, counts) = &read(document(&crowded).as_bytes()).unwrap().policies[0];
        assert_eq!(
            (counts.failures.len(), counts.failed()),
            (MAX_FAILURES + 1, 2_000),
            "none is lost, few are told apart"
        );
        let control = document(untold).replace(r#""?""#, r#""?", "policy-domain": "a\r\n\u001b[2Jb""#);
        assert_eq!(read(control.as_bytes()).unwrap().policies[0].0, "a   [2Jb");
        for wrong in ["", "{}", "[]", &document("{}"), &document("").replace("2016", "x")] {
            assert!(read(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_report_that_unpacks_to_too_much_is_given_up() {
        use std::io::Write as _;
        let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        let zeros = vec![b' '; 1 << 20];
        for _ in 0..64 {
            bomb.write_all(&zeros).unwrap();
        }
        let bomb = bomb.finish().unwrap();
        assert!(bomb.len() < MAX_JSON_OCTETS, "64 MiB in {} octets", bomb.len());
        // It has no good end: who would unpack all of it would say that.
        let cut = &bomb[..bomb.len() - 100];
        assert!(matches!(TlsReport::read(cut), Err(TlsReportError::TooLarge)));
        assert!(matches!(TlsReport::read(&vec![b' '; MAX_JSON_OCTETS + 1]), Err(TlsReportError::TooLarge)));
        assert!(matches!(TlsReport::read(&bomb[..20]), Err(TlsReportError::Gzip(_))));
    }
}
