//! The other side of SMTP: a peer that plays a script word by word, and one that takes mail and remembers it. Not
//! responsible for the load and the account of the chaos tests, which have a counterpart of their own (`ledger`).

mod authority;
mod script;
mod sink;

pub use authority::{Authority, Issued};
pub use script::{Conversation, ScriptedPeer};
pub use sink::{Received, Sink};
