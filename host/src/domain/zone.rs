//! A zone: a part of the game world, and whether it may be served peer-to-peer.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::clock::Timestamp;
use super::session::FallbackReason;

/// Whether a zone takes part at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ZoneStatus {
    Enabled,
    Disabled,
    Maintenance,
}

impl ZoneStatus {
    /// Every status, in the order of the documentation.
    pub const ALL: [Self; 3] = [Self::Enabled, Self::Disabled, Self::Maintenance];

    /// The name on the wire and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Maintenance => "maintenance",
        }
    }

    /// Reads a name in any case; none when it is no status.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str().eq_ignore_ascii_case(text))
    }
}

/// A zone as an operator defines it. Validated before it gets here.
#[derive(Clone, Debug, PartialEq, ToSchema)]
pub struct ZoneDefinition {
    pub zone_id: String,
    pub zone_name: String,
    pub zone_display_name: String,
    pub map_name: String,
    pub description: Option<String>,
    #[schema(minimum = 1, default = 100, required = false)]
    pub max_players: u32,
    #[schema(minimum = 1, default = 50, required = false)]
    pub recommended_players: u32,
    #[schema(default = true, required = false)]
    pub p2p_enabled: bool,
    /// 1 to 10, 10 first.
    #[schema(minimum = 1, maximum = 10, default = 1, required = false)]
    pub p2p_priority: u32,
    #[schema(default = true, required = false)]
    pub fallback_enabled: bool,
    /// Score a host must reach, 0 to 100.
    #[schema(minimum = 0, maximum = 100, default = 7.0, required = false)]
    pub min_host_quality_score: f64,
    #[schema(minimum = 0, default = 100.0, required = false)]
    pub min_bandwidth_mbps: f64,
    #[schema(minimum = 0, default = 100.0, required = false)]
    pub max_latency_ms: f64,
}

/// A zone with its state and its counters.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Zone {
    /// The coordinator's own number for this zone.
    pub id: i64,
    pub zone_id: String,
    pub zone_name: String,
    pub zone_display_name: String,
    pub map_name: String,
    pub description: Option<String>,
    pub max_players: u32,
    pub recommended_players: u32,
    pub p2p_enabled: bool,
    pub p2p_priority: u32,
    pub fallback_enabled: bool,
    pub min_host_quality_score: f64,
    pub min_bandwidth_mbps: f64,
    pub max_latency_ms: f64,
    pub status: ZoneStatus,
    /// Sessions ever opened in this zone.
    pub total_sessions: i64,
    /// Sessions that are pending, active or paused now.
    pub active_sessions: i64,
    /// Players ever added to a session of this zone.
    pub total_players_served: i64,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

impl Zone {
    /// Enabled, with peer-to-peer on.
    #[must_use]
    pub fn serves_p2p(&self) -> bool {
        self.status == ZoneStatus::Enabled && self.p2p_enabled
    }

    /// Why the zone serves no session with so many players peer-to-peer, none when it does.
    #[must_use]
    pub fn refusal(&self, players: u32) -> Option<FallbackReason> {
        if !self.p2p_enabled {
            Some(FallbackReason::ZoneP2pDisabled)
        } else if self.status != ZoneStatus::Enabled {
            Some(FallbackReason::ZoneNotEnabled)
        } else if players > self.max_players {
            Some(FallbackReason::ZoneCapacity)
        } else {
            None
        }
    }
}
