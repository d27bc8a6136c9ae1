//! The policy families in the Prometheus registry. Calls are counted where they happen, per worker; the sums are taken when
//! somebody asks.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::PluginRuntime;
use super::counts::Counts;
use super::decisions::metrics::DecisionCounters;
use super::failure::FailureKind;
use super::instance::{Release, Tag};
use super::limits;
use super::slot::Slot;
use super::slot_name::SlotName;
use super::tally::Seen;
use super::worlds::World;
use crate::ports::policies::Rung;

/// The policy families.
#[derive(Clone)]
pub struct PluginMetrics {
    duration: HistogramVec,
    activation: HistogramVec,
}

impl PluginMetrics {
    /// Registers the family of call times.
    ///
    /// # Errors
    ///
    /// When it is registered already.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let options = HistogramOpts::new(
            "p2p_policy_call_duration_seconds",
            "Time of policy calls that were answered by the component. One call in 64 is timed on the slot rate-limit.",
        )
        .buckets(limits::CALL_SECONDS.to_vec());
        let duration = HistogramVec::new(options, &["slot"])?;
        registry.register(Box::new(duration.clone()))?;
        let options = HistogramOpts::new(
            "p2p_policy_activation_seconds",
            "Time of trying a release up to the swap, by result: the step that refused it, or done.",
        )
        .buckets(vec![1e-3, 5e-3, 2e-2, 0.1, 0.5, 2.0, 10.0, 60.0]);
        let activation = HistogramVec::new(options, &["slot", "result"])?;
        registry.register(Box::new(activation.clone()))?;
        Ok(Self { duration, activation })
    }

    /// Counts that a release was tried, and how that went.
    pub fn tried(&self, slot: SlotName, result: &str, took: Duration) {
        self.activation
            .with_label_values(&[slot.as_str(), result])
            .observe(took.as_secs_f64());
    }

    /// The histogram of one slot.
    #[must_use]
    pub fn duration(&self, slot: SlotName) -> Histogram {
        self.duration.with_label_values(&[slot.as_str()])
    }
}

/// Takes the sums of the slots when the registry is read.
pub struct SlotCollector {
    runtime: Weak<PluginRuntime>,
    calls: IntCounterVec,
    failures: IntCounterVec,
    swaps: IntCounterVec,
    breaker_open: IntGaugeVec,
    generation: IntGaugeVec,
    decisions: DecisionCounters,
    /// One reader at a time, so that nothing is added twice.
    reading: Mutex<HashMap<&'static str, Counts>>,
}

impl SlotCollector {
    /// Counters of the slots of `runtime`.
    ///
    /// # Errors
    ///
    /// Never, unless a name is bad.
    pub fn new(runtime: Weak<PluginRuntime>) -> prometheus::Result<Self> {
        let counter = |name, help, label| IntCounterVec::new(Opts::new(name, help), &["slot", label]);
        Ok(Self {
            runtime,
            calls: counter("p2p_policy_calls_total", "Policy calls, by who answered.", "outcome")?,
            failures: counter(
                "p2p_policy_failures_total",
                "Policy calls that failed, by kind.",
                "kind",
            )?,
            swaps: counter(
                "p2p_policy_swaps_total",
                "Policies offered to a running slot.",
                "result",
            )?,
            breaker_open: IntGaugeVec::new(
                Opts::new("p2p_policy_breaker_open", "1 while a failing policy is not called."),
                &["slot"],
            )?,
            generation: IntGaugeVec::new(
                Opts::new(
                    "p2p_policy_generation",
                    "Changes to what the slot is to run, as this node knows them.",
                ),
                &["slot"],
            )?,
            decisions: DecisionCounters::new()?,
            reading: Mutex::new(HashMap::new()),
        })
    }
}

impl Collector for SlotCollector {
    fn desc(&self) -> Vec<&Desc> {
        let mut all = self.calls.desc();
        all.extend(self.failures.desc());
        all.extend(self.swaps.desc());
        all.extend(self.breaker_open.desc());
        all.extend(self.generation.desc());
        all.extend(self.decisions.desc());
        all
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut before = self.reading.lock();
        let mut figures = Vec::new();
        if let Some(runtime) = self.runtime.upgrade() {
            for slot in runtime.slots() {
                let (name, counts) = (slot.name().as_str(), slot.counts());
                let seen = before.entry(name).or_default();
                let add = |family: &IntCounterVec, label: &str, now: u64, before: u64| {
                    family
                        .with_label_values(&[name, label])
                        .inc_by(now.saturating_sub(before));
                };
                for ((rung, now), (_, before)) in counts.by_rung().into_iter().zip(seen.by_rung()) {
                    add(&self.calls, rung.as_str(), now, before);
                }
                add(&self.swaps, "done", counts.swaps, seen.swaps);
                add(&self.swaps, "refused", counts.refusals, seen.refusals);
                for ((kind, now), before) in FailureKind::ALL.iter().zip(counts.failures).zip(seen.failures) {
                    add(&self.failures, kind.as_str(), now, before);
                }
                self.breaker_open
                    .with_label_values(&[name])
                    .set(i64::from(slot.is_held_back()));
                self.decisions.count(slot.name(), counts.calls(), slot.log_counts());
                *seen = counts;
                self.generation
                    .with_label_values(&[name])
                    .set(i64::try_from(slot.running().generation).unwrap_or(i64::MAX));
                figures.extend(slot.figures().into_iter().map(|figure| (name, figure)));
            }
        }
        let mut all = self.calls.collect();
        all.extend(self.failures.collect());
        all.extend(self.swaps.collect());
        all.extend(self.breaker_open.collect());
        all.extend(self.generation.collect());
        all.extend(self.decisions.collect());
        all.extend(per_release(&figures).unwrap_or_default());
        all
    }
}

