//! Metric families of the background tasks.

use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

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
