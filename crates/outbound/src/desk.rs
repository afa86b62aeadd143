//! Where links and attempts meet: what arrives is admitted to the ledger, what is finished waits here for the link that
//! takes it to its owner.
//!
//! Responsible for one lock around ledger, credit and outboxes, and for waking whoever has something to do. Not
//! responsible for streams or for attempts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mailtier_api::ApiError;
use mailtier_api::tls::TlsClient;
use mailtier_api::work::{Dispatch, Holding, Inquire, PoolCredit, Settled, WorkClient, WorkResult};
use mailtier_config::DEFAULT_POOL;
use mailtier_crashpoint::{Point, reach};
use mailtier_types::{DeliveryId, MessageId, ReplicaId, ShardId};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::ledger::{Admission, Credit, Lane, Ledger, LinkId};

/// Results that may wait to be settled before no more work is asked for, as a multiple of the capacity.
const UNSETTLED_PER_CAPACITY: usize = 16;

/// How long one replica may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Results in one frame: each may name every recipient of a large delivery.
const RESULTS_PER_FRAME: usize = 200;

/// Whether a delivery may go on to its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// Yes.
    Go,
    /// This worker is shutting down.
    Leaving,
    /// Its owner has been out of reach for too long.
    OwnerGone,
}

/// What a link has to send.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// More deliveries of the pool `default` that the replica may send.
    pub(crate) credit: u32,
    /// The same of other pools.
    pub(crate) pool_credits: Vec<PoolCredit>,
    /// Answers to the replica's questions; they go before the results.
    pub(crate) holdings: Vec<Holding>,
    /// Results for the replica.
    pub(crate) results: Vec<WorkResult>,
}

/// One link as the desk knows it.
struct Port {
    replica: ReplicaId,
    holdings: Vec<Holding>,
    outbox: Vec<WorkResult>,
    wake: Arc<Notify>,
    client: WorkClient,
}

struct State {
    ledger: Ledger,
    credit: Credit,
    ports: HashMap<LinkId, Port>,
    next_link: u64,
    leaving: bool,
}

/// The worker's desk.
pub(crate) struct Desk {
    state: Mutex<State>,
    /// The egress pools that are served.
    pools: Vec<String>,
    unsettled_limit: usize,
    cleared: Notify,
}

impl Desk {
    /// `capacity` deliveries of these egress pools at a time; `patience` as in [`Ledger::new`].
    pub(crate) fn new(capacity: u32, pools: Vec<String>, patience: Duration) -> Self {
        Self {
            state: Mutex::new(State {
                ledger: Ledger::new(patience),
                credit: Credit::new(capacity),
                ports: HashMap::new(),
                next_link: 0,
                leaving: false,
            }),
            pools,
            unsettled_limit: usize::try_from(capacity).unwrap_or(usize::MAX).saturating_mul(UNSETTLED_PER_CAPACITY),
            cleared: Notify::new(),
        }
    }

    /// A link is up. Nothing when the replica is linked already, over another of its addresses.
    pub(crate) fn connect(&self, replica: ReplicaId, client: WorkClient, wake: Arc<Notify>) -> Option<LinkId> {
        let mut state = self.state.lock();
        if state.ports.values().any(|port| port.replica == replica) {
            return None;
        }
        state.next_link += 1;
        let link = LinkId(state.next_link);
        state.ports.insert(link, Port { replica, holdings: Vec::new(), outbox: Vec::new(), wake, client });
        self.lanes(link).for_each(|lane| state.credit.add(lane));
        state.ledger.connected(replica);
        Some(link)
    }

    /// A link is gone. Results on their way over it stay in the ledger.
    pub(crate) fn disconnect(&self, link: LinkId) {
        let mut state = self.state.lock();
        if let Some(port) = state.ports.remove(&link) {
            self.lanes(link).for_each(|lane| state.credit.remove(lane));
            state.ledger.disconnected(port.replica, Instant::now());
            state.wake_all();
        }
    }

    /// Links that are up.
    pub(crate) fn links(&self) -> usize {
        self.state.lock().ports.len()
    }

