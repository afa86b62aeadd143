//! Whether something may be: pure functions over gathered facts. Not responsible for gathering the facts, nor for
//! carrying out what is decided: `session` does both, and decides nothing.
//!
//! A session passes the stages in this order, and each file shows in its tests who gets through:
//!
//! | module | decides |
//! |---|---|
//! | `connect` | whether anybody is greeted just now, and whether this client is |
//! | `helo` | which names a client may go by |
//! | `mail` | who may send from which address, how much and how urgently |
//! | `rcpt` | to whom |
//! | `content` | whether content may come, and whether it may stay |
//!
//! Beside the stages stand `login`, `inquiry` (VRFY, EXPN, ETRN) and `relay`, which knows the domains that are ours.
//!
//! # Facts that cost something
//! Whoever is asked for a recipient takes time, and a rate that is asked about is used up by that. A fact of this kind is
//! nothing at first; a stage that cannot do without it says so in its admission (`LookUp`, `AskRate`), the session finds
//! it out, and the stage decides again. So the order stands in one place, here: what is refused anyway is looked up
//! nowhere and uses up nothing.

pub(crate) mod connect;
pub(crate) mod content;
pub(crate) mod helo;
pub(crate) mod inquiry;
pub(crate) mod login;
pub(crate) mod mail;
pub(crate) mod rcpt;
pub(crate) mod relay;

use mailtier_types::{Reply, reply};

/// No: what the client is told, and why, by the name that logs and metrics have for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reply: Reply,
    pub(crate) reason: &'static str,
}

impl Refusal {
    const fn new(reply: Reply, reason: &'static str) -> Self {
        Self { reply, reason }
    }

    /// There is no memory for more.
    pub(crate) const fn memory() -> Self {
        Self::new(reply::INSUFFICIENT_STORAGE, "memory_short")
    }

    /// A client, a user or a tenant had as much as it may have for now.
    const fn rate() -> Self {
        Self::new(reply::RATE_LIMITED, "rate_limit")
    }
}
