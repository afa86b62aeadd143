//! Hands messages to the queue: over one long-lived stream to each replica, in batches of whatever gathered, each
//! message answered once. Not responsible for what a client is told.
//!
//! - `job`: what sessions and endpoints say to each other
//! - `endpoint`: one replica: connection, batches, verdicts
//! - `frames`: jobs become frames
//! - `endpoints`: which replicas there are (DNS), and which to use
//! - `upload`: the chunks of a large body, ahead of their message
//! - `submitter`: one message, over as many replicas and attempts as its time allows
//! - `lease`: the node number for ids

mod endpoint;
mod endpoints;
mod frames;
mod job;
mod lease;
mod submitter;
#[cfg(test)]
mod tests;
mod upload;

pub(crate) use endpoints::{EndpointKeeper, Endpoints};
pub(crate) use job::Message;
pub(crate) use lease::LeaseKeeper;
pub(crate) use submitter::Submitter;
pub(crate) use upload::{MOST_HELD_OCTETS, Route, Upload};
