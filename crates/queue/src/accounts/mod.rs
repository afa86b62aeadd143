//! Users and recipients: logins judged, recipients looked up, both managed by operators. Not responsible for mechanisms,
//! which are `sasl`'s, nor for when inbound asks.
//!
//! | module | holds |
//! |---|---|
//! | `desk` | one session with the database, shared by all questions |
//! | `passwords` | hashing and checking, as many at a time as there are cores |
//! | `logins` | the verdict on a login, and the count of failures |
//! | `familiar` | from where users have logged in of late |
//! | `manage` | what operators change |

mod desk;
mod familiar;
mod generations;
mod logins;
mod manage;
mod passwords;

pub(crate) use desk::Desk;
pub(crate) use logins::{AccountsService, LoginLimits};
pub(crate) use manage::Managed;
