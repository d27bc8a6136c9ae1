//! Metrics of signaling, per node. Labels are fixed names, never a peer or a session.

use std::cell::Cell;
use std::sync::Weak;
use std::time::{Duration, Instant};

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::close::CloseReason;
use super::hub::Hub;
use super::wire::Kind;
use crate::telemetry::metrics::Looked;

/// One in so many messages that a thread relays is timed.
const TIMED: u32 = 64;
const RELAY_BUCKETS: [f64; 11] = [5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 5e-3, 2e-2, 1e-1];

/// What became of a client's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Passed on, or answered.
    Done,
    /// Answered with `error`.
    Refused,
    /// Over the rate limit.
    Limited,
}

/// Where a relayed message was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Written to the receiver's socket, if that took it.
    Socket,
    /// Queued for the receiver's task, which writes several at once.
    Outbox,
}

thread_local! {
    /// Messages that this thread has relayed. A connection is no measure: most of them send few messages.
    static RELAYED: Cell<u32> = const { Cell::new(0) };
}

/// Now, when the next message that this thread relays is one of those that are timed.
pub(super) fn timed() -> Option<Instant> {
    RELAYED.get().is_multiple_of(TIMED).then(Instant::now)
}

/// Every family of signaling, resolved once: counting is one atomic addition.
pub struct SignalingMetrics {
    pub connections: IntGauge,
    /// What waits to leave this node.
    pub courier: IntGauge,
    pub outbox_dropped: IntCounter,
    /// Steps of the fleet that live state did not answer.
    pub fleet_failures: IntCounter,
    messages: [[IntCounter; 3]; 7],
    relays: [Histogram; 2],
    remote: IntCounterVec,
    closes: [IntCounter; CloseReason::ALL.len()],
}

impl SignalingMetrics {
    /// Registers the families.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let connections = IntGauge::new("p2p_signaling_connections", "Open signaling connections of this node")?;
        let courier = IntGauge::new(
            "p2p_signaling_courier_depth",
            "Messages of this node that wait to go to other nodes",
        )?;
        let outbox_dropped = IntCounter::new(
            "p2p_signaling_outbox_dropped_total",
            "Frames dropped from outboxes of slow readers",
        )?;
        let fleet_failures = IntCounter::new(
            "p2p_signaling_fleet_failures_total",
            "Steps of the fleet that live state did not answer",
        )?;
        let messages = IntCounterVec::new(
            Opts::new(
                "p2p_signaling_messages_total",
                "Messages of clients by type and outcome",
            ),
            &["type", "outcome"],
        )?;
        let relays = HistogramVec::new(
            HistogramOpts::new(
                "p2p_signaling_relay_seconds",
                "Time from reading a message to handing it to its receiver on this node; one in 64 is timed",
            )
            .buckets(RELAY_BUCKETS.to_vec()),
            &["way"],
        )?;
        let remote = IntCounterVec::new(
            Opts::new(
                "p2p_signaling_remote_total",
                "Messages for peers on other nodes, or away, by what became of them",
            ),
            &["outcome"],
        )?;
        let closes = IntCounterVec::new(
            Opts::new("p2p_signaling_closes_total", "Closed signaling connections by reason"),
            &["reason"],
        )?;
        registry.register(Box::new(connections.clone()))?;
        registry.register(Box::new(courier.clone()))?;
        registry.register(Box::new(outbox_dropped.clone()))?;
        registry.register(Box::new(fleet_failures.clone()))?;
        registry.register(Box::new(messages.clone()))?;
        registry.register(Box::new(relays.clone()))?;
        registry.register(Box::new(closes.clone()))?;
        registry.register(Box::new(remote.clone()))?;
        Ok(Self {
            connections,
            courier,
            outbox_dropped,
            fleet_failures,
            remote,
            relays: ["socket", "outbox"].map(|way| relays.with_label_values(&[way])),
            messages: Kind::ALL.map(|kind| {
                ["done", "refused", "limited"].map(|outcome| messages.with_label_values(&[kind.as_str(), outcome]))
            }),
            closes: CloseReason::ALL.map(|reason| closes.with_label_values(&[reason.as_str()])),
        })
    }

    /// Counts a message.
    pub fn message(&self, kind: Kind, outcome: Outcome) {
        self.messages[kind as usize][outcome as usize].inc();
    }

    /// Notes that a message was handed to its receiver; with its time since `read`, if it is one of those that are timed.
    pub(super) fn relayed(&self, way: Way, read: Option<Instant>) {
        RELAYED.set(RELAYED.get().wrapping_add(1));
        if let Some(read) = read {
            self.relays[way as usize].observe(read.elapsed().as_secs_f64());
        }
    }

    /// Counts a message that went to another node, or to a peer that is away.
    pub fn remote(&self, outcome: &'static str) {
        self.remote.with_label_values(&[outcome]).inc();
    }

    /// Counts a closed connection.
    pub fn closed(&self, reason: CloseReason) {
        self.closes[reason as usize].inc();
    }
}

/// Registers how much waits in the outboxes of this node, looked up when somebody asks, at most once a second.
pub(super) fn register_outboxes(registry: &Registry, hub: Weak<Hub>) -> prometheus::Result<()> {
    let frames = IntGauge::new(
        "p2p_signaling_outbox_frames",
        "Frames that wait for peers of this node to read",
    )?;
    let bytes = IntGauge::new("p2p_signaling_outbox_bytes", "Bytes of those frames")?;
    let deepest = IntGauge::new(
        "p2p_signaling_outbox_deepest_frames",
        "Frames that wait for the slowest reader of this node",
    )?;
    let gauges: Vec<Box<dyn Collector>> = vec![
        Box::new(frames.clone()),
        Box::new(bytes.clone()),
        Box::new(deepest.clone()),
    ];
    Looked::register(registry, gauges, Duration::from_secs(1), move || {
        let Some(hub) = hub.upgrade() else { return };
        let (mut all, mut weight, mut most) = (0, 0, 0);
        for peer in hub.peers() {
            let (count, size) = peer.outbox.depth();
            all += count;
            weight += size;
            most = most.max(count);
        }
        for (gauge, value) in [(&frames, all), (&bytes, weight), (&deepest, most)] {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    })
}
