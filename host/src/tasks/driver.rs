//! Runs one task again and again: on an interval with jitter, one run at a time, each run within a limit, panics contained,
//! errors logged without flooding the log, ended by cancellation.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use prometheus::Registry;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::lease::TaskLease;
use super::metrics::TaskMetrics;
use crate::ports::live::Leases;
use crate::telemetry::export::Traces;
use crate::telemetry::span::{Span, SpanKind};

/// Longest time one run may take.
const RUN_LIMIT: Duration = Duration::from_secs(60);
/// Longest pause after failures, unless the interval itself is longer.
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// Something to do on an interval.
#[async_trait]
pub trait Task: Send + Sync + 'static {
    /// The name in logs and metrics.
    fn name(&self) -> &'static str;

    /// Whether a run is due at all. While it is not, the task leaves its lease to others.
    fn is_due(&self) -> bool {
        true
    }

    /// What is left to do when the service stops. Short.
    async fn stop(&self) {}

    /// One run. May be dropped at any await when it takes too long.
    async fn run(&self) -> anyhow::Result<()>;
}

/// Starts tasks on a tracker.
pub struct Driver {
    tracker: TaskTracker,
    shutdown: CancellationToken,
    metrics: Arc<TaskMetrics>,
    leases: Arc<dyn Leases>,
    /// This node, as a holder of leases.
    node: String,
    run_limit: Duration,
    traces: Traces,
}

impl Driver {
    /// A driver whose tasks end with `shutdown`.
    ///
    /// # Errors
    ///
    /// When metric names are taken.
    pub fn new(
        tracker: TaskTracker,
        shutdown: CancellationToken,
        registry: &Registry,
        leases: Arc<dyn Leases>,
        node: String,
    ) -> prometheus::Result<Self> {
        Ok(Self {
            tracker,
            shutdown,
            leases,
            node,
            metrics: Arc::new(TaskMetrics::register(registry)?),
            run_limit: RUN_LIMIT,
            traces: Traces::default(),
        })
    }

    /// The same, with runs exported as `traces` says. Without this none is.
    #[must_use]
    pub fn exporting(self, traces: Traces) -> Self {
        Self { traces, ..self }
    }

    /// Runs the task on this node every `interval`, the first time after one interval. A run that is under way at the end is
    /// finished.
    pub fn every(&self, interval: Duration, task: impl Task) {
        self.start(interval, task, None);
    }

    /// As `every`, on one node of the fleet at a time: the one that holds the task's lease.
    ///
    /// While live state is away each node runs the task. That is safe, because what such a task decides is decided in a
    /// transaction of storage: whoever comes second finds nothing left to do. So is a run that outlives its lease.
    pub fn every_on_one_node(&self, interval: Duration, task: impl Task) {
        let lease = TaskLease::new(self.leases.clone(), &self.node, task.name(), interval);
        self.start(interval, task, Some(lease));
    }

    fn start(&self, interval: Duration, task: impl Task, mut lease: Option<TaskLease>) {
        let (shutdown, metrics, limit) = (self.shutdown.clone(), self.metrics.clone(), self.run_limit);
        let traces = self.traces.clone();
        self.tracker.spawn(async move {
            let mut failures = 0_u32;
            let mut next = Instant::now() + jittered(interval);
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => break,
                    () = tokio::time::sleep_until(next) => {}
                }
                let started = Instant::now();
                let ours = task.is_due()
                    && match &mut lease {
                        Some(lease) => lease.take().await,
                        None => true,
                    };
                if ours {
                    let run = run_once(&task, limit, &traces);
                    let result = match &lease {
                        Some(lease) => lease.keep_while(run).await,
                        None => run.await,
                    };
                    metrics.observe(task.name(), started.elapsed(), result.is_ok());
                    failures = note(task.name(), failures, result);
                }
                let pause = jittered(backoff(interval, failures));
                next = (started + pause).max(Instant::now());
            }
            task.stop().await;
            if let Some(lease) = lease {
                lease.give_up().await;
            }
        });
    }
}

