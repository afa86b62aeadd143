//! MTA-STS policies (RFC 8461 §3): what a domain says of its mail exchangers, read and applied. Pure; not responsible for
//! fetching or keeping one.

use std::time::Duration;

use mailtier_types::Domain;

/// A policy may ask to be kept for at most this long (RFC 8461 §3.2): about a year.
pub const MAX_AGE: Duration = Duration::from_secs(31_557_600);
/// Patterns of one policy that are kept; the rest is passed over.
const MAX_PATTERNS: usize = 100;

/// What is to be done with hosts that do not keep to a policy (RFC 8461 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StsMode {
    /// They get no mail.
    Enforce,
    /// They get mail, and the domain gets to know of it.
    Testing,
    /// The domain has no policy any more.
    None,
}

/// The policy of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StsPolicy {
    /// What it asks for.
    pub mode: StsMode,
    /// For how long it holds after it was fetched, unless a newer one is fetched before.
    pub max_age: Duration,
    /// In lower case: a name, or `*.` and a name for one more label in front of it.
    patterns: Vec<String>,
}

/// What is wrong with a policy or its record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StsError {
    /// A policy of a version that is not known.
    #[error("the policy is not of version STSv1")]
    Version,
    /// A field is missing or cannot be read.
    #[error("the policy has no usable field `{field}`")]
    Field {
        /// Its name.
        field: &'static str,
    },
}

impl StsPolicy {
    /// Reads a policy as it is served (RFC 8461 §3.2). Unknown fields are passed over; of fields given twice the first
    /// counts, but for `mx`.
    ///
    /// # Errors
    /// [`StsError`] names what is missing or wrong.
    pub fn parse(text: &str) -> Result<Self, StsError> {
        let fields =
            || text.lines().filter_map(|line| line.split_once(':')).map(|(key, value)| (key.trim(), value.trim()));
        let first = |name| fields().find(|(key, _)| *key == name).map(|(_, value)| value);
        if first("version") != Some("STSv1") {
            return Err(StsError::Version);
        }
        let mode = match first("mode") {
            Some("enforce") => StsMode::Enforce,
            Some("testing") => StsMode::Testing,
            Some("none") => StsMode::None,
            _ => return Err(StsError::Field { field: "mode" }),
        };
        let is_number = |value: &&str| !value.is_empty() && value.bytes().all(|octet| octet.is_ascii_digit());
        let max_age = first("max_age").filter(is_number).ok_or(StsError::Field { field: "max_age" })?;
        // More digits than a number has room for mean the most that may be asked for.
        let max_age = Duration::from_secs(max_age.parse().unwrap_or(u64::MAX)).min(MAX_AGE);
        let patterns: Vec<_> = fields()
            .filter(|(key, _)| *key == "mx")
            .filter_map(|(_, value)| pattern(value))
            .take(MAX_PATTERNS)
            .collect();
        if patterns.is_empty() && mode != StsMode::None {
            return Err(StsError::Field { field: "mx" });
        }
        Ok(Self { mode, max_age, patterns })
    }

    /// The patterns of hosts that it names, in lower case.
    #[must_use]
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// The policy as it is served, line by line, without what is not known here.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mode = match self.mode {
            StsMode::Enforce => "enforce",
            StsMode::Testing => "testing",
            StsMode::None => "none",
        };
        let mut lines = vec!["version: STSv1".to_owned(), format!("mode: {mode}")];
        lines.extend(self.patterns.iter().map(|pattern| format!("mx: {pattern}")));
        lines.push(format!("max_age: {}", self.max_age.as_secs()));
        lines
    }

    /// Whether a mail exchanger is one of those that the policy names (RFC 8461 §4.1): a wildcard stands for exactly one
    /// label.
    #[must_use]
    pub fn names(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let behind_first = host.split_once('.').map(|(_, rest)| rest);
        self.patterns.iter().any(|pattern| match pattern.strip_prefix("*.") {
            Some(parent) => behind_first == Some(parent),
            None => *pattern == host,
        })
    }
}

fn pattern(text: &str) -> Option<String> {
    let name = text.trim_end_matches('.');
    let domain = Domain::parse(name.strip_prefix("*.").unwrap_or(name)).ok()?;
    let wildcard = if name.starts_with("*.") { "*." } else { "" };
    Some(format!("{wildcard}{domain}").to_ascii_lowercase())
}

