//! The slot `host-selection`: scores hosts and ranks candidates. Checks that every pick is one of the candidates.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use host_selection_policy as native;
use wasmtime::Store;
use wasmtime::component::{HasSelf, InstancePre, Linker};

use super::{Description, World, lifecycle_of_world};
use crate::domain::clock::Timestamp;
use crate::domain::host::{Host, HostStatus};
use crate::domain::zone::{Zone, ZoneStatus};
use crate::plugins::failure::Failure;
use crate::plugins::instance::Instance;
use crate::plugins::limits;
use crate::plugins::slot::Slot;
use crate::plugins::slot_name::SlotName;
use crate::plugins::state::GuestState;
use crate::plugins::turns::Turns;
use crate::ports::policies::{HostCandidate, HostPick, HostRequest, HostSelection, Rung};

mod bindings {
    wasmtime::component::bindgen!({ world: "host-selection", path: "../wit" });
}

use bindings::exports::p2p_coordinator::policy::selection as wit;
use bindings::p2p_coordinator::policy::candidates;

/// The candidates of the call in hand.
pub type Candidates = Arc<Vec<HostCandidate>>;

impl candidates::Host for GuestState<Candidates> {
    fn details(&mut self, candidate: u32) -> Option<candidates::HostDetails> {
        let host = &self.call.get(candidate as usize)?.host;
        Some(candidates::HostDetails {
            cpu_cores: host.cpu_cores,
            cpu_frequency_mhz: host.cpu_frequency_mhz,
            memory_mb: host.memory_mb,
            network_mbps: host.network_speed_mbps,
            bandwidth_usage_mbps: host.bandwidth_usage_mbps,
            current_players: host.current_players,
            max_players: host.max_players,
            current_zones: host.current_zones,
            max_zones: host.max_zones,
        })
    }

    fn label(&mut self, candidate: u32, name: String) -> Option<String> {
        self.call.get(candidate as usize)?.host.labels.get(&name).cloned()
    }

    fn host_id(&mut self, candidate: u32) -> Option<String> {
        Some(self.call.get(candidate as usize)?.host.host_id.clone())
    }
}

/// The world as bound here.
pub struct Bound;

lifecycle_of_world!(bindings, Candidates);

impl World for Bound {
    const SLOT: SlotName = SlotName::HostSelection;
    const ANSWER_BYTES: usize = limits::SMALL_ANSWER_BYTES;
    const SAMPLE: u64 = 1;

    type Call = Candidates;
    type Pre = bindings::HostSelectionPre<GuestState<Candidates>>;
    type Guest = bindings::HostSelection;

    fn link(linker: &mut Linker<GuestState<Candidates>>) -> wasmtime::Result<()> {
        bindings::HostSelection::add_to_linker::<_, HasSelf<_>>(linker, |state| state)
    }

    fn prepare(pre: InstancePre<GuestState<Candidates>>) -> wasmtime::Result<Self::Pre> {
        bindings::HostSelectionPre::new(pre)
    }

    fn instantiate(pre: &Self::Pre, store: &mut Store<GuestState<Candidates>>) -> wasmtime::Result<Self::Guest> {
        pre.instantiate(store)
    }

    fn describe(instance: &mut Instance<Self>) -> wasmtime::Result<Description> {
        call_describe(instance)
    }

    fn configure(instance: &mut Instance<Self>, settings: &[(String, String)]) -> wasmtime::Result<Result<(), String>> {
        call_configure(instance, settings)
    }

    fn trial(instance: &mut Instance<Self>) -> Result<(), Failure> {
        for count in [0, 1, 3, 50] {
            let candidates: Candidates = Arc::new((0..count).map(sample_candidate).collect());
            for candidate in candidates.iter() {
                instance.run(limits::DECISION_TICKS, |instance| ask_score(instance, &candidate.host))?;
            }
            instance.run(limits::RANK_TICKS, |instance| {
                ask_rank(instance, &sample_request(), &candidates)
            })?;
        }
        Ok(())
    }
}

/// A request as the trial asks it.
#[must_use]
pub fn sample_request() -> HostRequest {
    let now = Timestamp(1_750_000_000_000);
    HostRequest {
        zone: sample_zone(now),
        players: 4,
        now,
        seed: 0x5eed,
    }
}

