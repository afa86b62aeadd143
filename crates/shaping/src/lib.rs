//! What an operator has configured as the schedule knows it: limits, providers, pools, retries, and what replies mean. For the
//! queue, which acts by it, and for operators who ask what it would do.
//!
//! Not responsible for what the configuration may say (`config`), nor for what follows (`schedule`).

mod classification;
mod rules;

pub use classification::{ClassificationError, classification};
pub use rules::{retry_policy, retry_rules, rules};
