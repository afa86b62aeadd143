//! Who may call which service: the roles of certificates, and tokens in headers; that of services is compared in constant
//! time. Not responsible for where they come from, nor for tokens of operators, which have roles of their own (`access.rs`).

use std::sync::Arc;
use std::time::Instant;

use mailtier_config::Secret;
use mailtier_tls::Tier;
use tonic::codegen::http::HeaderMap;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::connection::Shown;
use crate::credentials::Credentials;
use crate::error::ApiError;
use crate::told::Told;

/// The header of RFC 6750 §2.1.
const HEADER: &str = "authorization";
const SCHEME: &str = "Bearer ";

/// What the queue's port demands of whoever calls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Demands {
    /// The token of services, where there is one.
    pub(crate) token: Option<Secret>,
    /// Whether calls without TLS are refused.
    pub(crate) tls: bool,
    told: Arc<Told>,
}

impl Demands {
    /// Of a server with these credentials.
    pub(crate) fn of(credentials: &Credentials) -> Self {
        let tls = credentials.tls.is_some() && !credentials.falls_back;
        Self { token: credentials.token.clone(), tls, told: Arc::default() }
    }

    /// A call that comes over TLS, or that may come without.
    pub(crate) fn check_tls(&self, shown: Option<&Shown>) -> Result<(), Status> {
        if self.tls && shown.is_none_or(|shown| !shown.is_secure) {
            return Err(Status::permission_denied("the queue takes calls over TLS only: use https://"));
        }
        Ok(())
    }

    fn check_role(&self, shown: Option<&Shown>, needed: Tier) -> Result<(), Status> {
        let Some(shown) = shown.filter(|shown| shown.is_secure) else { return Ok(()) };
        let refused = match &shown.identity {
            Some(identity) if identity.is(needed) => return Ok(()),
            Some(identity) => format!("the role {needed} is needed, and the certificate shown is for {identity}"),
            None => format!("a certificate with the role {needed} is needed, and none was shown"),
        };
        let place = shown.address.map(|address| address.ip().to_string()).unwrap_or_default();
        if self.told.is_news(&format!("{place} {refused}"), Instant::now()) {
            tracing::warn!(address = place, reason = refused, "a call was refused");
        }
        Err(Status::permission_denied(refused))
    }

    fn check_token(&self, shown: Option<&str>) -> Result<(), Status> {
        let Some(expected) = &self.token else { return Ok(()) };
        match shown.and_then(|value| value.strip_prefix(SCHEME)) {
            Some(token) if equal(token.as_bytes(), expected.expose().as_bytes()) => Ok(()),
            Some(_) => Err(Status::unauthenticated("the token is not the right one")),
            None => Err(Status::unauthenticated("a token is needed")),
        }
    }
}

/// Lets calls of a service through that come over TLS from a certificate with the right role, or without TLS where that may
/// be; and with the right token, where there is one.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    demands: Demands,
    needed: Tier,
}

impl Guard {
    /// Of a service for a tier.
    pub(crate) const fn new(demands: Demands, needed: Tier) -> Self {
        Self { demands, needed }
    }
}

impl Interceptor for Guard {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let shown = request.extensions().get::<Shown>();
        self.demands.check_tls(shown)?;
        self.demands.check_role(shown, self.needed)?;
        self.demands.check_token(request.metadata().get(HEADER).and_then(|value| value.to_str().ok()))?;
        Ok(request)
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
