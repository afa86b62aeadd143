//! What is said when something cannot be answered: problem details (RFC 9457).

use bytes::Bytes;
use serde_json::json;
use tonic::codegen::http::{HeaderValue, Response, StatusCode, header};

use crate::error::ApiError;

/// An answer that is no success.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    /// What is wrong, and how to mend it.
    pub(crate) detail: String,
    /// The methods that are there, where another was asked for.
    pub(crate) allow: Option<String>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), allow: None }
    }

    /// A parameter, or a field of the body, that cannot be taken as it is.
    pub(crate) fn bad(name: &str, reason: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("{name}: {reason}"))
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// As it is sent. `request` names the request in logs.
    pub(crate) fn answer(self, request: Option<&str>) -> Response<Bytes> {
        let Self { status, detail, allow } = self;
        let title = status.canonical_reason().unwrap_or_default();
        let mut problem = json!({"type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail});
        if let (Some(fields), Some(request)) = (problem.as_object_mut(), request) {
            fields.insert("request_id".to_owned(), json!(request));
        }
        let mut answer = Response::new(Bytes::from(problem.to_string()));
        *answer.status_mut() = status;
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Some(allow) = allow.and_then(|allow| HeaderValue::from_str(&allow).ok()) {
            headers.insert(header::ALLOW, allow);
        }
        answer
    }
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        let (status, detail) = match error {
            ApiError::Invalid(text) => (StatusCode::BAD_REQUEST, text),
            ApiError::Unauthenticated(text) => (StatusCode::UNAUTHORIZED, text),
            ApiError::Forbidden(text) => (StatusCode::FORBIDDEN, text),
            ApiError::NotFound(text) => (StatusCode::NOT_FOUND, text),
            ApiError::Unavailable(text) => (StatusCode::SERVICE_UNAVAILABLE, text),
            error @ ApiError::Late { .. } => (StatusCode::GATEWAY_TIMEOUT, error.to_string()),
            ApiError::Internal(text) => (StatusCode::INTERNAL_SERVER_ERROR, text),
            error @ ApiError::Endpoint { .. } => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        };
        Self::new(status, detail)
    }
}
