//! Metric families of Redis: whether it answers, and how calls fare.

use std::time::Instant;

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::ports::live::LiveError;

const BUCKETS: [f64; 9] = [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.02, 0.1, 0.5];

/// Whether the server answers this node.
pub(super) struct StateMetrics {
    up: IntGauge,
    connections: IntGauge,
    losses: IntCounter,
}

impl StateMetrics {
    /// Registers the families.
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let up = IntGauge::new("p2p_redis_up", "1 while Redis answers this node")?;
        let connections = IntGauge::new("p2p_redis_connections", "Open command connections to Redis")?;
        let losses = IntCounter::new("p2p_redis_losses_total", "Times Redis went away or lost its data")?;
        registry.register(Box::new(up.clone()))?;
        registry.register(Box::new(connections.clone()))?;
        registry.register(Box::new(losses.clone()))?;
        Ok(Self {
            up,
            connections,
            losses,
        })
    }

    /// So many connections are open now, and so many losses came to those before.
    pub(super) fn changed(&self, open: u32, losses: u64) {
        self.up.set((open > 0).into());
        self.connections.set(open.into());
        self.losses.inc_by(losses);
    }
}

/// How calls of one kind fare.
struct Kind {
    seconds: Histogram,
    failures: IntCounter,
}

impl Kind {
    async fn observe<T>(&self, call: impl Future<Output = Result<T, LiveError>>) -> Result<T, LiveError> {
        let start = Instant::now();
        let answer = call.await;
        self.seconds.observe(start.elapsed().as_secs_f64());
        if answer.is_err() {
            self.failures.inc();
        }
        answer
    }
}

/// How the calls of all connections fare, those that fail at once because the server is away included.
pub(super) struct CallMetrics {
    command: Kind,
    script: Kind,
}

impl CallMetrics {
    /// Registers the families.
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let seconds = HistogramVec::new(
            HistogramOpts::new("p2p_redis_call_seconds", "Time of commands and scripts on Redis")
                .buckets(BUCKETS.to_vec()),
            &["call"],
        )?;
        let failures = IntCounterVec::new(
            Opts::new(
                "p2p_redis_call_failures_total",
                "Commands and scripts that Redis did not answer, or refused",
            ),
            &["call"],
        )?;
        registry.register(Box::new(seconds.clone()))?;
        registry.register(Box::new(failures.clone()))?;
        let kind = |name| Kind {
            seconds: seconds.with_label_values(&[name]),
            failures: failures.with_label_values(&[name]),
        };
        Ok(Self {
            command: kind("command"),
            script: kind("script"),
        })
    }

    /// Measures one command. One that is dropped half-way leaves no trace.
    pub(super) async fn command<T>(&self, call: impl Future<Output = Result<T, LiveError>>) -> Result<T, LiveError> {
        self.command.observe(call).await
    }

    /// The same for a script.
    pub(super) async fn script<T>(&self, call: impl Future<Output = Result<T, LiveError>>) -> Result<T, LiveError> {
        self.script.observe(call).await
    }
}
