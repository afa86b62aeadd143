//! The options of a message.

use mailtier_types::{BodyEncoding, Options, Timestamp};

use crate::error::ApiError;
use crate::wire;

impl From<&Options> for wire::Options {
    fn from(options: &Options) -> Self {
        Self {
            eight_bit: options.eight_bit,
            smtputf8: options.smtputf8,
            traceparent: options.traceparent.clone().unwrap_or_default(),
            received_at_us: options.received_at.as_micros(),
            client_address: options.client_address.clone(),
            client_helo: options.client_helo.clone(),
            protocol: options.protocol.clone(),
            header_message_id: options.header_message_id.clone(),
            size_bytes: options.size_bytes,
            encoding: wire_encoding(options.encoding).into(),
            chunks: options.chunks,
            fanout: u32::from(options.fanout),
        }
    }
}

impl TryFrom<wire::Options> for Options {
    type Error = ApiError;

    fn try_from(options: wire::Options) -> Result<Self, ApiError> {
        Ok(Self {
            encoding: encoding(options.encoding)?,
            eight_bit: options.eight_bit,
            smtputf8: options.smtputf8,
            traceparent: Some(options.traceparent).filter(|text| !text.is_empty()),
            received_at: Timestamp::from_micros(options.received_at_us),
            client_address: options.client_address,
            client_helo: options.client_helo,
            protocol: options.protocol,
            header_message_id: options.header_message_id,
            size_bytes: options.size_bytes,
            chunks: options.chunks,
            fanout: u16::try_from(options.fanout).map_err(|_| ApiError::invalid("fanout", "expected 0 to 65535"))?,
        })
    }
}

const fn wire_encoding(encoding: BodyEncoding) -> wire::BodyEncoding {
    match encoding {
        BodyEncoding::Identity => wire::BodyEncoding::Identity,
        BodyEncoding::Zstd => wire::BodyEncoding::Zstd,
    }
}

fn encoding(value: i32) -> Result<BodyEncoding, ApiError> {
    match wire::BodyEncoding::try_from(value) {
        Ok(wire::BodyEncoding::Identity) => Ok(BodyEncoding::Identity),
        Ok(wire::BodyEncoding::Zstd) => Ok(BodyEncoding::Zstd),
        Err(_) => Err(ApiError::invalid("encoding", format!("{value} is unknown"))),
    }
}
