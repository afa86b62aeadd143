//! What sessions with the hosts of other domains come to, counted for reports to these domains (RFC 8460), and reports that
//! are posted over HTTPS. Reports are made by the queue, which has the counters of all workers; what is asked of DNS and of
//! web servers is asked here.
//!
//! Counting never stands in the way of a delivery: it adds to a table of bounded size. Once a minute, and at the end, the
//! table is emptied; only then it is found out which of its domains want reports.

mod counter;
mod flush;
mod posts;
mod tally;

pub(crate) use counter::SessionCounter;
pub(crate) use flush::SessionFlusher;
pub(crate) use posts::PostRunner;