    /// A delivery arrives over a link; answers whether to attempt it.
    pub(crate) fn admit(&self, link: LinkId, dispatch: &Dispatch) -> bool {
        let mut state = self.state.lock();
        let Some(replica) = state.ports.get(&link).map(|port| port.replica) else { return false };
        let lane = self.lane(link, &dispatch.pool);
        state.credit.take(lane);
        let Dispatch { delivery, shard, epoch, attempt, .. } = *dispatch;
        let refusal = |epoch| {
            let outcomes = Vec::new();
            Some(WorkResult {
                delivery,
                shard,
                epoch,
                attempt,
                outcomes,
                not_attempted: true,
                exchanger: None,
                own_way: false,
            })
        };
        let answer = if state.leaving {
            refusal(epoch)
        } else {
            match state.ledger.admit(replica, delivery, shard, epoch, attempt) {
                Admission::Start => {
                    state.wake(link);
                    return true;
                }
                Admission::Known => None,
                Admission::Finished(result) => Some(result),
                Admission::Stale(later) => refusal(later),
            }
        };
        state.credit.release(lane);
        if let Some(port) = state.ports.get_mut(&link) {
            port.outbox.extend(answer);
        }
        state.wake(link);
        false
    }

    /// A replica asks what is held of its shards. The answer goes out over the link, and the results after it.
    pub(crate) fn inquire(&self, link: LinkId, inquire: &Inquire) {
        let mut state = self.state.lock();
        let Some(replica) = state.ports.get(&link).map(|port| port.replica) else { return };
        let held = state.ledger.inquire(replica, &inquire.shards);
        let Some(port) = state.ports.get_mut(&link) else { return };
        port.holdings.push(Holding { shards: held.shards, in_flight: held.in_flight });
        port.outbox.retain(|waiting| !held.finished.iter().any(|result| result.delivery == waiting.delivery));
        port.outbox.extend(held.finished);
        port.wake.notify_one();
    }

    /// Asked just before a transaction begins.
    pub(crate) fn begin(&self, shard: ShardId) -> Begin {
        let state = self.state.lock();
        if state.leaving {
            Begin::Leaving
        } else if state.ledger.may_begin(shard, Instant::now()) {
            Begin::Go
        } else {
            Begin::OwnerGone
        }
    }

    /// The attempt of a delivery that came over a link is over.
    pub(crate) fn finish(&self, link: LinkId, pool: &str, result: WorkResult) {
        let mut state = self.state.lock();
        let result = state.ledger.up_to_date(result);
        if let Some(owner) = state.ledger.finish(result.clone())
            && let Some(port) = state.ports.values_mut().find(|port| port.replica == owner)
        {
            port.outbox.push(result);
        }
        reach(Point::ResultKept);
        state.credit.release(self.lane(link, pool));
        state.wake_all();
        self.tell_if_clear(&state);
    }

    /// A delivery that came over a link is given up without a word.
    pub(crate) fn forget(&self, link: LinkId, pool: &str, delivery: DeliveryId) {
        let mut state = self.state.lock();
        state.ledger.forget(delivery);
        state.credit.release(self.lane(link, pool));
        state.wake_all();
        self.tell_if_clear(&state);
    }

    /// Results are durable.
    pub(crate) fn settled(&self, settled: &[Settled]) {
        let mut state = self.state.lock();
        let was_behind = self.is_behind(&state);
        for settled in settled {
            state.ledger.settled(settled.delivery, settled.attempt);
        }
        // What was not granted meanwhile is granted now: nothing else may come that would wake a link.
        if was_behind && !self.is_behind(&state) {
            state.wake_all();
        }
        self.tell_if_clear(&state);
    }

    /// So much waits to be settled that no more work is asked for.
    fn is_behind(&self, state: &State) -> bool {
        state.ledger.unsettled() > self.unsettled_limit
    }

    /// What a link has to send now.
    pub(crate) fn outgoing(&self, link: LinkId) -> Outgoing {
        let mut state = self.state.lock();
        let is_behind = self.is_behind(&state);
        let (mut credit, mut pool_credits) = (0, Vec::new());
        for (lane, pool) in self.lanes(link).zip(&self.pools).filter(|_| !is_behind) {
            match (state.credit.grant(lane), pool.as_str()) {
                (0, _) => {}
                (granted, DEFAULT_POOL) => credit = granted,
                (granted, pool) => pool_credits.push(PoolCredit { pool: pool.to_owned(), credit: granted }),
            }
        }
        let Some(port) = state.ports.get_mut(&link) else { return Outgoing::default() };
        let results = port.outbox.drain(..port.outbox.len().min(RESULTS_PER_FRAME)).collect();
        if !port.outbox.is_empty() {
            port.wake.notify_one();
        }
        Outgoing { credit, pool_credits, holdings: std::mem::take(&mut port.holdings), results }
    }

