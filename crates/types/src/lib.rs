//! The vocabulary that layers and services exchange: addresses, ids, replies, envelopes, outcomes, lifecycle, events.
//!
//! Responsible for values that cannot hold an illegal state, and for their textual forms. Not responsible for any
//! protocol, storage or decision: nothing here awaits, reads a clock, opens a socket or knows SQL.
//!
//! | module | holds |
//! |---|---|
//! | [`address`] | mailboxes, domains, reverse-paths (RFC 5321 §4.1.2) |
//! | [`group`] | what keeps to limits together, and slices of these |
//! | [`host`] | hosts that mail is routed to |
//! | [`identity`] | who a TLS server has to prove to be (RFC 6698, RFC 7672) |
//! | [`id`] | typed ids and the source of message ids |
//! | [`shard`] | what a destination hashes to, and who owned it when |
//! | [`reply`] | SMTP replies with enhanced codes; every reply literal of the project |
//! | [`request`] | what a sender asks for beside delivery (RFC 3461, RFC 2852) |
//! | [`sasl`] | the names of SASL mechanisms |
//! | [`envelope`] | what travels beside the content of a message |
//! | [`bounce`] | why a recipient did not get a message |
//! | [`class`] | kinds of failure that each have waits of their own |
//! | [`outcome`] | what an attempt meant for a recipient |
//! | [`lifecycle`] | the states of a recipient and the only ways between them |
//! | [`event`] | history |
//! | [`text`] | what may be shown of strangers' texts; errors with their causes |
//! | [`tls_report`] | what sessions came to, in the words of RFC 8460 |
//! | [`timestamp`] | wall-clock instants |
//! | [`transcript`] | what was said in an attempt |
//! | [`day`] | days in UTC |

pub mod address;
pub mod bounce;
pub mod class;
pub mod day;
pub mod envelope;
pub mod event;
pub mod group;
pub mod host;
pub mod id;
pub mod identity;
pub mod lifecycle;
pub mod outcome;
pub mod reply;
pub mod request;
pub mod sasl;
pub mod shard;
pub mod text;
pub mod timestamp;
pub mod tls_report;
pub mod transcript;

pub use address::{AddressError, Domain, Mailbox, ReversePath};
pub use bounce::{BounceClass, NoBounceClass};
pub use class::{Class, NoClass};
pub use day::{Day, InvalidDay};
pub use envelope::{BodyEncoding, Envelope, Options};
pub use event::{Event, EventDetail, EventKind};
pub use group::{Group, Slice, SliceLease, SliceReport, SliceWish};
pub use host::{NotAHost, Place, RouteHost};
pub use id::{DeliveryId, IdSource, MessageId, NodeNumber, ReplicaId, TenantId, WorkerId};
pub use identity::{DaneMatching, DaneSelector, DaneUsage, Proof, ServerIdentity, TlsaRecord};
pub use lifecycle::{Change, IllegalChange, State};
pub use outcome::{Cause, Egress, Outcome, RemoteHost, Stage, Trouble, TroubleKind};
pub use reply::{EnhancedCode, Reply};
pub use request::{ByMode, DeliverBy, EnvelopeId, Notify, OriginalRecipient, RecipientRequest, Return};
pub use sasl::SaslMechanism;
pub use shard::{Epoch, SHARD_COUNT, ShardId};
pub use timestamp::Timestamp;
pub use tls_report::{
    DomainCounts, PolicyCounts, ReceivedTlsReport, TlsFailure, TlsFault, TlsPolicyFound, TlsPolicyKind,
};
pub use transcript::{MAX_TRANSCRIPT_OCTETS, Speaker, Transcript, TranscriptLine};
