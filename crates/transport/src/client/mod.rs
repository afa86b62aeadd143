//! A connection to a remote server that carries transactions. Not responsible for choosing hosts, for retries, or for
//! whether to do without TLS.

mod connection;
mod content;
mod login;
mod open;
mod proxied;

pub use connection::Connection;
pub use login::Login;
pub use open::{ConnectFailure, ConnectOptions, Expected, TlsMode, TlsUse};
pub use proxied::{EgressProxy, ProxyProtocol};
