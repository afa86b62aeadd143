//! What is written to and read from the tables: rows as values. Not responsible for SQL, nor for what the encoded
//! columns (`options`, `detail`, `last_outcome`) mean: they are `api`'s messages, opaque here.

use bytes::Bytes;
use mailtier_types::{DeliveryId, EventKind, MessageId, ShardId, TenantId, Timestamp};

use crate::suppressions::NewSuppression;

/// A delivery to be stored: one message to one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDelivery {
    /// One of [`MessageId::delivery`] of its message.
    pub id: DeliveryId,
    /// Where its destination belongs.
    pub shard: ShardId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Higher goes first.
    pub priority: i16,
    /// When it is given up.
    pub expires_at: Timestamp,
    /// What limits apply to.
    pub destination: String,
    /// The reverse-path without angle brackets; empty for the null one.
    pub sender: String,
    /// At least one. None has a line feed in it.
    pub recipients: Vec<String>,
    /// Encoded.
    pub options: Bytes,
}

/// A message to be accepted, with all its deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// Made by the submitter.
    pub id: MessageId,
    /// Whether an earlier answer to this id may have been lost. Only a hint that saves work: a message is accepted once
    /// whatever this says.
    pub resubmission: bool,
    /// At least one; none where it is not to be delivered ([`AsidePlan`](crate::AsidePlan)).
    pub deliveries: Vec<NewDelivery>,
    /// The last chunk of the body and its number. Chunks before it were written with
    /// [`put_parts`](crate::Session::put_parts).
    pub body: Option<(u32, Bytes)>,
    /// Its `MessageAccepted` event. Its time is stored as that of the id ([`MessageId::made_at`]), so that the same
    /// message always makes the same event.
    pub accepted: NewEvent,
    /// Not to be delivered before (RFC 4865).
    pub hold_until: Option<Timestamp>,
}

/// Something that happened, to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: EventKind,
    /// To which message.
    pub message: MessageId,
    /// To which of its deliveries.
    pub delivery: Option<DeliveryId>,
    /// Whose it is.
    pub tenant: TenantId,
    /// Which attempt, from 1; 0 where none was made.
    pub attempt: u16,
    /// The reverse-path without angle brackets.
    pub sender: String,
    /// Whom it concerns. None has a line feed in it.
    pub recipients: Vec<String>,
    /// Encoded.
    pub detail: Bytes,
}

/// An event as it was stored.
pub type StoredEvent = NewEvent;

/// Why a message was not accepted. The submitter must be told to try again with another id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The id belongs to other mail: two processes made ids with the same node number.
    IdTaken,
    /// A chunk of the body that should have come before is not there.
    PartsMissing,
    /// A value in it is one that PostgreSQL cannot hold.
    NotStorable,
}

/// What became of the messages given to [`accept`](crate::Session::accept). All others are durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Accepted {
    /// Not stored.
    pub refused: Vec<(MessageId, Refusal)>,
    /// Durable since an earlier submission of the same id; their deliveries may be under way or gone.
    pub known: Vec<MessageId>,
}

/// What is read of deliveries for a schedule only where it is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// The outcome of the last attempt.
    pub outcomes: bool,
    /// Who sent it.
    pub senders: bool,
}

/// What a scheduler needs to know of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Which.
    pub id: DeliveryId,
    /// Where it belongs.
    pub shard: ShardId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Higher goes first.
    pub priority: i16,
    /// When it is given up.
    pub expires_at: Timestamp,
    /// What limits apply to.
    pub destination: String,
    /// The reverse-path; empty where it is the null one, or where it was not wanted.
    pub sender: String,
    /// Attempts that are over.
    pub attempts: u16,
    /// When the next one is due; absent when it is due since acceptance.
    pub next_attempt_at: Option<Timestamp>,
    /// Of the last attempt; empty where there was none, or where it was not wanted.
    pub last_outcome: Bytes,
    /// When its sender was told that it is late.
    pub told_at: Option<Timestamp>,
    /// It is held: neither attempted nor given up.
    pub is_held: bool,
    /// Where an operator sends it, as he wrote them; empty: its own way.
    pub hosts: Vec<String>,
}

