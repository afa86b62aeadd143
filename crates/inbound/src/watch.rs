//! What is looked at again and again: whether messages could be taken now, and whether the certificate was renewed. Not
//! responsible for the queue's connections, which look after themselves.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use mailtier_service::Health;
use mailtier_tls::ServerTls;
use mailtier_types::text::Chain;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::shared::Shared;
use crate::sharing::Sharing;

/// How often readiness and gauges follow the state.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often clients that are gone are forgotten.
const TIDY_EVERY: Duration = Duration::from_secs(60);
/// How often the certificate's files are read again.
const RELOAD_EVERY: Duration = Duration::from_secs(60);

/// Says whether this process can take messages: it can make ids, and a replica is connected.
#[derive(Debug)]
pub(crate) struct ReadinessKeeper {
    pub(crate) sharing: Arc<Sharing>,
    pub(crate) health: Health,
    pub(crate) room: Arc<Semaphore>,
    pub(crate) max_sessions: usize,
    pub(crate) end: CancellationToken,
}

impl ReadinessKeeper {
    pub(crate) async fn run(self) {
        let mut tidied = Instant::now();
        while !self.end.is_cancelled() {
            let shared = self.sharing.now();
            self.look(&shared, Instant::now());
            if tidied.elapsed() > TIDY_EVERY {
                shared.limits.tidy();
                tidied = Instant::now();
            }
            tokio::select! {
                () = shared.submitter.endpoints.changed(LOOK_EVERY) => {}
                () = self.end.cancelled() => {}
            }
        }
        self.health.set_not_ready("draining");
    }

    fn look(&self, shared: &Shared, now: Instant) {
        if shared.submitter.endpoints.down_for(now).is_some() {
            self.health.set_not_ready("no queue replica is connected");
        } else if !shared.ids.are_valid(now) {
            self.health.set_not_ready("no node number is leased");
        } else {
            self.health.set_ready();
        }
        let sessions = self.max_sessions.saturating_sub(self.room.available_permits());
        shared.meters.inbound_sessions_active.record(sessions as u64, &[]);
        shared.meters.inbound_replicas.record(shared.submitter.endpoints.healthy() as u64, &[]);
        shared.pressure.look();
        shared.meters.inbound_memory.record(shared.budget.used_octets() as u64, &[]);
    }
}

/// Takes up a renewed certificate, for as long as anybody uses it. Sessions that have the old one keep it; where the new one cannot be used, so do new
/// sessions.
#[derive(Debug)]
pub(crate) struct CertificateKeeper {
    pub(crate) tls: Weak<ServerTls>,
    pub(crate) end: CancellationToken,
}

impl CertificateKeeper {
    pub(crate) async fn run(self) {
        while tokio::time::timeout(RELOAD_EVERY, self.end.cancelled()).await.is_err() {
            let Some(tls) = self.tls.upgrade() else { return };
            if let Some(error) = trouble(&tls) {
                tracing::warn!(error, "the certificate cannot be read again, the old one stays");
            }
        }
    }
}

/// Reads again, and says why that failed: which file it is, and what is wrong with it.
fn trouble(tls: &ServerTls) -> Option<String> {
    tls.reload().err().map(|error| Chain(&error).to_string())
}

#[cfg(test)]
mod tests {
    use mailtier_tls::CertificateFiles;

    use super::*;

    #[test]
    fn what_is_wrong_with_a_renewed_certificate_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let (certificate, key) = (directory.path().join("chain.pem"), directory.path().join("key.pem"));
        let made = rcgen::generate_simple_self_signed(vec!["mx.example.org".to_owned()]).unwrap();
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let files = [CertificateFiles { certificate: certificate.clone(), key: key.clone() }];
        let tls = ServerTls::load(&files, None).unwrap();
        assert_eq!(trouble(&tls), None);
        std::fs::remove_file(&key).unwrap();
        let said = trouble(&tls).unwrap();
        assert!(said.contains("key.pem") && said.contains("No such file"), "{said}");
        let other = rcgen::generate_simple_self_signed(vec!["mx.example.org".to_owned()]).unwrap();
        std::fs::write(&key, other.signing_key.serialize_pem()).unwrap();
        let said = trouble(&tls).unwrap();
        assert!(said.contains("cannot be used: "), "{said}");
    }
}
