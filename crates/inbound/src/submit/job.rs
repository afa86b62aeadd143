//! What sessions ask of an endpoint, and what they are told. Not responsible for carrying it out.

use std::sync::Arc;

use bytes::Bytes;
use mailtier_api::submit::BodyPart;
use mailtier_types::{Envelope, MessageId, Reply};
use tokio::sync::oneshot;

/// A message as the queue takes it.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) id: MessageId,
    pub(crate) envelope: Envelope,
    /// Chunks of the body that went ahead.
    pub(crate) parts: u32,
    /// Those that are not known to be stored. They are kept until the verdict, because another replica may need them.
    pub(crate) unstored: Vec<BodyPart>,
    /// The last chunk.
    pub(crate) body: Bytes,
    /// Recipients on the tenant's suppression list fail at once.
    pub(crate) screened: bool,
    /// It is a report, which is read and never delivered.
    pub(crate) report: bool,
}

/// What became of one attempt to submit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Durable.
    Accepted,
    /// Not stored, says the queue.
    Refused(Reply),
    /// It never left this process.
    NotSent,
}

/// What an endpoint does for a session.
#[derive(Debug)]
pub(crate) enum Job {
    /// Submit. When the stream is lost before the verdict, `answer` is dropped: nobody knows then.
    Submit {
        message: Arc<Message>,
        /// An earlier attempt's answer is not known.
        resubmission: bool,
        /// The stream on which the parts were uploaded that are not stored; on another they are sent again.
        uploaded: Option<u64>,
        answer: oneshot::Sender<Answer>,
    },
    /// Upload a chunk ahead of its message, and say when it is stored. When the stream is lost before, nothing is said.
    Part(BodyPart, oneshot::Sender<()>),
    /// An upload was given up before its message was submitted.
    Abort(MessageId),
}
