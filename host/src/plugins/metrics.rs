//! The policy families in the Prometheus registry. Calls are counted where they happen, per worker; the sums are taken when
//! somebody asks.

use std::collections::HashMap;
use std::sync::Weak;

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::PluginRuntime;
use super::failure::FailureKind;
use super::slot::Counts;
use super::slot_name::SlotName;

/// The policy families.
#[derive(Clone)]
pub struct PluginMetrics {
    duration: HistogramVec,
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
        .buckets(vec![
            1e-7, 2.5e-7, 5e-7, 1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 1e-4, 2.5e-4, 1e-3, 5e-3, 2e-2, 5e-2,
        ]);
        let duration = HistogramVec::new(options, &["slot"])?;
        registry.register(Box::new(duration.clone()))?;
        Ok(Self { duration })
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
        all
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut before = self.reading.lock();
        if let Some(runtime) = self.runtime.upgrade() {
            for slot in runtime.slots() {
                let (name, counts) = (slot.name().as_str(), slot.counts());
                let seen = before.entry(name).or_default();
                let add = |family: &IntCounterVec, label: &str, now: u64, before: u64| {
                    family
                        .with_label_values(&[name, label])
                        .inc_by(now.saturating_sub(before));
                };
                add(&self.calls, "component", counts.component, seen.component);
                add(&self.calls, "native", counts.native, seen.native);
                add(&self.swaps, "done", counts.swaps, seen.swaps);
                add(&self.swaps, "refused", counts.refusals, seen.refusals);
                for ((kind, now), before) in FailureKind::ALL.iter().zip(counts.failures).zip(seen.failures) {
                    add(&self.failures, kind.as_str(), now, before);
                }
                self.breaker_open
                    .with_label_values(&[name])
                    .set(i64::from(slot.is_held_back()));
                *seen = counts;
            }
        }
        let mut all = self.calls.collect();
        all.extend(self.failures.collect());
        all.extend(self.swaps.collect());
        all.extend(self.breaker_open.collect());
        all
    }
}
