//! Frames of the streams in their encoded form, without gRPC's own framing. Not responsible for sending them: the clients
//! and the server do, in the same form.

use bytes::Bytes;
use prost::Message as _;

use crate::error::ApiError;
use crate::submit::{SubmitFrame, VerdictFrame};
use crate::wire;
use crate::work::{QueueFrame, WorkerFrame};

/// What one side of a stream says at a time.
pub trait Frame: Sized {
    /// As it goes over the wire.
    #[must_use]
    fn encode(self) -> Bytes;

    /// From what came over the wire. Bodies are not copied out of it.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] names what is not valid.
    fn decode(encoded: Bytes) -> Result<Self, ApiError>;
}

macro_rules! frame {
    ($domain:ident) => {
        impl Frame for $domain {
            fn encode(self) -> Bytes {
                wire::$domain::from(self).encode_to_vec().into()
            }

            fn decode(encoded: Bytes) -> Result<Self, ApiError> {
                wire::$domain::decode(encoded).map_err(|error| ApiError::invalid("frame", error))?.try_into()
            }
        }
    };
}

frame!(SubmitFrame);
frame!(VerdictFrame);
frame!(QueueFrame);
frame!(WorkerFrame);

#[cfg(test)]
mod tests {
    use mailtier_types::MessageId;

    use super::*;
    use crate::submit::{BodyPart, StoredPart};

    #[test]
    fn frames_come_back_and_what_is_none_is_named() {
        let id = MessageId::from_i64(7).unwrap();
        let part = BodyPart { id, seq: 3, data: Bytes::from_static(b"content") };
        let frame = SubmitFrame { parts: vec![part], aborted: vec![id], ..SubmitFrame::default() };
        let encoded = frame.clone().encode();
        let place = encoded.as_ptr_range();
        let decoded = SubmitFrame::decode(encoded.clone()).unwrap();
        assert_eq!(decoded, frame);
        assert!(place.contains(&decoded.parts[0].data.as_ptr()), "a body stays where it is");
        let frame = VerdictFrame { stored: vec![StoredPart { id, seq: 3 }], ..VerdictFrame::default() };
        assert_eq!(VerdictFrame::decode(frame.clone().encode()).unwrap(), frame);
        let cut_off = encoded.slice(..encoded.len() - 1);
        assert!(matches!(SubmitFrame::decode(cut_off), Err(ApiError::Invalid(_))));
    }
}
