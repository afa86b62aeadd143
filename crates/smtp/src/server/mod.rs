//! The server half of the engine: one SMTP connection seen from the side that receives.

mod action;
mod config;
mod session;

pub use action::{MailParameters, Question, ServerAction, Verdict};
pub use config::{ServerConfig, ServerLimits, ServerTimeouts};
pub use session::ServerSession;
