//! The states of a slot and of a rollout, step by step.

use super::*;

const NOW: Timestamp = Timestamp(1_762_689_600_000);

fn slot() -> DesiredSlot {
    DesiredSlot::untouched(SlotName::RateLimit)
}

#[test]
fn a_slot_goes_forward_and_back() {
    let state = slot().activated("a", NOW).activated("b", NOW).activated("c", NOW);
    assert_eq!((state.active.as_deref(), state.previous()), (Some("c"), Some("b")));
    let state = state.rolled_back(None, NOW).unwrap();
    assert_eq!((state.active.as_deref(), state.previous()), (Some("b"), Some("a")));
    let state = state.rolled_back(None, NOW).unwrap().rolled_back(None, NOW).unwrap();
    assert_eq!((state.active.as_deref(), state.previous()), (None, None));
    assert_eq!(state.rolled_back(None, NOW), None, "nothing before the bundled policy");

    let state = slot().activated("a", NOW).activated("b", NOW).activated("c", NOW);
    let back = state.rolled_back(Some("a"), NOW).unwrap();
    assert_eq!((back.active.as_deref(), back.previous()), (Some("a"), None));
    assert_eq!(state.rolled_back(Some("never"), NOW), None);
    // Once more what is active, and what served before.
    assert_eq!(state.activated("c", NOW), state);
    assert_eq!(state.activated("a", NOW).history, ["b", "c"]);
}

#[test]
fn history_is_bounded() {
    let mut state = slot();
    for number in 0..50 {
        state = state.activated(&number.to_string(), NOW);
    }
    assert_eq!(state.history.len(), MAX_HISTORY);
    assert_eq!(state.previous(), Some("48"));
}

#[test]
fn a_rollout_ends_in_one_of_three_ways() {
    let rollout = Rollout {
        release_id: "b".to_owned(),
        mode: RolloutMode::Canary,
        percent: 5.0,
        sample_percent: 0.0,
        gates: Gates::default(),
        started_at: NOW,
    };
    let state = slot().activated("a", NOW).rolling_out(rollout);
    let promoted = state.promoted(NOW).unwrap();
    assert_eq!(
        (promoted.active.as_deref(), promoted.previous()),
        (Some("b"), Some("a"))
    );
    assert_eq!(promoted.rollout, None);
    assert_eq!(state.halted().unwrap().active.as_deref(), Some("a"));
    assert_eq!(state.rolled_back(None, NOW).unwrap().rollout, None);
    assert_eq!((promoted.promoted(NOW), promoted.halted()), (None, None));
    assert!(
        state.activated("c", NOW).rollout.is_some(),
        "another release leaves it alone"
    );
}

#[test]
fn gates_judge_by_rates_and_as_soon_as_it_is_certain() {
    let gates = Gates {
        min_samples: 100,
        max_difference_rate: Some(0.1),
        max_failure_rate: Some(0.02),
        max_p99_ratio: Some(2.0),
        promote_automatically: true,
    };
    let seen = |samples, failures, compared, differences| RolloutCounts {
        samples,
        failures,
        compared,
        differences,
        ..RolloutCounts::default()
    };
    let judge = |counts: &RolloutCounts| gates.judge(counts, RolloutMode::Shadow);
    assert_eq!(judge(&seen(50, 2, 48, 10)), Verdict::Wait);
    let broken = judge(&seen(3, 3, 0, 0));
    assert_eq!(
        broken,
        Verdict::Broken("3 of 3 failed (100.00 %), 2.00 % are allowed".to_owned())
    );
    assert!(matches!(judge(&seen(90, 0, 90, 11)), Verdict::Broken(why) if why.contains("differed")));
    assert_eq!(judge(&seen(200, 4, 196, 19)), Verdict::Good);
    assert_eq!(judge(&seen(200, 0, 50, 0)), Verdict::Wait, "too few were compared");
    assert_eq!(gates.judge(&seen(200, 0, 0, 0), RolloutMode::Canary), Verdict::Good);
    let slow = RolloutCounts {
        p99_us: Some(21.0),
        active_p99_us: Some(10.0),
        ..seen(200, 0, 200, 0)
    };
    assert!(matches!(judge(&slow), Verdict::Broken(why) if why.contains("2.10 times")));
}

#[test]
fn nodes_add_up_and_the_slowest_counts() {
    let node = |p99_us| RolloutCounts {
        samples: 10,
        failures: 1,
        p99_us,
        active_p99_us: Some(10.0),
        ..RolloutCounts::default()
    };
    let mut sum = RolloutCounts::default();
    for p99 in [None, Some(30.0), Some(20.0)] {
        sum.add(&node(p99));
    }
    assert_eq!((sum.samples, sum.failures, sum.p99_us), (30, 3, Some(30.0)));
}
