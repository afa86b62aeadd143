//! Outcomes, replies and trouble.

use std::net::IpAddr;
use std::time::Duration;

use mailtier_types::{
    Cause, Egress, EnhancedCode, Outcome, RemoteHost, Reply, Stage, Timestamp, Transcript, Trouble, TroubleKind,
};

use crate::error::ApiError;
use crate::wire;

impl From<Outcome> for wire::Outcome {
    fn from(outcome: Outcome) -> Self {
        let address = outcome.remote.as_ref().and_then(|remote| remote.address);
        let source = outcome.egress.as_ref().and_then(|egress| egress.source);
        let source_has_others = outcome.egress.as_ref().is_some_and(|egress| egress.has_others);
        Self {
            recipients: Vec::new(),
            stage: wire_stage(outcome.stage).into(),
            what: Some(match outcome.cause {
                Cause::Reply(reply) => wire::outcome::What::Reply(reply.into()),
                Cause::Trouble(trouble) => wire::outcome::What::Trouble(wire::Trouble {
                    kind: wire_trouble(trouble.kind).into(),
                    text: trouble.text,
                }),
            }),
            remote_host: outcome.remote.map(|remote| remote.name).unwrap_or_default(),
            remote_address: address.map(|address| address.to_string()).unwrap_or_default(),
            tls: outcome.tls.unwrap_or_default(),
            waiting_us: micros(outcome.waiting),
            connecting_us: micros(outcome.connecting),
            sending_us: micros(outcome.sending),
            at_us: outcome.at.as_micros(),
            notifies: outcome.notifies,
            pool: outcome.egress.map(|egress| egress.pool).unwrap_or_default(),
            source_address: source.map(|address| address.to_string()).unwrap_or_default(),
            source_has_others,
            retry_after_s: outcome.retry_after.map_or(0, |wait| u32::try_from(wait.as_secs()).unwrap_or(u32::MAX)),
            transcript: outcome.transcript.as_ref().map_or_else(String::new, |said| said.as_str().to_owned()),
        }
    }
}

impl TryFrom<wire::Outcome> for Outcome {
    type Error = ApiError;

    fn try_from(outcome: wire::Outcome) -> Result<Self, ApiError> {
        let cause = match outcome.what.ok_or_else(|| ApiError::invalid("what", "is missing"))? {
            wire::outcome::What::Reply(reply) => Cause::Reply(reply.try_into()?),
            wire::outcome::What::Trouble(trouble) => {
                Cause::Trouble(Trouble { kind: trouble_kind(trouble.kind)?, text: trouble.text })
            }
        };
        let address = address_of("remote_address", &outcome.remote_address)?;
        let source = address_of("source_address", &outcome.source_address)?;
        let egress = (!outcome.pool.is_empty()).then_some(Egress {
            pool: outcome.pool,
            source,
            has_others: outcome.source_has_others,
        });
        let remote = (!outcome.remote_host.is_empty() || address.is_some())
            .then_some(RemoteHost { name: outcome.remote_host, address });
        Ok(Self {
            stage: stage(outcome.stage)?,
            cause,
            remote,
            tls: Some(outcome.tls).filter(|text| !text.is_empty()),
            waiting: Duration::from_micros(u64::from(outcome.waiting_us)),
            connecting: Duration::from_micros(u64::from(outcome.connecting_us)),
            sending: Duration::from_micros(u64::from(outcome.sending_us)),
            at: Timestamp::from_micros(outcome.at_us),
            notifies: outcome.notifies,
            egress,
            retry_after: (outcome.retry_after_s > 0).then(|| Duration::from_secs(outcome.retry_after_s.into())),
            transcript: Some(outcome.transcript).filter(|text| !text.is_empty()).map(Transcript::from_text),
        })
    }
}

/// An address, or nothing.
pub(crate) fn address_of(field: &str, text: &str) -> Result<Option<IpAddr>, ApiError> {
    let address = Some(text).filter(|text| !text.is_empty()).map(str::parse::<IpAddr>).transpose();
    address.map_err(|error| ApiError::invalid(field, error))
}

impl From<Reply> for wire::Reply {
    fn from(reply: Reply) -> Self {
        Self {
            code: u32::from(reply.code),
            enhanced: reply.enhanced.map(|code| code.to_string()).unwrap_or_default(),
            text: reply.text.into_owned(),
        }
    }
}

impl TryFrom<wire::Reply> for Reply {
    type Error = ApiError;

    fn try_from(reply: wire::Reply) -> Result<Self, ApiError> {
        received_reply(reply.code, &reply.enhanced, reply.text)
    }
}

/// A reply from its parts.
pub(crate) fn received_reply(code: u32, enhanced: &str, text: String) -> Result<Reply, ApiError> {
    let known = u16::try_from(code).ok().filter(|code| (200..=599).contains(code));
    let code = known.ok_or_else(|| ApiError::invalid("code", format!("{code} is not between 200 and 599")))?;
    let enhanced = Some(enhanced).filter(|text| !text.is_empty()).map(str::parse::<EnhancedCode>).transpose();
    Ok(Reply::received(code, enhanced.map_err(|error| ApiError::invalid("enhanced", error))?, text))
}

