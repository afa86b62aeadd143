//! What travels beside the content of a message, from MAIL to the last delivery. Not responsible for how it is stored
//! or sent: `api` and `store` turn it into bytes.

use crate::address::{Mailbox, ReversePath};
use crate::id::{MessageId, TenantId};
use crate::request::{DeliverBy, EnvelopeId, Notify, OriginalRecipient, RecipientRequest, Return};
use crate::timestamp::Timestamp;

/// How the stored chunks of a body are encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BodyEncoding {
    /// As it came.
    #[default]
    Identity,
    /// Each chunk is one zstd frame of its own.
    Zstd,
}

/// The envelope of a message as inbound accepted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Where failures are reported.
    pub sender: ReversePath,
    /// At least one; each only once.
    pub recipients: Vec<Mailbox>,
    /// What the message is accounted to.
    pub tenant: TenantId,
    /// Higher goes first among messages of one tenant and destination; 0 is ordinary (RFC 6710 §2 has −9 to 9).
    pub priority: i16,
    /// What does not matter for scheduling.
    pub options: Options,
}

/// What stays with a message for all its life and does not matter for scheduling.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// BODY=8BITMIME (RFC 6152).
    pub eight_bit: bool,
    /// BODY=BINARYMIME (RFC 3030): lines mean nothing, and only BDAT can carry it on.
    pub binary: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// REQUIRETLS (RFC 8689).
    pub require_tls: bool,
    /// The field `TLS-Required: No` (RFC 8689 §5): rather without TLS, or with anyone, than not at all.
    pub tls_optional: bool,
    /// RET (RFC 3461 §4.3).
    pub ret: Option<Return>,
    /// ENVID (RFC 3461 §4.4).
    pub envelope_id: Option<EnvelopeId>,
    /// NOTIFY and ORCPT of the recipients that had any (RFC 3461 §4.1, §4.2).
    pub requests: Vec<RecipientRequest>,
    /// BY (RFC 2852).
    pub deliver_by: Option<DeliverBy>,
    /// Not to be delivered before (RFC 4865).
    pub release_at: Option<Timestamp>,
    /// Who was authenticated, as known here; empty where nobody was (RFC 4954).
    pub user: String,
    /// W3C `traceparent` of the reception, when a trace was recorded.
    pub traceparent: Option<String>,
    /// When the end of data was seen.
    pub received_at: Timestamp,
    /// The client's address, without port; empty for mail made here.
    pub client_address: String,
    /// What the client said in EHLO.
    pub client_helo: String,
    /// As in the Received field's `with` clause: `ESMTPS` …
    pub protocol: String,
    /// Version and cipher of the reception's TLS, as in the Received field; empty where there was none. Told in the event
    /// of the acceptance, not stored with deliveries.
    pub tls: String,
    /// The Message-ID field's value, with its angle brackets; empty where there is none.
    pub header_message_id: String,
    /// Octets of the message, before encoding.
    pub size_bytes: u64,
    /// Of the stored chunks.
    pub encoding: BodyEncoding,
    /// How many chunks are stored.
    pub chunks: u32,
    /// How many deliveries the message became.
    pub fanout: u16,
}

impl Options {
    /// What was asked for a recipient, where anything was.
    #[must_use]
    pub fn request(&self, recipient: &Mailbox) -> Option<&RecipientRequest> {
        self.requests.iter().find(|request| request.recipient == *recipient)
    }

    /// Of what the sender wants to hear for a recipient.
    #[must_use]
    pub fn notify(&self, recipient: &Mailbox) -> Notify {
        self.request(recipient).and_then(|request| request.notify).unwrap_or(Notify::DEFAULT)
    }

    /// The recipient as the sender wrote it, where that was said.
    #[must_use]
    pub fn original(&self, recipient: &Mailbox) -> Option<&OriginalRecipient> {
        self.request(recipient)?.original.as_ref()
    }

    /// The ids this message's deliveries can have.
    #[must_use]
    pub fn delivery_ids(&self, message: MessageId) -> std::ops::Range<i64> {
        message.as_i64()..message.as_i64().saturating_add(i64::from(self.fanout.max(1)))
    }
}
