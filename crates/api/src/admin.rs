//! Admin, from an operator to any queue replica: questions, answers and the operator's side. See
//! `proto/mailtier/v1/admin.proto`.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use mailtier_types::{
    DeliveryId, Event, Mailbox, MessageId, Options, Outcome, ReversePath, RouteHost, ShardId, TenantId, Timestamp,
};
use tonic::{Response, Status};

use crate::channel::{Authenticated, MAX_FRAME_BYTES, connect};
use crate::convert::{attempt, delivery_id, mailboxes, message_id, priority, route_hosts, sender, shard_id, strings};
use crate::credentials::Credentials;
use crate::error::ApiError;
use crate::filter::{Filter, filter};
use crate::wire;

/// The longest Message-ID field that is looked for: RFC 5322 §2.1.1 has no longer lines.
const MAX_MESSAGE_ID_OCTETS: usize = 998;
/// The most rows of one answer.
pub const MAX_ROWS: u32 = 1000;

/// A delivery as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryView {
    /// Which.
    pub delivery: DeliveryId,
    /// Of which message.
    pub message: MessageId,
    /// Where it is scheduled.
    pub shard: ShardId,
    /// Whose.
    pub tenant: TenantId,
    /// As in its envelope.
    pub priority: i16,
    /// What limits apply to.
    pub destination: String,
    /// The reverse-path.
    pub sender: ReversePath,
    /// Still to be delivered.
    pub recipients: Vec<Mailbox>,
    /// When it was committed.
    pub accepted_at: Timestamp,
    /// When it is given up.
    pub expires_at: Timestamp,
    /// Attempts that ended without settling all recipients.
    pub attempts: u16,
    /// Absent: due since it was accepted.
    pub next_attempt_at: Option<Timestamp>,
    /// What stood in the way last.
    pub last_outcome: Option<Outcome>,
    /// Of the message.
    pub size_bytes: u64,
    /// That it is held.
    pub held: Option<HeldView>,
    /// Where an operator sends its next attempts; none: its own way.
    pub hosts: Vec<RouteHost>,
    /// What of it is stored and cannot be read, and why: it is missing above, and only an order that names its message
    /// changes it.
    pub unreadable: Vec<String>,
}

/// That a delivery is neither attempted nor given up for its age, until it is released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldView {
    /// Since when.
    pub since: Timestamp,
    /// By whom.
    pub operator: String,
    /// Why; may be empty.
    pub reason: String,
}

/// Which deliveries to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// Ids after this one; 0 from the beginning.
    pub after: i64,
    /// 1 to [`MAX_ROWS`].
    pub limit: u32,
    /// Which.
    pub filter: Filter,
}

/// A page of deliveries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListReply {
    /// In the order of ids. May be fewer than asked for, or none, although more follow: one call looks at a bounded
    /// number.
    pub deliveries: Vec<DeliveryView>,
    /// To be passed as `after` for the next page; 0 at the end.
    pub next: i64,
    /// Deliveries that were looked at.
    pub looked_at: u64,
}

/// All about one message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShowReply {
    /// What is not settled.
    pub deliveries: Vec<DeliveryView>,
    /// What happened, oldest first.
    pub events: Vec<Event>,
    /// The facts of its reception.
    pub options: Option<Options>,
    /// Its content, where that was asked for and is still there.
    pub content: Bytes,
    /// The fields of its header section, where they were asked for and are still there.
    pub headers: Bytes,
}

/// What is to be shown of a message's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Nothing.
    Nothing,
    /// Its header section.
    Headers,
    /// All of it.
    Content,
}

/// Whose history to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraceBy {
    /// A message's.
    Message(MessageId),
    /// That of an address, as sender or recipient.
    Address(String),
    /// That of all messages with this Message-ID field, given with its angle brackets.
    HeaderMessageId(String),
}

/// A question about history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceRequest {
    /// Whose.
    pub by: TraceBy,
    /// Events, 1 to [`MAX_ROWS`]; of a Message-ID field: messages, and so many events of each.
    pub limit: u32,
    /// Only since then.
    pub since: Option<Timestamp>,
    /// Only before then.
    pub until: Option<Timestamp>,
}

/// A part of history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceReply {
    /// Oldest first.
    pub events: Vec<Event>,
    /// Everything since then was looked at.
    pub looked_back_to: Timestamp,
    /// To be passed as `until` to look further back; absent at the end.
    pub next_until: Option<Timestamp>,
}

/// A connection to a replica.
#[derive(Debug, Clone)]
pub struct AdminClient {
    inner: wire::admin_client::AdminClient<Authenticated>,
    patience: Duration,
}

