//! What others report of TLS with hosts of ours.

use mailtier_types::{ReceivedTlsReport, TlsFailure};

use super::At;
use super::shape::shape;

shape! {
    answer
    /// What somebody has counted of one policy of one domain (RFC 8460).
    TlsReport {
        /// Who.
        organization: String,
        /// The report's own id.
        id: String,
        /// The first moment that it is about.
        begins_at: At,
        /// The last.
        ends_at: At,
        /// Whose policy.
        domain: String,
        /// tlsa, sts, no-policy-found.
        policy: String,
        /// Sessions that were as the policy asks for.
        successes: u64,
        /// The others.
        failures: u64,
        /// These, by what was wrong.
        failure_details: Vec<TlsReportFailure>,
    }

    answer
    /// Sessions that failed in the same way.
    TlsReportFailure {
        /// A result type of RFC 8460, section 4.3.
        result: String,
        /// How many.
        sessions: u64,
        /// Our host.
        host: Option<String>,
        /// Its address.
        host_address: Option<String>,
        /// Whose sessions they were.
        sending_address: Option<String>,
        /// More of why.
        reason: Option<String>,
    }
}

impl From<&ReceivedTlsReport> for TlsReport {
    fn from(report: &ReceivedTlsReport) -> Self {
        let counts = &report.counts;
        Self {
            organization: report.organization.clone(),
            id: report.id.clone(),
            begins_at: At(report.begins_at),
            ends_at: At(report.ends_at),
            domain: report.domain.clone(),
            policy: counts.policy.kind.word().to_owned(),
            successes: counts.successes,
            failures: counts.failed(),
            failure_details: counts.failures.iter().map(Into::into).collect(),
        }
    }
}

impl From<&(TlsFailure, u64)> for TlsReportFailure {
    fn from((failure, sessions): &(TlsFailure, u64)) -> Self {
        let present = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        Self {
            result: failure.fault.word().to_owned(),
            sessions: *sessions,
            host: present(&failure.host),
            host_address: failure.host_address.map(|address| address.to_string()),
            sending_address: failure.sending_address.map(|address| address.to_string()),
            reason: present(&failure.reason),
        }
    }
}
