//! Makes the reports that are due, each on one replica: it is claimed for a while, and written with what sends it in one
//! transaction that needs the claim still. Who dies in between leaves it to another.

use std::sync::Arc;
use std::time::Duration;

use mailtier_store::{AsidePlan, ClaimedTlsReport, Session, Store, StoreError};
use mailtier_telemetry::Meters;
use mailtier_types::{ReplicaId, Timestamp};
use tokio_util::sync::CancellationToken;

use super::report::{TRIED_FOR, mailto};
use super::{Reporting, ReportingNow};
use crate::clock;
use crate::conductor::{Command, Committed, Conductor};
use crate::database::Connector;
use crate::ids::Ids;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Between two looks while there is no number for messages yet, as just after the start, or reports are not configured.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Reports that are claimed at a time.
const CLAIMED: u32 = 10;
/// For so long: much more than it takes to make them.
const LEASE: Duration = Duration::from_secs(300);

/// The loop.
#[derive(Debug)]
pub(crate) struct Reporter {
    /// What they are made with.
    pub(crate) reporting: ReportingNow,
    /// Who makes them.
    pub(crate) me: ReplicaId,
    /// The database.
    pub(crate) store: Store,
    /// Told of what was committed.
    pub(crate) conductor: Conductor,
    /// For messages.
    pub(crate) ids: Arc<Ids>,
    /// Metrics.
    pub(crate) meters: Arc<Meters>,
    /// When to end.
    pub(crate) shutdown: CancellationToken,
}

/// What sends a report.
struct Sending<'a> {
    plan: AsidePlan,
    committed: Vec<Committed>,
    uris: Vec<&'a str>,
    packed: Vec<u8>,
}

/// What became of what was claimed.
enum Made {
    /// It is made, or somebody else's.
    Done,
    /// It cannot be made now.
    NotYet,
}

impl Reporter {
    /// Runs until the shutdown.
    pub(crate) async fn run(self) {
        let mut connector = Connector::new(self.store.clone(), Arc::clone(&self.meters), "tls_reports");
        while !self.shutdown.is_cancelled() {
            let pause = match self.round(&mut connector).await {
                Ok(Made::Done) => LOOK_EVERY,
                Ok(Made::NotYet) => LOOK_AGAIN,
                Err(error) => {
                    connector.trouble(&error).await;
                    continue;
                }
            };
            connector.recovered();
            let _ = tokio::time::timeout(pause, self.shutdown.cancelled()).await;
        }
    }

    /// All that is due.
    async fn round(&self, connector: &mut Connector) -> Result<Made, StoreError> {
        let Some(reporting) = self.reporting.load_full() else { return Ok(Made::NotYet) };
        loop {
            if !self.ids.are_held() {
                return Ok(Made::NotYet);
            }
            let now = clock::now();
            let session = connector.session().await?;
            let claimed = session.claim_tls_reports(self.me, now.after(LEASE), CLAIMED, now).await?;
            if claimed.is_empty() {
                return Ok(Made::Done);
            }
            for report in claimed {
                if matches!(self.make(session, (&reporting, &report), now).await?, Made::NotYet) {
                    return Ok(Made::NotYet);
                }
            }
        }
    }

    async fn make(
        &self,
        session: &mut Session,
        (reporting, of): (&Reporting, &ClaimedTlsReport),
        now: Timestamp,
    ) -> Result<Made, StoreError> {
        let counted = session.tls_counts(of.day, &of.domain).await?;
        let report = reporting.report(of, counted);
        let Some(sending) = self.sending((reporting, of), &report, now) else { return Ok(Made::NotYet) };
        let mut transaction = session.begin_aside().await?;
        if !transaction.finish_tls_report(of, self.me, now).await? {
            transaction.rollback().await?;
            return Ok(Made::Done);
        }
        transaction.write(&sending.plan).await?;
        if !sending.uris.is_empty() {
            let until = now.after(TRIED_FOR);
            transaction.put_tls_posts(&of.domain, &sending.uris, &sending.packed, now, until).await?;
        }
        transaction.commit().await?;
        let (mails, posts) = (sending.plan.messages.len(), sending.uris.len());
        self.meters.queue_tls_reports.add(mails as u64, &Meters::attribute("result", "mailed"));
        for message in &sending.plan.messages {
            let to = message.accepted.recipients.join(",");
            tracing::info!(message = %message.id, to, domain = of.domain, "a TLS report is queued");
        }
        tracing::info!(domain = of.domain, day = %of.day, id = report.id, mails, posts, "a TLS report is made");
        if !sending.committed.is_empty() {
            self.conductor.send(Command::Accepted(sending.committed));
        }
        Ok(Made::Done)
    }

    /// What sends a report to all its destinations; nothing where there is no number for a message.
    fn sending<'a>(
        &self,
        (reporting, of): (&Reporting, &'a ClaimedTlsReport),
        report: &mailtier_message::tls_report::TlsReport,
        now: Timestamp,
    ) -> Option<Sending<'a>> {
        let (domain, day) = (&of.domain, of.day);
        let complain =
            |error: &dyn std::fmt::Display| tracing::error!(domain, %day, %error, "a TLS report is not sent");
        let nothing =
            || Sending { plan: AsidePlan::default(), committed: Vec::new(), uris: Vec::new(), packed: Vec::new() };
        if report.policies.is_empty() {
            return Some(nothing());
        }
        let packed = match report.packed() {
            Ok(packed) => packed,
            Err(error) => {
                complain(&error);
                return Some(nothing());
            }
        };
        let mut sending = Sending { packed, ..nothing() };
        for uri in &of.destinations {
            if let Some(to) = mailto(uri) {
                let about = (domain.as_str(), &sending.packed[..]);
                match reporting.mail(report, about, &to, (self.ids.take(now)?, now)) {
                    Ok((message, committed)) => {
                        sending.plan.messages.push(message);
                        sending.committed.extend(committed);
                    }
                    Err(error) => complain(&error),
                }
            } else if uri.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:")) {
                sending.uris.push(uri);
            } else {
                tracing::warn!(domain, uri, "a TLS report cannot be sent there");
            }
        }
        Some(sending)
    }
}
