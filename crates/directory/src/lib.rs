//! Who answers what a plan asks: name servers, and the policies of MTA-STS (RFC 8461). Between `dns` and `route`, for
//! workers and for operators who ask where mail would go. And whom reports of TLS (RFC 8460) go to, and how they are posted.
//!
//! Responsible for asking and for keeping policies. Not responsible for what follows from the answers.

mod directory;
mod https;
mod keeper;
mod posting;
mod sts;

pub use directory::{Directory, DirectoryError, trust_anchors};
pub use keeper::{KeptPolicy, PolicyKeeper, Recalling};
pub use posting::ReportPoster;
