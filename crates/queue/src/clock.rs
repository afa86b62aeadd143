//! The wall clock, in one place. Everything that decides is given the time.

use std::time::SystemTime;

use mailtier_types::Timestamp;

/// Now.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}