impl AdminClient {
    /// How long an answer is waited for where nothing else is said: longer than a statement of the database may take, so that
    /// what is wrong there can be told.
    pub const PATIENCE: Duration = Duration::from_secs(60);

    pub(crate) fn wire(&self) -> wire::admin_client::AdminClient<Authenticated> {
        self.inner.clone()
    }

    /// Connects to `http://host:port`, or to `https://host:port` where the credentials have TLS.
    ///
    /// # Errors
    /// The endpoint is no URL, or nothing answers there.
    pub async fn connect(endpoint: &str, credentials: impl Into<Credentials>) -> Result<Self, ApiError> {
        Self::connect_within(endpoint, credentials, Self::PATIENCE).await
    }

    /// Connects, waiting so long for the connection, and as long for the answer to each call.
    ///
    /// # Errors
    /// The endpoint is no URL, or nothing answers there.
    pub async fn connect_within(
        endpoint: &str,
        credentials: impl Into<Credentials>,
        patience: Duration,
    ) -> Result<Self, ApiError> {
        let (channel, _) = within(patience, Box::pin(connect(endpoint, &credentials.into()))).await?;
        let inner = wire::admin_client::AdminClient::new(channel).max_decoding_message_size(MAX_FRAME_BYTES * 2);
        Ok(Self { inner, patience })
    }

    /// The answer to a call, if it comes in time. What a call is made of stays out of the futures of those who ask.
    pub(crate) fn asked<'a, T: 'a>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>> + Send + 'a,
    ) -> Pin<Box<dyn Future<Output = Result<T, ApiError>> + Send + 'a>> {
        let patience = self.patience;
        Box::pin(async move { within(patience, async { Ok(call.await?.into_inner()) }).await })
    }

    /// A page of deliveries.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn list(&self, request: ListRequest) -> Result<ListReply, ApiError> {
        let ListRequest { after, limit, filter } = request;
        let request = wire::ListDeliveriesRequest { after, limit, filter: Some((&filter).into()) };
        let reply = self.asked(self.wire().list_deliveries(request)).await?;
        Ok(ListReply { deliveries: views(reply.deliveries)?, next: reply.next, looked_at: reply.looked_at })
    }

    /// All about one message.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] when nothing is known of it.
    pub async fn show(&self, message: MessageId, shown: Shown) -> Result<ShowReply, ApiError> {
        let request = wire::ShowMessageRequest {
            message_id: message.as_i64(),
            with_content: shown == Shown::Content,
            with_headers: shown == Shown::Headers,
        };
        let reply = self.asked(self.wire().show_message(request)).await?;
        Ok(ShowReply {
            deliveries: views(reply.deliveries)?,
            events: reply.events.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            options: reply.options.map(TryInto::try_into).transpose()?,
            content: reply.content,
            headers: reply.headers,
        })
    }

    /// A part of history, the newest first.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn trace(&self, request: TraceRequest) -> Result<TraceReply, ApiError> {
        let by = match request.by {
            TraceBy::Message(id) => wire::trace_request::By::MessageId(id.as_i64()),
            TraceBy::Address(address) => wire::trace_request::By::Address(address),
            TraceBy::HeaderMessageId(value) => wire::trace_request::By::HeaderMessageId(value),
        };
        let time = |time: Option<Timestamp>| time.map(Timestamp::as_micros).unwrap_or_default();
        let (since_us, until_us) = (time(request.since), time(request.until));
        let request = wire::TraceRequest { by: Some(by), limit: request.limit, since_us, until_us };
        let reply = self.asked(self.wire().trace(request)).await?;
        Ok(TraceReply {
            events: reply.events.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            looked_back_to: Timestamp::from_micros(reply.looked_back_to_us),
            next_until: present_time(reply.next_until_us),
        })
    }
}

async fn within<T>(patience: Duration, what: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    let late = |_| ApiError::Late { waited: patience };
    tokio::time::timeout(patience, what).await.map_err(late)?
}

fn views(views: Vec<wire::DeliveryView>) -> Result<Vec<DeliveryView>, ApiError> {
    views.into_iter().map(TryInto::try_into).collect()
}

fn present_time(micros: i64) -> Option<Timestamp> {
    Some(micros).filter(|micros| *micros != 0).map(Timestamp::from_micros)
}

/// A Message-ID field's value, as it is looked for.
pub(crate) fn header_message_id(value: String) -> Result<String, ApiError> {
    let is_value = value.len() <= MAX_MESSAGE_ID_OCTETS && value.starts_with('<') && value.ends_with('>');
    if !is_value || value.len() < 3 || value.contains(char::is_control) {
        let wanted = format!(
            "expected what stands in the field, such as <1@example.com>, at most {MAX_MESSAGE_ID_OCTETS} octets"
        );
        return Err(ApiError::invalid("message_id_field", wanted));
    }
    Ok(value)
}

