//! The states of a recipient and the only ways between them (invariants 2 and 3). Not responsible for storing them.

use std::fmt;

/// Where a recipient of an accepted message is. Exactly one at any instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Waiting for an attempt, or in one.
    Queued,
    /// Kept by an operator until released.
    Held,
    /// A remote took it.
    Delivered,
    /// Given up for a permanent failure; its DSN is queued, or its sender is null.
    Failed,
    /// Given up for its age; its DSN is queued, or its sender is null.
    Expired,
    /// Taken out by a named operator.
    Removed,
}

/// What can happen to a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// An attempt ended with a remote's acceptance: a fact, however late it is reported.
    Deliver,
    /// An attempt ended with trouble that may pass.
    Defer,
    /// An attempt ended with a permanent failure.
    Fail,
    /// Its time was up.
    Expire,
    /// An operator keeps it.
    Hold,
    /// An operator lets it go on.
    Release,
    /// An operator takes it out.
    Remove,
}

/// A change that the state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a recipient that is {state} cannot {change:?}")]
pub struct IllegalChange {
    /// Where the recipient is.
    pub state: State,
    /// What was to happen.
    pub change: Change,
}

impl State {
    /// All states.
    pub const ALL: [Self; 6] = [Self::Queued, Self::Held, Self::Delivered, Self::Failed, Self::Expired, Self::Removed];

    /// The name in SQL, logs, metrics and docs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Held => "held",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Removed => "removed",
        }
    }

    /// The state after a change.
    ///
    /// # Errors
    /// Final states take no change but what confirms them; a held recipient takes only an operator's changes and the
    /// fact that an attempt begun before had delivered it.
    pub const fn after(self, change: Change) -> Result<Self, IllegalChange> {
        match (self, change) {
            (Self::Queued, Change::Defer | Change::Release) => Ok(Self::Queued),
            (Self::Queued, Change::Hold) | (Self::Held, Change::Hold | Change::Defer) => Ok(Self::Held),
            (Self::Held, Change::Release) => Ok(Self::Queued),
            (Self::Queued | Self::Held | Self::Delivered, Change::Deliver) => Ok(Self::Delivered),
            (Self::Queued | Self::Held, Change::Fail) => Ok(Self::Failed),
            (Self::Queued, Change::Expire) => Ok(Self::Expired),
            (Self::Queued | Self::Held, Change::Remove) => Ok(Self::Removed),
            (state, change) => Err(IllegalChange { state, change }),
        }
    }
}

impl Change {
    /// All changes.
    pub const ALL: [Self; 7] =
        [Self::Deliver, Self::Defer, Self::Fail, Self::Expire, Self::Hold, Self::Release, Self::Remove];
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table() {
        let table: Vec<String> = State::ALL
            .iter()
            .flat_map(|&state| {
                Change::ALL.iter().map(move |&change| {
                    let after = state.after(change).map_or("-", State::name);
                    format!("{state:<9} {change:<7?} {after}", change = change)
                })
            })
            .collect();
        insta::assert_snapshot!(table.join("\n"));
    }
}
