//! Connections to a queue replica: their timeouts, keepalive and window sizes.

use std::sync::Arc;
use std::time::Duration;

use mailtier_tls::Renewal;
use mailtier_types::text::Chain;
use tonic::codegen::http;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

use crate::auth::Bearer;
use crate::credentials::Credentials;
use crate::dial::{Dial, DialError};
use crate::error::ApiError;

/// The largest frame either side takes: a batch of bodies, with room.
pub(crate) const MAX_FRAME_BYTES: usize = 64 << 20;
/// For the TCP connection and HTTP/2's preface.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A silent connection is asked for a sign of life this often, and given up after the timeout.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// HTTP/2 windows: bodies of many messages are under way on one stream.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 8 << 20;
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// A connection that shows a token.
pub(crate) type Authenticated = InterceptedService<Channel, Bearer>;

/// Connects to one endpoint, `http://host:port` or, with a certificate, `https://host:port`; and says when it is to be done
/// again.
pub(crate) async fn connect(endpoint: &str, credentials: &Credentials) -> Result<(Authenticated, Renewal), ApiError> {
    let bad = |reason: &str| ApiError::Endpoint { endpoint: endpoint.to_owned(), reason: reason.to_owned() };
    let uri = endpoint.parse::<http::Uri>().map_err(|error| bad(&error.to_string()))?;
    let Some(authority) = uri.authority().filter(|authority| !authority.host().is_empty()) else {
        return Err(bad("it has no http:// and host"));
    };
    let bearer = Bearer::new(credentials.token.as_ref())?;
    let (channel, renewal) = match (uri.scheme_str(), &credentials.tls) {
        (Some("http"), _) => (open(uri).connect().await, Renewal::default()),
        (Some("https"), Some(tls)) => {
            let renewal = Renewal::with(Arc::clone(tls));
            let (tls, falls_back) = (Arc::clone(tls), credentials.falls_back);
            let dial = Dial { authority: with_port(authority), tls, renewal: renewal.clone(), falls_back };
            // TLS is the dial's, so that the channel is told nothing of it but the origin of requests.
            let clear = format!("http://{authority}").parse::<http::Uri>().map_err(|error| bad(&error.to_string()))?;
            (open(clear).origin(uri.clone()).connect_with_connector(dial).await, renewal)
        }
        (Some("https"), None) => {
            return Err(bad("TLS needs the authority of the queue's certificate, and there is none"));
        }
        _ => return Err(bad("it has no http:// and host")),
    };
    Ok((InterceptedService::new(channel.map_err(|error| unreachable(&error))?, bearer), renewal))
}

/// The transport's own says only "transport error", and repeats what a dial says.
fn unreachable(error: &tonic::transport::Error) -> ApiError {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |cause| cause.source());
    let mut dials = causes.filter_map(|cause| cause.downcast_ref::<DialError>());
    ApiError::Unavailable(dials.next().map_or_else(|| Chain(error).to_string(), |dial| Chain(dial).to_string()))
}

fn open(uri: http::Uri) -> Endpoint {
    Endpoint::from(uri)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
}

/// `host:port`, also where the URL leaves it to the scheme.
fn with_port(authority: &http::uri::Authority) -> Arc<str> {
    match authority.port_u16() {
        Some(_) => authority.as_str().into(),
        None => format!("{authority}:443").into(),
    }
}
