//! Crash points: named steps in the life of a message at which a program can be made to die, so that a test can show
//! that nothing is lost there and nothing sent twice.
//!
//! Responsible for the list of points and for dying. Not responsible for what is shown: that is
//! `testkit/tests/it/crash_matrix.rs`, which arms each point of [`Point::ALL`] under load.
//!
//! A development build reads `MAILTIER_CRASH_POINT` once: `name`, or `name:3` for the third time that the point is
//! reached. It then aborts, as a kill would end it: nothing is flushed, no destructor runs. A release build has none of
//! this: there every function here is empty, and the variable means nothing.

#![cfg_attr(not(debug_assertions), allow(dead_code, reason = "only development builds can be armed"))]

use std::fmt;

/// The variable that arms a point.
pub const VARIABLE: &str = "MAILTIER_CRASH_POINT";

macro_rules! points {
    ($($(#[doc = $doc:literal])* $point:ident = $name:literal,)*) => {
        /// A step between which and the next a process may die.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Point {
            $($(#[doc = $doc])* $point,)*
        }

        impl Point {
            /// Every point, in the order of a message's life.
            pub const ALL: &'static [Self] = &[$(Self::$point),*];

            /// As it is named in the environment.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)*
                }
            }
        }
    };
}

points! {
    // Reception.
    /// inbound: the content is complete, nothing of it is submitted.
    ContentReceived = "content-received",
    /// inbound: the queue has said that the message is durable, the client has no reply.
    ReplyOwed = "reply-owed",
    // Acceptance.
    /// queue: submissions are gathered, nothing is written.
    SubmissionsGathered = "submissions-gathered",
    /// queue: a part of a large body is stored, and nobody knows.
    PartStored = "part-stored",
    /// queue: the accepting statement is with the database, its answer was not read.
    AcceptSent = "accept-sent",
    /// queue: a message that is looked into is accepted in a transaction, and nothing that follows from it is written.
    AsideAccepted = "aside-accepted",
    /// queue: so is what follows, the transaction is open.
    AsideWritten = "aside-written",
    /// queue: COMMIT of that is with the database, its answer was not read.
    AsideSent = "aside-sent",
    /// queue: committed, and no verdict sent.
    AcceptCommitted = "accept-committed",
    /// queue: verdicts are on their way, the schedule does not know.
    VerdictSent = "verdict-sent",
    // Dispatch.
    /// queue: in the schedule, with no worker.
    Scheduled = "scheduled",
    /// queue: on its way to a worker.
    Dispatched = "dispatched",
    /// outbound: taken by a worker, not begun.
    WorkAdmitted = "work-admitted",
    /// outbound: the connection stands, the transaction is about to begin.
    TransactionBegins = "transaction-begins",
    /// outbound: the remote has said 250, and only the remote knows. The published window.
    RemoteAccepted = "remote-accepted",
    /// outbound: the result is in the worker's memory. The published window.
    ResultKept = "result-kept",
    /// outbound: the result is on its way to the queue. The published window.
    ResultSent = "result-sent",
    // Settlement.
    /// queue: a result has arrived, the settler does not have it.
    ResultHeard = "result-heard",
    /// queue: the statement that ends plain deliveries is with the database, its answer was not read.
    FinishSent = "finish-sent",
    /// queue: deliveries are locked, nothing is decided.
    SettleLocked = "settle-locked",
    /// queue: state and events are written in a transaction, its notifications are not.
    SettleWritten = "settle-written",
    /// queue: so are its notifications, the transaction is open.
    NotificationWritten = "notification-written",
    /// queue: COMMIT is with the database, its answer was not read.
    SettleSent = "settle-sent",
    /// queue: settled, and neither the worker nor the schedule knows.
    Settled = "settled",
    /// queue: worker and schedule know, a notification is not scheduled.
    NotificationUnscheduled = "notification-unscheduled",
    // Ownership.
    /// queue: leases are renewed, and nobody here has heard so.
    LeaseRenewed = "lease-renewed",
    /// queue: shards are taken in the database, the answer was not read.
    TakeSent = "take-sent",
    /// queue: shards are taken, the conductor does not know.
    ShardsTaken = "shards-taken",
    /// queue: workers are asked what they hold.
    WorkersAsked = "workers-asked",
    /// queue: every worker has answered, nothing is read from the table.
    TakenOver = "taken-over",
    /// queue: a page of the table is in the schedule.
    PageLoaded = "page-loaded",
    /// queue: asked to leave; nothing more is dispatched.
    DrainBegun = "drain-begun",
    /// queue: nothing is in anybody's hands, the shards are still its own.
    Drained = "drained",
    /// queue: the shards are given up, it is still a member.
    ShardsReleased = "shards-released",
    /// queue: everything is given up.
    Left = "left",
}

impl Point {
    /// The point of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|point| point.name() == name)
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A point is reached: the process ends here if that is what the environment says.
#[inline]
pub fn reach(point: Point) {
    #[cfg(debug_assertions)]
    if armed::is_due(point) {
        armed::die(point);
    }
    #[cfg(not(debug_assertions))]
    let _ = point;
}

/// Does `work`, and reaches the point each time that it has to wait: what it had to send is sent, and the answer is not
/// read.
#[inline]
pub async fn reach_waiting<F: Future>(point: Point, work: F) -> F::Output {
    #[cfg(debug_assertions)]
    {
        armed::waiting(point, work).await
    }
    #[cfg(not(debug_assertions))]
    {
        let _ = point;
        work.await
    }
}

#[cfg(debug_assertions)]
mod armed {
    //! What only development builds have.

    use std::pin::pin;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::{Point, VARIABLE};

    /// A point, and how often it is passed before it counts.
    struct Armed {
        point: Point,
        passes: AtomicU32,
    }

    static ARMED: LazyLock<Option<Armed>> = LazyLock::new(|| {
        let text = std::env::var(VARIABLE).ok()?;
        let armed = parse(&text);
        if armed.is_none() {
            misspelt(&text);
        }
        armed
    });

    fn parse(text: &str) -> Option<Armed> {
        let (name, times) = text.split_once(':').unwrap_or((text, "1"));
        let times: u32 = times.parse().ok().filter(|times| *times > 0)?;
        Some(Armed { point: Point::named(name)?, passes: AtomicU32::new(times - 1) })
    }

    #[expect(clippy::print_stderr, reason = "a test that armed nothing would show nothing")]
    fn misspelt(text: &str) {
        eprintln!("{VARIABLE} is `{text}`; expected the name of a point, or name:times");
        std::process::exit(78);
    }

    pub(super) fn is_due(point: Point) -> bool {
        let Some(armed) = ARMED.as_ref().filter(|armed| armed.point == point) else { return false };
        let pass = armed.passes.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1));
        pass.is_err()
    }

    #[expect(clippy::print_stderr, reason = "the log says where the process ended")]
    pub(super) fn die(point: Point) -> ! {
        eprintln!("crash point {point} reached");
        std::process::abort();
    }

    pub(super) async fn waiting<F: Future>(point: Point, work: F) -> F::Output {
        let mut work = pin!(work);
        std::future::poll_fn(|context| {
            let polled = work.as_mut().poll(context);
            if polled.is_pending() && is_due(point) {
                die(point);
            }
            polled
        })
        .await
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_point_is_named_with_how_often_it_is_passed() {
            let of = |text| parse(text).map(|armed| (armed.point, armed.passes.into_inner()));
            assert_eq!(of("settled"), Some((Point::Settled, 0)));
            assert_eq!(of("accept-sent:3"), Some((Point::AcceptSent, 2)));
            for text in ["", "setled", "settled:0", "settled:x"] {
                assert_eq!(of(text), None, "{text}");
            }
        }

        #[test]
        fn every_name_is_one_of_a_kind() {
            for point in Point::ALL {
                assert_eq!(Point::named(point.name()), Some(*point));
            }
        }
    }
}
