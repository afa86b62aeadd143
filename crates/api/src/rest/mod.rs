//! The admin service over HTTP and JSON: the same handler as gRPC's, the same tokens, roles and limits.
//!
//! Responsible for paths, parameters, bodies and answers. Not responsible for connections, whose owner is `service`, nor
//! for what is done: [`AdminHandler`] does it.
//!
//! | module | holds |
//! |---|---|
//! | `table` | what can be asked |
//! | `ask` | what is asked, judged by the table |
//! | `filter` | which deliveries are meant |
//! | `answer` | what is answered, for each operation |
//! | `problem` | what is said when that cannot be |
//! | `document` | the OpenAPI document, written from the table |
//!
//! An operation that is added is a line of the table, its objects in `json`, and an arm in `answer`.

mod answer;
mod ask;
mod document;
mod filter;
mod problem;
mod table;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tonic::codegen::http::{HeaderValue, Request, Response, StatusCode, header, request};

use crate::access::{Access, Authenticator};
use crate::server::AdminHandler;
use answer::answer;
use ask::{Ask, route};
pub use document::openapi_document;
use problem::Problem;

/// The header with which a request is named, in logs and in problems.
pub const REQUEST_ID: &str = "x-request-id";

/// Answers requests.
pub struct Rest<H, A> {
    handler: Arc<H>,
    access: Access<A>,
}

impl<H, A> Clone for Rest<H, A> {
    fn clone(&self) -> Self {
        Self { handler: Arc::clone(&self.handler), access: self.access.clone() }
    }
}

impl<H, A> fmt::Debug for Rest<H, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rest").finish_non_exhaustive()
    }
}

impl<H: AdminHandler, A: Authenticator> Rest<H, A> {
    /// By this handler, for those whom `access` lets through.
    #[must_use]
    pub fn new(handler: H, access: Access<A>) -> Self {
        Self { handler: Arc::new(handler), access }
    }

    /// Answers one request.
    pub async fn answer(&self, request: Request<Bytes>) -> Response<Bytes> {
        let (head, body) = request.into_parts();
        let mut answer = match self.try_answer(&head, body).await {
            Ok(answer) => answer,
            Err(problem) => {
                let id = head.headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
                if problem.status.is_server_error() {
                    let (method, path) = (head.method.as_str(), head.uri.path());
                    tracing::warn!(method, path, request_id = id, error = problem.detail, "not answered over HTTP");
                }
                problem.answer(id)
            }
        };
        // Nothing here is for caches, nor for browsers to guess what it is.
        answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        answer
    }

    async fn try_answer(&self, head: &request::Parts, body: Bytes) -> Result<Response<Bytes>, Problem> {
        // Who shows no token learns nothing, not even which paths there are.
        let caller = self.access.caller(&head.headers).await?;
        let (operation, values) = route(head.method.as_str(), &head.uri)?;
        let what = format!("{} {}", operation.method, operation.path);
        caller.check_role(&what, operation.needs())?;
        let ask = Ask::parse(operation, values, &head.uri, &head.headers, body)?;
        let turn = self.access.turn().await?;
        let handler = Arc::clone(&self.handler);
        // In a task: the work goes on when whoever asked goes away, and its turn lasts as long.
        let work = tokio::spawn(async move {
            let answered = answer(operation, &ask, &caller, handler.as_ref()).await;
            drop(turn);
            answered
        });
        work.await.unwrap_or_else(|error| Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())))
    }
}
