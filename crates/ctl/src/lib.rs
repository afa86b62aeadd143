//! `mailtier`: the operator's command line, and `mailtier up`, the whole system on one machine.
//!
//! Responsible for turning words into calls of the admin API, for showing the answers to people (or, with `--json`, to
//! programs), and for running PostgreSQL and the three programs together. Not responsible for SQL or for any decision
//! about mail: what an operator asks for is done by the queue.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]

mod address;
mod audit;
mod certificates;
mod change;
mod classify;
mod cli;
mod config_check;
mod connect;
mod counts;
mod delivery;
#[cfg(test)]
mod documented;
mod filter;
mod healthcheck;
mod output;
mod overview;
mod progress;
mod queue;
mod restored;
mod route;
mod send;
mod show;
mod sink;
mod suppression;
mod suspensions;
mod tls_report;
mod token;
mod trace;
mod up;
mod user;

pub use cli::main;
