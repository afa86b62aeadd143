//! The options of a message.

use mailtier_types::{
    BodyEncoding, ByMode, DeliverBy, EnvelopeId, Mailbox, Notify, Options, OriginalRecipient, RecipientRequest, Return,
    Timestamp,
};

use crate::error::ApiError;
use crate::wire;

impl From<Options> for wire::Options {
    fn from(options: Options) -> Self {
        Self {
            eight_bit: options.eight_bit,
            smtputf8: options.smtputf8,
            traceparent: options.traceparent.unwrap_or_default(),
            received_at_us: options.received_at.as_micros(),
            client_address: options.client_address,
            client_helo: options.client_helo,
            protocol: options.protocol,
            header_message_id: options.header_message_id,
            size_bytes: options.size_bytes,
            encoding: wire_encoding(options.encoding).into(),
            chunks: options.chunks,
            fanout: u32::from(options.fanout),
            binary: options.binary,
            require_tls: options.require_tls,
            tls_optional: options.tls_optional,
            ret: wire_return(options.ret).into(),
            envelope_id: options.envelope_id.map(|id| id.as_str().to_owned()).unwrap_or_default(),
            requests: options.requests.into_iter().map(Into::into).collect(),
            deliver_by: options.deliver_by.map(Into::into),
            release_at_us: options.release_at.map_or(0, Timestamp::as_micros),
            user: options.user,
            tls: options.tls,
        }
    }
}

impl TryFrom<wire::Options> for Options {
    type Error = ApiError;

    fn try_from(options: wire::Options) -> Result<Self, ApiError> {
        let envelope_id = Some(options.envelope_id).filter(|id| !id.is_empty());
        let envelope_id = envelope_id.map(|id| EnvelopeId::new(&id)).transpose();
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
            binary: options.binary,
            require_tls: options.require_tls,
            tls_optional: options.tls_optional,
            ret: ret(options.ret)?,
            envelope_id: envelope_id.map_err(|error| ApiError::invalid("envelope_id", error))?,
            requests: options.requests.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            deliver_by: options.deliver_by.map(Into::into),
            release_at: Some(options.release_at_us).filter(|at| *at != 0).map(Timestamp::from_micros),
            user: options.user,
            tls: options.tls,
        })
    }
}

impl From<RecipientRequest> for wire::RecipientRequest {
    fn from(request: RecipientRequest) -> Self {
        let original = request.original.as_ref();
        Self {
            recipient: request.recipient.into_string(),
            notify: request.notify.map(|Notify { success, failure, delay }| wire::Notify { success, failure, delay }),
            original_kind: original.map(|original| original.kind().to_owned()).unwrap_or_default(),
            original_address: original.map(|original| original.address().to_owned()).unwrap_or_default(),
        }
    }
}

impl TryFrom<wire::RecipientRequest> for RecipientRequest {
    type Error = ApiError;

    fn try_from(request: wire::RecipientRequest) -> Result<Self, ApiError> {
        let recipient =
            Mailbox::parse(&request.recipient).map_err(|error| ApiError::invalid("requests.recipient", error))?;
        let original = Some(&request.original_address).filter(|address| !address.is_empty());
        let original = original.map(|address| OriginalRecipient::new(&request.original_kind, address)).transpose();
        Ok(Self {
            recipient,
            notify: request.notify.map(|wire::Notify { success, failure, delay }| Notify { success, failure, delay }),
            original: original.map_err(|error| ApiError::invalid("requests.original", error))?,
        })
    }
}

impl From<DeliverBy> for wire::DeliverBy {
    fn from(by: DeliverBy) -> Self {
        Self { at_us: by.at.as_micros(), return_late: by.mode == ByMode::Return, trace: by.trace }
    }
}

impl From<wire::DeliverBy> for DeliverBy {
    fn from(by: wire::DeliverBy) -> Self {
        let mode = if by.return_late { ByMode::Return } else { ByMode::Notify };
        Self { at: Timestamp::from_micros(by.at_us), mode, trace: by.trace }
    }
}

const fn wire_return(ret: Option<Return>) -> wire::Return {
    match ret {
        None => wire::Return::Unspecified,
        Some(Return::Full) => wire::Return::Full,
        Some(Return::Headers) => wire::Return::Headers,
    }
}

fn ret(value: i32) -> Result<Option<Return>, ApiError> {
    match wire::Return::try_from(value) {
        Ok(wire::Return::Unspecified) => Ok(None),
        Ok(wire::Return::Full) => Ok(Some(Return::Full)),
        Ok(wire::Return::Headers) => Ok(Some(Return::Headers)),
        Err(_) => Err(ApiError::invalid("ret", format!("{value} is unknown"))),
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
