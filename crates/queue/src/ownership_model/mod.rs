//! A model of the protocol by which a shard changes its owner, explored through every state that it can reach.
//!
//! Responsible for showing that the rules together keep the promises P2, P3 and P13, and that each of them is needed. Not
//! responsible for showing that the code keeps to the rules: that is for its own tests, and for whoever changes one of
//! the two; each step names the file that it stands for.
//!
//! **The protocol.** A replica owns a shard in an epoch by a lease in the database, and dispatches until two thirds of
//! it are over by its own clock (`ownership/keeper.rs`, `conductor::Fence`). Whoever takes a shard that was not given up
//! clean asks every worker what it holds of it, waits for those that were alive a moment ago, and only then dispatches
//! (`conductor/shards.rs`). A worker refuses epochs older than the highest it has seen, attempts a delivery once at a
//! time, and keeps its result until some owner has settled it (`outbound/src/ledger`). A delivery whose worker is gone
//! is attempted again after the grace (`conductor/flights.rs`). Who settles asks for no owner: the row decides
//! (`settle.sql`, `finish_delivered.sql`).
//!
//! **The world.** One shard, one delivery with one recipient, two replicas, one worker or two, and the remote host. Time
//! is a step: a lease of three ticks, a fence of two, a grace of two. A replica has a keeper, whose statements are
//! carried out and whose answers come later, or never; a conductor; and a settler, which commits before the conductor
//! hears of it. A connection keeps its messages in order; different connections and the database do not wait for each
//! other. It breaks with what is on its way, the worker knows that at once and the replica later, or not before the
//! worker is back. Whoever can take a step need not: that is how a process is slow, or paused.
//!
//! **Faults** come from a [budget](state::Budget), which makes the space finite. Time stands still where a fault would
//! come of it that is used up: then a message that is due has to arrive first.
//!
//! **The published window** is counted: it opens when a worker is killed with the delivery in its hands or with a result
//! that nobody has settled, and when a worker is for the whole grace without a connection to a replica, or without an
//! answer to its question. Each time the delivery may be repeated once.
//!
//! **Not modelled.** Several deliveries or shards, recipients of one delivery that end differently, credit, expiry,
//! operators, hints and the cache of contents; who is a member and how shares are made even (`ownership/shares.rs`): a
//! replica takes a free shard or leaves it, as it likes; a worker that drains; the wait until an attempt is due, so that the next
//! one is always due at once; the moment between reading a row for its dispatch and the dispatch; results that arrive
//! over a connection which the worker has already replaced; a statement that the database carries out after its replica
//! has given up waiting; clocks that run at different speeds; a database that forgets what it has committed. A fair
//! continuation is one without further faults that exists, not each one.

mod conductor;
mod explorer;
mod faults;
mod keeper;
mod properties;
mod rules;
mod state;
mod steps;
mod tests;
mod worker;