    /// Deliveries being attempted, and results not settled.
    pub(crate) fn load(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.ledger.running(), state.ledger.unsettled())
    }

    /// From now on nothing is asked for and nothing begun.
    pub(crate) fn leave(&self) {
        let mut state = self.state.lock();
        state.leaving = true;
        state.credit.stop();
        self.tell_if_clear(&state);
    }

    /// Whether this worker is shutting down.
    pub(crate) fn is_leaving(&self) -> bool {
        self.state.lock().leaving
    }

    /// Waits until nothing is attempted and nothing is unsettled.
    pub(crate) async fn clear(&self) {
        loop {
            let told = self.cleared.notified();
            if self.load() == (0, 0) {
                return;
            }
            told.await;
        }
    }

    /// The stored chunks of a body, from any replica that gives them.
    ///
    /// # Errors
    /// What the last replica said.
    pub(crate) async fn fetch_body(&self, message: MessageId, size_bytes: u64) -> Result<Vec<Bytes>, String> {
        let clients: Vec<_> = self.state.lock().ports.values().map(|port| port.client.clone()).collect();
        let mut reason = "no queue replica can be reached".to_owned();
        for client in clients {
            match fetch_from(&client, message, size_bytes).await {
                Ok(chunks) => return Ok(chunks),
                Err(error) => reason = error,
            }
        }
        Err(reason)
    }

    /// An answer about TLS, from any replica that gives one.
    ///
    /// # Errors
    /// What the last replica said. One of an earlier version does not know the question.
    pub(crate) async fn ask_tls<T, F>(&self, question: impl Fn(TlsClient) -> F) -> Result<T, ApiError>
    where
        F: Future<Output = Result<T, ApiError>>,
    {
        let clients: Vec<_> = self.state.lock().ports.values().map(|port| port.client.tls().clone()).collect();
        let mut last = ApiError::Unavailable("no queue replica can be reached".to_owned());
        for client in clients {
            match tokio::time::timeout(ANSWER_TIMEOUT, question(client)).await {
                Ok(Ok(answer)) => return Ok(answer),
                // Another replica would say the same.
                Ok(Err(error @ ApiError::Invalid(_))) => return Err(error),
                Ok(Err(error)) => last = error,
                Err(_) => last = ApiError::Unavailable("a queue replica does not answer".to_owned()),
            }
        }
        Err(last)
    }

    /// A link's lane for each pool.
    fn lanes(&self, link: LinkId) -> impl Iterator<Item = Lane> + use<> {
        (0..self.pools.len()).map(move |pool| Lane { link, pool })
    }

    /// The lane of a delivery. One of a pool that is not served, which no replica should send, has one of its own.
    fn lane(&self, link: LinkId, pool: &str) -> Lane {
        let pool = self.pools.iter().position(|known| known == pool).unwrap_or(usize::MAX);
        Lane { link, pool }
    }

    /// The egress pools that are served.
    pub(crate) fn pools(&self) -> &[String] {
        &self.pools
    }

    fn tell_if_clear(&self, state: &State) {
        if state.leaving && state.ledger.running() == 0 && state.ledger.unsettled() == 0 {
            self.cleared.notify_waiters();
        }
    }
}

impl State {
    /// A link has used credit, or has something to send.
    fn wake(&self, link: LinkId) {
        if let Some(port) = self.ports.get(&link) {
            port.wake.notify_one();
        }
    }

    /// Room has come free, or there are results: every link looks at what it has to send.
    fn wake_all(&self) {
        self.ports.values().for_each(|port| port.wake.notify_one());
    }
}

/// All chunks of a body; no more octets than the message can have had in any encoding.
async fn fetch_from(client: &WorkClient, message: MessageId, size_bytes: u64) -> Result<Vec<Bytes>, String> {
    /// A zstd frame of what cannot be compressed is larger than its content by this fraction at most, and a little.
    const EXPANSION: u64 = 8;
    const ALLOWANCE_BYTES: u64 = 64 << 10;
    let mut chunks = client.fetch_body(message).await.map_err(|error| error.to_string())?;
    let mut left = size_bytes.saturating_add(size_bytes / EXPANSION).saturating_add(ALLOWANCE_BYTES);
    let mut fetched = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| error.to_string())?;
        let octets = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        left = left.checked_sub(octets).ok_or_else(|| "the stored body is larger than its message".to_owned())?;
        fetched.push(chunk);
    }
    Ok(fetched)
}
