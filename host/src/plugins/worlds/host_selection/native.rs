//! The native default of the slot: the bundled policy's own code over the coordinator's types.

use host_selection_policy as policy;

use crate::domain::host::Host;
use crate::plugins::limits;
use crate::ports::policies::{HostCandidate, HostPick, HostRequest};

/// The host's quality, 0 to 100.
pub(super) fn score(host: &Host) -> f64 {
    policy::score(&policy::HostFacts {
        cpu_cores: host.cpu_cores,
        memory_mb: host.memory_mb,
        network_mbps: host.network_speed_mbps,
        latency_ms: host.latency_ms,
        packet_loss_percent: host.packet_loss_percent,
        current_players: host.current_players,
        max_players: host.max_players,
    })
}

/// Link speed less the bandwidth in use, in Mbit/s.
pub(super) fn free_mbps(host: &Host) -> f64 {
    f64::from(host.network_speed_mbps) - host.bandwidth_usage_mbps
}

/// The candidates that should serve, best first.
pub(super) fn rank(request: &HostRequest, candidates: &[HostCandidate]) -> Vec<HostPick> {
    let needs = policy::Request {
        min_quality_score: request.zone.min_host_quality_score,
        min_bandwidth_mbps: request.zone.min_bandwidth_mbps,
        max_latency_ms: request.zone.max_latency_ms,
        max_picks: limits::PICKS as usize,
    };
    let rows = candidates.iter().map(|candidate| policy::Candidate {
        quality_score: candidate.host.quality_score,
        latency_ms: candidate.host.latency_ms,
        free_mbps: free_mbps(&candidate.host),
    });
    policy::rank(&needs, rows)
        .into_iter()
        .filter_map(|pick| {
            Some(HostPick {
                host_id: candidates.get(pick.candidate as usize)?.host.host_id.clone(),
                score: pick.score,
                reason: pick.reason,
            })
        })
        .collect()
}
