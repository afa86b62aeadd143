//! Keeps a program's certificates new: looks at their files, says what is wrong with what is there, and when they end. Not
//! responsible for using them.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mailtier_telemetry::Meters;
use mailtier_tls::{ClusterTls, Look, ServerTls, TlsError};
use mailtier_types::text::Chain;
use tokio_util::sync::CancellationToken;

use crate::FileStamp;

/// From when on an end is warned of.
const WARN_BEFORE: Duration = Duration::from_secs(7 * 86_400);
/// The same of certificates that are renewed often: a share of their life.
const WARN_SHARE: u32 = 4;
/// How often.
const WARN_EVERY: Duration = Duration::from_secs(86_400);

/// Keeps the certificate for TLS between the programs new, until the end.
pub async fn keep_certificate(tls: Arc<ClusterTls>, meters: Arc<Meters>, end: CancellationToken) {
    let mut keeper = Keeper::default();
    loop {
        keeper.look(&tls, SystemTime::now());
        if let Some((_, until)) = tls.validity() {
            let seconds = until.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            meters.cluster_certificate_expiry.record(seconds, &[]);
        }
        if tokio::time::timeout(FileStamp::LOOK_EVERY, end.cancelled()).await.is_ok() {
            return;
        }
    }
}

/// Reads a server's certificate again when its files change, until the end.
pub(crate) async fn keep_server_certificate(tls: Arc<ServerTls>, end: CancellationToken) {
    let stamps = || -> Vec<_> {
        tls.files().iter().flat_map(|files| [FileStamp::of(&files.certificate), FileStamp::of(&files.key)]).collect()
    };
    let mut known = stamps();
    while tokio::time::timeout(FileStamp::LOOK_EVERY, end.cancelled()).await.is_err() {
        let found = stamps();
        if found == known {
            continue;
        }
        known = found;
        match tls.reload() {
            Ok(()) => tracing::info!(files = ?tls.files(), "the certificate was read again"),
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "the certificate cannot be read again, the old one stays")
            }
        }
    }
}

/// What was said already.
#[derive(Debug, Default)]
struct Keeper {
    trouble: Option<String>,
    warned: Option<SystemTime>,
}

impl Keeper {
    fn look(&mut self, tls: &ClusterTls, now: SystemTime) {
        let found = tls.look();
        if let Some(trouble) = self.news(&found) {
            tracing::warn!(error = trouble, "the cluster's certificate cannot be read again, the old one stays");
        }
        if let Ok(Look::Renewed) = found {
            self.warned = None;
            let identity = tls.identity().map(|identity| identity.to_string());
            tracing::info!(identity, "the cluster's certificate was read again: new connections use it");
        }
        if let Some(days) = tls.validity().and_then(|(from, until)| self.days_left(from, until, now)) {
            tracing::warn!(days, "the cluster's certificate ends soon: renew it (docs/cluster-tls.md)");
        }
    }

    /// What is wrong, where that was not said already.
    fn news(&mut self, found: &Result<Look, TlsError>) -> Option<String> {
        let trouble = found.as_ref().err().map(|error| Chain(error).to_string());
        (trouble != self.trouble).then(|| std::mem::replace(&mut self.trouble, trouble.clone())).and(trouble)
    }

    /// How many days are left, where that is to be said now.
    fn days_left(&mut self, from: SystemTime, until: SystemTime, now: SystemTime) -> Option<u64> {
        let left = until.duration_since(now).unwrap_or_default();
        let life = until.duration_since(from).unwrap_or_default();
        let said = |at: SystemTime| now.duration_since(at).is_ok_and(|since| since < WARN_EVERY);
        if left > WARN_BEFORE.min(life / WARN_SHARE) || self.warned.is_some_and(said) {
            return None;
        }
        self.warned = Some(now);
        Some(left.as_secs() / 86_400)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn an_end_is_warned_of_once_a_day_in_its_last_week() {
        let mut keeper = Keeper::default();
        let (from, until) = (UNIX_EPOCH, UNIX_EPOCH + DAY * 90);
        let mut left = |at: Duration| keeper.days_left(from, until, UNIX_EPOCH + at);
        assert_eq!(left(DAY * 82), None);
        assert_eq!(left(DAY * 84), Some(6));
        assert_eq!(left(DAY * 84 + DAY / 2), None, "said already");
        assert_eq!(left(DAY * 85), Some(5));
        assert_eq!(left(DAY * 91), Some(0), "it is over");
    }

    #[test]
    fn one_of_an_hour_is_no_trouble_for_most_of_it() {
        let hour = Duration::from_secs(3600);
        let mut keeper = Keeper::default();
        let mut left = |at: Duration| keeper.days_left(UNIX_EPOCH, UNIX_EPOCH + hour, UNIX_EPOCH + at);
        assert_eq!(left(hour / 2), None);
        assert_eq!(left(hour * 4 / 5), Some(0));
    }

    #[test]
    fn trouble_is_told_once() {
        let mut keeper = Keeper::default();
        let missing = || Err(TlsError::NoCertificate { path: "a.pem".into() });
        assert_eq!(keeper.news(&missing()).as_deref(), Some("a.pem holds no certificate"));
        assert_eq!(keeper.news(&missing()), None);
        let other = Err(TlsError::NoCertificate { path: "b.pem".into() });
        assert!(keeper.news(&other).is_some());
        assert_eq!(keeper.news(&Ok(Look::Renewed)), None);
        assert!(keeper.news(&missing()).is_some(), "it is back");
    }
}
