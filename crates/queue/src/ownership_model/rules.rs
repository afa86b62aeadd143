//! The rules of the protocol, each of which a test can break to show that the model would notice.

/// What the code does. A rule that is off is a mistake that somebody could make, or that was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Dispatching is allowed for two thirds of the lease from the question on; else for all of it from the answer on.
    pub(super) fence_is_early: bool,
    /// The conductor knows of a loss before the fence is moved, and before the shard is given up.
    pub(super) losses_come_first: bool,
    /// Workers refuse epochs older than one they have seen.
    pub(super) old_epochs_are_refused: bool,
    /// A new owner asks workers what they hold.
    pub(super) workers_are_asked: bool,
    /// A new owner waits for workers that were alive a moment ago.
    pub(super) absent_are_awaited: bool,
    /// Only what was given up with nothing in flight is clean.
    pub(super) unclean_is_unclean: bool,
    /// What is still being taken over is not given up clean.
    pub(super) unknown_is_unclean: bool,
    /// Workers keep the result of an owner that is gone.
    pub(super) results_are_kept: bool,
    /// An opinion counts only when it counts more attempts than the stored one.
    pub(super) old_opinions_lose: bool,
    /// The settlement of an earlier attempt does not end the one under way.
    pub(super) attempts_are_told_apart: bool,
    /// Of what a worker was sent before it was asked it has the attempt that it names.
    pub(super) named_attempts_are_believed: bool,
    /// Of two workers that hold the delivery the one with the later attempt is believed.
    pub(super) later_attempts_prevail: bool,
    /// A worker that is sent a later attempt of what it has in hand reports under the later number.
    pub(super) later_numbers_are_adopted: bool,
    /// A refusal is not confirmed as if it were a result.
    pub(super) refusals_are_not_confirmed: bool,
    /// A refusal from before the replica's own epoch is not one of its dispatch.
    pub(super) old_refusals_are_ignored: bool,
    /// Workers name the shard of what they hold.
    pub(super) held_shards_are_named: bool,
}

impl Rules {
    /// The code's.
    pub(super) const KEPT: Self = Self {
        fence_is_early: true,
        losses_come_first: true,
        old_epochs_are_refused: true,
        workers_are_asked: true,
        absent_are_awaited: true,
        unclean_is_unclean: true,
        unknown_is_unclean: true,
        results_are_kept: true,
        old_opinions_lose: true,
        attempts_are_told_apart: true,
        named_attempts_are_believed: true,
        later_attempts_prevail: true,
        later_numbers_are_adopted: true,
        refusals_are_not_confirmed: true,
        old_refusals_are_ignored: true,
        held_shards_are_named: true,
    };
}
