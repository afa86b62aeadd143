//! What a session with a host is held against, and where a domain wants reports of it, for reports of TLS (RFC 8460). Pure;
//! not responsible for what a session comes to, nor for counting it.

use std::sync::Arc;

use mailtier_types::{Domain, TlsFault, TlsPolicyFound, TlsPolicyKind};

use crate::demand::{Demands, Tlsa};
use crate::way::TlsPolicy;

/// Records of one host that are told.
const MAX_RECORDS: usize = 16;

/// Places that one domain's reports are sent to; further ones are passed over.
const MAX_DESTINATIONS: usize = 5;
/// The longest URI of one, in octets.
const MAX_URI_OCTETS: usize = 500;

/// Where a domain wants reports, from the TXT records of `_smtp._tls` below it (RFC 8460 §3). Nowhere where there is no
/// record, which several mean as well.
#[must_use]
pub fn report_destinations(texts: &[String]) -> Vec<String> {
    let is_record = |text: &&String| text.split(';').next().is_some_and(|version| version.trim() == "v=TLSRPTv1");
    let mut records = texts.iter().filter(is_record);
    let (Some(record), None) = (records.next(), records.next()) else { return Vec::new() };
    let mut fields = record.split(';').skip(1).filter_map(|field| field.split_once('='));
    let Some((_, uris)) = fields.find(|(key, _)| key.trim() == "rua") else { return Vec::new() };
    let uris = uris.split(',').map(str::trim);
    uris.filter(|uri| is_destination(uri)).take(MAX_DESTINATIONS).map(str::to_owned).collect()
}

fn is_destination(uri: &str) -> bool {
    let scheme = uri.split_once(':').map(|(scheme, rest)| (scheme.to_ascii_lowercase(), rest));
    let is_known = scheme.is_some_and(|(scheme, rest)| match scheme.as_str() {
        "mailto" => !rest.is_empty(),
        "https" => rest.starts_with("//"),
        _ => false,
    });
    is_known && uri.len() <= MAX_URI_OCTETS && uri.bytes().all(|octet| octet.is_ascii_graphic())
}

/// The policy of a domain that a session with one of its hosts is held against.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeldAgainst {
    /// Whose.
    pub domain: Domain,
    /// Which.
    pub policy: TlsPolicyFound,
    /// What was wrong before the session, and why.
    pub fault: Option<(TlsFault, String)>,
}

/// A host with which there is no session, since something is wrong before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withheld {
    /// As the MX record names it.
    pub host: String,
    /// What it is held against, with a fault.
    pub against: Arc<HeldAgainst>,
}

impl Demands {
    /// What a session with a host of `domain` is held against (RFC 8460 §4.4): DANE where there is any, else MTA-STS.
    pub(crate) fn held_against(&self, host: &str, domain: &Domain, tlsa: &Tlsa) -> HeldAgainst {
        let untold = TlsPolicyFound::untold;
        let (policy, fault) = match (tlsa, &self.sts) {
            (Tlsa::Unknown(reason), _) => {
                (untold(TlsPolicyKind::Tlsa), Some((TlsFault::DnssecInvalid, reason.clone())))
            }
            (Tlsa::Records { usable, .. }, _) if !usable.is_empty() => {
                let lines = usable.iter().take(MAX_RECORDS).map(ToString::to_string).collect();
                (TlsPolicyFound { kind: TlsPolicyKind::Tlsa, lines, hosts: Vec::new() }, None)
            }
            (Tlsa::Records { .. }, _) => {
                let reason = "no TLSA record that can be used for mail".to_owned();
                (untold(TlsPolicyKind::Tlsa), Some((TlsFault::TlsaInvalid, reason)))
            }
            (Tlsa::None, _) if self.policy == TlsPolicy::Dane => {
                (untold(TlsPolicyKind::Tlsa), Some((TlsFault::DaneRequired, String::new())))
            }
            (Tlsa::None, Some(sts)) => {
                let told =
                    TlsPolicyFound { kind: TlsPolicyKind::Sts, lines: sts.lines(), hosts: sts.patterns().to_vec() };
                let reason = || (TlsFault::ValidationFailure, "the policy does not name the host".to_owned());
                (told, (!sts.names(host)).then(reason))
            }
            (Tlsa::None, None) => match &self.sts_fault {
                Some(fault) => (untold(TlsPolicyKind::Sts), Some(fault.clone())),
                None => (untold(TlsPolicyKind::NoPolicyFound), None),
            },
        };
        HeldAgainst { domain: domain.clone(), policy, fault }
    }
}

