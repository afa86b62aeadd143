//! The content of messages, as far as a mail transfer agent touches it (RFC 5322).
//!
//! Responsible for looking at a header section while it arrives, for the trace field that goes before it, for dates,
//! for delivery status notifications and reports of TLS, for reading what comes back, for the return paths it comes back to, and
//! for content that a remote takes in 7 bits only. Not responsible for the transport of content (dot-stuffing and line ends
//! are the `smtp` crate's), nor for its authentication (`mailauth`).
//!
//! Whatever a peer chose (names, replies, header fields) is made harmless before it is written: nothing here can be
//! made to write another field, another part or another message.

pub mod date;
pub mod dsn;
pub mod feedback;
mod header;
mod quoted_printable;
mod received;
mod return_path;
mod seven_bit;
mod structure;
mod submission;
mod text;
pub mod tls_report;

pub use header::{HeaderScan, HeaderTooLarge, original_headers};
pub use received::{ReceivedFacts, Transmission, received_field, with_keyword};
pub use return_path::{BadKeys, Claim, MAX_KEYS, MIN_SECRET_OCTETS, RecipientMark, ReturnPaths, Returned};
pub use seven_bit::{NotSevenBit, to_seven_bit};
pub use submission::{Completion, complete, separator};