fn limit(value: u32) -> Result<u32, ApiError> {
    if (1..=MAX_ROWS).contains(&value) {
        Ok(value)
    } else {
        Err(ApiError::invalid("limit", format!("{value} is not between 1 and {MAX_ROWS}")))
    }
}

impl TryFrom<wire::ListDeliveriesRequest> for ListRequest {
    type Error = ApiError;

    fn try_from(request: wire::ListDeliveriesRequest) -> Result<Self, ApiError> {
        Ok(Self { after: request.after, limit: limit(request.limit)?, filter: filter(request.filter)? })
    }
}

impl From<ListReply> for wire::ListDeliveriesReply {
    fn from(reply: ListReply) -> Self {
        let deliveries = reply.deliveries.into_iter().map(Into::into).collect();
        Self { deliveries, next: reply.next, looked_at: reply.looked_at }
    }
}

impl From<ShowReply> for wire::ShowMessageReply {
    fn from(reply: ShowReply) -> Self {
        Self {
            deliveries: reply.deliveries.into_iter().map(Into::into).collect(),
            events: reply.events.into_iter().map(Into::into).collect(),
            options: reply.options.map(Into::into),
            content: reply.content,
            headers: reply.headers,
        }
    }
}

impl TryFrom<wire::TraceRequest> for TraceRequest {
    type Error = ApiError;

    fn try_from(request: wire::TraceRequest) -> Result<Self, ApiError> {
        let by = match request.by.ok_or_else(|| ApiError::invalid("by", "is missing"))? {
            wire::trace_request::By::MessageId(id) => TraceBy::Message(message_id(id)?),
            wire::trace_request::By::Address(address) => TraceBy::Address(address),
            wire::trace_request::By::HeaderMessageId(value) => TraceBy::HeaderMessageId(header_message_id(value)?),
        };
        let (since, until) = (present_time(request.since_us), present_time(request.until_us));
        Ok(Self { by, limit: limit(request.limit)?, since, until })
    }
}

impl From<TraceReply> for wire::TraceReply {
    fn from(reply: TraceReply) -> Self {
        Self {
            events: reply.events.into_iter().map(Into::into).collect(),
            looked_back_to_us: reply.looked_back_to.as_micros(),
            next_until_us: reply.next_until.map(Timestamp::as_micros).unwrap_or_default(),
        }
    }
}

impl From<DeliveryView> for wire::DeliveryView {
    fn from(view: DeliveryView) -> Self {
        Self {
            delivery_id: view.delivery.as_i64(),
            message_id: view.message.as_i64(),
            shard: u32::from(view.shard.number()),
            tenant: view.tenant.0,
            priority: i32::from(view.priority),
            destination: view.destination,
            sender: view.sender.into_string(),
            recipients: strings(view.recipients),
            accepted_at_us: view.accepted_at.as_micros(),
            expires_at_us: view.expires_at.as_micros(),
            attempts: u32::from(view.attempts),
            next_attempt_at_us: view.next_attempt_at.map(Timestamp::as_micros).unwrap_or_default(),
            last_outcome: view.last_outcome.map(Into::into),
            size_bytes: view.size_bytes,
            held: view.held.map(|held| wire::Held {
                since_us: held.since.as_micros(),
                operator: held.operator,
                reason: held.reason,
            }),
            hosts: view.hosts.iter().map(ToString::to_string).collect(),
            unreadable: view.unreadable,
        }
    }
}

impl TryFrom<wire::DeliveryView> for DeliveryView {
    type Error = ApiError;

    fn try_from(view: wire::DeliveryView) -> Result<Self, ApiError> {
        Ok(Self {
            delivery: delivery_id(view.delivery_id)?,
            message: message_id(view.message_id)?,
            shard: shard_id(view.shard)?,
            tenant: TenantId(view.tenant),
            priority: priority(view.priority)?,
            destination: view.destination,
            sender: sender(&view.sender)?,
            recipients: mailboxes(&view.recipients)?,
            accepted_at: Timestamp::from_micros(view.accepted_at_us),
            expires_at: Timestamp::from_micros(view.expires_at_us),
            attempts: attempt(view.attempts)?,
            next_attempt_at: Some(view.next_attempt_at_us).filter(|at| *at != 0).map(Timestamp::from_micros),
            last_outcome: view.last_outcome.map(TryInto::try_into).transpose()?,
            size_bytes: view.size_bytes,
            held: view.held.map(|held| HeldView {
                since: Timestamp::from_micros(held.since_us),
                operator: held.operator,
                reason: held.reason,
            }),
            hosts: route_hosts(&view.hosts)?,
            unreadable: view.unreadable,
        })
    }
}
