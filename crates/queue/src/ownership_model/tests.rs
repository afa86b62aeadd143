//! The rules as they are keep every promise, within each of these budgets of faults; and each rule that is broken is
//! noticed, with the shortest way to get there.

use super::explorer::{Explored, explore};
use super::rules::Rules;
use super::state::Budget;
use super::steps::Protocol;

/// Nothing goes wrong, and the remote host takes the message.
const CALM: Budget = Budget {
    replica_crashes: 0,
    worker_crashes: 0,
    pauses: 0,
    absences: 0,
    losses: 0,
    handovers: 0,
    lost_answers: 0,
    deferrals: 0,
    refusals: 0,
};

const KILLED: Budget = Budget { replica_crashes: 1, ..CALM };
const PAUSED: Budget = Budget { pauses: 1, ..CALM };
const HANDED_OVER: Budget = Budget { handovers: 1, ..CALM };
const HANDED_OVER_AND_CUT: Budget = Budget { losses: 1, ..HANDED_OVER };
const KILLED_AND_CUT: Budget = Budget { losses: 1, ..KILLED };
const KILLED_AND_DEFERRED: Budget = Budget { deferrals: 1, ..KILLED };
const CUT_OFF_AND_DEFERRED: Budget = Budget { absences: 1, losses: 1, deferrals: 1, ..CALM };

/// All promises hold in all states, of which there are so many at least.
fn holds(workers: usize, budget: Budget, at_least: usize) {
    let Explored { states, is_complete, violation } = explore(Protocol { rules: Rules::KEPT, workers }, budget);
    if let Some(violation) = violation {
        panic!("{}\n{}", violation.property, violation.trace);
    }
    println!("{workers} workers, {budget:?}: {states} states");
    assert!(is_complete, "more than {states} states");
    assert!(states >= at_least, "only {states} states");
}

/// Which promise is broken, and in how many steps.
fn breaks(workers: usize, rules: Rules, budget: Budget) -> &'static str {
    let Explored { states, violation, .. } = explore(Protocol { rules, workers }, budget);
    let violation = violation.unwrap_or_else(|| panic!("nothing is noticed in {states} states"));
    println!("{}\n{}", violation.property, violation.trace);
    violation.property
}

const OWNS: &str = "who dispatches owns the shard";
const LIVE: &str = "outside the published window, one dispatch is live at a time";
const ONCE: &str = "outside the published window, the remote host gets a message once";
const NEWER: &str = "an old opinion loses to a newer one";
const ENDS: &str = "whatever has happened, a fair continuation comes to a good end";

#[test]
fn nothing_happens_twice_where_nothing_goes_wrong() {
    holds(1, CALM, 50);
    holds(2, CALM, 90);
}

#[test]
fn an_owner_that_is_paused_past_its_lease_repeats_nothing() {
    holds(1, Budget { lost_answers: 1, deferrals: 1, refusals: 1, ..PAUSED }, 100_000);
    holds(2, PAUSED, 40_000);
}

#[test]
fn an_owner_that_is_killed_repeats_nothing() {
    holds(1, KILLED_AND_CUT, 100_000);
    holds(2, KILLED, 40_000);
}

#[test]
fn a_shard_that_is_given_up_repeats_nothing() {
    holds(1, HANDED_OVER_AND_CUT, 200_000);
    holds(2, HANDED_OVER, 60_000);
}

#[test]
fn a_connection_that_breaks_repeats_nothing() {
    holds(1, Budget { losses: 1, lost_answers: 1, deferrals: 1, ..CALM }, 15_000);
}

#[test]
fn a_worker_that_is_killed_or_cut_off_repeats_no_more_than_is_published() {
    holds(2, Budget { worker_crashes: 1, ..CALM }, 30_000);
    holds(2, CUT_OFF_AND_DEFERRED, 100_000);
}

#[test]
fn a_fence_that_closes_with_the_lease_of_a_late_answer_is_noticed() {
    let rules = Rules { fence_is_early: false, ..Rules::KEPT };
    assert_eq!(breaks(1, rules, PAUSED), OWNS);
}

