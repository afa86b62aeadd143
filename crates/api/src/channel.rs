//! Connections to a queue replica: their timeouts, keepalive and window sizes.

use std::time::Duration;

use mailtier_config::Secret;
use mailtier_types::text::Chain;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

use crate::auth::Bearer;
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

/// Connects to one endpoint, `http://host:port`.
pub(crate) async fn connect(endpoint: &str, token: Option<&Secret>) -> Result<Authenticated, ApiError> {
    let bad = |reason: String| ApiError::Endpoint { endpoint: endpoint.to_owned(), reason };
    let builder = Endpoint::from_shared(endpoint.to_owned()).map_err(|error| bad(error.to_string()))?;
    if builder.uri().host().is_none() || builder.uri().scheme_str() != Some("http") {
        return Err(bad("it has no http:// and host".to_owned()));
    }
    let channel = builder
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .connect()
        .await
        // The transport's own says only "transport error".
        .map_err(|error| ApiError::Unavailable(Chain(&error).to_string()))?;
    Ok(InterceptedService::new(channel, Bearer::new(token)?))
}
