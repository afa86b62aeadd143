//! The skeleton of a program: arguments, configuration and its changes, telemetry, health over HTTP, signals, drain,
//! exit codes, and what the service manager is told.
//!
//! Responsible for everything the three programs do alike. Not responsible for what any of them does: a program hands
//! over a function that starts it and gets a [`Context`].

mod arguments;
mod certificates;
mod context;
mod file_stamp;
mod health;
mod http;
mod json_api;
mod manager;
mod program;
mod reload;
mod watched_files;

pub use certificates::keep_certificate;
pub use context::{Context, Reload, Running};
pub use file_stamp::FileStamp;
pub use health::Health;
pub use json_api::serve_json;
pub use program::{Doing, Program, Starting, Subcommand, exit, run};
