//! Every way a guest can misbehave: refused at load when it does so at once, and answered for by the native default when
//! it does so later.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::failure::{FailureKind, Step};
use super::super::limits;
use super::super::worlds::host_selection::{self, HostChoice};
use super::super::worlds::npc_transform::{self, NpcView};
use super::super::worlds::rate_limit::{self, RateLimit};
use super::{behaving, empty_slot, failures, fixture, load, loader};
use crate::ports::policies::{Caller, HostSelection, LimitDecision, NpcTransforming, RateLimiting, Rung, Surface};

/// Far above every deadline, far below for ever: the machine that runs this may be busy.
const SOON: Duration = Duration::from_secs(5);

const EVERYWHERE: [(&str, FailureKind); 5] = [
    ("loop", FailureKind::Deadline),
    ("memory", FailureKind::Memory),
    ("panic", FailureKind::Trap),
    ("unreachable", FailureKind::Trap),
    ("stack", FailureKind::Stack),
];

fn told(behaviour: &str) -> Arc<[(String, String)]> {
    Arc::new([("POLICY_FIXTURE".to_owned(), behaviour.to_owned())])
}

/// A hog may run into its deadline before it runs into its cap; anything else must fail as told.
fn counted<W: super::World>(slot: &super::Slot<W>, kind: FailureKind) -> u64 {
    let late = if kind == FailureKind::Deadline {
        0
    } else {
        failures(slot, FailureKind::Deadline)
    };
    failures(slot, kind) + late
}

#[test]
fn rate_limit_answers_natively_for_each_hostile_guest() {
    let data = tempfile::tempdir().unwrap();
    let mut loader = loader(Some(data.path()));
    let bytes = fixture("rate-limit");
    let slot = empty_slot::<rate_limit::Bound>();
    let policy = RateLimit::new(Arc::clone(&slot), &[]);
    let request = rate_limit::sample(Surface::Api, Caller::Anonymous);
    let native = policy.decide(&request);

    let invalid = [
        "no-draws",
        "five-draws",
        "long-text",
        "connection",
        "zero-capacity",
        "negative-capacity",
        "over-capacity",
        "zero-refill",
        "negative-refill",
        "over-refill",
        "over-cost",
    ];
    let oversized = ["huge-list", "huge-text"];
    let cases = EVERYWHERE
        .into_iter()
        .chain(invalid.map(|name| (name, FailureKind::Invalid)))
        .chain(oversized.map(|name| (name, FailureKind::Oversized)));
    for (behaviour, kind) in cases {
        loader.trial = false;
        loader.settings = told(behaviour);
        load(&slot, &loader, &bytes).unwrap();
        let before = counted(&slot, kind);
        let started = Instant::now();
        assert_eq!(policy.decide(&request), native, "{behaviour}");
        assert!(started.elapsed() < SOON, "{behaviour} took {:?}", started.elapsed());
        assert_eq!(
            counted(&slot, kind),
            before + 1,
            "{behaviour}: {:?}",
            slot.last_failure()
        );

        loader.trial = true;
        assert_eq!(
            load(&slot, &loader, &bytes).unwrap_err().step,
            Step::Trial,
            "{behaviour}"
        );

        loader.settings = told("good");
        load(&slot, &loader, &bytes).unwrap();
        let LimitDecision::One(draw) = policy.decide(&request) else {
            panic!("no draw")
        };
        assert_eq!(
            (draw.bucket, draw.capacity),
            (9, 999_999),
            "the next good one works after {behaviour}"
        );
    }
}

