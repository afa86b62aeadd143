//! Who answers what a plan asks: name servers, and the policies of MTA-STS (RFC 8461). Between `dns` and `route`, for
//! workers and for operators who ask where mail would go.
//!
//! Responsible for asking and for keeping policies. Not responsible for what follows from the answers.

mod directory;
mod sts;

pub use directory::{Directory, DirectoryError, trust_anchors};
