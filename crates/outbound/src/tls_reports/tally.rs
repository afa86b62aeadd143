//! The table in which sessions are counted. Pure. What strangers can make grow has a limit; beyond it sessions are counted for
//! the kind of policy, or of failure, alone, and beyond the limit of domains not at all.

use std::collections::HashMap;

use mailtier_route::HeldAgainst;
use mailtier_types::{Day, Domain, DomainCounts, PolicyCounts, TlsFailure, TlsPolicyFound};

/// Domains at a time.
const MAX_DOMAINS: usize = 10_000;
/// Policies of one domain that are told apart.
const MAX_POLICIES: usize = 4;
/// Kinds of failure of one policy that are told apart.
const MAX_FAILURES: usize = 20;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    domains: HashMap<(Day, Domain), Vec<Counts>>,
}

#[derive(Debug)]
struct Counts {
    policy: TlsPolicyFound,
    successes: u64,
    failures: HashMap<TlsFailure, u64>,
}

impl Tally {
    /// Counts a session; false where there is no room.
    pub(crate) fn add(&mut self, day: Day, against: &HeldAgainst, failure: Option<TlsFailure>) -> bool {
        let key = (day, against.domain.clone());
        if self.domains.len() >= MAX_DOMAINS && !self.domains.contains_key(&key) {
            return false;
        }
        let counts = counts_of(self.domains.entry(key).or_default(), &against.policy);
        match failure {
            None => counts.successes += 1,
            Some(failure) => *counts.failures.entry(kept(&counts.failures, failure)).or_default() += 1,
        }
        true
    }

    /// What was counted, by domain; where reports go is not known yet.
    pub(crate) fn into_counts(self) -> Vec<DomainCounts> {
        let policy = |counts: Counts| PolicyCounts {
            policy: counts.policy,
            successes: counts.successes,
            failures: counts.failures.into_iter().collect(),
        };
        let domain = |((day, domain), policies): ((Day, Domain), Vec<Counts>)| DomainCounts {
            day,
            domain: domain.as_str().to_owned(),
            destinations: Vec::new(),
            policies: policies.into_iter().map(policy).collect(),
        };
        self.domains.into_iter().map(domain).collect()
    }
}

fn counts_of<'a>(all: &'a mut Vec<Counts>, policy: &TlsPolicyFound) -> &'a mut Counts {
    let place_of = |all: &[Counts], policy: &TlsPolicyFound| all.iter().position(|counts| counts.policy == *policy);
    let (place, policy) = match place_of(all, policy) {
        None if all.len() >= MAX_POLICIES => {
            let untold = TlsPolicyFound::untold(policy.kind);
            (place_of(all, &untold), untold)
        }
        found => (found, policy.clone()),
    };
    let place = place.unwrap_or_else(|| {
        all.push(Counts { policy, successes: 0, failures: HashMap::new() });
        all.len() - 1
    });
    #[expect(clippy::indexing_slicing, reason = "the place was found, or made, just before")]
    &mut all[place]
}

fn kept(known: &HashMap<TlsFailure, u64>, failure: TlsFailure) -> TlsFailure {
    if known.len() >= MAX_FAILURES && !known.contains_key(&failure) {
        TlsFailure::untold(failure.fault)
    } else {
        failure
    }
}

#[cfg(test)]
mod tests {
    use mailtier_types::{TlsFault, TlsPolicyKind};

    use super::*;

    const DAY: Day = Day::new(20_000);

    fn against(domain: &str, line: &str) -> HeldAgainst {
        let policy = TlsPolicyFound { kind: TlsPolicyKind::Sts, lines: vec![line.to_owned()], hosts: Vec::new() };
        HeldAgainst { domain: domain.parse().unwrap(), policy, fault: None }
    }

    fn failure(host: &str) -> Option<TlsFailure> {
        Some(TlsFailure { host: host.to_owned(), ..TlsFailure::untold(TlsFault::CertificateExpired) })
    }

    #[test]
    fn sessions_are_told_apart_by_day_domain_policy_and_failure() {
        let mut tally = Tally::default();
        for (day, domain, line, failed) in [
            (0, "d.example", "a", None),
            (0, "d.example", "a", failure("h")),
            (0, "d.example", "a", failure("h")),
            (0, "d.example", "a", failure("i")),
            (0, "d.example", "b", None),
            (1, "d.example", "a", None),
            (0, "e.example", "a", None),
        ] {
            assert!(tally.add(Day::new(day), &against(domain, line), failed));
        }
        let mut counts = tally.into_counts();
        counts.sort_by(|one, other| (one.day, &one.domain).cmp(&(other.day, &other.domain)));
        let told: Vec<_> = counts
            .iter()
            .map(|one| {
                let policies = one.policies.iter();
                let told = policies.map(|counts| (counts.successes, counts.failed(), counts.failures.len()));
                (one.day.number(), one.domain.as_str(), told.collect::<Vec<_>>())
            })
            .collect();
        let expected = [
            (0, "d.example", vec![(1, 3, 2), (1, 0, 0)]),
            (0, "e.example", vec![(1, 0, 0)]),
            (1, "d.example", vec![(1, 0, 0)]),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn whatever_strangers_do_the_table_ends() {
        let mut tally = Tally::default();
        for number in 0..1_000 {
            assert!(tally.add(DAY, &against("d.example", &number.to_string()), failure(&number.to_string())));
            assert!(tally.add(DAY, &against("d.example", "0"), failure(&number.to_string())));
        }
        for number in 0..2 * MAX_DOMAINS {
            let is_counted = tally.add(DAY, &against(&format!("d{number}.example"), "a"), None);
            assert_eq!(is_counted, number < MAX_DOMAINS - 1, "{number}");
        }
        let counts = tally.into_counts();
        assert_eq!(counts.len(), MAX_DOMAINS);
        let policies = &counts.iter().find(|one| one.domain == "d.example").unwrap().policies;
        assert_eq!(policies.len(), MAX_POLICIES + 1, "the rest is one");
        assert!(policies.iter().all(|counts| counts.failures.len() <= MAX_FAILURES + 1), "{policies:?}");
        assert_eq!(policies.iter().map(PolicyCounts::failed).sum::<u64>(), 2_000, "none is lost");
    }
}
