//! Limits that all replicas keep to together: this replica as the lessor of some, and the way to the other lessors. Not
//! responsible for what is leased to whom (`mailtier_schedule::Lessor`), nor for what is asked for (the conductor).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mailtier_api::peer::PeerClient;
use mailtier_api::{ApiError, Credentials};
use mailtier_schedule::{Answer, Lessor, View};
use mailtier_store::Member;
use mailtier_types::{ReplicaId, SliceLease, SliceReport};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::conductor::{Command, Conductor};

/// For connecting to a lessor, and for its answer: short in comparison to how long a slice lasts.
const CALL_TIMEOUT: Duration = Duration::from_secs(1);

/// A report, and for whom.
pub(crate) type Addressed = (ReplicaId, SliceReport);

/// The lessor that this replica is, and where the others are.
#[derive(Debug)]
pub(crate) struct Leasing {
    lessor: Mutex<Lessor>,
    addresses: Mutex<HashMap<ReplicaId, String>>,
}

impl Leasing {
    /// A replica that is no member yet. Its membership lasts for a lease unless it is renewed.
    pub(crate) fn new(me: ReplicaId, lease: Duration) -> Self {
        Self { lessor: Mutex::new(Lessor::new(me, lease, Instant::now())), addresses: Mutex::default() }
    }

    /// These live, as was asked for at a time; to be told with every renewal.
    pub(crate) fn meet(&self, members: &[Member], asked_at: Instant) -> View {
        let view = View::of(members.iter().map(|member| member.id).collect());
        *self.addresses.lock() = members.iter().map(|member| (member.id, member.address.clone())).collect();
        self.lessor.lock().meet(view.clone(), asked_at, Instant::now());
        view
    }

    /// A replica does not know of leases.
    fn note_foreign(&self, replica: ReplicaId) {
        self.lessor.lock().note_foreign(replica);
    }

    /// What the one who reports may have. Nothing where something newer was heard of it.
    pub(crate) fn lease(&self, report: &SliceReport) -> Option<SliceLease> {
        self.lessor.lock().lease(report, Instant::now())
    }
}

/// The loop that carries reports to lessors, and their answers back.
#[derive(Debug)]
pub(crate) struct Courier {
    /// Of which there is one at a time for each lessor.
    pub(crate) reports: mpsc::UnboundedReceiver<Addressed>,
    /// This replica.
    pub(crate) me: ReplicaId,
    /// Its own lessor, and where the others are.
    pub(crate) leasing: Arc<Leasing>,
    /// Told the answers.
    pub(crate) conductor: Conductor,
    /// To show the others.
    pub(crate) credentials: Credentials,
}

impl Courier {
    /// Runs until nobody has anything to report any more.
    pub(crate) async fn run(mut self) {
        let mut ways: HashMap<ReplicaId, mpsc::UnboundedSender<SliceReport>> = HashMap::new();
        let mut calling = JoinSet::new();
        while let Some((lessor, report)) = self.reports.recv().await {
            if lessor == self.me {
                let sequence = report.sequence;
                let answer = self.leasing.lease(&report).map_or(Answer::Lost, Answer::Leased);
                self.conductor.send(Command::Leased { lessor, sequence, answer });
                continue;
            }
            let address = self.leasing.addresses.lock().get(&lessor).cloned();
            ways.retain(|lessor, _| self.leasing.addresses.lock().contains_key(lessor));
            let Some(address) = address else {
                self.conductor.send(Command::Leased { lessor, sequence: report.sequence, answer: Answer::Lost });
                continue;
            };
            let way = ways.entry(lessor).or_insert_with(|| {
                let (way, reports) = mpsc::unbounded_channel();
                let (conductor, credentials) = (self.conductor.clone(), self.credentials.clone());
                calling.spawn(carry(lessor, address, reports, credentials, conductor, Arc::clone(&self.leasing)));
                way
            });
            let _ = way.send(report);
            while calling.try_join_next().is_some() {}
        }
    }
}

/// Carries reports to one lessor, one after the other, until it lives no more.
async fn carry(
    lessor: ReplicaId,
    address: String,
    mut reports: mpsc::UnboundedReceiver<SliceReport>,
    credentials: Credentials,
    conductor: Conductor,
    leasing: Arc<Leasing>,
) {
    let mut connected: Option<PeerClient> = None;
    while let Some(report) = reports.recv().await {
        let sequence = report.sequence;
        let call = async {
            let client = match connected.take().filter(|client| !client.renewal().is_due()) {
                Some(client) => client,
                None => PeerClient::connect(&credentials.url_of(&address), &credentials).await?,
            };
            client.lease(report).await.map(|lease| (client, lease))
        };
        let late = || ApiError::Unavailable("no answer in time".to_owned());
        let answer = match tokio::time::timeout(CALL_TIMEOUT, call).await.unwrap_or_else(|_| Err(late())) {
            Ok((client, lease)) => {
                connected = Some(client);
                lease.map_or(Answer::Lost, Answer::Leased)
            }
            Err(ApiError::NotFound(_)) => {
                leasing.note_foreign(lessor);
                Answer::Unknown
            }
            Err(error) => {
                tracing::debug!(address, %error, "nothing heard of a lessor");
                Answer::Lost
            }
        };
        conductor.send(Command::Leased { lessor, sequence, answer });
    }
}
