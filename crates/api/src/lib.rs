//! What the tiers say to one another, over gRPC: domain types in, domain types out.
//!
//! Responsible for the generated protobuf types (which never leave this crate), for validating what arrives, for
//! tokens and certificates, and for the limits and timeouts of the connections. Not responsible for what is done with any of it. The
//! reference is in the comments of `proto/mailtier/v1`.

pub mod access;
pub mod accounts;
pub mod admin;
pub mod audit;
mod auth;
mod backoff;
pub mod change;
mod channel;
mod connection;
mod convert;
pub mod counts;
mod credentials;
mod dial;
mod door;
mod encoded;
mod error;
pub mod filter;
mod frame;
pub mod json;
mod operators;
pub mod overview;
pub mod peer;
pub mod replicas;
pub mod rest;
mod roles;
pub mod server;
mod stream;
pub mod submit;
pub mod suppressions;
pub mod suspensions;
#[cfg(test)]
mod tests;
mod text;
pub mod tls;
pub mod tokens;
mod told;
pub mod users;
mod wire;
pub mod work;

pub use backoff::Backoff;
pub use convert::tenant_id;
pub use credentials::Credentials;
pub use encoded::{decode_detail, decode_options, decode_outcome, encode_detail, encode_options, encode_outcome};
pub use error::ApiError;
pub use frame::Frame;
pub use mailtier_tls::{ClusterTls, Renewal, Tier};
pub use roles::{Call, Caller, Role};
pub use stream::Incoming;
