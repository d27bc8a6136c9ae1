//! The slot's questions and answers as JSON, and the way between them and the domain. They hold all that a policy can see,
//! its imports included, and nothing else: no address and no player. Decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::sample;
use crate::domain::clock::Timestamp;
use crate::domain::host::Host;
use crate::ports::policies::{HostCandidate, HostPick, HostRequest};

/// One question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// How good is this host?
    Score(HostFacts),
    /// Which of these hosts should serve, best first?
    Rank(RankQuestion),
}

/// The answer to the question of the same name, checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// 0 to 100, two decimals.
    Score(f64),
    /// Best first; empty when no candidate is suitable.
    Rank(Vec<Pick>),
}

/// A host's hardware and its latest measurements. What is left out is 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostFacts {
    pub cpu_cores: u32,
    pub cpu_frequency_mhz: u32,
    pub memory_mb: u32,
    /// Link speed in Mbit/s.
    pub network_mbps: u32,
    /// Bandwidth in use, in Mbit/s.
    pub bandwidth_usage_mbps: f64,
    pub latency_ms: f64,
    /// 0 to 100.
    pub packet_loss_percent: f64,
    pub current_players: u32,
    pub max_players: u32,
    pub current_zones: u32,
    pub max_zones: u32,
}

/// A session that needs a host, and the hosts that could serve it. What is left out is 0 or empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RankQuestion {
    pub zone_id: String,
    /// Score a host must reach for this zone, 0 to 100.
    pub min_quality_score: f64,
    pub min_bandwidth_mbps: f64,
    pub max_latency_ms: f64,
    /// Players the session starts with.
    pub players: u32,
    /// Milliseconds since the Unix epoch.
    pub now_ms: u64,
    pub seed: u64,
    pub candidates: Vec<Candidate>,
}

/// One host that could serve.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Candidate {
    pub host_id: String,
    /// What `score` gave last, 0 to 100.
    pub quality_score: f64,
    /// Live sessions that it serves already.
    pub sessions: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// None when there was no heartbeat yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat_age_seconds: Option<u32>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    pub cpu_cores: u32,
    pub cpu_frequency_mhz: u32,
    pub memory_mb: u32,
    /// Link speed in Mbit/s. A policy gets it less the bandwidth in use, as `free-mbps`.
    pub network_mbps: u32,
    pub bandwidth_usage_mbps: f64,
    pub latency_ms: f64,
    pub packet_loss_percent: f64,
    /// A policy gets the places that are left, as `free-players`.
    pub current_players: u32,
    pub max_players: u32,
    pub current_zones: u32,
    pub max_zones: u32,
}

/// One choice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pick {
    pub host_id: String,
    /// 0 to 100, two decimals.
    pub score: f64,
    pub reason: String,
}

impl Question {
    /// The question about the score of `host`.
    #[must_use]
    pub const fn score(host: &Host) -> Self {
        Self::Score(HostFacts::of(host))
    }

    /// The question which of `candidates` should serve.
    #[must_use]
    pub fn rank(request: &HostRequest, candidates: &[HostCandidate]) -> Self {
        Self::Rank(RankQuestion {
            zone_id: request.zone.zone_id.clone(),
            min_quality_score: request.zone.min_host_quality_score,
            min_bandwidth_mbps: request.zone.min_bandwidth_mbps,
            max_latency_ms: request.zone.max_latency_ms,
            players: request.players,
            now_ms: u64::try_from(request.now.0).unwrap_or(0),
            seed: request.seed,
            candidates: candidates
                .iter()
                .map(|candidate| Candidate::of(candidate, request.now))
                .collect(),
        })
    }
}

impl Candidate {
    fn of(HostCandidate { host, sessions }: &HostCandidate, now: Timestamp) -> Self {
        Self {
            host_id: host.host_id.clone(),
            quality_score: host.quality_score,
            sessions: *sessions,
            region: host.region.clone(),
            heartbeat_age_seconds: host.last_heartbeat.map(|at| seconds_since(now, at)),
            labels: host.labels.clone(),
            cpu_cores: host.cpu_cores,
            cpu_frequency_mhz: host.cpu_frequency_mhz,
            memory_mb: host.memory_mb,
            network_mbps: host.network_speed_mbps,
            bandwidth_usage_mbps: host.bandwidth_usage_mbps,
            latency_ms: host.latency_ms,
            packet_loss_percent: host.packet_loss_percent,
            current_players: host.current_players,
            max_players: host.max_players,
            current_zones: host.current_zones,
            max_zones: host.max_zones,
        }
    }