async fn run_once(task: &impl Task, limit: Duration, traces: &Traces) -> anyhow::Result<()> {
    let trace = traces.fresh();
    let span = tracing::info_span!("task", name = task.name(), trace_id = trace.id());
    let exported = Span::of(&trace, SpanKind::Internal, || format!("task {}", task.name()));
    let result = match AssertUnwindSafe(trace.run(span, tokio::time::timeout(limit, task.run())))
        .catch_unwind()
        .await
    {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(anyhow::anyhow!(
            "took longer than {} s and was stopped",
            limit.as_secs()
        )),
        Err(_) => Err(anyhow::anyhow!("panicked")),
    };
    if let (Some(mut exported), Err(error)) = (exported, &result) {
        exported.fail(format!("{error:#}"));
    }
    result
}

/// Logs a change for the better or worse, and each doubling of failures. Returns the failures in a row.
fn note(task: &'static str, failures: u32, result: anyhow::Result<()>) -> u32 {
    match result {
        Ok(()) => {
            if failures > 0 {
                tracing::info!(task, failures, "task works again");
            }
            0
        }
        Err(error) => {
            let failures = failures.saturating_add(1);
            if failures.is_power_of_two() {
                tracing::error!(task, failures, error = format!("{error:#}"), "task failed");
            }
            failures
        }
    }
}

/// The interval, doubled for every failure in a row.
fn backoff(interval: Duration, failures: u32) -> Duration {
    interval
        .saturating_mul(1 << failures.min(10))
        .min(MAX_BACKOFF.max(interval))
}

/// Within 5 % of the span, so that nodes of a fleet do not run in step.
fn jittered(span: Duration) -> Duration {
    let mut byte = [0_u8];
    // Without randomness the span itself will do.
    let part = getrandom::fill(&mut byte).map_or(0.5, |()| f64::from(byte[0]) / 255.0);
    span.mul_f64(0.95 + part / 10.0)
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    struct Counting {
        runs: mpsc::UnboundedSender<u32>,
        count: std::sync::atomic::AtomicU32,
    }

    #[async_trait]
    impl Task for Counting {
        fn name(&self) -> &'static str {
            "counting"
        }

        async fn run(&self) -> anyhow::Result<()> {
            let run = self.count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let _ = self.runs.send(run);
            match run {
                0 => panic!("the first run panics"),
                1 => anyhow::bail!("the second fails"),
                2 => std::future::pending().await,
                _ => Ok(()),
            }
        }
    }

    #[tokio::test]
    async fn panics_errors_and_endless_runs_do_not_end_a_task() {
        let (tracker, shutdown, registry) = (TaskTracker::new(), CancellationToken::new(), Registry::new());
        let (runs, mut seen) = mpsc::unbounded_channel();
        let leases = crate::live::memory::open().leases;
        let mut driver = Driver::new(tracker.clone(), shutdown.clone(), &registry, leases, "n".into()).unwrap();
        driver.run_limit = Duration::from_millis(20);
        driver.every(Duration::from_millis(1), Counting { runs, count: 0.into() });
        for expected in 0..6 {
            assert_eq!(seen.recv().await, Some(expected));
        }
        shutdown.cancel();
        tracker.close();
        tracker.wait().await;
        let families = registry.gather();
        let runs = families.iter().find(|f| f.name() == "p2p_task_runs_total").unwrap();
        let failed = runs
            .get_metric()
            .iter()
            .find(|m| m.get_label().iter().any(|l| l.value() == "failed"))
            .unwrap();
        assert!((failed.get_counter().get_value() - 3.0).abs() < f64::EPSILON);
    }

    #[test]
    fn failures_stretch_the_pause_up_to_a_limit() {
        let second = Duration::from_secs(1);
        assert_eq!(backoff(second, 0), second);
        assert_eq!(backoff(second, 3), second * 8);
        assert_eq!(backoff(second, 99), MAX_BACKOFF);
        assert_eq!(backoff(second * 600, 99), second * 600);
    }
}
