//! Hot reload: the folder, the swap under load, and what operators see of it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::super::PluginRuntime;
use super::super::failure::Step;
use super::super::loader::digest;
use super::super::report::{SlotReport, SlotState};
use super::super::slot_name::SlotName;
use super::super::worlds::rate_limit::{self, RateLimit};
use super::{behaving, empty_slot, fixture, load, loader};
use crate::config::PluginsConfig;
use crate::ports::policies::{Caller, LimitDecision, RateLimiting, Surface};
use crate::telemetry::metrics::Metrics;

struct Running {
    runtime: Arc<PluginRuntime>,
    metrics: Arc<Metrics>,
    folder: tempfile::TempDir,
    _data: tempfile::TempDir,
}

impl Running {
    fn start(prepare: impl FnOnce(&Path)) -> Self {
        let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        prepare(folder.path());
        let config = PluginsConfig {
            dir: Some(folder.path().join("policies")),
            ..PluginsConfig::default()
        };
        let metrics = metrics();
        let runtime = PluginRuntime::start(&config, data.path(), Arc::clone(&metrics)).unwrap();
        Self {
            runtime,
            metrics,
            folder,
            _data: data,
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join("policies").join(name)
    }

    fn report(&self, slot: SlotName) -> SlotReport {
        self.runtime
            .report()
            .slots
            .into_iter()
            .find(|report| report.slot == slot)
            .unwrap()
    }

    /// Looks at the slot until it is as wanted.
    fn until(&self, what: &str, wanted: impl Fn(&SlotReport) -> bool) -> SlotReport {
        let started = Instant::now();
        loop {
            let report = self.report(SlotName::RateLimit);
            if wanted(&report) {
                return report;
            }
            assert!(started.elapsed() < Duration::from_secs(30), "{what}: {report:?}");
            std::thread::yield_now();
        }
    }

    fn serves(&self, bytes: &[u8]) -> impl Fn(&SlotReport) -> bool + use<> {
        let digest = digest(bytes);
        move |report| report.policy.as_ref().is_some_and(|policy| policy.digest == digest)
    }
}

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new("test").unwrap())
}

#[test]
fn files_come_go_and_are_refused_while_the_old_policy_serves() {
    let running = Running::start(|_| {});
    let bundled = SlotName::RateLimit.bundled();
    let report = running.report(SlotName::RateLimit);
    assert!(running.serves(bundled)(&report), "{report:?}");
    let file = running.path("rate-limit.wasm");
    let good = fixture("rate-limit");

    // Half a file is refused, the whole one is taken, and files of other names are nobody's business.
    std::fs::write(running.path(".rate-limit.wasm.swp"), b"not for you").unwrap();
    std::fs::write(running.path("rate-limit.wasm~"), b"not for you").unwrap();
    std::fs::write(&file, &good[..good.len() / 2]).unwrap();
    let report = running.until("half a file is refused", |report| report.refusals == 1);
    assert!(running.serves(bundled)(&report));
    assert_eq!(report.last_refusal.as_ref().map(|last| last.step), Some(Step::Parse));
    std::fs::write(&file, &good).unwrap();
    let report = running.until("the whole file is taken", running.serves(&good));
    let policy = report.policy.unwrap();
    assert_eq!(
        (policy.version.as_str(), policy.wit_version.as_str()),
        ("9.9.9", "1.0.0")
    );
    assert_eq!(policy.source, file.display().to_string());
    assert_eq!((report.swaps, report.state), (1, SlotState::Serving));

    // A bad one changes nothing.
    std::fs::write(&file, behaving(good.clone(), "loop")).unwrap();
    let report = running.until("a loop is refused", |report| report.refusals == 2);
    assert_eq!(report.last_refusal.as_ref().map(|last| last.step), Some(Step::Trial));
    assert!(running.serves(&good)(&report));

    // Renamed into place, as careful writers do.
    let next = behaving(good.clone(), "two");
    std::fs::write(running.path("rate-limit.wasm.tmp"), &next).unwrap();
    std::fs::rename(running.path("rate-limit.wasm.tmp"), &file).unwrap();
    running.until("a renamed file is taken", running.serves(&next));
    let request = rate_limit::sample(Surface::Api, Caller::Anonymous);
    assert!(
        matches!(running.runtime.policies().rate_limit.decide(&request), LimitDecision::All(draws) if draws.len() == 2)
    );

    // Taken away: the bundled one serves again.
    std::fs::remove_file(&file).unwrap();
    let report = running.until("the bundled one is back", running.serves(bundled));
    assert_eq!((report.swaps, report.refusals), (3, 2));

    let text = running.metrics_text();
    for line in [
        r#"p2p_policy_swaps_total{result="done",slot="rate-limit"} 3"#,
        r#"p2p_policy_swaps_total{result="refused",slot="rate-limit"} 2"#,
        r#"p2p_policy_breaker_open{slot="rate-limit"} 0"#,
        r#"p2p_policy_calls_total{outcome="component",slot="rate-limit"} 1"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    running.runtime.shutdown();
}

impl Running {
    fn metrics_text(&self) -> String {
        let families = self.metrics.registry.gather();
        prometheus::TextEncoder::new().encode_to_string(&families).unwrap()
    }
}

#[test]
fn a_bad_file_at_the_start_leaves_the_slot_to_the_bundled_policy() {
    let running = Running::start(|folder| {
        std::fs::create_dir(folder.join("policies")).unwrap();
        std::fs::write(folder.join("policies/rate-limit.wasm"), b"nonsense").unwrap();
        std::fs::write(folder.join("policies/npc-transform.wasm"), fixture("npc-transform")).unwrap();
    });
    let report = running.report(SlotName::RateLimit);
    assert!(running.serves(SlotName::RateLimit.bundled())(&report));
    assert_eq!(report.refusals, 1);
    let npc = running.report(SlotName::NpcTransform);
    assert_eq!(npc.policy.unwrap().version, "9.9.9");
}

#[test]
fn a_folder_that_cannot_be_is_named() {
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("file"), b"").unwrap();
    let config = PluginsConfig {
        dir: Some(data.path().join("file/policies")),
        ..PluginsConfig::default()
    };
    let error = PluginRuntime::start(&config, data.path(), metrics()).err().unwrap();
    assert!(format!("{error:#}").contains("PLUGIN_DIR"), "{error:#}");
}

