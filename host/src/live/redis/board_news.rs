//! What nodes tell each other about hosts, as JSON. A node that cannot read a message reads storage instead, so the form may
//! change between versions.

use serde::{Deserialize, Serialize};

use crate::domain::clock::Timestamp;
use crate::domain::host::{Host, Measurements};
use crate::ports::storage::HeartbeatRecord;

/// One message. Whoever writes it gives news that are JSON already, and counts their bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Packet<T> {
    /// Who tells it.
    pub node: String,
    pub news: Vec<T>,
}

/// What is new of one host.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum News {
    /// It was registered, changed or decided upon.
    Whole { host: Box<Host>, revision: i64 },
    /// It sent a heartbeat.
    Beat(Beat),
    /// It is gone.
    Removed(String),
}

/// A heartbeat with its score.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Beat {
    host_id: String,
    latency_ms: f64,
    packet_loss_percent: f64,
    bandwidth_usage_mbps: f64,
    current_players: u32,
    current_zones: u32,
    quality_score: f64,
    at: Timestamp,
}

impl News {
    pub(super) fn whole(host: &Host) -> Self {
        Self::Whole {
            host: Box::new(host.clone()),
            revision: host.revision,
        }
    }

    /// None for a host that never sent one.
    pub(super) fn beat(host: &Host) -> Option<Self> {
        Some(Self::Beat(Beat {
            host_id: host.host_id.clone(),
            latency_ms: host.latency_ms,
            packet_loss_percent: host.packet_loss_percent,
            bandwidth_usage_mbps: host.bandwidth_usage_mbps,
            current_players: host.current_players,
            current_zones: host.current_zones,
            quality_score: host.quality_score,
            at: host.last_heartbeat?,
        }))
    }
}

impl Beat {
    pub(super) fn record(self) -> HeartbeatRecord {
        HeartbeatRecord {
            measured: Measurements {
                latency_ms: self.latency_ms,
                packet_loss_percent: self.packet_loss_percent,
                bandwidth_usage_mbps: self.bandwidth_usage_mbps,
                current_players: self.current_players,
                current_zones: self.current_zones,
            },
            host_id: self.host_id,
            quality_score: self.quality_score,
            at: self.at,
        }
    }
}
