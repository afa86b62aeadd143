//! Parts of a message that are stored and sent on in their encoded form.

use bytes::Bytes;
use mailtier_types::{EventDetail, Options, Outcome};
use prost::Message as _;

use crate::error::ApiError;
use crate::wire;

macro_rules! encoded {
    ($what:literal, $domain:ty, $wire:ty, $encode:ident, $decode:ident) => {
        #[doc = concat!("Encodes ", $what, " as it is stored.")]
        #[must_use]
        pub fn $encode(value: $domain) -> Bytes {
            <$wire>::from(value).encode_to_vec().into()
        }

        #[doc = concat!("Decodes ", $what, ".")]
        ///
        /// # Errors
        /// [`ApiError::Invalid`] names what is not valid.
        pub fn $decode(encoded: &[u8]) -> Result<$domain, ApiError> {
            <$wire>::decode(encoded).map_err(|error| ApiError::invalid($what, error))?.try_into()
        }
    };
}

encoded!("options", Options, wire::Options, encode_options, decode_options);
encoded!("event detail", EventDetail, wire::EventDetail, encode_detail, decode_detail);
encoded!("outcome", Outcome, wire::Outcome, encode_outcome, decode_outcome);
