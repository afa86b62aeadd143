//! Work, between a queue replica and an outbound worker: frames and the worker's side. See
//! `proto/mailtier/v1/work.proto`.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use mailtier_config::DEFAULT_POOL;
use mailtier_tls::Renewal;
use mailtier_types::{
    DeliveryId, Epoch, Mailbox, MessageId, Outcome, ReplicaId, ReversePath, RouteHost, ShardId, TenantId, Timestamp,
    WorkerId,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::channel::{Authenticated, MAX_FRAME_BYTES, connect};
use crate::convert::{
    address_of, attempt, delivery_id, epoch, mailboxes, message_id, priority, replica_id, route_hosts, sender,
    shard_epochs, shard_id, strings, wire_shard_epochs, worker_id,
};
use crate::credentials::Credentials;
use crate::error::ApiError;
use crate::stream::Incoming;
use crate::tls::TlsClient;
use crate::wire;

/// The most egress pools one worker serves.
const MAX_POOLS: usize = 250;
/// The longest name of one, in octets.
const MAX_POOL_OCTETS: usize = 64;

/// Who a worker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Made anew at each start.
    pub worker: WorkerId,
    /// For logs.
    pub name: String,
    /// The egress pools it serves, one at least.
    pub pools: Vec<String>,
}

/// Deliveries of one egress pool that a worker can take on top of those it granted before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolCredit {
    /// Its name.
    pub pool: String,
    /// How many.
    pub credit: u32,
}

/// Who a replica is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// Made anew at each start.
    pub replica: ReplicaId,
    /// For logs.
    pub name: String,
}

/// From the worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkerFrame {
    /// The first frame, and only it.
    pub hello: Option<Hello>,
    /// Deliveries of the pool `default` it can take on top of those granted before.
    pub credit: u32,
    /// The same for other pools.
    pub pool_credits: Vec<PoolCredit>,
    /// What attempts came to.
    pub results: Vec<WorkResult>,
    /// The answer to [`Inquire`].
    pub holding: Option<Holding>,
}

/// From the replica.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueFrame {
    /// The first frame, and only it.
    pub welcome: Option<Welcome>,
    /// To be attempted.
    pub dispatches: Vec<Dispatch>,
    /// Results that are durable.
    pub settled: Vec<Settled>,
    /// What do you hold of these shards?
    pub inquire: Option<Inquire>,
    /// The replica is leaving.
    pub draining: bool,
}

/// A delivery to be attempted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispatch {
    /// Which.
    pub delivery: DeliveryId,
    /// Of which message.
    pub message: MessageId,
    /// Of which shard.
    pub shard: ShardId,
    /// The shard's, by the sender's knowledge.
    pub epoch: Epoch,
    /// 1 for the first.
    pub attempt: u16,
    /// Whose.
    pub tenant: TenantId,
    /// Of the envelope.
    pub priority: i16,
    /// Through which egress pool.
    pub pool: String,
    /// What limits apply to.
    pub destination: String,
    /// The reverse-path with which it was accepted.
    pub sender: ReversePath,
    /// The one with which it goes out, where that is another.
    pub return_path: Option<ReversePath>,
    /// One for each recipient, in their order, in a transaction of its own; empty where they all go with the one above.
    pub return_paths: Vec<ReversePath>,
    /// Our address of the attempt before, where the remote is to know it again.
    pub same_source: Option<IpAddr>,
    /// Addresses that are blocked where it goes.
    pub avoided_sources: Vec<AvoidedSource>,
    /// Still to be delivered.
    pub recipients: Vec<Mailbox>,
    /// Encoded, see [`crate::decode_options`].
    pub options: Bytes,
    /// When it is given up.
    pub expires_at: Timestamp,
    /// All stored chunks; absent when they are to be fetched.
    pub body: Option<Vec<Bytes>>,
    /// Only find the exchanger that would get it, and say which it is.
    pub resolve_first: bool,
    /// Where an operator sends it, in the order in which they are tried. None: where configuration and DNS say.
    pub hosts: Vec<RouteHost>,
    /// A route has held it, and an operator has let it go: no route holds it again.
    pub was_held: bool,
    /// The `traceparent` of its turn at the queue, where that is recorded.
    pub traceparent: Option<String>,
}

/// One of our addresses that is blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AvoidedSource {
    /// Which.
    pub address: IpAddr,
    /// For so much longer, in whole seconds.
    pub time: Duration,
    /// This delivery was refused for it; else others of its destination were, which says nothing of a way of its own.
    pub refused_this: bool,
}

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkResult {
    /// Of which delivery.
    pub delivery: DeliveryId,
    /// Of which shard.
    pub shard: ShardId,
    /// As dispatched.
    pub epoch: Epoch,
    /// As dispatched.
    pub attempt: u16,
    /// Together they name every recipient of the dispatch.
    pub outcomes: Vec<(Vec<Mailbox>, Outcome)>,
    /// It was never begun: try again without counting it.
    pub not_attempted: bool,
    /// The exchanger that was asked for, where the attempt was not to be made before that is known.
    pub exchanger: Option<String>,
    /// Its mail took ways that are not for all mail to the destination: it says nothing of the destination.
    pub own_way: bool,
}

