//! What strangers can say to us, as targets for a fuzzer: commands, replies, addresses, header sections, logins, PROXY
//! headers, reports of what became of mail, content to convert. Not responsible for making inputs: `make fuzz` does, and tests
//! replay what it found worth keeping.
//!
//! A target panics where something is wrong. Beyond not to crash, each holds its subject to a law: what comes out must not
//! depend on the borders between two reads, what is taken must be clean, what is written must be read back.

#![allow(clippy::panic, clippy::expect_used, reason = "a target says by a panic that something is wrong")]

mod address;
mod command;
mod conversion;
mod header;
mod proxy;
mod reply;
mod report;
mod sasl;

/// What is done with an input.
pub type Target = fn(&[u8]);

/// A target by its name: the folder of its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("address", address::run),
    ("command", command::run),
    ("conversion", conversion::run),
    ("header", header::run),
    ("proxy", proxy::run),
    ("reply", reply::run),
    ("report", report::run),
    ("sasl", sasl::run),
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, run)| *run)
}
