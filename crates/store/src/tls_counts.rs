//! What sessions with the hosts of domains came to, by the day, for all workers together; and the reports that are made of
//! it, each by one replica. Not responsible for what a report says, nor for when it is due.
//!
//! What a domain's owner can make grow has a limit: policies of a day, and kinds of failure of a policy. Beyond it sessions
//! are counted for the kind of policy, or of failure, alone.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use mailtier_types::{
    Day, DomainCounts, PolicyCounts, ReplicaId, Timestamp, TlsFailure, TlsFault, TlsPolicyFound, TlsPolicyKind,
    WorkerId,
};
use sqlx::postgres::PgRow;

use crate::aside::AsideTx;
use crate::error::StoreError;
use crate::session::{Session, Statement};
use crate::sql;
use crate::wire::{Columns as _, Time, joined};

/// Policies that are told apart for a domain and a day.
pub const MAX_TLS_POLICIES: usize = 20;
/// Kinds of failure that are told apart for a policy and a day.
pub const MAX_TLS_FAILURES: usize = 500;
/// Beside these, one for each fault, or each kind of policy.
const MAX_REMAINDERS: usize = 16;

/// Octets of a digest: enough that nobody makes two that are alike.
const DIGEST_OCTETS: usize = 16;

/// A report that a replica has claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedTlsReport {
    /// Of which day.
    pub day: Day,
    /// Whose sessions.
    pub domain: String,
    /// Where it goes.
    pub destinations: Vec<String>,
}

/// A policy of a day and a domain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PolicyKey {
    day: i32,
    domain: String,
    policy: Vec<u8>,
}

/// What a batch adds, each key once and in order, so that no two batches wait for each other.
#[derive(Debug, Default)]
struct Sums {
    policies: BTreeMap<PolicyKey, (TlsPolicyFound, u64)>,
    /// Each with its digest.
    failures: BTreeMap<(PolicyKey, Vec<u8>), (TlsFailure, u64)>,
}

/// Digests of the policies of a day and a domain that are known, with the number of their kinds of failure.
type Known = HashMap<(i32, String), HashMap<Vec<u8>, usize>>;

impl Session {
    /// Adds what a worker has counted, once for each batch; `due` says when the report of a day and a domain is due. False:
    /// it was added before.
    ///
    /// # Errors
    /// Nothing is added, or that is not known: give the same again.
    pub async fn count_tls_sessions(
        &mut self,
        worker: WorkerId,
        batch: u64,
        domains: &[DomainCounts],
        due: impl Fn(Day, &str) -> Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.begin().await?;
        let session = transaction.session();
        let batch = i64::try_from(batch).unwrap_or(i64::MAX);
        let note = sqlx::query(sql::COUNT_TLS_BATCH).bind(worker.uuid()).bind(batch).bind(Time(now));
        if session.write(note).await?.is_empty() {
            transaction.rollback().await?;
            return Ok(false);
        }
        let known = session.known_tls_policies(domains).await?;
        let sums = Sums::new(domains, known);
        session.write(reports(domains, due)).await?;
        session.write(sums.sessions()).await?;
        session.write(sums.failures()).await?;
        transaction.commit().await?;
        Ok(true)
    }

    async fn known_tls_policies(&mut self, domains: &[DomainCounts]) -> Result<Known, StoreError> {
        let query = sqlx::query(sql::KNOWN_TLS_POLICIES)
            .bind(domains.iter().map(|one| one.day.number()).collect::<Vec<_>>())
            .bind(domains.iter().map(|one| one.domain.as_str()).collect::<Vec<_>>());
        let mut known = Known::new();
        for row in self.read(query).await? {
            let failures = usize::try_from(row.value::<i64>("failures")?).unwrap_or(usize::MAX);
            let policies = known.entry((row.value("day")?, row.value("domain")?)).or_default();
            policies.insert(row.value("policy")?, failures);
        }
        Ok(known)
    }

    /// Claims reports that are due and that nobody is making.
    ///
    /// # Errors
    /// None is claimed, or that is not known: then they are claimed again when the lease is over.
    pub async fn claim_tls_reports(
        &mut self,
        holder: ReplicaId,
        until: Timestamp,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<ClaimedTlsReport>, StoreError> {
        let query = sqlx::query(sql::CLAIM_TLS_REPORTS)
            .bind(Time(now))
            .bind(holder.uuid())
            .bind(Time(until))
            .bind(i64::from(limit));
        let read = |row: &PgRow| {
            Ok(ClaimedTlsReport {
                day: Day::new(row.value("day")?),
                domain: row.value("domain")?,
                destinations: row.texts("destinations")?,
            })
        };
        self.write(query).await?.iter().map(read).collect()
    }

    /// What was counted on a day for a domain, by policy.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn tls_counts(&mut self, day: Day, domain: &str) -> Result<Vec<PolicyCounts>, StoreError> {
        let limit = |number: usize| i64::try_from(number + MAX_REMAINDERS).unwrap_or(i64::MAX);
        let query = sqlx::query(sql::TLS_COUNTS)
            .bind(day.number())
            .bind(domain)
            .bind(limit(MAX_TLS_POLICIES))
            .bind(limit(MAX_TLS_FAILURES));
        let mut counted: Vec<(Vec<u8>, PolicyCounts)> = Vec::new();
        for row in self.read(query).await? {
            let policy: Vec<u8> = row.value("policy")?;
            if counted.last().is_none_or(|(last, _)| *last != policy) {
                counted.push((policy, policy_counts(&row)?));
            }
            if let (Some(failure), Some((_, counts))) = (failure(&row)?, counted.last_mut()) {
                counts.failures.push(failure);
            }
        }
        Ok(counted.into_iter().map(|(_, counts)| counts).collect())
    }
}