/// A question about shards, each with its epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inquire {
    /// The shards.
    pub shards: Vec<(ShardId, Epoch)>,
}

/// What a worker holds of the shards it was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holding {
    /// As asked.
    pub shards: Vec<(ShardId, Epoch)>,
    /// Being attempted, or finished with a result that follows.
    pub in_flight: Vec<InFlight>,
}

/// A delivery being attempted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InFlight {
    /// Which.
    pub delivery: DeliveryId,
    /// Which attempt.
    pub attempt: u16,
    /// Of which shard; workers of earlier versions don't say.
    pub shard: Option<ShardId>,
}

/// A result that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// Of which delivery.
    pub delivery: DeliveryId,
    /// Of which attempt.
    pub attempt: u16,
}

/// A connection to a replica.
#[derive(Debug, Clone)]
pub struct WorkClient {
    inner: wire::work_client::WorkClient<Authenticated>,
    tls: TlsClient,
    renewal: Renewal,
}

impl WorkClient {
    /// Connects to `http://host:port`, or to `https://host:port` where the credentials have TLS.
    ///
    /// # Errors
    /// The endpoint is no URL, or nothing answers there.
    pub async fn connect(endpoint: &str, credentials: impl Into<Credentials>) -> Result<Self, ApiError> {
        let (channel, renewal) = connect(endpoint, &credentials.into()).await?;
        let tls = TlsClient::new(channel.clone());
        let inner = wire::work_client::WorkClient::new(channel)
            .max_decoding_message_size(MAX_FRAME_BYTES)
            .max_encoding_message_size(MAX_FRAME_BYTES);
        Ok(Self { inner, tls, renewal })
    }

    /// When the connection is better made anew.
    #[must_use]
    pub const fn renewal(&self) -> &Renewal {
        &self.renewal
    }

    /// What is about TLS, over the same connection.
    #[must_use]
    pub const fn tls(&self) -> &TlsClient {
        &self.tls
    }

    /// Opens the stream of work.
    ///
    /// # Errors
    /// The replica refuses it.
    pub async fn session(
        &self,
        hello: Hello,
        frames: mpsc::Receiver<WorkerFrame>,
    ) -> Result<Incoming<QueueFrame>, ApiError> {
        let first = WorkerFrame { hello: Some(hello), ..WorkerFrame::default() };
        let outgoing = futures_util::stream::iter([first]).chain(ReceiverStream::new(frames));
        Ok(Incoming::new(self.inner.clone().session(outgoing.map(wire::WorkerFrame::from)).await?.into_inner()))
    }

    /// Asks for the stored chunks of a body, in order.
    ///
    /// # Errors
    /// The replica refuses.
    pub async fn fetch_body(&self, message: MessageId) -> Result<Incoming<Bytes>, ApiError> {
        let request = wire::FetchBodyRequest { message_id: message.as_i64() };
        Ok(Incoming::new(self.inner.clone().fetch_body(request).await?.into_inner()))
    }
}

impl TryFrom<wire::BodyChunk> for Bytes {
    type Error = ApiError;

    fn try_from(chunk: wire::BodyChunk) -> Result<Self, ApiError> {
        Ok(chunk.data)
    }
}

impl From<WorkerFrame> for wire::WorkerFrame {
    fn from(frame: WorkerFrame) -> Self {
        Self {
            hello: frame.hello.map(|hello| wire::Hello {
                worker: Bytes::copy_from_slice(hello.worker.as_bytes()),
                name: hello.name,
                pools: hello.pools,
            }),
            credit: frame.credit,
            pool_credits: frame
                .pool_credits
                .into_iter()
                .map(|granted| wire::PoolCredit { pool: granted.pool, credit: granted.credit })
                .collect(),
            results: frame.results.into_iter().map(Into::into).collect(),
            holding: frame.holding.map(|holding| wire::Holding {
                shards: wire_shard_epochs(&holding.shards),
                in_flight: holding
                    .in_flight
                    .iter()
                    .map(|running| wire::Attempt {
                        delivery_id: running.delivery.as_i64(),
                        attempt: u32::from(running.attempt),
                        shard: running.shard.map(|shard| u32::from(shard.number())),
                    })
                    .collect(),
            }),
        }
    }
}

impl TryFrom<wire::WorkerFrame> for WorkerFrame {
    type Error = ApiError;

