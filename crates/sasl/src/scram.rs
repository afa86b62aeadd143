//! The messages of SCRAM (RFC 5802 §5 and §7). Not responsible for keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::exchange::{Bindings, ExchangeError};
use crate::keys::Digest;
use crate::prepare::prepare;

/// The longest nonce a client may choose, in octets.
const MAX_NONCE_OCTETS: usize = 256;

/// What a message has that is not understood without an extension; there is none yet, and it "MUST cause authentication
/// failure" (RFC 5802 §5.1).
const MANDATORY: &str = "m=";

/// The client's first message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct First {
    pub(crate) name: String,
    /// `gs2-header`, which the last message repeats.
    header: String,
    /// What the last message must be bound to, beside the header.
    binding: Vec<u8>,
    bare: String,
    nonce: String,
}

/// The exchange after the server's first message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Salted {
    pub(crate) name: String,
    header: String,
    binding: Vec<u8>,
    bare: String,
    nonce: String,
    server_first: String,
}

/// `client-first-message`. `plus`: the mechanism is the one with channel binding; `bindings` are those we could offer.
pub(crate) fn first(message: &[u8], plus: bool, bindings: &Bindings) -> Result<First, ExchangeError> {
    let text = std::str::from_utf8(message).map_err(|_| ExchangeError::Malformed)?;
    let mut parts = text.splitn(3, ',');
    let (Some(flag), Some(authorization), Some(bare)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(ExchangeError::Malformed);
    };
    let binding = match (flag.split_once('='), flag, plus) {
        (Some(("p", "tls-exporter")), _, true) => bindings.exporter.clone().ok_or(ExchangeError::UnknownBinding)?,
        (Some(("p", "tls-server-end-point")), _, true) => {
            bindings.end_point.clone().ok_or(ExchangeError::UnknownBinding)?
        }
        (Some(("p", _)), _, true) => return Err(ExchangeError::UnknownBinding),
        (None, "n", false) => Vec::new(),
        // RFC 5802 §6: it thinks that we cannot bind. Where we offered to, somebody in the middle took the offer away.
        (None, "y", false) if bindings.offered => return Err(ExchangeError::Downgraded),
        (None, "y", false) => Vec::new(),
        _ => return Err(ExchangeError::Malformed),
    };
    if bare.starts_with(MANDATORY) {
        return Err(ExchangeError::UnknownExtension);
    }
    let mut attributes = bare.split(',');
    let name = attributes.next().and_then(|first| first.strip_prefix("n=")).ok_or(ExchangeError::Malformed)?;
    let nonce = attributes.next().and_then(|second| second.strip_prefix("r=")).ok_or(ExchangeError::Malformed)?;
    if nonce.is_empty() || nonce.len() > MAX_NONCE_OCTETS || !nonce.bytes().all(|octet| octet.is_ascii_graphic()) {
        return Err(ExchangeError::Malformed);
    }
    attributes.try_for_each(extension)?;
    let name = saslname(name)?;
    match authorization.strip_prefix("a=").map(saslname).transpose()? {
        None if !authorization.is_empty() => return Err(ExchangeError::Malformed),
        Some(other) if other != name => return Err(ExchangeError::ForAnother),
        _ => {}
    }
    Ok(First {
        name,
        header: format!("{flag},{authorization},"),
        binding,
        bare: bare.to_owned(),
        nonce: nonce.to_owned(),
    })
}

/// RFC 5802 §7 `extensions`: those that are not known are ignored, but for one that says that it must not be.
fn extension(attribute: &str) -> Result<(), ExchangeError> {
    if attribute.starts_with(MANDATORY) {
        return Err(ExchangeError::UnknownExtension);
    }
    match attribute.split_once('=') {
        Some((name, value))
            if name.len() == 1 && name.chars().all(|one| one.is_ascii_alphabetic()) && !value.is_empty() =>
        {
            Ok(())
        }
        _ => Err(ExchangeError::Malformed),
    }
}

/// RFC 5802 §5.1: `=2C` and `=3D` stand for a comma and an equals sign.
fn saslname(text: &str) -> Result<String, ExchangeError> {
    let decoded = text.replace("=2C", ",").replace("=3D", "=");
    if text.matches('=').count() != text.matches("=2C").count() + text.matches("=3D").count() {
        return Err(ExchangeError::Malformed);
    }
    prepare(&decoded).map(std::borrow::Cow::into_owned).map_err(|_| ExchangeError::Malformed)
}

impl First {
    /// `server-first-message`, with our share of the nonce.
    pub(crate) fn answer(self, own_nonce: &str, salt: &[u8], iterations: u32) -> (String, Salted) {
        let nonce = format!("{}{own_nonce}", self.nonce);
        let server_first = format!("r={nonce},s={},i={iterations}", STANDARD.encode(salt));
        let Self { name, header, binding, bare, .. } = self;
        (server_first.clone(), Salted { name, header, binding, bare, nonce, server_first })
    }
}

impl Salted {
    /// `client-final-message`: what was signed, and the proof.
    pub(crate) fn last(&self, message: &[u8]) -> Result<(Vec<u8>, Digest), ExchangeError> {
        let text = std::str::from_utf8(message).map_err(|_| ExchangeError::Malformed)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(ExchangeError::Malformed)?;
        let mut attributes = without_proof.split(',');
        let bound = attributes.next().and_then(|first| first.strip_prefix("c=")).ok_or(ExchangeError::Malformed)?;
        let nonce = attributes.next().and_then(|second| second.strip_prefix("r=")).ok_or(ExchangeError::Malformed)?;
        attributes.try_for_each(extension)?;
        let bound = STANDARD.decode(bound).map_err(|_| ExchangeError::Malformed)?;
        if bound != [self.header.as_bytes(), &self.binding].concat() {
            return Err(ExchangeError::BoundElsewhere);
        }
        if nonce != self.nonce {
            return Err(ExchangeError::Malformed);
        }
        let proof = STANDARD.decode(proof).ok().and_then(|proof| proof.try_into().ok());
        let signed = format!("{},{},{without_proof}", self.bare, self.server_first);
        Ok((signed.into_bytes(), proof.ok_or(ExchangeError::Malformed)?))
    }
}

/// `server-final-message` of a login that succeeded.
pub(crate) fn server_final(signature: &Digest) -> Vec<u8> {
    format!("v={}", STANDARD.encode(signature)).into_bytes()
}
