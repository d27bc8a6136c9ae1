//! A session: players of one zone on one host, from its opening to its end.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::clock::Timestamp;

/// Where a session is in its life: `pending` → `active` → `ended` or `failed`. `paused` exists for clients that show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SessionStatus {
    Pending,
    Active,
    Paused,
    Ended,
    Failed,
}

impl SessionStatus {
    /// Every status, in the order of a session's life.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Active, Self::Paused, Self::Ended, Self::Failed];

    /// The name on the wire and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Ended => "ended",
            Self::Failed => "failed",
        }
    }

    /// Reads a name in any case; none when it is no status.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str().eq_ignore_ascii_case(text))
    }

    /// Not over: players may join and peers may signal.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Pending | Self::Active | Self::Paused)
    }
}

/// How a caller names a session: by the coordinator's number or by its `session_id`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SessionKey {
    Id(i64),
    SessionId(String),
}

impl SessionKey {
    /// Digits are the number, anything else is the `session_id`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.parse::<i64>() {
            Ok(id) if text.bytes().all(|b| b.is_ascii_digit()) => Self::Id(id),
            _ => Self::SessionId(text.to_owned()),
        }
    }
}

impl std::fmt::Display for SessionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::SessionId(name) => f.write_str(name),
        }
    }
}

/// A session as clients see it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Session {
    pub id: i64,
    /// `session-` and 16 hex digits.
    pub session_id: String,
    /// Number of the host.
    pub host_id: i64,
    /// Number of the zone.
    pub zone_id: i64,
    /// The host's own `host_id`.
    pub host: String,
    /// The zone's own `zone_id`.
    pub zone: String,
    pub connected_players: Vec<String>,
    pub current_players: u32,
    pub max_players: u32,
    pub status: SessionStatus,
    pub average_latency_ms: f64,
    pub average_packet_loss_percent: f64,
    pub bandwidth_usage_mbps: f64,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// Last sign of life: a write, a player, or a connected peer.
    #[serde(skip)]
    pub last_activity_at: Timestamp,
}

/// Why peer-to-peer cannot serve. Clients take any of these as "use the game server".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FallbackReason {
    /// `P2P_ENABLED=false`.
    P2pDisabled,
    /// No zone with this `zone_id`.
    ZoneUnknown,
    /// The zone has peer-to-peer off.
    ZoneP2pDisabled,
    /// The zone is disabled or in maintenance.
    ZoneNotEnabled,
    /// No host with this `host_id`.
    HostUnknown,
    /// The host is offline, busy or in maintenance.
    HostNotOnline,
    /// The host serves as many sessions or players as it can.
    HostFull,
    /// More players than the zone takes.
    ZoneCapacity,
    /// The host-selection policy found none suitable.
    NoSuitableHost,
}

impl FallbackReason {
    /// Every reason, in the order of the documentation.
    pub const ALL: [Self; 9] = [
        Self::P2pDisabled,
        Self::ZoneUnknown,
        Self::ZoneP2pDisabled,
        Self::ZoneNotEnabled,
        Self::HostUnknown,
        Self::HostNotOnline,
        Self::HostFull,
        Self::ZoneCapacity,
        Self::NoSuitableHost,
    ];

    /// The value of `reason` on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::P2pDisabled => "p2p_disabled",
            Self::ZoneUnknown => "zone_unknown",
            Self::ZoneP2pDisabled => "zone_p2p_disabled",
            Self::ZoneNotEnabled => "zone_not_enabled",
            Self::HostUnknown => "host_unknown",
            Self::HostNotOnline => "host_not_online",
            Self::HostFull => "host_full",
            Self::ZoneCapacity => "zone_capacity",
            Self::NoSuitableHost => "no_suitable_host",
        }
    }

    /// One sentence for the problem's `detail`.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        match self {
            Self::P2pDisabled => "Peer-to-peer is switched off; use the game server",
            Self::ZoneUnknown => "Zone not found; use the game server",
            Self::ZoneP2pDisabled => "Peer-to-peer is off for this zone; use the game server",
            Self::ZoneNotEnabled => "The zone is not enabled; use the game server",
            Self::HostUnknown => "Host not found; use the game server",
            Self::HostNotOnline => "The host is not online; use the game server",
            Self::HostFull => "The host has no room for another session; use the game server",
            Self::ZoneCapacity => "More players than the zone takes; use the game server",
            Self::NoSuitableHost => "No suitable host is available; use the game server",
        }
    }
}