    fn try_from(frame: wire::WorkerFrame) -> Result<Self, ApiError> {
        let granted = |granted: wire::PoolCredit| {
            Ok::<_, ApiError>(PoolCredit { pool: pool(granted.pool)?, credit: granted.credit })
        };
        Ok(Self {
            hello: frame.hello.map(hello).transpose()?,
            credit: frame.credit,
            pool_credits: at_most_pools(frame.pool_credits)?.into_iter().map(granted).collect::<Result<_, _>>()?,
            results: frame.results.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            holding: frame.holding.map(holding).transpose()?,
        })
    }
}

fn hello(hello: wire::Hello) -> Result<Hello, ApiError> {
    let mut pools = at_most_pools(hello.pools)?.into_iter().map(pool).collect::<Result<Vec<_>, _>>()?;
    if pools.is_empty() {
        pools.push(DEFAULT_POOL.to_owned());
    }
    Ok(Hello { worker: worker_id(&hello.worker)?, name: hello.name, pools })
}

fn at_most_pools<T>(pools: Vec<T>) -> Result<Vec<T>, ApiError> {
    match pools.len() > MAX_POOLS {
        true => Err(ApiError::invalid("pools", format!("are more than {MAX_POOLS}"))),
        false => Ok(pools),
    }
}

/// The name of an egress pool; replicas and workers of earlier versions name none.
fn pool(name: String) -> Result<String, ApiError> {
    match name.len() {
        0 => Ok(DEFAULT_POOL.to_owned()),
        1..=MAX_POOL_OCTETS => Ok(name),
        _ => Err(ApiError::invalid("pool", format!("is longer than {MAX_POOL_OCTETS} octets"))),
    }
}

fn holding(holding: wire::Holding) -> Result<Holding, ApiError> {
    let running = |running: wire::Attempt| {
        Ok::<_, ApiError>(InFlight {
            delivery: delivery_id(running.delivery_id)?,
            attempt: attempt(running.attempt)?,
            shard: running.shard.map(shard_id).transpose()?,
        })
    };
    Ok(Holding {
        shards: shard_epochs(&holding.shards)?,
        in_flight: holding.in_flight.into_iter().map(running).collect::<Result<_, _>>()?,
    })
}

impl From<QueueFrame> for wire::QueueFrame {
    fn from(frame: QueueFrame) -> Self {
        Self {
            welcome: frame.welcome.map(|welcome| wire::Welcome {
                replica: Bytes::copy_from_slice(welcome.replica.as_bytes()),
                name: welcome.name,
            }),
            dispatches: frame.dispatches.into_iter().map(Into::into).collect(),
            settled: frame
                .settled
                .iter()
                .map(|settled| wire::Settled {
                    delivery_id: settled.delivery.as_i64(),
                    attempt: u32::from(settled.attempt),
                })
                .collect(),
            inquire: frame.inquire.map(|inquire| wire::Inquire { shards: wire_shard_epochs(&inquire.shards) }),
            draining: frame.draining,
        }
    }
}

impl TryFrom<wire::QueueFrame> for QueueFrame {
    type Error = ApiError;

    fn try_from(frame: wire::QueueFrame) -> Result<Self, ApiError> {
        let welcome = |welcome: wire::Welcome| {
            Ok::<_, ApiError>(Welcome { replica: replica_id(&welcome.replica)?, name: welcome.name })
        };
        let settled = |settled: wire::Settled| {
            Ok::<_, ApiError>(Settled {
                delivery: delivery_id(settled.delivery_id)?,
                attempt: attempt(settled.attempt)?,
            })
        };
        let inquire = |inquire: wire::Inquire| Ok::<_, ApiError>(Inquire { shards: shard_epochs(&inquire.shards)? });
        Ok(Self {
            welcome: frame.welcome.map(welcome).transpose()?,
            dispatches: frame.dispatches.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            settled: frame.settled.into_iter().map(settled).collect::<Result<_, _>>()?,
            inquire: frame.inquire.map(inquire).transpose()?,
            draining: frame.draining,
        })
    }
}

impl From<Dispatch> for wire::Dispatch {
    fn from(dispatch: Dispatch) -> Self {
        Self {
            delivery_id: dispatch.delivery.as_i64(),
            message_id: dispatch.message.as_i64(),
            shard: u32::from(dispatch.shard.number()),
            epoch: dispatch.epoch.0,
            attempt: u32::from(dispatch.attempt),
            tenant: dispatch.tenant.0,
            priority: i32::from(dispatch.priority),
            pool: dispatch.pool,
            destination: dispatch.destination,
            sender: dispatch.sender.into_string(),
            same_source: dispatch.same_source.map(|address| address.to_string()).unwrap_or_default(),
            avoided_sources: dispatch.avoided_sources.iter().map(wire_avoided).collect(),
            traceparent: dispatch.traceparent.unwrap_or_default(),
            return_path: dispatch.return_path.map(ReversePath::into_string).unwrap_or_default(),
            return_paths: dispatch.return_paths.into_iter().map(ReversePath::into_string).collect(),
            recipients: strings(dispatch.recipients),
            options: dispatch.options,
            expires_at_us: dispatch.expires_at.as_micros(),
            inline_body: dispatch.body.is_some(),
            body: dispatch.body.unwrap_or_default(),
            resolve_first: dispatch.resolve_first,
            hosts: dispatch.hosts.iter().map(ToString::to_string).collect(),
            was_held: dispatch.was_held,
        }
    }
}