#[test]
fn the_details_of_a_request_can_be_asked_for() {
    let mut loader = loader(None);
    loader.settings = told("ask");
    let slot = empty_slot::<rate_limit::Bound>();
    load(&slot, &loader, &fixture("rate-limit")).unwrap();
    let policy = RateLimit::new(Arc::clone(&slot), &[]);
    let asked = |surface, caller| policy.decide(&rate_limit::sample(surface, caller));
    let http = "player-1 none 192.0.2.1 GET /hosts/{host_id} none none";
    assert_eq!(
        asked(Surface::Api, Caller::Player),
        LimitDecision::Deny(http.to_owned())
    );
    let socket = "none none 192.0.2.1 none none offer session-0123456789abcdef";
    assert_eq!(
        asked(Surface::Websocket, Caller::Anonymous),
        LimitDecision::Deny(socket.to_owned())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn host_selection_answers_natively_for_each_hostile_guest() {
    let data = tempfile::tempdir().unwrap();
    let mut loader = loader(Some(data.path()));
    let bytes = fixture("host-selection");
    let slot = empty_slot::<host_selection::Bound>();
    let policy = HostChoice::new(Arc::clone(&slot));
    let candidates: Vec<_> = (0..6).map(host_selection::sample_candidate).collect();
    let ask = || policy.rank(host_selection::sample_request(), candidates.clone());
    let (native, rung) = ask().await;
    assert_eq!(rung, Rung::Native);
    let native_score = policy.score(&candidates[1].host);

    let invalid = [
        "nan",
        "infinite",
        "over",
        "under",
        "stranger",
        "far-stranger",
        "duplicate",
        "too-many",
        "long-text",
    ];
    let scores_badly = ["nan", "infinite", "over", "under"];
    let oversized = ["huge-list", "huge-text"];
    let cases = EVERYWHERE
        .into_iter()
        .chain(invalid.map(|name| (name, FailureKind::Invalid)))
        .chain(oversized.map(|name| (name, FailureKind::Oversized)));
    for (behaviour, kind) in cases {
        loader.trial = false;
        loader.settings = told(behaviour);
        load(&slot, &loader, &bytes).unwrap();
        let before = counted(&slot, kind);
        let started = Instant::now();
        assert_eq!(ask().await, (native.clone(), Rung::Native), "{behaviour}");
        assert!(started.elapsed() < SOON, "{behaviour} took {:?}", started.elapsed());
        assert_eq!(
            counted(&slot, kind),
            before + 1,
            "{behaviour}: {:?}",
            slot.last_failure()
        );
        if scores_badly.contains(&behaviour) {
            assert!(
                (policy.score(&candidates[1].host) - native_score).abs() < f64::EPSILON,
                "{behaviour}"
            );
        }

        loader.trial = true;
        assert_eq!(
            load(&slot, &loader, &bytes).unwrap_err().step,
            Step::Trial,
            "{behaviour}"
        );

        loader.settings = told("good");
        load(&slot, &loader, &bytes).unwrap();
        let (picks, rung) = ask().await;
        assert_eq!(rung, Rung::Component, "after {behaviour}: {:?}", slot.last_failure());
        assert_eq!(picks.len(), candidates.len());
        assert!(picks.iter().all(|pick| pick.reason == "worst first"));
        assert!((policy.score(&candidates[1].host) - 42.0).abs() < f64::EPSILON);
    }

    loader.settings = told("ask");
    load(&slot, &loader, &bytes).unwrap();
    let (picks, _) = ask().await;
    let cores = |host_id: &str| {
        let found = candidates.iter().find(|candidate| candidate.host.host_id == host_id);
        found.map_or(0, |candidate| candidate.host.cpu_cores)
    };
    assert!(
        picks
            .iter()
            .all(|pick| pick.reason == format!("{} home {} none", pick.host_id, cores(&pick.host_id))),
        "{picks:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn npc_transform_answers_natively_for_each_hostile_guest() {
    let data = tempfile::tempdir().unwrap();
    let mut loader = loader(Some(data.path()));
    let bytes = fixture("npc-transform");
    let slot = empty_slot::<npc_transform::Bound>();
    let policy = NpcView::new(Arc::clone(&slot));
    let native = policy.transform(npc_transform::sample_frame(3)).await;
    assert!(native.iter().all(|npc| !npc.contains_key("_plan")));
    let moody: Vec<bool> = native.iter().map(|npc| npc.contains_key("mood")).collect();
    assert_eq!(moody, [false, true, true], "the first lists it as internal");

    let invalid = [
        "bad-json",
        "nan-json",
        "two-json",
        "hide-stranger",
        "hide-twice",
        "stranger",
        "duplicate",
        "remove-stranger",
    ];
    let cases = EVERYWHERE
        .into_iter()
        .chain(invalid.map(|name| (name, FailureKind::Invalid)))
        .chain([("deep-json", FailureKind::Invalid)])
        // A huge text for each NPC does not even fit into the guest.
        .chain([
            ("huge-list", FailureKind::Oversized),
            ("huge-text", FailureKind::Memory),
        ]);
    for (behaviour, kind) in cases {
        loader.trial = false;
        loader.settings = told(behaviour);
        load(&slot, &loader, &bytes).unwrap();
        let before = counted(&slot, kind);
        let started = Instant::now();
        assert_eq!(
            policy.transform(npc_transform::sample_frame(3)).await,
            native,
            "{behaviour}"
        );
        assert!(started.elapsed() < SOON, "{behaviour} took {:?}", started.elapsed());
        let count = counted(&slot, kind);
        assert_eq!(count, before + 1, "{behaviour}: {:?}", slot.last_failure());

        loader.trial = true;
        assert_eq!(
            load(&slot, &loader, &bytes).unwrap_err().step,
            Step::Trial,
            "{behaviour}"
        );

        loader.settings = told("good");
        load(&slot, &loader, &bytes).unwrap();
        let seen = policy.transform(npc_transform::sample_frame(3)).await;
        assert!(
            seen.iter().all(|npc| npc["fixture"] == "9.9.9"),
            "after {behaviour}: {:?}",
            slot.last_failure()
        );
    }

    loader.settings = told("hide");
    load(&slot, &loader, &bytes).unwrap();
    assert!(policy.transform(npc_transform::sample_frame(3)).await.is_empty());
    loader.settings = told("ask");
    load(&slot, &loader, &bytes).unwrap();
    let seen = policy.transform(npc_transform::sample_frame(3)).await;
    assert!(seen.iter().all(|npc| npc["fixture"] == npc["npc_id"]), "{seen:?}");
}

#[test]
fn a_guest_that_keeps_failing_is_held_back_and_tried_again() {
    let mut loader = loader(None);
    loader.trial = false;
    loader.settings = told("unreachable");
    let slot = empty_slot::<rate_limit::Bound>();
    load(&slot, &loader, &fixture("rate-limit")).unwrap();
    let policy = RateLimit::new(Arc::clone(&slot), &[]);
    let request = rate_limit::sample(Surface::Api, Caller::Anonymous);
    for _ in 0..limits::BREAKER_FAILURES + 100 {
        policy.decide(&request);
    }
    let release = slot.current().unwrap();
    assert!(release.breaker.is_open());
    assert_eq!(failures(&slot, FailureKind::Trap), u64::from(limits::BREAKER_FAILURES));
    release.breaker.end_pause();
    policy.decide(&request);
    policy.decide(&request);
    assert_eq!(
        failures(&slot, FailureKind::Trap),
        u64::from(limits::BREAKER_FAILURES) + 1,
        "one call tries it"
    );
    assert_eq!(slot.counts().native, u64::from(limits::BREAKER_FAILURES) + 102);
}

#[test]
fn a_guest_that_fails_before_it_decides_is_refused_with_the_step() {
    let data = tempfile::tempdir().unwrap();
    let loader = loader(Some(data.path()));
    let slot = empty_slot::<rate_limit::Bound>();
    for (behaviour, step) in [
        ("describe-loop", Step::Describe),
        ("describe-panic", Step::Describe),
        ("describe-huge", Step::Describe),
        ("configure-error", Step::Configure),
        ("configure-huge-error", Step::Configure),
        ("configure-memory", Step::Configure),
    ] {
        let refusal = load(&slot, &loader, &behaving(fixture("rate-limit"), behaviour)).unwrap_err();
        assert_eq!(refusal.step, step, "{behaviour}: {refusal}");
    }
    let refusal = load(&slot, &loader, &behaving(fixture("rate-limit"), "configure-error")).unwrap_err();
    assert_eq!(refusal.reason, "invalid: the fixture refuses its settings");
    assert!(slot.current().is_none());
}

#[test]
fn a_flood_of_log_lines_is_cut() {
    let mut loader = loader(None);
    loader.settings = told("log-flood");
    let slot = empty_slot::<rate_limit::Bound>();
    loader.trial = false;
    load(&slot, &loader, &fixture("rate-limit")).unwrap();
    let policy = RateLimit::new(Arc::clone(&slot), &[]);
    let started = Instant::now();
    policy.decide(&rate_limit::sample(Surface::Api, Caller::Anonymous));
    assert!(started.elapsed() < SOON);
}