/// That a delivery is held: neither attempted nor given up for its age, until it is released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Since when. The time from then on does not count for its lifetime.
    pub since: Timestamp,
    /// By whom.
    pub operator: String,
    /// Why; may be empty.
    pub reason: String,
}

/// A delivery with all that a dispatch or a settlement needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDelivery {
    /// Which.
    pub id: DeliveryId,
    /// Of which message.
    pub message: MessageId,
    /// Where it belongs.
    pub shard: ShardId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Higher goes first.
    pub priority: i16,
    /// When it is given up.
    pub expires_at: Timestamp,
    /// What limits apply to.
    pub destination: String,
    /// The reverse-path without angle brackets.
    pub sender: String,
    /// Still to be delivered.
    pub recipients: Vec<String>,
    /// Encoded.
    pub options: Bytes,
    /// Attempts that are over.
    pub attempts: u16,
    /// When the next one is due; absent when it is due since acceptance.
    pub next_attempt_at: Option<Timestamp>,
    /// The encoded outcome of the last attempt; empty before the first.
    pub last_outcome: Bytes,
    /// When its sender was told that it is late, where that was read.
    pub told_at: Option<Timestamp>,
    /// Where an operator sends its attempts, in the order in which they are tried; empty: its own way.
    pub hosts: Vec<String>,
    /// It is held.
    pub held: Option<Held>,
    /// A route has held it before, where that was read: no route holds it again.
    pub was_held: bool,
}

/// A delivery that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Finished {
    /// Which.
    pub delivery: DeliveryId,
    /// Of which message.
    pub message: MessageId,
    /// How many deliveries the message became ([`mailtier_types::Options::fanout`]).
    pub fanout: u16,
}

/// A delivery that will be attempted again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Which.
    pub delivery: DeliveryId,
    /// Attempts that are over.
    pub attempts: u16,
    /// When the next one is due.
    pub next_attempt_at: Timestamp,
    /// Still to be delivered.
    pub recipients: Vec<String>,
    /// The encoded outcome of the last attempt.
    pub last_outcome: Bytes,
}

/// What a settlement writes, all of it or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettlePlan {
    /// Deliveries that are over.
    pub finished: Vec<Finished>,
    /// Deliveries that go on.
    pub retries: Vec<Retry>,
    /// What happened to their recipients.
    pub events: Vec<NewEvent>,
    /// Notifications to their senders.
    pub dsns: Vec<NewMessage>,
    /// Deliveries whose senders have now been told that they are late, or need not be; and when they are due, where that
    /// is not stored.
    pub told: Vec<(DeliveryId, Timestamp)>,
    /// The time of the settlement, for those.
    pub at: Timestamp,
    /// Deliveries to be held, none of which is.
    pub holds: Vec<Hold>,
    /// Held deliveries that go on, and when their time is up then.
    pub releases: Vec<(DeliveryId, Timestamp)>,
    /// Deliveries that were attempted, or wait for their first attempt, and are due at a time before their own.
    pub hastened: Option<(Vec<DeliveryId>, Timestamp)>,
    /// Where the next attempts of deliveries go from now on.
    pub reroute: Option<Reroute>,
    /// Who is put on suppression lists.
    pub suppressions: Vec<NewSuppression>,
}

/// That a delivery is held from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Which.
    pub delivery: DeliveryId,
    /// By whom, and why.
    pub held: Held,
    /// A route holds it, and will not again once it is released.
    pub by_route: bool,
}

/// A change of where next attempts go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reroute {
    /// Of which deliveries.
    pub deliveries: Vec<DeliveryId>,
    /// In the order in which they are tried; none: their own way.
    pub hosts: Vec<String>,
    /// When those that were never attempted are due.
    pub due: Timestamp,
}