impl TryFrom<wire::Dispatch> for Dispatch {
    type Error = ApiError;

    fn try_from(dispatch: wire::Dispatch) -> Result<Self, ApiError> {
        Ok(Self {
            delivery: delivery_id(dispatch.delivery_id)?,
            message: message_id(dispatch.message_id)?,
            shard: shard_id(dispatch.shard)?,
            epoch: epoch(dispatch.epoch),
            attempt: attempt(dispatch.attempt)?,
            tenant: TenantId(dispatch.tenant),
            priority: priority(dispatch.priority)?,
            pool: pool(dispatch.pool)?,
            destination: dispatch.destination,
            sender: sender(&dispatch.sender)?,
            same_source: address_of("same_source", &dispatch.same_source)?,
            avoided_sources: avoided(&dispatch.avoided_sources)?,
            traceparent: Some(dispatch.traceparent).filter(|text| !text.is_empty()),
            return_path: Some(sender(&dispatch.return_path)?).filter(|path| !path.is_null()),
            return_paths: return_paths(&dispatch.return_paths, dispatch.recipients.len())?,
            recipients: mailboxes(&dispatch.recipients)?,
            options: dispatch.options,
            expires_at: Timestamp::from_micros(dispatch.expires_at_us),
            body: dispatch.inline_body.then_some(dispatch.body),
            resolve_first: dispatch.resolve_first,
            hosts: route_hosts(&dispatch.hosts)?,
            was_held: dispatch.was_held,
        })
    }
}

/// One for each of so many recipients, or none.
fn return_paths(paths: &[String], recipients: usize) -> Result<Vec<ReversePath>, ApiError> {
    if !paths.is_empty() && paths.len() != recipients {
        let problem = format!("has {} entries for {recipients} recipients: one each, or none", paths.len());
        return Err(ApiError::invalid("return_paths", problem));
    }
    paths.iter().map(|path| sender(path)).collect()
}

fn wire_avoided(source: &AvoidedSource) -> wire::AvoidedSource {
    let AvoidedSource { address, time, refused_this } = source;
    let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    wire::AvoidedSource { address: address.to_string(), seconds, refused_this: *refused_this }
}

fn avoided(sources: &[wire::AvoidedSource]) -> Result<Vec<AvoidedSource>, ApiError> {
    let one = |source: &wire::AvoidedSource| {
        let address = address_of("avoided_sources", &source.address)?;
        let address = address.ok_or_else(|| ApiError::invalid("avoided_sources", "has one without an address"))?;
        let time = Duration::from_secs(source.seconds.into());
        Ok(AvoidedSource { address, time, refused_this: source.refused_this })
    };
    sources.iter().map(one).collect()
}

impl From<WorkResult> for wire::Result {
    fn from(result: WorkResult) -> Self {
        let outcome = |(recipients, outcome): (Vec<Mailbox>, Outcome)| wire::Outcome {
            recipients: strings(recipients),
            ..wire::Outcome::from(outcome)
        };
        Self {
            delivery_id: result.delivery.as_i64(),
            shard: u32::from(result.shard.number()),
            epoch: result.epoch.0,
            attempt: u32::from(result.attempt),
            outcomes: result.outcomes.into_iter().map(outcome).collect(),
            not_attempted: result.not_attempted,
            exchanger: result.exchanger.unwrap_or_default(),
            own_way: result.own_way,
        }
    }
}

impl TryFrom<wire::Result> for WorkResult {
    type Error = ApiError;

    fn try_from(result: wire::Result) -> Result<Self, ApiError> {
        let outcome = |mut outcome: wire::Outcome| {
            let recipients = mailboxes(&std::mem::take(&mut outcome.recipients))?;
            Ok::<_, ApiError>((recipients, outcome.try_into()?))
        };
        Ok(Self {
            delivery: delivery_id(result.delivery_id)?,
            shard: shard_id(result.shard)?,
            epoch: epoch(result.epoch),
            attempt: attempt(result.attempt)?,
            outcomes: result.outcomes.into_iter().map(outcome).collect::<Result<_, _>>()?,
            not_attempted: result.not_attempted,
            exchanger: Some(result.exchanger).filter(|exchanger| !exchanger.is_empty()),
            own_way: result.own_way,
        })
    }
}