/// The id of a domain's policy, from the TXT records of `_mta-sts` below it (RFC 8461 §3.1). Nothing where there is no
/// policy, which several records mean as well.
#[must_use]
pub fn policy_id(texts: &[String]) -> Option<String> {
    let mut records = texts.iter().filter(|text| is_record(text));
    let (Some(record), None) = (records.next(), records.next()) else { return None };
    let mut fields = record.split(';').skip(1).filter_map(|field| field.split_once('='));
    let (_, id) = fields.find(|(key, _)| key.trim() == "id")?;
    let id = id.trim();
    let is_id = (1..=32).contains(&id.len()) && id.bytes().all(|octet| octet.is_ascii_alphanumeric());
    is_id.then(|| id.to_owned())
}

/// `v=STSv1` comes first.
fn is_record(text: &str) -> bool {
    text.split(';').next().is_some_and(|version| version.trim() == "v=STSv1")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(fields: &str) -> Result<StsPolicy, StsError> {
        StsPolicy::parse(&fields.replace(", ", "\r\n"))
    }

    #[test]
    fn a_policy_is_read_as_the_rfc_shows_it() {
        let text = "version: STSv1, mode: enforce, mx: mail.example.com, mx: *.example.net, mx: Backup.Example.COM., max_age: 604800, ";
        let read = policy(text).unwrap();
        assert_eq!((read.mode, read.max_age), (StsMode::Enforce, Duration::from_secs(604_800)));
        assert_eq!(policy(&read.lines().join(", ")), Ok(read.clone()), "what is kept of it is read again");
        for (host, named) in [
            ("mail.example.com", true),
            ("MAIL.example.com.", true),
            ("backup.example.com", true),
            ("a.example.net", true),
            ("a.b.example.net", false),
            ("example.net", false),
            ("mail.example.org", false),
            ("evil-mail.example.com", false),
        ] {
            assert_eq!(read.names(host), named, "{host}");
        }
    }

    #[test]
    fn faulty_policies_and_generous_ones() {
        for (text, error) in [
            ("", StsError::Version),
            ("version: STSv2, mode: none, max_age: 1", StsError::Version),
            ("version: STSv1, mode: maybe, mx: a.example, max_age: 1", StsError::Field { field: "mode" }),
            ("version: STSv1, mx: a.example, max_age: 1", StsError::Field { field: "mode" }),
            ("version: STSv1, mode: testing, mx: a.example", StsError::Field { field: "max_age" }),
            ("version: STSv1, mode: testing, mx: a.example, max_age: -1", StsError::Field { field: "max_age" }),
            ("version: STSv1, mode: enforce, max_age: 1", StsError::Field { field: "mx" }),
            ("version: STSv1, mode: enforce, mx: a b, max_age: 1", StsError::Field { field: "mx" }),
        ] {
            assert_eq!(policy(text), Err(error), "{text}");
        }
        let none = policy("version: STSv1, mode: none, max_age: 86400").unwrap();
        assert_eq!(none.mode, StsMode::None);
        let odd =
            policy("x: y, mode: testing, mode: enforce, version:STSv1, mx:a.example, max_age:99999999999999999999999")
                .unwrap();
        assert_eq!((odd.mode, odd.max_age), (StsMode::Testing, MAX_AGE));
    }

    #[test]
    fn the_record_says_whether_there_is_a_policy_and_which() {
        for (texts, id) in [
            (vec!["v=STSv1; id=20160831085700Z;"], Some("20160831085700Z")),
            (vec!["v=STSv1;id=1"], Some("1")),
            (vec!["v=spf1 -all", "v=STSv1; id=1; x=y"], Some("1")),
            (vec!["v=STSv1; id=1", "v=STSv1; id=2"], None),
            (vec!["v=STSv1; id="], None),
            (vec!["v=STSv1; id=a-b"], None),
            (vec!["id=1; v=STSv1"], None),
            (vec!["v=STSv1"], None),
            (vec![], None),
        ] {
            let texts: Vec<_> = texts.into_iter().map(str::to_owned).collect();
            assert_eq!(policy_id(&texts).as_deref(), id, "{texts:?}");
        }
    }
}
