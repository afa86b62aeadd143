//! Who is let through to the admin service, over whichever protocol: a token, its role, and no more calls at a time than
//! the rest of the queue can bear. Not responsible for what tokens there are.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;

use crate::auth::{Demands, bearer};
use crate::error::ApiError;
use crate::roles::{Call, Caller};

/// How long a call waits for others to end.
const TURN_WITHIN: Duration = Duration::from_secs(10);

/// Knows whose a token is.
pub trait Authenticator: Send + Sync + 'static {
    /// Whose it is. [`ApiError::Unauthenticated`] where it is nobody's, [`ApiError::Unavailable`] where that cannot be
    /// found out at the moment.
    fn authenticate(&self, token: &str) -> impl Future<Output = Result<Caller, ApiError>> + Send;
}

/// The way in; the same for all protocols.
pub struct Access<A> {
    authenticator: Arc<A>,
    turns: Arc<Semaphore>,
}

impl<A> Clone for Access<A> {
    fn clone(&self) -> Self {
        Self { authenticator: Arc::clone(&self.authenticator), turns: Arc::clone(&self.turns) }
    }
}

impl<A> fmt::Debug for Access<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("turns", &self.turns).finish_non_exhaustive()
    }
}

/// A call's place among those under way: kept until its work is done.
pub(crate) type Turn = OwnedSemaphorePermit;

impl<A: Authenticator> Access<A> {
    /// At most `calls` at a time.
    #[must_use]
    pub fn new(authenticator: A, calls: usize) -> Self {
        Self { authenticator: Arc::new(authenticator), turns: Arc::new(Semaphore::new(calls)) }
    }

    /// Who shows this header.
    pub(crate) async fn caller(&self, headers: &http::HeaderMap) -> Result<Caller, ApiError> {
        self.authenticator.authenticate(bearer(headers)?).await
    }

    /// Waits for a turn.
    pub(crate) async fn turn(&self) -> Result<Turn, ApiError> {
        let turn = tokio::time::timeout(TURN_WITHIN, Arc::clone(&self.turns).acquire_owned()).await;
        turn.ok().and_then(Result::ok).ok_or_else(|| {
            let text = "as many calls of operators are under way as may be at a time (queue.api_calls); try again";
            ApiError::Unavailable(text.to_owned())
        })
    }

    async fn admit(&self, headers: &http::HeaderMap, call: Option<Call>) -> Result<(Caller, Turn), Status> {
        let caller = self.caller(headers).await?;
        // What has no role here is for nobody.
        let call = call.ok_or_else(|| Status::unimplemented("there is no such call"))?;
        caller.check(call)?;
        Ok((caller, self.turn().await?))
    }
}

/// Stands before the admin service of gRPC.
#[derive(Debug)]
pub(crate) struct Gate<S, A> {
    inner: S,
    access: Access<A>,
    demands: Demands,
}

impl<S: Clone, A> Clone for Gate<S, A> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), access: self.access.clone(), demands: self.demands.clone() }
    }
}

impl<S, A> Gate<S, A> {
    pub(crate) const fn new(inner: S, access: Access<A>, demands: Demands) -> Self {
        Self { inner, access, demands }
    }
}

impl<S: NamedService, A> NamedService for Gate<S, A> {
    const NAME: &'static str = S::NAME;
}

impl<S, A> Service<http::Request<Body>> for Gate<S, A>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    A: Authenticator,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let next = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, next);
        let access = self.access.clone();
        let (headers, call) = (request.headers().clone(), Call::of_path(request.uri().path()));
        let may_come = self.demands.check_tls(request.extensions().get());
        Box::pin(async move {
            if let Err(status) = may_come {
                return Ok(status.into_http());
            }
            let (caller, turn) = match access.admit(&headers, call).await {
                Ok(admitted) => admitted,
                Err(status) => return Ok(status.into_http()),
            };
            request.extensions_mut().insert(caller);
            // In a task: the work goes on when whoever asked goes away, and its turn lasts as long.
            let work = tokio::spawn(async move {
                let answer = ready.call(request).await;
                drop(turn);
                answer
            });
            work.await.unwrap_or_else(|error| Ok(Status::internal(error.to_string()).into_http()))
        })
    }
}

/// Who calls, as the gate has found out.
pub(crate) fn caller<T>(request: &tonic::Request<T>) -> Result<Caller, Status> {
    request.extensions().get().cloned().ok_or_else(|| Status::unauthenticated("a token is needed"))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    struct Nobody;

    impl Authenticator for Nobody {
        async fn authenticate(&self, _: &str) -> Result<Caller, ApiError> {
            Err(ApiError::Unauthenticated("not known".to_owned()))
        }
    }

    #[tokio::test]
    async fn no_more_calls_are_under_way_than_may_be() {
        let access = Access::new(Nobody, 2);
        let (first, second) = (access.turn().await.unwrap(), access.clone().turn().await.unwrap());
        let mut third = Box::pin(access.turn());
        assert!(third.as_mut().now_or_never().is_none(), "it waits");
        drop(first);
        let _third = third.await.unwrap();
        assert!(access.turn().now_or_never().is_none());
        drop(second);
        assert!(access.turn().await.is_ok());
    }

    #[tokio::test]
    async fn a_token_is_shown_in_one_way() {
        let shown = |value: &'static str| {
            let mut headers = http::HeaderMap::new();
            headers.insert("authorization", http::HeaderValue::from_static(value));
            bearer(&headers).map(str::to_owned).ok()
        };
        assert_eq!(shown("Bearer x"), Some("x".to_owned()));
        assert_eq!(shown("bearer x"), Some("x".to_owned()), "schemes are the same in any case");
        for other in ["x", "Bearer", "Bearer ", "Basic x", ""] {
            assert_eq!(shown(other), None, "{other}");
        }
        assert!(bearer(&http::HeaderMap::new()).is_err());
    }
}