    /// The candidate as in service. What no policy sees is made up.
    fn to_domain(&self, now: Timestamp) -> HostCandidate {
        let mut host = sample::blank_host(now);
        host.host_id.clone_from(&self.host_id);
        host.quality_score = self.quality_score;
        host.region.clone_from(&self.region);
        host.last_heartbeat = self.heartbeat_age_seconds.map(|age| now.plus_seconds(-i64::from(age)));
        host.labels.clone_from(&self.labels);
        host.cpu_cores = self.cpu_cores;
        host.cpu_frequency_mhz = self.cpu_frequency_mhz;
        host.memory_mb = self.memory_mb;
        host.network_speed_mbps = self.network_mbps;
        host.bandwidth_usage_mbps = self.bandwidth_usage_mbps;
        host.latency_ms = self.latency_ms;
        host.packet_loss_percent = self.packet_loss_percent;
        host.current_players = self.current_players;
        host.max_players = self.max_players;
        host.current_zones = self.current_zones;
        host.max_zones = self.max_zones;
        HostCandidate {
            host: Arc::new(host),
            sessions: self.sessions,
        }
    }
}

impl RankQuestion {
    /// The request and the candidates as in service. What no policy sees is made up.
    pub(in crate::plugins::worlds) fn to_domain(&self) -> (HostRequest, Vec<HostCandidate>) {
        let now = Timestamp(i64::try_from(self.now_ms).unwrap_or(i64::MAX));
        let mut zone = sample::zone(now);
        zone.zone_id.clone_from(&self.zone_id);
        zone.min_host_quality_score = self.min_quality_score;
        zone.min_bandwidth_mbps = self.min_bandwidth_mbps;
        zone.max_latency_ms = self.max_latency_ms;
        let request = HostRequest {
            zone,
            players: self.players,
            now,
            seed: self.seed,
            session_id: None,
        };
        let candidates = self
            .candidates
            .iter()
            .map(|candidate| candidate.to_domain(now))
            .collect();
        (request, candidates)
    }
}

impl HostFacts {
    /// Of a host as it is now.
    #[must_use]
    pub const fn of(host: &Host) -> Self {
        Self {
            cpu_cores: host.cpu_cores,
            cpu_frequency_mhz: host.cpu_frequency_mhz,
            memory_mb: host.memory_mb,
            network_mbps: host.network_speed_mbps,
            bandwidth_usage_mbps: host.bandwidth_usage_mbps,
            latency_ms: host.latency_ms,
            packet_loss_percent: host.packet_loss_percent,
            current_players: host.current_players,
            max_players: host.max_players,
            current_zones: host.current_zones,
            max_zones: host.max_zones,
        }
    }

    /// The host as in service. What no policy sees is made up.
    pub(super) fn to_domain(&self) -> Host {
        let mut host = sample::blank_host(Timestamp(0));
        host.cpu_cores = self.cpu_cores;
        host.cpu_frequency_mhz = self.cpu_frequency_mhz;
        host.memory_mb = self.memory_mb;
        host.network_speed_mbps = self.network_mbps;
        host.bandwidth_usage_mbps = self.bandwidth_usage_mbps;
        host.latency_ms = self.latency_ms;
        host.packet_loss_percent = self.packet_loss_percent;
        host.current_players = self.current_players;
        host.max_players = self.max_players;
        host.current_zones = self.current_zones;
        host.max_zones = self.max_zones;
        host
    }
}

impl Answer {
    /// The answer that these picks are.
    #[must_use]
    pub fn rank(picks: &[HostPick]) -> Self {
        Self::Rank(
            picks
                .iter()
                .map(|pick| Pick {
                    host_id: pick.host_id.clone(),
                    score: pick.score,
                    reason: pick.reason.clone(),
                })
                .collect(),
        )
    }
}

/// Whole seconds from `at` to `now`, as policies get them.
pub(super) fn seconds_since(now: Timestamp, at: Timestamp) -> u32 {
    u32::try_from(now.millis_since(at) / 1000).unwrap_or(u32::MAX)
}
