//! What can go wrong between the tiers.

use std::time::Duration;

use tonic::{Code, Status};

/// A call or a stream failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The other side cannot be reached, is leaving, or broke the connection off.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The other side has not answered; what was asked of it may be done all the same.
    #[error("no answer within {waited:?}")]
    Late {
        /// How long it was waited for.
        waited: Duration,
    },
    /// The token is missing or wrong.
    #[error("not permitted: {0}")]
    Unauthenticated(String),
    /// The token is good, and not for this; the text says what is needed.
    #[error("forbidden: {0}")]
    Forbidden(String),
    /// What was sent is not valid; the text names the field.
    #[error("invalid: {0}")]
    Invalid(String),
    /// What was asked for is not there.
    #[error("not found: {0}")]
    NotFound(String),
    /// The endpoint is not a URL to connect to.
    #[error("`{endpoint}` is not an endpoint: {reason}; expected http://host:port, or https:// with TLS")]
    Endpoint {
        /// As configured.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Trouble on the other side.
    #[error("internal error: {0}")]
    Internal(String),
}

impl ApiError {
    /// A field with a value it cannot have.
    pub(crate) fn invalid(field: &str, reason: impl std::fmt::Display) -> Self {
        Self::Invalid(format!("{field}: {reason}"))
    }
}

impl From<Status> for ApiError {
    fn from(status: Status) -> Self {
        let text = status.message().to_owned();
        match status.code() {
            Code::Unauthenticated => Self::Unauthenticated(text),
            Code::PermissionDenied => Self::Forbidden(text),
            Code::InvalidArgument | Code::OutOfRange => Self::Invalid(text),
            // A method that the other side does not have is of a later version.
            Code::NotFound | Code::Unimplemented => Self::NotFound(text),
            Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded | Code::Unknown | Code::Aborted => {
                Self::Unavailable(if text.is_empty() { status.code().description().to_owned() } else { text })
            }
            code => Self::Internal(format!("{text} ({})", code.description())),
        }
    }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Unavailable(text) => Self::unavailable(text),
            error @ ApiError::Late { .. } => Self::deadline_exceeded(error.to_string()),
            ApiError::Unauthenticated(text) => Self::unauthenticated(text),
            ApiError::Forbidden(text) => Self::permission_denied(text),
            ApiError::Invalid(text) => Self::invalid_argument(text),
            ApiError::NotFound(text) => Self::not_found(text),
            error @ ApiError::Endpoint { .. } => Self::internal(error.to_string()),
            ApiError::Internal(text) => Self::internal(text),
        }
    }
}
