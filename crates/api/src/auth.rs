//! Tokens in headers: each call carries one; that of services is compared in constant time. Not responsible for where
//! they come from, nor for those of operators, which have roles (`access.rs`).

use mailtier_config::Secret;
use tonic::codegen::http::HeaderMap;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::error::ApiError;

/// The header of RFC 6750 §2.1.
const HEADER: &str = "authorization";
const SCHEME: &str = "Bearer ";

/// Lets calls with the right token through. Without a token of our own, all.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    expected: Option<Secret>,
}

impl Guard {
    pub(crate) const fn new(expected: Option<Secret>) -> Self {
        Self { expected }
    }
}

impl Interceptor for Guard {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let Some(expected) = &self.expected else { return Ok(request) };
        let shown = request.metadata().get(HEADER).and_then(|value| value.to_str().ok());
        match shown.and_then(|value| value.strip_prefix(SCHEME)) {
            Some(token) if equal(token.as_bytes(), expected.expose().as_bytes()) => Ok(request),
            Some(_) => Err(Status::unauthenticated("the token is not the right one")),
            None => Err(Status::unauthenticated("a token is needed")),
        }
    }
}

/// The token that is shown.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<&str, ApiError> {
    let shown = headers.get(HEADER).and_then(|value| value.to_str().ok());
    // The scheme is the same in any case (RFC 9110 §11.1).
    let token =
        shown.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let token = token.map(|(_, token)| token.trim()).filter(|token| !token.is_empty());
    token.ok_or_else(|| ApiError::Unauthenticated("a token is needed: `Authorization: Bearer …`".to_owned()))
}

/// Takes as long for a near miss as for a far one.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}

/// Shows a token with each call.
#[derive(Clone, Debug)]
pub(crate) struct Bearer {
    value: Option<MetadataValue<Ascii>>,
}

impl Bearer {
    pub(crate) fn new(token: Option<&Secret>) -> Result<Self, ApiError> {
        let value = token
            .map(|token| {
                let mut value =
                    format!("{SCHEME}{}", token.expose()).parse::<MetadataValue<Ascii>>().map_err(|_| {
                        ApiError::Invalid(
                            "the token has characters that cannot be sent: use letters and digits".to_owned(),
                        )
                    })?;
                value.set_sensitive(true);
                Ok::<_, ApiError>(value)
            })
            .transpose()?;
        Ok(Self { value })
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.value {
            request.metadata_mut().insert(HEADER, value.clone());
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_token_is_equal() {
        assert!(equal(b"secret", b"secret"));
        for other in [&b"secreT"[..], b"secre", b"secret ", b""] {
            assert!(!equal(b"secret", other));
        }
    }
}
