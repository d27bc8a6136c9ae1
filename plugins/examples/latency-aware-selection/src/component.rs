//! The component around the logic: the world `host-selection` in terms of this crate. No decision is made here.

#![allow(
    unsafe_code,
    reason = "the generated bindings pass memory to and from the coordinator"
)]

use std::cell::Cell;

use crate::{Candidate, NAME, Request, SUMMARY, Settings, VERSION};

wit_bindgen::generate!({ world: "host-selection", path: "../../../wit" });

use exports::p2p_coordinator::policy::{lifecycle, selection};

thread_local! {
    static SETTINGS: Cell<Settings> = const { Cell::new(Settings::DEFAULT) };
}

struct Component;

impl lifecycle::Guest for Component {
    fn describe() -> lifecycle::Description {
        lifecycle::Description {
            name: NAME.into(),
            version: VERSION.into(),
            summary: SUMMARY.into(),
        }
    }

    fn configure(settings: Vec<lifecycle::Setting>) -> Result<(), String> {
        let pairs = settings
            .iter()
            .map(|setting| (setting.name.as_str(), setting.value.as_str()));
        SETTINGS.set(Settings::read(pairs)?);
        Ok(())
    }
}

impl selection::Guest for Component {
    fn score(host: selection::HostFacts) -> f64 {
        crate::score(host.latency_ms, host.packet_loss_percent)
    }

    fn rank(request: selection::RankRequest, candidates: Vec<selection::Candidate>) -> Vec<selection::Pick> {
        let needs = Request {
            min_quality_score: request.min_quality_score,
            min_bandwidth_mbps: request.min_bandwidth_mbps,
            max_latency_ms: request.max_latency_ms,
            players: request.players,
            seed: request.seed,
            max_picks: request.max_picks as usize,
        };
        let hosts: Vec<Candidate> = candidates
            .iter()
            .map(|host| Candidate {
                quality_score: host.quality_score,
                latency_ms: host.latency_ms,
                packet_loss_percent: host.packet_loss_percent,
                free_mbps: host.free_mbps,
                free_players: host.free_players,
                sessions: host.sessions,
                heartbeat_age_seconds: host.heartbeat_age_seconds,
            })
            .collect();
        let picks = crate::rank(&SETTINGS.get(), &needs, &hosts).into_iter();
        picks
            .map(|pick| selection::Pick {
                candidate: pick.candidate,
                score: pick.score,
                reason: pick.reason,
            })
            .collect()
    }
}

export!(Component);
