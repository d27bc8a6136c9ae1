//! The ladder of a slot, the limits of a release, what stands ready, and a start without storage.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use super::super::PluginRuntime;
use super::super::delivery::node::Node;
use super::super::failure::{Failure, FailureKind, Step};
use super::super::instance::{Release, Source};
use super::super::ladder::{Canary, Ladder, PARTS};
use super::super::limits;
use super::super::loader::{Loader, Terms, digest};
use super::super::slot::Slot;
use super::super::slot_name::SlotName;
use super::super::worlds::World;
use super::super::worlds::host_selection;
use super::super::worlds::npc_transform;
use super::super::worlds::rate_limit::{self, RateLimit};
use super::{behaving, empty_slot, fixture, loader};
use crate::config::PluginsConfig;
use crate::domain::clock::Timestamp;
use crate::domain::release::{ReleaseContent, ReleaseLimits, ReleaseRecord};
use crate::domain::rollout::DesiredSlot;
use crate::ports::delivery::ReleaseHost as _;
use crate::ports::policies::{Caller, LimitDecision, RateLimiting, Rung, Surface};
use crate::telemetry::metrics::Metrics;

fn release<W: World>(loader: &Loader, behaviour: &str) -> Arc<Release<W>> {
    let bytes = behaving(fixture(W::SLOT.as_str()), behaviour);
    let loaded = loader.load::<W>(Source::Stored, &bytes, &mut |_| {});
    loaded.unwrap_or_else(|refusal| panic!("{refusal}")).0
}

/// A loader that asks nothing before it takes a policy.
fn gullible() -> Loader {
    Loader {
        trial: false,
        ..loader(None)
    }
}

#[test]
fn each_rung_answers_for_the_one_above_within_the_call() {
    let loader = gullible();
    let slot = empty_slot::<rate_limit::Bound>();
    let policy = RateLimit::new(Arc::clone(&slot), &[]);
    let request = rate_limit::sample(Surface::Api, Caller::Anonymous);
    let decide = || match policy.decide(&request) {
        LimitDecision::One(draw) => draw.capacity,
        LimitDecision::All(draws) => u32::try_from(draws.len()).unwrap(),
        other => panic!("{other:?}"),
    };
    let canary = |release, share| {
        Some(Canary {
            release,
            share,
            salt: 1,
        })
    };
    let ladder = |first: &str, active: &str, previous: &str, share| Ladder {
        canary: canary(release(&loader, first), share),
        active: Some(release(&loader, active)),
        previous: Some(release(&loader, previous)),
    };
    let rungs = |slot: &Slot<rate_limit::Bound>| slot.counts().by_rung().map(|(_, count)| count);

    slot.exchange(ladder("two", "good", "good", PARTS), None);
    assert_eq!((decide(), rungs(&slot)), (2, [1, 0, 0, 0, 0]));
    slot.exchange(ladder("two", "good", "good", 0), None);
    assert_eq!((decide(), rungs(&slot)), (999_999, [1, 1, 0, 0, 0]));
    slot.exchange(ladder("panic", "good", "two", PARTS), None);
    assert_eq!((decide(), rungs(&slot)), (999_999, [1, 2, 0, 0, 0]));
    slot.exchange(ladder("panic", "panic", "two", PARTS), None);
    assert_eq!((decide(), rungs(&slot)), (2, [1, 2, 1, 0, 0]));
    slot.exchange(ladder("panic", "panic", "panic", PARTS), None);
    assert_eq!((decide(), rungs(&slot)), (100, [1, 2, 1, 1, 0]));
    assert_eq!(super::failures(&slot, FailureKind::Trap), 6);

    // A release that keeps failing is left out until it is tried again, and the next goes on alone.
    slot.exchange(ladder("two", "panic", "two", 0), None);
    for _ in 0..limits::BREAKER_FAILURES + 5 {
        assert_eq!(decide(), 2);
    }
    let active = slot.current().unwrap();
    assert!(active.breaker.is_open());
    assert_eq!(active.tally.seen().failed(), u64::from(limits::BREAKER_FAILURES));
}

#[test]
fn the_static_decision_stands_when_even_the_native_default_fails() {
    let slot = empty_slot::<rate_limit::Bound>();
    let failing = |_: &mut super::super::instance::Instance<rate_limit::Bound>| -> Result<u32, Failure> {
        Err(Failure::invalid("never asked"))
    };
    assert!(slot.call(|| None, 5, failing).is_none());
    let answered = slot.natively(|| panic!("the native default panics"), || 7);
    assert_eq!((answered.answer, answered.rung), (7, Rung::Static));
    assert_eq!(slot.counts().by_rung().map(|(_, count)| count), [0, 0, 0, 0, 1]);
}

