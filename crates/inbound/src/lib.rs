//! Inbound: speaks SMTP, applies policy, hands messages to the queue, and says 250 only after the queue has
//! committed them.
//!
//! Responsible for listeners and sessions, for whom mail is relayed, for the Received field and loops, for compressing
//! and uploading bodies, for the memory all of that may use, and for finding a queue replica that commits. Not
//! responsible for the dialogue (`smtp`), sockets and TLS (`transport`), or anything after the commit; it has no
//! connection to PostgreSQL.
//!
//! | module | holds |
//! |---|---|
//! | `start` | the program put together and taken down |
//! | `listeners`, `listener` | what each listener offers to whom; connections, and how many |
//! | `gateway` | nobody trusted by mistake in a container |
//! | `limits`, `pressure` | how much a client, a user, a tenant, and all together may have |
//! | `peer` | what is known of a client |
//! | `accounts`, `oauth` | what is asked about users; tokens |
//! | `session` | one session's questions: the facts gathered, and what is decided carried out |
//! | `policy` | the decisions, stage by stage: connect, helo, mail, rcpt, content |
//! | `transaction` | one message while it is received |
//! | `recipients` | which recipients there are, and who gets mail for whom |
//! | `reports` | which recipients are return paths of ours |
//! | `suppression` | what tenants' suppression lists say |
//! | `body`, `budget` | chunks, compression, memory |
//! | `ids` | message ids while a node number is leased |
//! | `shared`, `sharing` | what sessions have in common; how that is renewed |
//! | `submit` | the way to a verdict over any replica |
//! | `record` | log lines and counts |
//! | `watch` | readiness, certificate renewal |
//!
//! # Nothing is lost
//! 250 is said when a replica has answered `Accepted`, which it does after the commit. In every other case the client
//! keeps the message: it hears 4xx or 5xx, or the connection breaks before any reply, and tries again.
//!
//! # When a message can be accepted twice
//! A message that inbound submits several times carries the same id each time, and the queue accepts an id once: a lost
//! stream, a replica killed between its commit and its answer, a slow replica overtaken by another one never make two
//! messages of one. What remains are the cases where the *client* sends again what was accepted, each with a new id,
//! because it never learnt of the acceptance (RFC 1047):
//!
//! 1. The connection breaks, or the client gives up waiting, after the commit and before it has read our 250.
//! 2. This process dies between the commit and the 250.
//! 3. A submission's verdict was lost, or came too late, and no replica could be asked again before `submit_timeout`: the
//!    client hears 451, although the first attempt may have been committed.
//! 4. The drain's time is up while a submission is under way: the session is broken off without a reply.
//!
//! The window of 1 and 2 is the time from the commit to the client's reading of one line, which is written at once; that
//! of 3 needs every replica to stay away for the whole of `submit_timeout`. RFC 5321 §4.5.3.2.6 has clients wait ten
//! minutes for the reply, so `submit_timeout` is far below that.

mod accounts;
mod body;
mod budget;
mod gateway;
mod ids;
mod limits;
mod listener;
mod listeners;
mod oauth;
mod peer;
mod policy;
mod pressure;
mod recipients;
mod record;
mod reports;
mod session;
mod shared;
mod sharing;
mod start;
mod submit;
mod suppression;
mod transaction;
mod watch;

pub use start::{StartError, check, start};
