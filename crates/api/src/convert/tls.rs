//! What sessions came to, and policies of MTA-STS.

use std::net::IpAddr;

use mailtier_types::{
    Day, Domain, DomainCounts, PolicyCounts, ReceivedTlsReport, Timestamp, TlsFailure, TlsFault, TlsPolicyFound,
    TlsPolicyKind,
};

use crate::error::ApiError;
use crate::tls::{KeptStsPolicy, MAX_POLICY_OCTETS, TlsReportPost};
use crate::wire;

impl From<&PolicyCounts> for wire::PolicyCounts {
    fn from(counts: &PolicyCounts) -> Self {
        Self {
            kind: i32::from(counts.policy.kind.number()),
            lines: counts.policy.lines.clone(),
            hosts: counts.policy.hosts.clone(),
            successes: counts.successes,
            failures: counts.failures.iter().map(wire_failure).collect(),
        }
    }
}

fn wire_failure((failure, sessions): &(TlsFailure, u64)) -> wire::TlsFailure {
    let address = |address: Option<IpAddr>| address.map(|address| address.to_string()).unwrap_or_default();
    wire::TlsFailure {
        fault: i32::from(failure.fault.number()),
        sending_address: address(failure.sending_address),
        host: failure.host.clone(),
        host_address: address(failure.host_address),
        reason: failure.reason.clone(),
        sessions: *sessions,
    }
}

impl TryFrom<wire::PolicyCounts> for PolicyCounts {
    type Error = ApiError;

    fn try_from(counts: wire::PolicyCounts) -> Result<Self, ApiError> {
        let kind = i16::try_from(counts.kind).ok().and_then(TlsPolicyKind::from_number);
        let kind = kind.ok_or_else(|| ApiError::invalid("kind", format!("{} is unknown", counts.kind)))?;
        Ok(Self {
            policy: TlsPolicyFound { kind, lines: counts.lines, hosts: counts.hosts },
            successes: counts.successes,
            failures: counts.failures.into_iter().map(failure).collect::<Result<_, _>>()?,
        })
    }
}

fn failure(failure: wire::TlsFailure) -> Result<(TlsFailure, u64), ApiError> {
    let address = |field, text: &str| match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|error| ApiError::invalid(field, error)),
    };
    let fault = i16::try_from(failure.fault).ok().and_then(TlsFault::from_number);
    let told = TlsFailure {
        fault: fault.unwrap_or(TlsFault::ValidationFailure),
        sending_address: address("sending_address", &failure.sending_address)?,
        host: failure.host,
        host_address: address("host_address", &failure.host_address)?,
        reason: failure.reason,
    };
    Ok((told, failure.sessions))
}

impl From<&DomainCounts> for wire::DomainCounts {
    fn from(counts: &DomainCounts) -> Self {
        Self {
            day: counts.day.number(),
            domain: counts.domain.clone(),
            destinations: counts.destinations.clone(),
            policies: counts.policies.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<wire::DomainCounts> for DomainCounts {
    type Error = ApiError;

    fn try_from(counts: wire::DomainCounts) -> Result<Self, ApiError> {
        let domain = Domain::parse(&counts.domain).map_err(|error| ApiError::invalid("domain", error))?;
        Ok(Self {
            day: Day::new(counts.day),
            domain: domain.as_str().to_owned(),
            destinations: counts.destinations,
            policies: counts.policies.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        })
    }
}

impl From<&ReceivedTlsReport> for wire::ReceivedTlsReport {
    fn from(report: &ReceivedTlsReport) -> Self {
        Self {
            organization: report.organization.clone(),
            id: report.id.clone(),
            begins_at_us: report.begins_at.as_micros(),
            ends_at_us: report.ends_at.as_micros(),
            domain: report.domain.clone(),
            counts: Some((&report.counts).into()),
        }
    }
}

impl TryFrom<wire::ReceivedTlsReport> for ReceivedTlsReport {
    type Error = ApiError;

    fn try_from(report: wire::ReceivedTlsReport) -> Result<Self, ApiError> {
        let counts = report.counts.ok_or_else(|| ApiError::invalid("counts", "missing"))?;
        Ok(Self {
            organization: report.organization,
            id: report.id,
            begins_at: Timestamp::from_micros(report.begins_at_us),
            ends_at: Timestamp::from_micros(report.ends_at_us),
            domain: report.domain,
            counts: counts.try_into()?,
        })
    }
}

impl From<TlsReportPost> for wire::TlsReportPost {
    fn from(post: TlsReportPost) -> Self {
        Self { id: post.id, uri: post.uri, body: post.body }
    }
}

impl From<wire::TlsReportPost> for TlsReportPost {
    fn from(post: wire::TlsReportPost) -> Self {
        Self { id: post.id, uri: post.uri, body: post.body }
    }
}

impl From<KeptStsPolicy> for wire::StsPolicy {
    fn from(policy: KeptStsPolicy) -> Self {
        Self {
            domain: policy.domain.as_str().to_owned(),
            id: policy.id,
            text: policy.text,
            fetched_at_us: policy.fetched_at.as_micros(),
            expires_at_us: policy.expires_at.as_micros(),
        }
    }
}

impl TryFrom<wire::StsPolicy> for KeptStsPolicy {
    type Error = ApiError;

    fn try_from(policy: wire::StsPolicy) -> Result<Self, ApiError> {
        if policy.text.len() > MAX_POLICY_OCTETS {
            return Err(ApiError::invalid("text", format!("longer than {MAX_POLICY_OCTETS} octets")));
        }
        Ok(Self {
            domain: Domain::parse(&policy.domain).map_err(|error| ApiError::invalid("domain", error))?,
            id: policy.id,
            text: policy.text,
            fetched_at: Timestamp::from_micros(policy.fetched_at_us),
            expires_at: Timestamp::from_micros(policy.expires_at_us),
        })
    }
}
