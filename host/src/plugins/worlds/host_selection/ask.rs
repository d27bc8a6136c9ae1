//! One question to one instance: lays it out as the contract wants it, and checks what comes back.

use std::collections::HashMap;
use std::sync::Arc;

use super::bindings::exports::p2p_coordinator::policy::selection as wit;
use super::native::free_mbps;
use super::question::seconds_since;
use super::{Bound, Candidates};
use crate::domain::host::Host;
use crate::plugins::failure::Failure;
use crate::plugins::instance::Instance;
use crate::plugins::limits;
use crate::ports::policies::{HostCandidate, HostPick, HostRequest};

/// As many candidates as a policy gets to rank: the best by score.
pub(super) fn best(mut candidates: Vec<HostCandidate>) -> Candidates {
    if candidates.len() > limits::CANDIDATES {
        candidates.sort_by(|a, b| b.host.quality_score.total_cmp(&a.host.quality_score));
        candidates.truncate(limits::CANDIDATES);
    }
    Arc::new(candidates)
}

fn facts(host: &Host) -> wit::HostFacts {
    wit::HostFacts {
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

fn checked_score(score: f64) -> Result<f64, Failure> {
    if (0.0..=100.0).contains(&score) {
        Ok((score * 100.0).round() / 100.0)
    } else {
        Err(Failure::invalid(format!("a score of {score}, 0 to 100 is allowed")))
    }
}

/// Asks for a host's score.
pub(super) fn score(instance: &mut Instance<Bound>, host: &Host) -> Result<f64, Failure> {
    let score = instance
        .guest
        .p2p_coordinator_policy_selection()
        .call_score(&mut instance.store, facts(host))?;
    checked_score(score)
}

/// Asks which candidates should serve.
pub(super) fn rank(
    instance: &mut Instance<Bound>,
    request: &HostRequest,
    candidates: &Candidates,
) -> Result<Vec<HostPick>, Failure> {
    let mut regions = Regions::default();
    let mut rows: Vec<wit::Candidate> = candidates
        .iter()
        .map(|HostCandidate { host, sessions }| wit::Candidate {
            quality_score: host.quality_score,
            latency_ms: host.latency_ms,
            packet_loss_percent: host.packet_loss_percent,
            free_mbps: free_mbps(host),
            free_players: host.max_players.saturating_sub(host.current_players),
            sessions: *sessions,
            region: host.region.as_deref().map_or(u32::MAX, |region| regions.index(region)),
            heartbeat_age_seconds: host
                .last_heartbeat
                .map_or(u32::MAX, |at| seconds_since(request.now, at)),
        })
        .collect();
    let nowhere = u32::try_from(regions.names.len()).unwrap_or(u32::MAX);
    for row in rows.iter_mut().filter(|row| row.region == u32::MAX) {
        row.region = nowhere;
    }
    let question = wit::RankRequest {
        zone_id: request.zone.zone_id.clone(),
        min_quality_score: request.zone.min_host_quality_score,
        min_bandwidth_mbps: request.zone.min_bandwidth_mbps,
        max_latency_ms: request.zone.max_latency_ms,
        players: request.players,
        regions: regions.names.iter().map(|name| (*name).to_owned()).collect(),
        now_ms: u64::try_from(request.now.0).unwrap_or(0),
        seed: request.seed,
        max_picks: limits::PICKS,
    };
    if instance.reads_details() {
        instance.store.data_mut().call = Arc::clone(candidates);
    }
    let answer = instance
        .guest
        .p2p_coordinator_policy_selection()
        .call_rank(&mut instance.store, &question, &rows);
    instance.store.data_mut().call = Arc::default();
    checked_picks(answer?, candidates)
}

fn checked_picks(picks: Vec<wit::Pick>, candidates: &[HostCandidate]) -> Result<Vec<HostPick>, Failure> {
    if picks.len() > limits::PICKS as usize {
        return Err(Failure::invalid(format!(
            "{} picks, {} are allowed",
            picks.len(),
            limits::PICKS
        )));
    }
    let mut seen: Vec<u32> = Vec::with_capacity(picks.len());
    picks
        .into_iter()
        .map(|pick| {
            let index = pick.candidate;
            let Some(candidate) = candidates.get(index as usize) else {
                return Err(Failure::invalid(format!(
                    "pick {index} of {} candidates",
                    candidates.len()
                )));
            };
            if seen.contains(&index) {
                return Err(Failure::invalid(format!("candidate {index} picked twice")));
            }
            seen.push(index);
            if pick.reason.len() > limits::REASON_BYTES {
                return Err(Failure::invalid(format!("a reason of {} bytes", pick.reason.len())));
            }
            Ok(HostPick {
                host_id: candidate.host.host_id.clone(),
                score: checked_score(pick.score)?,
                reason: pick.reason,
            })
        })
        .collect()
}

/// The regions of a call, each once.
#[derive(Default)]
struct Regions<'a> {
    names: Vec<&'a str>,
    indexes: HashMap<&'a str, u32>,
    last: Option<(&'a str, u32)>,
}

impl<'a> Regions<'a> {
    fn index(&mut self, name: &'a str) -> u32 {
        if let Some((last, index)) = self.last
            && last == name
        {
            return index;
        }
        let next = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        let index = *self.indexes.entry(name).or_insert_with(|| {
            self.names.push(name);
            next
        });
        self.last = Some((name, index));
        index
    }
}