/// Longer than an hour is shown as an hour and some: the field has 32 bits.
fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

const fn wire_stage(stage: Stage) -> wire::Stage {
    match stage {
        Stage::Resolve => wire::Stage::Resolve,
        Stage::Connect => wire::Stage::Connect,
        Stage::Banner => wire::Stage::Banner,
        Stage::Ehlo => wire::Stage::Ehlo,
        Stage::StartTls => wire::Stage::Starttls,
        Stage::Mail => wire::Stage::Mail,
        Stage::Rcpt => wire::Stage::Rcpt,
        Stage::Data => wire::Stage::Data,
        Stage::Final => wire::Stage::Final,
    }
}

fn stage(value: i32) -> Result<Stage, ApiError> {
    match wire::Stage::try_from(value) {
        Ok(wire::Stage::Resolve) => Ok(Stage::Resolve),
        Ok(wire::Stage::Connect) => Ok(Stage::Connect),
        Ok(wire::Stage::Banner) => Ok(Stage::Banner),
        Ok(wire::Stage::Ehlo) => Ok(Stage::Ehlo),
        Ok(wire::Stage::Starttls) => Ok(Stage::StartTls),
        Ok(wire::Stage::Mail) => Ok(Stage::Mail),
        Ok(wire::Stage::Rcpt) => Ok(Stage::Rcpt),
        Ok(wire::Stage::Data) => Ok(Stage::Data),
        Ok(wire::Stage::Final) => Ok(Stage::Final),
        Ok(wire::Stage::Unspecified) | Err(_) => Err(ApiError::invalid("stage", format!("{value} is unknown"))),
    }
}

const fn wire_trouble(kind: TroubleKind) -> wire::TroubleKind {
    match kind {
        TroubleKind::DnsTemporary => wire::TroubleKind::DnsTemporary,
        TroubleKind::NoSuchDomain => wire::TroubleKind::NoSuchDomain,
        TroubleKind::NullMx => wire::TroubleKind::NullMx,
        TroubleKind::Connect => wire::TroubleKind::Connect,
        TroubleKind::Timeout => wire::TroubleKind::Timeout,
        TroubleKind::Closed => wire::TroubleKind::Closed,
        TroubleKind::Tls => wire::TroubleKind::Tls,
        TroubleKind::Protocol => wire::TroubleKind::Protocol,
        TroubleKind::Conversion => wire::TroubleKind::Conversion,
        TroubleKind::Smtputf8 => wire::TroubleKind::Smtputf8,
        TroubleKind::NotCapable => wire::TroubleKind::NotCapable,
        TroubleKind::RequireTls => wire::TroubleKind::RequireTls,
        TroubleKind::Administrative => wire::TroubleKind::Administrative,
        TroubleKind::Login => wire::TroubleKind::Login,
        TroubleKind::Held => wire::TroubleKind::Held,
        TroubleKind::Unanswered => wire::TroubleKind::Unanswered,
        TroubleKind::Loop => wire::TroubleKind::Loop,
        TroubleKind::Local => wire::TroubleKind::Local,
    }
}

fn trouble_kind(value: i32) -> Result<TroubleKind, ApiError> {
    match wire::TroubleKind::try_from(value) {
        Ok(wire::TroubleKind::DnsTemporary) => Ok(TroubleKind::DnsTemporary),
        Ok(wire::TroubleKind::NoSuchDomain) => Ok(TroubleKind::NoSuchDomain),
        Ok(wire::TroubleKind::NullMx) => Ok(TroubleKind::NullMx),
        Ok(wire::TroubleKind::Connect) => Ok(TroubleKind::Connect),
        Ok(wire::TroubleKind::Timeout) => Ok(TroubleKind::Timeout),
        Ok(wire::TroubleKind::Closed) => Ok(TroubleKind::Closed),
        Ok(wire::TroubleKind::Tls) => Ok(TroubleKind::Tls),
        Ok(wire::TroubleKind::Protocol) => Ok(TroubleKind::Protocol),
        Ok(wire::TroubleKind::Conversion) => Ok(TroubleKind::Conversion),
        Ok(wire::TroubleKind::Smtputf8) => Ok(TroubleKind::Smtputf8),
        Ok(wire::TroubleKind::NotCapable) => Ok(TroubleKind::NotCapable),
        Ok(wire::TroubleKind::RequireTls) => Ok(TroubleKind::RequireTls),
        Ok(wire::TroubleKind::Administrative) => Ok(TroubleKind::Administrative),
        Ok(wire::TroubleKind::Login) => Ok(TroubleKind::Login),
        Ok(wire::TroubleKind::Held) => Ok(TroubleKind::Held),
        Ok(wire::TroubleKind::Unanswered) => Ok(TroubleKind::Unanswered),
        Ok(wire::TroubleKind::Loop) => Ok(TroubleKind::Loop),
        Ok(wire::TroubleKind::Local) => Ok(TroubleKind::Local),
        // A newer neighbour may know more: what cannot be told apart here may pass.
        Ok(wire::TroubleKind::Unspecified) | Err(_) => Ok(TroubleKind::Local),
    }
}