fn sample_zone(now: Timestamp) -> Zone {
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
    let mut host = Host {
        id: i64::from(number) + 1,
        host_id: format!("host-{number}"),
        player_id: format!("player-{number}"),
        player_name: format!("Player {number}"),
        ip_address: "192.0.2.1".to_owned(),
        port: 7777,
        public_ip: None,
        ice_servers: None,
        cpu_cores: number % 16 + 1,
        cpu_frequency_mhz: 3200,
        memory_mb: 4096 + number % 7 * 2048,
        network_speed_mbps: 50 + number % 20 * 50,
        max_players: 50,
        max_zones: 2,
        region: Some(["eu-west", "us-east", "ap-south"][number as usize % 3].to_owned()),
        labels: std::collections::BTreeMap::from([("tier".to_owned(), "home".to_owned())]),
        latency_ms: n * 1.5,
        packet_loss_percent: n / 20.0,
        bandwidth_usage_mbps: n / 2.0,
        status: HostStatus::Online,
        current_players: number % 50,
        current_zones: number % 2,
        quality_score: 0.0,
        created_at: now,
        updated_at: now,
        last_heartbeat: Some(now.plus_seconds(-i64::from(number % 60))),
        revision: 1,
    };
    host.quality_score = native::score(&native_facts(&host));
    HostCandidate {
        host: Arc::new(host),
        sessions: number % 3,
    }
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

const fn native_facts(host: &Host) -> native::HostFacts {
    native::HostFacts {
        cpu_cores: host.cpu_cores,
        memory_mb: host.memory_mb,
        network_mbps: host.network_speed_mbps,
        latency_ms: host.latency_ms,
        packet_loss_percent: host.packet_loss_percent,
        current_players: host.current_players,
        max_players: host.max_players,
    }
}

/// Link speed less the bandwidth in use, in Mbit/s.
fn free_mbps(host: &Host) -> f64 {
    f64::from(host.network_speed_mbps) - host.bandwidth_usage_mbps
}

fn checked_score(score: f64) -> Result<f64, Failure> {
    if (0.0..=100.0).contains(&score) {
        Ok((score * 100.0).round() / 100.0)
    } else {
        Err(Failure::invalid(format!("a score of {score}, 0 to 100 is allowed")))
    }
}

fn ask_score(instance: &mut Instance<Bound>, host: &Host) -> Result<f64, Failure> {
    let score = instance
        .guest
        .p2p_coordinator_policy_selection()
        .call_score(&mut instance.store, facts(host))?;
    checked_score(score)
}

fn ask_rank(
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
            heartbeat_age_seconds: host.last_heartbeat.map_or(u32::MAX, |at| {
                u32::try_from(request.now.millis_since(at) / 1000).unwrap_or(u32::MAX)
            }),
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

/// The slot as the application calls it.
pub struct HostChoice {
    slot: Arc<Slot<Bound>>,
    turns: Turns,
}

impl HostChoice {
    /// The policy in `slot`, with the native default behind it.
    #[must_use]
    pub fn new(slot: Arc<Slot<Bound>>) -> Self {
        Self {
            slot,
            turns: Turns::default(),
        }
    }
}

/// What the native default answers.
fn native_rank(request: &HostRequest, candidates: &[HostCandidate]) -> Vec<HostPick> {
    let needs = native::Request {
        min_quality_score: request.zone.min_host_quality_score,
        min_bandwidth_mbps: request.zone.min_bandwidth_mbps,
        max_latency_ms: request.zone.max_latency_ms,
        max_picks: limits::PICKS as usize,
    };
    let rows = candidates.iter().map(|candidate| native::Candidate {
        quality_score: candidate.host.quality_score,
        latency_ms: candidate.host.latency_ms,
        free_mbps: free_mbps(&candidate.host),
    });
    native::rank(&needs, rows)
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

#[async_trait]
impl HostSelection for HostChoice {
    fn score(&self, host: &Host) -> f64 {
        self.slot
            .call(limits::DECISION_TICKS, |instance| ask_score(instance, host))
            .unwrap_or_else(|| native::score(&native_facts(host)))
    }

    async fn rank(&self, request: HostRequest, mut candidates: Vec<HostCandidate>) -> (Vec<HostPick>, Rung) {
        if candidates.len() > limits::CANDIDATES {
            candidates.sort_by(|a, b| b.host.quality_score.total_cmp(&a.host.quality_score));
            candidates.truncate(limits::CANDIDATES);
        }
        let candidates: Candidates = Arc::new(candidates);
        let answer = self
            .turns
            .take(&self.slot, || {
                self.slot
                    .call(limits::RANK_TICKS, |instance| ask_rank(instance, &request, &candidates))
            })
            .await;
        match answer {
            Some(picks) => (picks, Rung::Component),
            None => (native_rank(&request, &candidates), Rung::Native),
        }
    }
}