#[test]
fn native_mode_loads_nothing() {
    let data = tempfile::tempdir().unwrap();
    let config = PluginsConfig {
        dir: None,
        settings: vec![("RATE_LIMIT_API_REQUESTS".to_owned(), "7".to_owned())],
        native_only: true,
        ..PluginsConfig::default()
    };
    let runtime = PluginRuntime::start(&config, data.path(), metrics()).unwrap();
    let answer = runtime
        .policies()
        .rate_limit
        .decide(&rate_limit::sample(Surface::Api, Caller::Anonymous));
    assert!(matches!(answer, LimitDecision::One(draw) if draw.capacity == 7));
    let report = runtime.report();
    assert!(
        report
            .slots
            .iter()
            .all(|slot| slot.state == SlotState::Native && slot.policy.is_none())
    );
    assert_eq!(report.slots[1].fallbacks, 1);
}

#[test]
fn a_swap_under_load_loses_no_call() {
    const SWAPS: u64 = 40;
    let data = tempfile::tempdir().unwrap();
    let loader = loader(Some(data.path()));
    let slot = empty_slot::<rate_limit::Bound>();
    let releases = [SlotName::RateLimit.bundled().to_vec(), fixture("rate-limit")];
    // Compiled before the callers leave no time for it.
    load(&empty_slot::<rate_limit::Bound>(), &loader, &releases[1]).unwrap();
    load(&slot, &loader, &releases[0]).unwrap();
    let policy = RateLimit::new(Arc::clone(&slot), &[]);
    let request = rate_limit::sample(Surface::Api, Caller::Anonymous);
    let (stop, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let LimitDecision::One(draw) = policy.decide(&request) else {
                        panic!("no draw")
                    };
                    assert!([100, 999_999].contains(&draw.capacity));
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for swap in 1..=SWAPS {
            let bytes = &releases[usize::try_from(swap % 2).unwrap()];
            load(&slot, &loader, bytes).unwrap();
            let LimitDecision::One(draw) = policy.decide(&request) else {
                panic!("no draw")
            };
            let wanted = if swap % 2 == 0 { 100 } else { 999_999 };
            assert_eq!(draw.capacity, wanted, "the first call after a swap is the new policy's");
        }
        stop.store(true, Ordering::Relaxed);
    });
    let counts = slot.counts();
    assert_eq!(counts.swaps, SWAPS);
    assert_eq!(counts.component + counts.native, calls.load(Ordering::Relaxed) + SWAPS);
    // On a busy machine a call may lose its processor for longer than its deadline; the native default then answers.
    let late = counts.failures[super::FailureKind::Deadline as usize];
    assert_eq!(counts.failures.iter().sum::<u64>(), late, "{counts:?}");
    assert_eq!(counts.native, late);
}
