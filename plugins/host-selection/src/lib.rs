//! The default policy of the slot `host-selection`: how good a host is, and which hosts should get a session.
//!
//! The logic is plain Rust over plain numbers. It is compiled into the component and linked into the coordinator as
//! the native default, so both give the same answers. It holds no state and must not read a clock or an environment.

#[cfg(target_arch = "wasm32")]
mod component;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Name of the policy, for operators.
pub const NAME: &str = "default-host-selection";
/// Version of the policy.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What the policy does, in one sentence.
pub const SUMMARY: &str = "Scores hosts by latency, loss, free places and hardware, and ranks those that meet the \
                           zone's minimum score, bandwidth and latency, best score first.";

/// A host's hardware and its latest measurements. What was never measured is 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HostFacts {
    pub cpu_cores: u32,
    pub memory_mb: u32,
    /// Link speed in Mbit/s.
    pub network_mbps: u32,
    pub latency_ms: f64,
    /// 0 to 100.
    pub packet_loss_percent: f64,
    pub current_players: u32,
    pub max_players: u32,
}

/// What the zone asks of a host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request {
    pub min_quality_score: f64,
    pub min_bandwidth_mbps: f64,
    pub max_latency_ms: f64,
    /// The longest answer wanted.
    pub max_picks: usize,
}

/// One host that could serve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// What [`score`] gave at the host's last registration or heartbeat.
    pub quality_score: f64,
    pub latency_ms: f64,
    /// Link speed less the bandwidth in use, in Mbit/s.
    pub free_mbps: f64,
}

/// One choice.
#[derive(Clone, Debug, PartialEq)]
pub struct Pick {
    /// Position among the candidates.
    pub candidate: u32,
    pub score: f64,
    /// Why, in a few words.
    pub reason: String,
}

/// Scores a host from 0 to 100 with two decimals: up to 30 for latency, 20 for packet loss, 25 for free places and 25
/// for hardware (10 cores, 10 memory, 5 link speed). A latency or loss that was never measured counts as 0, which is
/// the best there is. A host without any places gets nothing for free places.
#[must_use]
pub fn score(host: &HostFacts) -> f64 {
    let latency = at_least_zero(30.0 - host.latency_ms / 10.0);
    let loss = at_least_zero(20.0 - 2.0 * host.packet_loss_percent);
    let free_places = match host.max_players {
        0 => 0.0,
        most => 25.0 * (1.0 - f64::from(host.current_players) / f64::from(most)),
    };
    let cores = at_most(f64::from(host.cpu_cores) / 4.0 * 10.0, 10.0);
    let memory = at_most(f64::from(host.memory_mb) / 8192.0 * 10.0, 10.0);
    let link = at_most(f64::from(host.network_mbps) / 100.0 * 5.0, 5.0);
    two_decimals(at_most(
        at_least_zero(latency + loss + free_places + cores + memory + link),
        100.0,
    ))
}

/// The candidates that meet the zone's minimum score, bandwidth and latency, best score first; equal scores keep the
/// order of the candidates. The bandwidth that counts is the link speed less what is in use.
#[must_use]
pub fn rank(request: &Request, candidates: impl IntoIterator<Item = Candidate>) -> Vec<Pick> {
    // The worst of the best so far is on top, so most candidates cost one comparison.
    let mut best = BinaryHeap::new();
    for (index, candidate) in (0u32..).zip(candidates) {
        let Some(suitable) = Suitable::check(request, index, &candidate) else {
            continue;
        };
        if best.len() < request.max_picks {
            best.push(suitable);
        } else if let Some(mut worst) = best.peek_mut()
            && suitable < *worst
        {
            *worst = suitable;
        }
    }
    best.into_sorted_vec().iter().map(Suitable::pick).collect()
}

/// A candidate that meets the zone's needs. The better one is the smaller one.
#[derive(Clone, Copy)]
struct Suitable {
    index: u32,
    score: f64,
    latency_ms: f64,
    free_mbps: f64,
}

impl Suitable {
    fn check(request: &Request, index: u32, candidate: &Candidate) -> Option<Self> {
        // Written so that a number that is none (NaN) meets no need.
        let meets = candidate.quality_score >= request.min_quality_score
            && candidate.free_mbps >= request.min_bandwidth_mbps
            && candidate.latency_ms <= request.max_latency_ms;
        meets.then_some(Self {
            index,
            score: candidate.quality_score,
            latency_ms: candidate.latency_ms,
            free_mbps: candidate.free_mbps,
        })
    }

    /// The reason is put together from whole numbers: printing floats would double the size of the component.
    fn pick(&self) -> Pick {
        let (score, latency, free) = (whole(self.score * 100.0), whole(self.latency_ms), whole(self.free_mbps));
        let (points, decimals) = (score / 100, score % 100);
        Pick {
            candidate: self.index,
            score: self.score,
            reason: format!("score {points}.{decimals:02}, latency {latency} ms, {free} Mbit/s free"),
        }
    }
}

impl Ord for Suitable {
    fn cmp(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score).then(self.index.cmp(&other.index))
    }
}

impl PartialOrd for Suitable {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Suitable {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Suitable {}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and the numbers are shown to people"
)]
fn whole(number: f64) -> u64 {
    (number + 0.5) as u64
}

fn at_least_zero(number: f64) -> f64 {
    if number > 0.0 { number } else { 0.0 }
}

fn at_most(number: f64, most: f64) -> f64 {
    if number < most { number } else { most }
}

/// Rounds to two decimals by the exact value; a true tie goes to the even neighbour.
fn two_decimals(number: f64) -> f64 {
    let hundredfold = number * 100.0;
    let down = hundredfold.floor();
    let up = match (hundredfold - down).partial_cmp(&0.5) {
        Some(Ordering::Greater) => true,
        // The product was rounded to the middle: its remainder tells on which side the exact value lies.
        Some(Ordering::Equal) => match number.mul_add(100.0, -hundredfold) {
            0.0 => down % 2.0 != 0.0,
            remainder => remainder > 0.0,
        },
        _ => false,
    };
    (if up { down + 1.0 } else { down }) / 100.0
}