/// What was counted of one release.
pub struct ReleaseFigures {
    tag: Tag,
    /// Its place: `candidate`, `component` (active), `previous`.
    rung: Rung,
    seen: Seen,
    breaker_open: bool,
    peak_memory: usize,
    instances: usize,
    differences: u64,
    times: Vec<MetricFamily>,
}

impl ReleaseFigures {
    /// Of every release in the ladder of a slot and in its shadow.
    #[must_use]
    pub fn of<W: World>(slot: &Slot<W>) -> Vec<Self> {
        let ladder = slot.ladder();
        let canary = ladder.canary.as_ref().map(|canary| &canary.release);
        let shadow = slot.shadow.release();
        let places = [
            (canary, Rung::Candidate),
            (ladder.active.as_ref(), Rung::Component),
            (ladder.previous.as_ref(), Rung::Previous),
            (shadow.as_ref(), Rung::Candidate),
        ];
        let mut figures: Vec<Self> = Vec::new();
        for (release, rung) in places {
            if let Some(release) = release
                && figures.iter().all(|known| known.tag != release.tag)
            {
                let is_shadow = shadow.as_ref().is_some_and(|shadow| Arc::ptr_eq(shadow, release));
                figures.push(Self::one(
                    release,
                    rung,
                    if is_shadow {
                        slot.shadow.compared().differences
                    } else {
                        0
                    },
                ));
            }
        }
        figures
    }

    fn one<W: World>(release: &Release<W>, rung: Rung, differences: u64) -> Self {
        Self {
            tag: release.tag,
            rung,
            seen: release.tally.seen(),
            breaker_open: release.breaker.is_open(),
            peak_memory: release.tally.peak_memory(),
            instances: release.tally.instances(),
            differences,
            times: release.histogram().map(Collector::collect).unwrap_or_default(),
        }
    }
}

/// The families with a label for the release. Made anew at each reading, so that a release that is gone has no series.
fn per_release(figures: &[(&'static str, ReleaseFigures)]) -> prometheus::Result<Vec<MetricFamily>> {
    let counter = |name, help, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
    let gauge = |name, help, labels: &[&str]| IntGaugeVec::new(Opts::new(name, help), labels);
    let calls = counter(
        "p2p_policy_release_calls_total",
        "Calls that a release answered, by its place in the ladder now.",
        &["slot", "release", "rung"],
    )?;
    let failures = counter(
        "p2p_policy_release_failures_total",
        "Calls of a release that failed, by kind.",
        &["slot", "release", "kind"],
    )?;
    let differences = counter(
        "p2p_policy_release_shadow_differences_total",
        "Answers of a candidate in the shadow that differed.",
        &["slot", "release"],
    )?;
    let breaker = gauge(
        "p2p_policy_release_breaker_open",
        "1 while a failing release is not called.",
        &["slot", "release"],
    )?;
    let memory = gauge(
        "p2p_policy_release_peak_memory_bytes",
        "The most linear memory that one instance of a release had.",
        &["slot", "release"],
    )?;
    let instances = gauge(
        "p2p_policy_release_instances",
        "Instances of a release that are alive.",
        &["slot", "release"],
    )?;
    let as_gauge = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let mut times: Option<MetricFamily> = None;
    for (slot, figure) in figures {
        let release = figure.tag.as_str();
        calls
            .with_label_values(&[*slot, release, figure.rung.as_str()])
            .inc_by(figure.seen.answered);
        for (kind, count) in FailureKind::ALL.iter().zip(figure.seen.failures) {
            failures
                .with_label_values(&[*slot, release, kind.as_str()])
                .inc_by(count);
        }
        differences
            .with_label_values(&[*slot, release])
            .inc_by(figure.differences);
        breaker
            .with_label_values(&[*slot, release])
            .set(i64::from(figure.breaker_open));
        memory
            .with_label_values(&[*slot, release])
            .set(as_gauge(figure.peak_memory));
        instances
            .with_label_values(&[*slot, release])
            .set(as_gauge(figure.instances));
        for family in &figure.times {
            match &mut times {
                Some(times) => times.mut_metric().extend(family.get_metric().iter().cloned()),
                None => times = Some(family.clone()),
            }
        }
    }
    let mut all = calls.collect();
    for family in [
        failures.collect(),
        differences.collect(),
        breaker.collect(),
        memory.collect(),
        instances.collect(),
    ] {
        all.extend(family);
    }
    all.extend(times);
    Ok(all)
}
