//! Metrics of signaling, per node. Labels are fixed names, never a peer or a session.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::close::CloseReason;
use super::wire::Kind;

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

/// Every family of signaling, resolved once: counting is one atomic addition.
pub struct SignalingMetrics {
    pub connections: IntGauge,
    /// What waits to leave this node.
    pub courier: IntGauge,
    pub outbox_dropped: IntCounter,
    /// Steps of the fleet that live state did not answer.
    pub fleet_failures: IntCounter,
    messages: [[IntCounter; 3]; 7],
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
        registry.register(Box::new(closes.clone()))?;
        registry.register(Box::new(remote.clone()))?;
        Ok(Self {
            connections,
            courier,
            outbox_dropped,
            fleet_failures,
            remote,
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

    /// Counts a message that went to another node, or to a peer that is away.
    pub fn remote(&self, outcome: &'static str) {
        self.remote.with_label_values(&[outcome]).inc();
    }

    /// Counts a closed connection.
    pub fn closed(&self, reason: CloseReason) {
        self.closes[reason as usize].inc();
    }
}
