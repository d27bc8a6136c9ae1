//! Made-up hosts and zones: what a new policy is asked first, and what benchmarks ask.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::native;
use crate::domain::clock::Timestamp;
use crate::domain::host::{Host, HostStatus};
use crate::domain::zone::{Zone, ZoneStatus};
use crate::ports::policies::{HostCandidate, HostRequest};

/// A request as the trial asks it.
#[must_use]
pub fn sample_request() -> HostRequest {
    let now = Timestamp(1_750_000_000_000);
    HostRequest {
        zone: zone(now),
        players: 4,
        now,
        seed: 0x5eed,
        session_id: None,
    }
}

/// A zone as good as any.
pub(super) fn zone(now: Timestamp) -> Zone {
    Zone {
        id: 1,
        zone_id: "zone-1".to_owned(),
        zone_name: "zone-1".to_owned(),
        zone_display_name: "Zone 1".to_owned(),
        map_name: "map-1".to_owned(),
        description: None,
        max_players: 100,
        recommended_players: 50,
        p2p_enabled: true,
        p2p_priority: 1,
        fallback_enabled: true,
        min_host_quality_score: 7.0,
        min_bandwidth_mbps: 100.0,
        max_latency_ms: 100.0,
        status: ZoneStatus::Enabled,
        total_sessions: 0,
        active_sessions: 0,
        total_players_served: 0,
        created_at: now,
        updated_at: now,
    }
}

/// A candidate as the trial asks it; each number gives another one, of which some do not suit the sample request.
#[must_use]
pub fn sample_candidate(number: u32) -> HostCandidate {
    let now = Timestamp(1_750_000_000_000);
    let n = f64::from(number % 97);
    let mut host = blank_host(now);
    host.id = i64::from(number) + 1;
    host.host_id = format!("host-{number}");
    host.cpu_cores = number % 16 + 1;
    host.cpu_frequency_mhz = 3200;
    host.memory_mb = 4096 + number % 7 * 2048;
    host.network_speed_mbps = 50 + number % 20 * 50;
    host.max_players = 50;
    host.max_zones = 2;
    host.region = Some(["eu-west", "us-east", "ap-south"][number as usize % 3].to_owned());
    host.labels = BTreeMap::from([("tier".to_owned(), "home".to_owned())]);
    host.latency_ms = n * 1.5;
    host.packet_loss_percent = n / 20.0;
    host.bandwidth_usage_mbps = n / 2.0;
    host.current_players = number % 50;
    host.current_zones = number % 2;
    host.last_heartbeat = Some(now.plus_seconds(-i64::from(number % 60)));
    host.quality_score = native::score(&host);
    HostCandidate {
        host: Arc::new(host),
        sessions: number % 3,
    }
}

/// A host without measurements. What no policy sees is made up.
pub(super) fn blank_host(now: Timestamp) -> Host {
    Host {
        id: 1,
        host_id: String::new(),
        player_id: "player-1".to_owned(),
        player_name: "Player 1".to_owned(),
        ip_address: "192.0.2.1".to_owned(),
        port: 7777,
        public_ip: None,
        ice_servers: None,
        cpu_cores: 0,
        cpu_frequency_mhz: 0,
        memory_mb: 0,
        network_speed_mbps: 0,
        max_players: 0,
        max_zones: 0,
        region: None,
        labels: BTreeMap::new(),
        latency_ms: 0.0,
        packet_loss_percent: 0.0,
        bandwidth_usage_mbps: 0.0,
        status: HostStatus::Online,
        current_players: 0,
        current_zones: 0,
        quality_score: 0.0,
        created_at: now,
        updated_at: now,
        last_heartbeat: None,
        revision: 1,
    }
}
