//! Submit, from inbound to any healthy queue replica: frames and the client's side. See `proto/mailtier/v1/submit.proto`.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use mailtier_tls::Renewal;
use mailtier_types::{Envelope, MessageId, NodeNumber, ReplicaId, Reply, TenantId};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::channel::{Authenticated, MAX_FRAME_BYTES, connect};
use crate::convert::{mailboxes, message_id, priority, received_reply, sender, strings};
use crate::credentials::Credentials;
use crate::error::ApiError;
use crate::stream::Incoming;
use crate::wire;

/// A message to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// Made by the submitter; accepted once, however often it is submitted.
    pub id: MessageId,
    /// An earlier answer to this id was lost.
    pub resubmission: bool,
    /// Its `options.size_bytes` and `options.encoding` describe the body.
    pub envelope: Envelope,
    /// The last (usually only) chunk of the body.
    pub body: Bytes,
    /// Chunks uploaded before as [`BodyPart`]s.
    pub parts: u32,
    /// Recipients on the tenant's suppression list fail at once.
    pub screened: bool,
    /// It is a report, which is read and never delivered.
    pub report: bool,
}

/// One chunk of a body, ahead of its submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyPart {
    /// Whose.
    pub id: MessageId,
    /// Its place, from 0.
    pub seq: u32,
    /// Encoded as the submission will say.
    pub data: Bytes,
}

/// From the submitter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubmitFrame {
    /// To be stored.
    pub submissions: Vec<Submission>,
    /// Chunks of those to come.
    pub parts: Vec<BodyPart>,
    /// Uploads given up.
    pub aborted: Vec<MessageId>,
}

/// The answer to a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// To which.
    pub id: MessageId,
    /// Durable, or refused with a reply.
    pub result: Result<(), Reply>,
}

/// A chunk that its submitter need not keep: it is there for whichever replica gets the submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoredPart {
    /// Whose.
    pub id: MessageId,
    /// Its place, from 0.
    pub seq: u32,
}

/// To the submitter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerdictFrame {
    /// In any order.
    pub verdicts: Vec<Verdict>,
    /// In any order.
    pub stored: Vec<StoredPart>,
}

/// A node number and for how long it may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeLease {
    /// The number.
    pub node: NodeNumber,
    /// From the moment it was asked for, on the holder's monotonic clock.
    pub valid_for: Duration,
}

/// A connection to a replica.
#[derive(Debug, Clone)]
pub struct SubmitClient {
    inner: wire::submit_client::SubmitClient<Authenticated>,
    renewal: Renewal,
}

impl SubmitClient {
    /// Connects to `http://host:port`, or to `https://host:port` where the credentials have TLS.
    ///
    /// # Errors
    /// The endpoint is no URL, or nothing answers there.
    pub async fn connect(endpoint: &str, credentials: impl Into<Credentials>) -> Result<Self, ApiError> {
        let (channel, renewal) = connect(endpoint, &credentials.into()).await?;
        let inner = wire::submit_client::SubmitClient::new(channel)
            .max_decoding_message_size(MAX_FRAME_BYTES)
            .max_encoding_message_size(MAX_FRAME_BYTES);
        Ok(Self { inner, renewal })
    }

    /// When the connection is better made anew.
    #[must_use]
    pub const fn renewal(&self) -> &Renewal {
        &self.renewal
    }

    /// Asks for a node number for the ids of this process.
    ///
    /// # Errors
    /// The replica cannot give one now.
    pub async fn lease_node(&self, holder: ReplicaId) -> Result<NodeLease, ApiError> {
        let request = wire::LeaseNodeRequest { holder: Bytes::copy_from_slice(holder.as_bytes()) };
        let reply = self.inner.clone().lease_node(request).await?.into_inner();
        let node = u16::try_from(reply.node).ok().and_then(|number| NodeNumber::new(number).ok());
        Ok(NodeLease {
            node: node.ok_or_else(|| ApiError::invalid("node", "expected 0 to 1023"))?,
            valid_for: Duration::from_secs(u64::from(reply.valid_for_s)),
        })
    }

    /// Opens a stream of submissions.
    ///
    /// # Errors
    /// The replica refuses it.
    pub async fn session(&self, frames: mpsc::Receiver<SubmitFrame>) -> Result<Incoming<VerdictFrame>, ApiError> {
        let outgoing = ReceiverStream::new(frames).map(wire::SubmitFrame::from);
        Ok(Incoming::new(self.inner.clone().session(outgoing).await?.into_inner()))
    }
}

