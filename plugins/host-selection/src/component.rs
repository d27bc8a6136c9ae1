//! The component around the logic: the world `host-selection` in terms of this crate. No decision is made here.

#![allow(
    unsafe_code,
    reason = "the generated bindings pass memory to and from the coordinator"
)]

use crate::{Candidate, HostFacts, NAME, Request, SUMMARY, VERSION};

wit_bindgen::generate!({ world: "host-selection", path: "../../wit" });

use exports::p2p_coordinator::policy::{lifecycle, selection};

struct Component;

impl lifecycle::Guest for Component {
    fn describe() -> lifecycle::Description {
        lifecycle::Description {
            name: NAME.into(),
            version: VERSION.into(),
            summary: SUMMARY.into(),
        }
    }

    fn configure(_settings: Vec<lifecycle::Setting>) -> Result<(), String> {
        Ok(())
    }
}

impl selection::Guest for Component {
    fn score(host: selection::HostFacts) -> f64 {
        crate::score(&facts(&host))
    }

    fn rank(request: selection::RankRequest, candidates: Vec<selection::Candidate>) -> Vec<selection::Pick> {
        let needs = Request {
            min_quality_score: request.min_quality_score,
            min_bandwidth_mbps: request.min_bandwidth_mbps,
            max_latency_ms: request.max_latency_ms,
            max_picks: request.max_picks as usize,
        };
        let hosts = candidates.iter().map(|candidate| Candidate {
            quality_score: candidate.quality_score,
            latency_ms: candidate.latency_ms,
            free_mbps: candidate.free_mbps,
        });
        let picks = crate::rank(&needs, hosts).into_iter();
        picks
            .map(|pick| selection::Pick {
                candidate: pick.candidate,
                score: pick.score,
                reason: pick.reason,
            })
            .collect()
    }
}

fn facts(host: &selection::HostFacts) -> HostFacts {
    HostFacts {
        cpu_cores: host.cpu_cores,
        memory_mb: host.memory_mb,
        network_mbps: host.network_mbps,
        latency_ms: host.latency_ms,
        packet_loss_percent: host.packet_loss_percent,
        current_players: host.current_players,
        max_players: host.max_players,
    }
}

export!(Component);