impl AsideTx<'_> {
    /// Notes that a report is made; false where another replica has claimed it meanwhile, or made it.
    ///
    /// # Errors
    /// The transaction is over.
    pub async fn finish_tls_report(
        &mut self,
        report: &ClaimedTlsReport,
        holder: ReplicaId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let query = sqlx::query(sql::FINISH_TLS_REPORT)
            .bind(report.day.number())
            .bind(report.domain.as_str())
            .bind(holder.uuid())
            .bind(Time(now));
        Ok(!self.session().write(query).await?.is_empty())
    }
}

impl Sums {
    fn new(domains: &[DomainCounts], mut known: Known) -> Self {
        let mut sums = Self::default();
        for one in domains {
            let policies = known.entry((one.day.number(), one.domain.clone())).or_default();
            for counts in &one.policies {
                sums.add(one, counts, policies);
            }
        }
        sums
    }

    fn add(&mut self, of: &DomainCounts, counts: &PolicyCounts, known: &mut HashMap<Vec<u8>, usize>) {
        let mut policy = counts.policy.clone();
        let mut key = digest_of_policy(&policy);
        if known.len() >= MAX_TLS_POLICIES && !known.contains_key(&key) {
            policy = TlsPolicyFound::untold(policy.kind);
            key = digest_of_policy(&policy);
        }
        let kinds = known.entry(key.clone()).or_default();
        let key = PolicyKey { day: of.day.number(), domain: of.domain.clone(), policy: key };
        for (failure, sessions) in &counts.failures {
            let failure = if *kinds >= MAX_TLS_FAILURES { TlsFailure::untold(failure.fault) } else { failure.clone() };
            let sum = self.failures.entry((key.clone(), digest_of_failure(&failure))).or_insert_with(|| {
                *kinds += 1;
                (failure, 0)
            });
            sum.1 = sum.1.saturating_add(*sessions);
        }
        let sum = self.policies.entry(key).or_insert_with(|| (policy, 0));
        sum.1 = sum.1.saturating_add(counts.successes);
    }

    fn sessions(&self) -> Statement<'_> {
        let keys = || self.policies.keys();
        let sums = || self.policies.values();
        sqlx::query(sql::COUNT_TLS_SESSIONS)
            .bind(keys().map(|key| key.day).collect::<Vec<_>>())
            .bind(keys().map(|key| key.domain.as_str()).collect::<Vec<_>>())
            .bind(keys().map(|key| key.policy.as_slice()).collect::<Vec<_>>())
            .bind(sums().map(|(policy, _)| policy.kind.number()).collect::<Vec<_>>())
            .bind(sums().map(|(policy, _)| joined(&policy.lines)).collect::<Vec<_>>())
            .bind(sums().map(|(policy, _)| joined(&policy.hosts)).collect::<Vec<_>>())
            .bind(sums().map(|(_, successes)| number(*successes)).collect::<Vec<_>>())
    }

    fn failures(&self) -> Statement<'_> {
        let keys = || self.failures.keys();
        let sums = || self.failures.values();
        let address = |address: Option<IpAddr>| address.map(|one| one.to_string()).unwrap_or_default();
        sqlx::query(sql::COUNT_TLS_FAILURES)
            .bind(keys().map(|(key, _)| key.day).collect::<Vec<_>>())
            .bind(keys().map(|(key, _)| key.domain.as_str()).collect::<Vec<_>>())
            .bind(keys().map(|(key, _)| key.policy.as_slice()).collect::<Vec<_>>())
            .bind(keys().map(|(_, failure)| failure.as_slice()).collect::<Vec<_>>())
            .bind(sums().map(|(failure, _)| failure.fault.number()).collect::<Vec<_>>())
            .bind(sums().map(|(failure, _)| address(failure.sending_address)).collect::<Vec<_>>())
            .bind(sums().map(|(failure, _)| failure.host.as_str()).collect::<Vec<_>>())
            .bind(sums().map(|(failure, _)| address(failure.host_address)).collect::<Vec<_>>())
            .bind(sums().map(|(failure, _)| failure.reason.as_str()).collect::<Vec<_>>())
            .bind(sums().map(|(_, sessions)| number(*sessions)).collect::<Vec<_>>())
    }
}