#[test]
fn a_loss_that_is_told_after_the_fence_is_moved_is_noticed() {
    let rules = Rules { losses_come_first: false, ..Rules::KEPT };
    assert_eq!(breaks(1, rules, PAUSED), OWNS);
    assert_eq!(breaks(1, rules, HANDED_OVER), OWNS);
}

#[test]
fn a_worker_that_takes_older_epochs_is_noticed() {
    let rules = Rules { old_epochs_are_refused: false, ..Rules::KEPT };
    assert_eq!(breaks(1, rules, PAUSED), LIVE);
}

#[test]
fn a_takeover_that_asks_nobody_is_noticed() {
    let rules = Rules { workers_are_asked: false, ..Rules::KEPT };
    assert_eq!(breaks(1, rules, KILLED), LIVE);
}

#[test]
fn a_takeover_that_does_not_wait_for_the_absent_is_noticed() {
    let rules = Rules { absent_are_awaited: false, ..Rules::KEPT };
    assert_eq!(breaks(1, rules, KILLED), LIVE);
}

#[test]
fn an_end_in_disorder_that_is_called_clean_is_noticed() {
    let rules = Rules { unclean_is_unclean: false, ..Rules::KEPT };
    assert_eq!(breaks(1, rules, KILLED), LIVE);
}

#[test]
fn a_drain_in_the_middle_of_a_takeover_that_is_called_clean_is_noticed() {
    let rules = Rules { unknown_is_unclean: false, ..Rules::KEPT };
    assert_eq!(breaks(1, rules, Budget { handovers: 1, ..KILLED }), LIVE);
}

#[test]
fn a_worker_that_drops_the_result_of_a_lost_owner_is_noticed() {
    let rules = Rules { results_are_kept: false, ..Rules::KEPT };
    assert_eq!(breaks(1, rules, KILLED), ONCE);
}

#[test]
fn an_old_deferral_that_overrides_a_newer_one_is_noticed() {
    let rules = Rules { old_opinions_lose: false, ..Rules::KEPT };
    assert_eq!(breaks(1, rules, Budget { deferrals: 2, ..HANDED_OVER }), NEWER);
}

#[test]
fn a_settlement_that_ends_a_later_attempt_is_noticed() {
    let rules = Rules { attempts_are_told_apart: false, ..Rules::KEPT };
    assert_eq!(breaks(1, rules, Budget { losses: 1, deferrals: 1, ..CALM }), LIVE);
}

#[test]
fn an_attempt_that_never_arrived_and_is_waited_for_is_noticed() {
    let rules = Rules { named_attempts_are_believed: false, ..Rules::KEPT };
    assert_eq!(breaks(1, rules, Budget { losses: 1, deferrals: 1, ..CALM }), ENDS);
}

#[test]
fn an_owner_that_believes_the_earlier_of_two_attempts_is_noticed() {
    let rules = Rules { later_attempts_prevail: false, ..Rules::KEPT };
    assert_eq!(breaks(2, rules, KILLED_AND_DEFERRED), LIVE);
}

#[test]
fn a_worker_that_never_answers_for_a_later_attempt_is_noticed() {
    let rules = Rules { later_numbers_are_adopted: false, ..Rules::KEPT };
    assert_eq!(breaks(2, rules, CUT_OFF_AND_DEFERRED), ENDS);
}

#[test]
fn a_refusal_that_is_confirmed_like_a_result_is_noticed() {
    let rules = Rules { refusals_are_not_confirmed: false, ..Rules::KEPT };
    assert_eq!(breaks(1, rules, HANDED_OVER_AND_CUT), ONCE);
}

#[test]
fn a_refusal_of_an_earlier_epoch_that_counts_is_noticed() {
    let rules = Rules { old_refusals_are_ignored: false, ..Rules::KEPT };
    assert_eq!(breaks(1, rules, Budget { handovers: 2, ..CALM }), LIVE);
}

#[test]
fn a_worker_that_does_not_name_shards_is_noticed() {
    let rules = Rules { held_shards_are_named: false, ..Rules::KEPT };
    assert_eq!(breaks(1, rules, KILLED_AND_CUT), ENDS);
}
