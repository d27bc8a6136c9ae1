//! Metric families of storage: how long operations take, how they fail, and how the pools are used.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

use crate::ports::storage::{Result, StorageError, StorageHealth};
use crate::telemetry::metrics::Looked;
use crate::telemetry::span::{Span, SpanKind};

const BUCKETS: [f64; 9] = [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.02, 0.1, 0.5, 2.0];

/// How operations of one kind fare.
pub(super) struct Operation {
    name: &'static str,
    seconds: Histogram,
    unavailable: IntCounter,
    internal: IntCounter,
}

impl Operation {
    /// Measures one operation, and exports it with the trace in hand. One that is dropped half-way is not measured.
    pub(super) async fn observe<T>(&self, operation: impl Future<Output = Result<T>>) -> Result<T> {
        let mut span = Span::part(SpanKind::Client, || format!("storage {}", self.name));
        let start = Instant::now();
        let answer = operation.await;
        self.seconds.observe(start.elapsed().as_secs_f64());
        match &answer {
            Ok(_) => {}
            Err(StorageError::Unavailable(_)) => self.unavailable.inc(),
            Err(StorageError::Internal(_)) => self.internal.inc(),
        }
        if let (Some(span), Err(error)) = (&mut span, &answer) {
            span.fail(error.to_string());
        }
        answer
    }
}

/// Operations that only read, and those that may change something.
pub(super) struct StorageMetrics {
    pub(super) read: Operation,
    pub(super) write: Operation,
}

impl StorageMetrics {
    /// Registers the families of operations.
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let seconds = HistogramVec::new(
            HistogramOpts::new(
                "p2p_storage_operation_seconds",
                "Time of operations of storage, waits and repetitions included",
            )
            .buckets(BUCKETS.to_vec()),
            &["operation"],
        )?;
        let failures = IntCounterVec::new(
            Opts::new("p2p_storage_failures_total", "Operations of storage that failed"),
            &["operation", "kind"],
        )?;
        registry.register(Box::new(seconds.clone()))?;
        registry.register(Box::new(failures.clone()))?;
        let operation = |name| Operation {
            name,
            seconds: seconds.with_label_values(&[name]),
            unavailable: failures.with_label_values(&[name, "unavailable"]),
            internal: failures.with_label_values(&[name, "internal"]),
        };
        Ok(Self {
            read: operation("read"),
            write: operation("write"),
        })
    }
}

/// Registers the families of pools, looked up when somebody asks.
pub(super) fn register_pools(registry: &Registry, health: &Arc<dyn StorageHealth>) -> prometheus::Result<()> {
    let gauges = |name, help, labels: &[&str]| IntGaugeVec::new(Opts::new(name, help), labels);
    let connections = gauges(
        "p2p_storage_pool_connections",
        "Open connections to the database by pool and use",
        &["pool", "state"],
    )?;
    let most = gauges(
        "p2p_storage_pool_max_connections",
        "Connections to the database at most",
        &["pool"],
    )?;
    let waiting = gauges(
        "p2p_storage_pool_waiting",
        "Calls that wait for a connection to the database",
        &["pool"],
    )?;
    let all: Vec<Box<dyn prometheus::core::Collector>> = vec![
        Box::new(connections.clone()),
        Box::new(most.clone()),
        Box::new(waiting.clone()),
    ];
    let health: Weak<dyn StorageHealth> = Arc::downgrade(health);
    Looked::register(registry, all, Duration::ZERO, move || {
        let Some(health) = health.upgrade() else { return };
        for used in health.pools() {
            let of = |state| connections.with_label_values(&[used.pool, state]);
            of("idle").set(used.idle.into());
            of("in_use").set(used.in_use.into());
            most.with_label_values(&[used.pool]).set(used.most.into());
            if let Some(calls) = used.waiting {
                waiting.with_label_values(&[used.pool]).set(calls.into());
            }
        }
    })
}
