//! Header sections: looked at while they arrive, and taken out of a content. Not responsible for the meaning of fields
//! beyond those that a transfer agent needs.

mod scan;
mod section;

pub use scan::{HeaderScan, HeaderTooLarge};
pub use section::original_headers;
pub(crate) use section::{has_field, value_of};
