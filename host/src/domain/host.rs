//! A host: a player's machine that offers to serve zones to other players.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::clock::Timestamp;

/// Whether a host can be given work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum HostStatus {
    /// Heartbeats arrive.
    Online,
    /// Heartbeats stopped, or the host signed off.
    Offline,
    /// Up, but takes no new sessions.
    Busy,
    /// Taken out by an operator.
    Maintenance,
}

impl HostStatus {
    /// Every status, in the order of the documentation.
    pub const ALL: [Self; 4] = [Self::Online, Self::Offline, Self::Busy, Self::Maintenance];

    /// The name on the wire and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Busy => "busy",
            Self::Maintenance => "maintenance",
        }
    }

    /// Reads a name in any case; none when it is no status.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str().eq_ignore_ascii_case(text))
    }
}

/// What a host says of itself when it registers. Validated before it gets here.
#[derive(Clone, Debug, PartialEq, ToSchema)]
pub struct Registration {
    pub host_id: String,
    pub player_id: String,
    pub player_name: String,
    /// An IP address or a host name.
    pub ip_address: String,
    #[schema(minimum = 1)]
    pub port: u16,
    pub public_ip: Option<String>,
    /// ICE servers as the client sent them, passed through unread.
    pub ice_servers: Option<serde_json::Value>,
    #[schema(minimum = 1)]
    pub cpu_cores: u32,
    #[schema(minimum = 1)]
    pub cpu_frequency_mhz: u32,
    #[schema(minimum = 1)]
    pub memory_mb: u32,
    #[schema(minimum = 1)]
    pub network_speed_mbps: u32,
    #[schema(minimum = 1, default = 50, required = false)]
    pub max_players: u32,
    #[schema(minimum = 1, default = 5, required = false)]
    pub max_zones: u32,
    pub region: Option<String>,
    /// At most 32.
    #[schema(required = false)]
    pub labels: BTreeMap<String, String>,
}

/// What a host measures and reports every 30 to 60 seconds.
#[derive(Clone, Copy, Debug, PartialEq, Default, ToSchema)]
pub struct Measurements {
    #[schema(minimum = 0)]
    pub latency_ms: f64,
    #[schema(minimum = 0, maximum = 100)]
    pub packet_loss_percent: f64,
    #[schema(minimum = 0)]
    pub bandwidth_usage_mbps: f64,
    pub current_players: u32,
    pub current_zones: u32,
}

/// A registered host with its latest measurements.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Host {
    /// The coordinator's own number for this host.
    pub id: i64,
    /// The name the host gave itself.
    pub host_id: String,
    /// The player whose machine it is.
    pub player_id: String,
    pub player_name: String,
    pub ip_address: String,
    pub port: u16,
    pub public_ip: Option<String>,
    /// ICE servers as the host sent them.
    pub ice_servers: Option<serde_json::Value>,
    pub cpu_cores: u32,
    pub cpu_frequency_mhz: u32,
    pub memory_mb: u32,
    pub network_speed_mbps: u32,
    pub max_players: u32,
    pub max_zones: u32,
    pub region: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub latency_ms: f64,
    pub packet_loss_percent: f64,
    pub bandwidth_usage_mbps: f64,
    pub status: HostStatus,
    pub current_players: u32,
    pub current_zones: u32,
    /// 0 to 100, two decimals.
    pub quality_score: f64,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_heartbeat: Option<Timestamp>,
    /// Grows with every durable write, so that a late copy never overwrites a newer one.
    #[serde(skip)]
    pub revision: i64,
}

impl Host {
    /// Online and below both of its capacities, by its own last report.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.status == HostStatus::Online
            && self.current_players < self.max_players
            && self.current_zones < self.max_zones
    }

    /// Takes over what a heartbeat reports. The score is the policy's business and set apart.
    pub fn apply(&mut self, measured: &Measurements, now: Timestamp) {
        self.latency_ms = measured.latency_ms;
        self.packet_loss_percent = measured.packet_loss_percent;
        self.bandwidth_usage_mbps = measured.bandwidth_usage_mbps;
        self.current_players = measured.current_players;
        self.current_zones = measured.current_zones;
        self.last_heartbeat = Some(now);
        self.updated_at = now;
        if self.status == HostStatus::Offline {
            self.status = HostStatus::Online;
        }
    }
}
