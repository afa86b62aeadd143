//! The generated protobuf types. Private: they become domain types where they are received.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::large_futures,
    reason = "generated; the proto files document it"
)]

tonic::include_proto!("mailtier.v1");
