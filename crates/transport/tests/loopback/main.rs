//! Both drivers on real sockets: against each other, against scripted peers, in clear and in TLS.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what helps a test may fail loudly"
)]

mod delivering;
mod faults;
mod implicit;
mod logins;
mod peers;
mod proxies;
mod served;
mod serving;
mod tls;