#[test]
fn a_release_has_its_own_settings_and_narrower_limits() {
    let loader = loader(None);
    let bytes = fixture("rate-limit");
    let load = |terms: &Terms| loader.load_on::<rate_limit::Bound>(Source::Stored, terms, &bytes, &mut |_| {});
    let limited = |deadline_ms, memory_bytes| Terms {
        limits: ReleaseLimits {
            deadline_ms,
            memory_bytes,
        },
        ..Terms::default()
    };
    let told = |behaviour: &str| Terms {
        settings: [("POLICY_FIXTURE".to_owned(), behaviour.to_owned())].into(),
        ..Terms::default()
    };
    let slot = empty_slot::<rate_limit::Bound>();
    let (two, tried) = load(&told("two")).unwrap();
    slot.install(two, Some(tried));
    let policy = RateLimit::new(Arc::clone(&slot), &[]);
    let decision = policy.decide(&rate_limit::sample(Surface::Api, Caller::Anonymous));
    assert!(matches!(decision, LimitDecision::All(draws) if draws.len() == 2));

    // One page is less than any instance starts with.
    let refusal = load(&limited(None, Some(65_536))).err().unwrap();
    assert_eq!(refusal.step, Step::Instantiate, "{refusal}");
    assert!(load(&limited(Some(5), Some(8 << 20))).is_ok());
    // What takes memory ends at the release's own cap.
    let hungry = Terms {
        limits: limited(None, Some(4 << 20)).limits,
        ..told("memory")
    };
    let refusal = load(&hungry).err().unwrap();
    assert!(refusal.reason.contains("4194304"), "{refusal}");
}

/// Swaps among releases while two threads ask; every call is answered by a component, and nothing of an old release lives on.
fn swaps<W: World>(ask: impl Fn(&Slot<W>) -> bool + Sync) {
    const SWAPS: usize = 1000;
    let data = tempfile::tempdir().unwrap();
    let loader = Loader {
        trial: false,
        ..loader(Some(data.path()))
    };
    let slot = empty_slot::<W>();
    let bytes = [W::SLOT.bundled().to_vec(), fixture(W::SLOT.as_str())];
    let load = |number: usize| {
        let loaded = loader.load::<W>(Source::Stored, &bytes[number % 2], &mut |_| {});
        loaded.unwrap_or_else(|refusal| panic!("{refusal}"))
    };
    let mut old: Vec<Weak<Release<W>>> = Vec::new();
    let (stop, calls, failed) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    // Compiled before the callers leave no time for it.
    drop(load(0));
    slot.install(load(1).0, None);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let answered = ask(&slot);
                    calls.fetch_add(1, Ordering::Relaxed);
                    failed.fetch_add(u64::from(!answered), Ordering::Relaxed);
                }
            });
        }
        for number in 0..SWAPS {
            let ((next, tried), previous) = (load(number), slot.current());
            old.extend(previous.iter().map(Arc::downgrade));
            let ladder = Ladder {
                canary: None,
                active: Some(next),
                previous,
            };
            slot.exchange(ladder, Some(tried));
        }
        stop.store(true, Ordering::Relaxed);
    });
    old.pop();
    let alive = old.iter().filter(|release| release.strong_count() > 0).count();
    let counts = slot.counts();
    let late = counts.failures[FailureKind::Deadline as usize];
    println!(
        "{}: {SWAPS} swaps, {} calls, {late} late ones answered by another rung",
        W::SLOT.as_str(),
        calls.load(Ordering::Relaxed)
    );
    assert_eq!(alive, 0, "old releases live on");
    assert_eq!((counts.swaps, failed.load(Ordering::Relaxed)), (SWAPS as u64, 0));
    assert_eq!(counts.failures.iter().sum::<u64>(), late, "{counts:?}");
}

#[test]
fn a_thousand_swaps_leave_nothing_behind() {
    swaps::<rate_limit::Bound>(|slot| asked(slot, 11));
    swaps::<host_selection::Bound>(|slot| asked(slot, 4));
    swaps::<npc_transform::Bound>(|slot| asked(slot, 1));
}

fn asked<W: World>(slot: &Slot<W>, number: usize) -> bool {
    let question = W::samples().swap_remove(number);
    slot.call(|| None, W::ticks(&question), |instance| W::answer(instance, &question))
        .is_some()
}

fn record(bytes: &[u8]) -> ReleaseRecord {
    let content = ReleaseContent {
        slot: SlotName::RateLimit,
        digest: digest(bytes),
        wit_version: "1.0.0".to_owned(),
        settings: Default::default(),
        limits: ReleaseLimits::default(),
        note: String::new(),
    };
    ReleaseRecord::new(content, "operator", Timestamp(0), None)
}

fn node(data: &std::path::Path) -> Node {
    let metrics = Arc::new(Metrics::new("test").unwrap());
    Node(PluginRuntime::start(&PluginsConfig::default(), data, metrics).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_without_storage_runs_the_last_good_release() {
    let data = tempfile::tempdir().unwrap();
    let bytes = fixture("rate-limit");
    let record = record(&bytes);
    let first = node(data.path());
    first.prepare(&record, bytes.clone()).await.unwrap();
    let desired = DesiredSlot {
        active: Some(record.id.clone()),
        generation: 1,
        ..DesiredSlot::untouched(SlotName::RateLimit)
    };
    first.arrange(&desired);
    first.remember(SlotName::RateLimit, Some(&record)).await;
    assert_eq!(first.running(SlotName::RateLimit).active, Some(record.id.clone()));
    assert_eq!(first.kept_component(record.slot, &record.digest).await, Some(bytes));
    drop(first);

    let second = node(data.path());
    assert_eq!(second.running(SlotName::RateLimit).active, None);
    second.restore().await;
    assert_eq!(second.running(SlotName::RateLimit).active, Some(record.id.clone()));
    drop(second);

    // What another has written is not believed.
    let pointer = data.path().join("compiled/last-rate-limit.release");
    let mut text = std::fs::read(&pointer).unwrap();
    let last = text.len() - 2;
    text[last] ^= 1;
    std::fs::write(&pointer, text).unwrap();
    let third = node(data.path());
    third.restore().await;
    assert_eq!(
        third.running(SlotName::RateLimit).active,
        None,
        "the bundled one serves"
    );
}
