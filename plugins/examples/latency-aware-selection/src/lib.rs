//! An example of the slot `host-selection`: near hosts with little to do, by the power of two choices.
//!
//! Whoever always takes the best host sends a rush of sessions to one machine before its next heartbeat tells that it is
//! full. So each place of the answer is filled by drawing two different hosts and taking the less burdened one: near the best, and
//! spread. The draws come from the seed that the coordinator gives, so the same question has the same answer. Plain Rust
//! without the contract; `component` puts the two together.

#[cfg(target_arch = "wasm32")]
mod component;
mod draw;
#[cfg(test)]
mod tests;

use draw::Draw;

/// Name of the policy, for operators.
pub const NAME: &str = "latency-aware-selection";
/// Version of the policy.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What the policy does, in one sentence.
pub const SUMMARY: &str = "Near hosts with few sessions and a fresh heartbeat, two drawn for each place and the less \
                           burdened taken.";

/// The setting with the age of the last heartbeat, in seconds, from which on a host is left out.
pub const MAX_AGE: &str = "POLICY_MAX_HEARTBEAT_AGE";

/// What the operator sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Hosts that were silent for longer, in seconds, are left out.
    pub max_age_seconds: u32,
}

impl Settings {
    /// What holds when the operator sets nothing.
    pub const DEFAULT: Self = Self { max_age_seconds: 90 };

    /// Reads the operator's settings. Unknown names are ignored.
    ///
    /// # Errors
    ///
    /// Names the setting, its value and what would be right.
    pub fn read<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let mut read = Self::DEFAULT;
        for (name, value) in settings {
            if name == MAX_AGE {
                read.max_age_seconds = match value.trim().parse() {
                    Ok(seconds) if seconds > 0 => seconds,
                    _ => {
                        return Err(format!(
                            "{MAX_AGE} is '{value}': a whole number of seconds from 1 is needed"
                        ));
                    }
                };
            }
        }
        Ok(read)
    }
}

/// What the zone asks of a host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request {
    pub min_quality_score: f64,
    pub min_bandwidth_mbps: f64,
    pub max_latency_ms: f64,
    pub players: u32,
    pub seed: u64,
    /// The longest answer wanted.
    pub max_picks: usize,
}

/// One host that could serve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    pub quality_score: f64,
    pub latency_ms: f64,
    /// 0 to 100.
    pub packet_loss_percent: f64,
    /// Link speed less the bandwidth in use, in Mbit/s.
    pub free_mbps: f64,
    pub free_players: u32,
    pub sessions: u32,
    pub heartbeat_age_seconds: u32,
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

/// Scores a host from 0 to 100: half a point less for each millisecond, and four for each percent of lost packets.
#[must_use]
pub fn score(latency_ms: f64, packet_loss_percent: f64) -> f64 {
    let points = 100.0 - latency_ms / 2.0 - packet_loss_percent * 4.0;
    if points > 0.0 { points.min(100.0) } else { 0.0 }
}

/// What it costs to wait for this host: its latency, more for each session it serves already and for what it loses.
#[must_use]
pub fn burden(host: &Candidate) -> f64 {
    (host.latency_ms + 1.0) * f64::from(host.sessions + 1) * (1.0 + host.packet_loss_percent / 10.0)
}

/// The hosts that should serve, each the less burdened of two that were drawn.
#[must_use]
pub fn rank(settings: &Settings, request: &Request, candidates: &[Candidate]) -> Vec<Pick> {
    let mut left: Vec<(u32, f64)> = (0u32..)
        .zip(candidates)
        .filter(|(_, host)| suits(settings, request, host))
        .map(|(index, host)| (index, burden(host)))
        .collect();
    let mut draw = Draw::new(request.seed);
    let mut picks = Vec::new();
    while picks.len() < request.max_picks && !left.is_empty() {
        let first = draw.below(left.len());
        // Any but the first, unless there is no other.
        let second = (first + 1 + draw.below(left.len() - 1)) % left.len();
        let (Some(a), Some(b)) = (left.get(first).copied(), left.get(second).copied()) else {
            break;
        };
        let (taken, burden, other) = if b.1 < a.1 {
            (second, b.1, a.1)
        } else {
            (first, a.1, b.1)
        };
        let (index, _) = left.swap_remove(taken);
        if let Some(host) = candidates.get(index as usize) {
            picks.push(Pick {
                candidate: index,
                score: score(host.latency_ms, host.packet_loss_percent),
                reason: format!("burden {} against {} of the other draw", whole(burden), whole(other)),
            });
        }
    }
    picks
}

fn suits(settings: &Settings, request: &Request, host: &Candidate) -> bool {
    host.quality_score >= request.min_quality_score
        && host.free_mbps >= request.min_bandwidth_mbps
        && host.latency_ms <= request.max_latency_ms
        && host.free_players >= request.players
        && host.heartbeat_age_seconds <= settings.max_age_seconds
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and the number is shown to people"
)]
fn whole(number: f64) -> u64 {
    (number + 0.5) as u64
}
