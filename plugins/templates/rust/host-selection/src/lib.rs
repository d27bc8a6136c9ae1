//! my-policy: the nearest host that meets the zone's needs gets the session.

wit_bindgen::generate!({ world: "host-selection", path: "wit" });

use exports::p2p_coordinator::policy::lifecycle::{self, Description, Setting};
use exports::p2p_coordinator::policy::selection::{self, Candidate, HostFacts, Pick, RankRequest};

/// Points that a host loses for each millisecond of latency. Edit this line.
const POINTS_PER_MS: f64 = 0.5;
/// Points that a host loses for each percent of lost packets.
const POINTS_PER_LOSS: f64 = 5.0;

struct Policy;

impl lifecycle::Guest for Policy {
    fn describe() -> Description {
        Description {
            name: "my-policy".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "The nearest host that meets the zone's needs gets the session.".into(),
        }
    }

    fn configure(_settings: Vec<Setting>) -> Result<(), String> {
        Ok(())
    }
}

impl selection::Guest for Policy {
    fn score(host: HostFacts) -> f64 {
        score(host.latency_ms, host.packet_loss_percent)
    }

    fn rank(request: RankRequest, candidates: Vec<Candidate>) -> Vec<Pick> {
        rank(&request, &candidates)
    }
}

fn score(latency_ms: f64, packet_loss_percent: f64) -> f64 {
    (100.0 - latency_ms * POINTS_PER_MS - packet_loss_percent * POINTS_PER_LOSS).clamp(0.0, 100.0)
}

fn rank(request: &RankRequest, candidates: &[Candidate]) -> Vec<Pick> {
    let mut picks: Vec<Pick> = (0u32..)
        .zip(candidates)
        .filter(|(_, host)| suits(request, host))
        .map(|(index, host)| Pick {
            candidate: index,
            score: score(host.latency_ms, host.packet_loss_percent),
            reason: format!("{} ms away", host.latency_ms.round()),
        })
        .collect();
    // Stable: hosts with the same score keep their order.
    picks.sort_by(|a, b| b.score.total_cmp(&a.score));
    picks.truncate(request.max_picks as usize);
    picks
}

fn suits(request: &RankRequest, host: &Candidate) -> bool {
    host.quality_score >= request.min_quality_score
        && host.free_mbps >= request.min_bandwidth_mbps
        && host.latency_ms <= request.max_latency_ms
        && host.free_players >= request.players
}

#[cfg(target_arch = "wasm32")]
export!(Policy);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_has_its_bounds() {
        assert_eq!(score(0.0, 0.0), 100.0);
        assert_eq!(score(10_000.0, 100.0), 0.0);
    }
}