#[cfg(test)]
mod tests {
    use mailtier_types::TlsaRecord;

    use super::*;
    use crate::sts::StsPolicy;

    #[test]
    fn a_record_says_where_reports_go() {
        for (texts, expected) in [
            (vec!["v=TLSRPTv1; rua=mailto:r@d.example"], vec!["mailto:r@d.example"]),
            (
                vec!["v=TLSRPTv1;rua=mailto:r@d.example , HTTPS://d.example/r;x=y"],
                vec!["mailto:r@d.example", "HTTPS://d.example/r"],
            ),
            (vec!["v=spf1 -all", "v=TLSRPTv1; rua=https://d.example/r"], vec!["https://d.example/r"]),
            (vec!["v=TLSRPTv1; rua=mailto:a@d.example", "v=TLSRPTv1; rua=mailto:b@d.example"], vec![]),
            (vec!["v=TLSRPTv1; rua=http://d.example/r,ftp://x,mailto:,https:d.example,r@d.example"], vec![]),
            (vec!["v=TLSRPTv1; rua=mailto:a\u{7}@d.example,mailto:\u{fc}@d.example"], vec![]),
            (vec!["v=TLSRPTv1"], vec![]),
            (vec!["v=TLSRPTv2; rua=mailto:r@d.example"], vec![]),
            (vec!["rua=mailto:r@d.example; v=TLSRPTv1"], vec![]),
            (vec![], vec![]),
        ] {
            let texts: Vec<_> = texts.into_iter().map(str::to_owned).collect();
            assert_eq!(report_destinations(&texts), expected, "{texts:?}");
        }
        let many = format!("v=TLSRPTv1; rua={}", vec!["mailto:r@d.example"; 100].join(","));
        assert_eq!(report_destinations(&[many]).len(), MAX_DESTINATIONS);
    }

    #[test]
    fn the_policy_that_counts_is_the_one_that_is_reported() {
        let sts =
            || StsPolicy::parse("version: STSv1\nmode: enforce\nmx: *.d.example\nmax_age: 86400\n").ok().map(Arc::new);
        let fetch = || Some((TlsFault::StsPolicyFetchError, "404".to_owned()));
        let record = TlsaRecord::usable(3, 1, 1, &[0xab; 32]).unwrap();
        let records =
            |usable: Vec<TlsaRecord>| Tlsa::Records { base: "mx.d.example".parse().unwrap(), usable: usable.into() };
        use TlsPolicy::{Dane, Opportunistic};
        let cases = [
            (Opportunistic, None, None, Tlsa::None, "no-policy-found 0 0 none"),
            (Opportunistic, sts(), None, Tlsa::None, "sts 4 1 none"),
            (Opportunistic, None, fetch(), Tlsa::None, "sts 0 0 sts-policy-fetch-error"),
            (Opportunistic, sts(), None, records(vec![record.clone()]), "tlsa 1 0 none"),
            (Opportunistic, sts(), None, records(vec![]), "tlsa 0 0 tlsa-invalid"),
            (Opportunistic, sts(), None, Tlsa::Unknown("SERVFAIL".to_owned()), "tlsa 0 0 dnssec-invalid"),
            (Dane, sts(), None, Tlsa::None, "tlsa 0 0 dane-required"),
        ];
        for (policy, sts, sts_fault, tlsa, expected) in cases {
            let demands =
                Demands { policy, require_tls: false, tls_optional: false, sts, sts_fault, names_are_certain: true };
            let against = demands.held_against("mx.d.example", &"d.example".parse().unwrap(), &tlsa);
            let (policy, fault) = (&against.policy, against.fault.as_ref().map_or("none", |(fault, _)| fault.word()));
            let told = format!("{} {} {} {fault}", policy.kind.word(), policy.lines.len(), policy.hosts.len());
            assert_eq!(told, expected);
            let foreign = demands.held_against("mx.other.example", &"d.example".parse().unwrap(), &tlsa);
            if policy.kind == TlsPolicyKind::Sts && demands.sts.is_some() {
                assert_eq!(foreign.fault.map(|(fault, _)| fault), Some(TlsFault::ValidationFailure));
            }
        }
        assert_eq!(record.to_string(), format!("3 1 1 {}", "ab".repeat(32)));
    }
}