/// The reports that follow from a batch, each once.
fn reports(domains: &[DomainCounts], due: impl Fn(Day, &str) -> Timestamp) -> Statement<'static> {
    let mut each: BTreeMap<(i32, &str), (String, Timestamp)> = BTreeMap::new();
    for one in domains {
        let due_at = due(one.day, &one.domain);
        each.insert((one.day.number(), &one.domain), (joined(&one.destinations), due_at));
    }
    sqlx::query(sql::COUNT_TLS_REPORTS)
        .bind(each.keys().map(|(day, _)| *day).collect::<Vec<_>>())
        .bind(each.keys().map(|(_, domain)| (*domain).to_owned()).collect::<Vec<_>>())
        .bind(each.values().map(|(destinations, _)| destinations.clone()).collect::<Vec<_>>())
        .bind(each.values().map(|(_, due_at)| Time(*due_at)).collect::<Vec<_>>())
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn digest_of_policy(policy: &TlsPolicyFound) -> Vec<u8> {
    digest_of(&[&policy.kind.number().to_string(), &joined(&policy.lines), &joined(&policy.hosts)])
}

fn digest_of_failure(failure: &TlsFailure) -> Vec<u8> {
    let addresses = format!("{:?} {:?}", failure.sending_address, failure.host_address);
    digest_of(&[&failure.fault.number().to_string(), &addresses, &failure.host, &failure.reason])
}

/// No two lists of texts have the same octets here.
fn digest_of(parts: &[&str]) -> Vec<u8> {
    let octets: Vec<u8> = parts.iter().flat_map(|part| [part.as_bytes(), &[0]].concat()).collect();
    digest(&SHA256, &octets).as_ref().iter().copied().take(DIGEST_OCTETS).collect()
}

fn policy_counts(row: &PgRow) -> Result<PolicyCounts, StoreError> {
    let kind = TlsPolicyKind::from_number(row.value("kind")?).ok_or(StoreError::Corrupt { column: "kind" })?;
    let policy = TlsPolicyFound { kind, lines: row.texts("lines")?, hosts: row.texts("hosts")? };
    let successes = row.value::<i64>("successes")?.unsigned_abs();
    Ok(PolicyCounts { policy, successes, failures: Vec::new() })
}

/// Absent where a policy has none.
fn failure(row: &PgRow) -> Result<Option<(TlsFailure, u64)>, StoreError> {
    let Some(fault) = row.value::<Option<i16>>("fault")? else { return Ok(None) };
    let address = |column: &'static str| match row.value::<String>(column)?.as_str() {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| StoreError::Corrupt { column }),
    };
    let failure = TlsFailure {
        fault: TlsFault::from_number(fault).unwrap_or(TlsFault::ValidationFailure),
        sending_address: address("sending_address")?,
        host: row.value("host")?,
        host_address: address("host_address")?,
        reason: row.value("reason")?,
    };
    Ok(Some((failure, row.value::<i64>("sessions")?.unsigned_abs())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(lines: String, failures: Vec<(TlsFailure, u64)>) -> PolicyCounts {
        let policy = TlsPolicyFound { kind: TlsPolicyKind::Sts, lines: vec![lines], hosts: Vec::new() };
        PolicyCounts { policy, successes: 1, failures }
    }

    #[test]
    fn what_an_owner_makes_grow_ends_in_a_remainder() {
        let failure =
            |number: usize| TlsFailure { host: format!("h{number}"), ..TlsFailure::untold(TlsFault::DaneRequired) };
        let failures = (0..2 * MAX_TLS_FAILURES).map(|number| (failure(number), 1)).collect();
        let mut policies: Vec<_> =
            (0..3 * MAX_TLS_POLICIES).map(|number| counts(number.to_string(), Vec::new())).collect();
        policies.push(counts("0".to_owned(), failures));
        let of =
            DomainCounts { day: Day::new(20_000), domain: "d.example".to_owned(), destinations: Vec::new(), policies };
        let sums = Sums::new(std::slice::from_ref(&of), Known::new());
        assert_eq!(sums.policies.len(), MAX_TLS_POLICIES + 1);
        assert_eq!(
            sums.policies.values().map(|(_, successes)| successes).sum::<u64>(),
            3 * MAX_TLS_POLICIES as u64 + 1
        );
        assert_eq!(sums.failures.len(), MAX_TLS_FAILURES + 1);
        assert_eq!(sums.failures.values().map(|(_, sessions)| sessions).sum::<u64>(), 2 * MAX_TLS_FAILURES as u64);
        let full = HashMap::from([(digest_of_policy(&of.policies[0].policy), MAX_TLS_FAILURES)]);
        let known = Known::from([((20_000, "d.example".to_owned()), full)]);
        let later = DomainCounts { policies: vec![counts("0".to_owned(), vec![(failure(1), 4)])], ..of };
        let sums = Sums::new(&[later], known);
        let (told, sessions) = sums.failures.values().next().unwrap();
        assert_eq!((told, *sessions), (&TlsFailure::untold(TlsFault::DaneRequired), 4), "also over batches");
    }
}
