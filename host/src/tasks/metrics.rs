//! Metric families of the background tasks.

use std::time::Duration;

use prometheus::{Gauge, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

use crate::telemetry::metrics::Looked;

/// How tasks fare.
pub struct TaskMetrics {
    runs: IntCounterVec,
    duration: HistogramVec,
}

impl TaskMetrics {
    /// Registers the families.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let runs = IntCounterVec::new(
            Opts::new("p2p_task_runs_total", "Runs of background tasks by result"),
            &["task", "result"],
        )?;
        let buckets = vec![0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0];
        let duration = HistogramVec::new(
            HistogramOpts::new("p2p_task_duration_seconds", "Duration of runs of background tasks").buckets(buckets),
            &["task"],
        )?;
        registry.register(Box::new(runs.clone()))?;
        registry.register(Box::new(duration.clone()))?;
        Ok(Self { runs, duration })
    }

    /// Records one run.
    pub fn observe(&self, task: &'static str, took: Duration, good: bool) {
        let result = if good { "ok" } else { "failed" };
        self.runs.with_label_values(&[task, result]).inc();
        self.duration.with_label_values(&[task]).observe(took.as_secs_f64());
    }
}

/// How NPC state fares.
pub struct NpcMetrics {
    fetches: IntCounterVec,
    pushes: prometheus::IntCounter,
}

impl NpcMetrics {
    /// Registers the families.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let fetches = IntCounterVec::new(
            Opts::new(
                "p2p_npc_fetches_total",
                "Fetches of a zone's NPC state from the AI service by result",
            ),
            &["result"],
        )?;
        let pushes = prometheus::IntCounter::new("p2p_npc_pushes_total", "NPC states queued for a connected peer")?;
        registry.register(Box::new(fetches.clone()))?;
        registry.register(Box::new(pushes.clone()))?;
        Ok(Self { fetches, pushes })
    }

    /// Records one fetch.
    pub fn fetched(&self, good: bool) {
        self.fetches
            .with_label_values(&[if good { "ok" } else { "failed" }])
            .inc();
    }

    /// Records that so many peers were sent a state.
    pub fn pushed(&self, peers: usize) {
        self.pushes.inc_by(peers as u64);
    }
}

/// Registers the age of the oldest NPC state that this node is to send, in seconds, looked up when somebody asks. `age` is none
/// when the node is gone.
pub fn register_npc_age(
    registry: &Registry,
    age: impl Fn() -> Option<f64> + Send + Sync + 'static,
) -> prometheus::Result<()> {
    let gauge = Gauge::new(
        "p2p_npc_tick_age_seconds",
        "Time since the last NPC state of the zone of this node that waits longest for one",
    )?;
    Looked::register(registry, vec![Box::new(gauge.clone())], Duration::ZERO, move || {
        if let Some(age) = age() {
            gauge.set(age);
        }
    })
}