impl From<SubmitFrame> for wire::SubmitFrame {
    fn from(frame: SubmitFrame) -> Self {
        let parts = frame.parts.into_iter();
        Self {
            submissions: frame.submissions.into_iter().map(Into::into).collect(),
            parts: parts
                .map(|part| wire::BodyPart { message_id: part.id.as_i64(), seq: part.seq, data: part.data })
                .collect(),
            aborted: frame.aborted.into_iter().map(MessageId::as_i64).collect(),
        }
    }
}

impl TryFrom<wire::SubmitFrame> for SubmitFrame {
    type Error = ApiError;

    fn try_from(frame: wire::SubmitFrame) -> Result<Self, ApiError> {
        let part = |part: wire::BodyPart| {
            Ok::<_, ApiError>(BodyPart { id: message_id(part.message_id)?, seq: part.seq, data: part.data })
        };
        Ok(Self {
            submissions: frame.submissions.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            parts: frame.parts.into_iter().map(part).collect::<Result<_, _>>()?,
            aborted: frame.aborted.into_iter().map(message_id).collect::<Result<_, _>>()?,
        })
    }
}

impl From<Submission> for wire::Submission {
    fn from(submission: Submission) -> Self {
        let options = wire::Options::from(submission.envelope.options);
        Self {
            message_id: submission.id.as_i64(),
            resubmission: submission.resubmission,
            body: submission.body,
            parts: submission.parts,
            screened: submission.screened,
            report: submission.report,
            encoding: options.encoding,
            size_bytes: options.size_bytes,
            envelope: Some(wire::Envelope {
                sender: submission.envelope.sender.into_string(),
                recipients: strings(submission.envelope.recipients),
                tenant: submission.envelope.tenant.0,
                priority: i32::from(submission.envelope.priority),
                options: Some(options),
            }),
        }
    }
}

impl TryFrom<wire::Submission> for Submission {
    type Error = ApiError;

    fn try_from(submission: wire::Submission) -> Result<Self, ApiError> {
        let envelope = submission.envelope.ok_or_else(|| ApiError::invalid("envelope", "is missing"))?;
        let mut options = envelope.options.unwrap_or_default();
        (options.encoding, options.size_bytes) = (submission.encoding, submission.size_bytes);
        let recipients = mailboxes(&envelope.recipients)?;
        if recipients.is_empty() {
            return Err(ApiError::invalid("recipients", "are missing"));
        }
        Ok(Self {
            id: message_id(submission.message_id)?,
            resubmission: submission.resubmission,
            envelope: Envelope {
                sender: sender(&envelope.sender)?,
                recipients,
                tenant: TenantId(envelope.tenant),
                priority: priority(envelope.priority)?,
                options: options.try_into()?,
            },
            body: submission.body,
            parts: submission.parts,
            screened: submission.screened,
            report: submission.report,
        })
    }
}

impl From<VerdictFrame> for wire::VerdictFrame {
    fn from(frame: VerdictFrame) -> Self {
        let verdict = |verdict: Verdict| wire::Verdict {
            message_id: verdict.id.as_i64(),
            result: Some(match verdict.result {
                Ok(()) => wire::verdict::Result::Accepted(wire::Accepted {}),
                Err(reply) => wire::verdict::Result::Refused(wire::Refused {
                    code: u32::from(reply.code),
                    enhanced: reply.enhanced.map(|code| code.to_string()).unwrap_or_default(),
                    text: reply.text.into_owned(),
                }),
            }),
        };
        let stored = |part: StoredPart| wire::StoredPart { message_id: part.id.as_i64(), seq: part.seq };
        Self {
            verdicts: frame.verdicts.into_iter().map(verdict).collect(),
            stored: frame.stored.into_iter().map(stored).collect(),
        }
    }
}

impl TryFrom<wire::VerdictFrame> for VerdictFrame {
    type Error = ApiError;

    fn try_from(frame: wire::VerdictFrame) -> Result<Self, ApiError> {
        let verdict = |verdict: wire::Verdict| {
            let result = match verdict.result.ok_or_else(|| ApiError::invalid("result", "is missing"))? {
                wire::verdict::Result::Accepted(_) => Ok(()),
                wire::verdict::Result::Refused(refused) => {
                    Err(received_reply(refused.code, &refused.enhanced, refused.text)?)
                }
            };
            Ok::<_, ApiError>(Verdict { id: message_id(verdict.message_id)?, result })
        };
        let stored =
            |part: wire::StoredPart| Ok::<_, ApiError>(StoredPart { id: message_id(part.message_id)?, seq: part.seq });
        Ok(Self {
            verdicts: frame.verdicts.into_iter().map(verdict).collect::<Result<_, _>>()?,
            stored: frame.stored.into_iter().map(stored).collect::<Result<_, _>>()?,
        })
    }
}
