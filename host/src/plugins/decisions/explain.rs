//! One decision in the words of an operator: why a session got its host.

use serde::{Deserialize as _, Serialize};
use utoipa::ToSchema;

use super::record::LoggedDecision;
use crate::plugins::slot_name::SlotName;
use crate::plugins::worlds::host_selection::{Answer, Candidate, Question, RankQuestion};

/// A decision, and what became of each candidate.
#[derive(Debug, Serialize, ToSchema)]
pub struct Explanation {
    #[serde(flatten)]
    pub decision: LoggedDecision,
    /// Every candidate of a choice of hosts: the picks in their order, then the others by quality. None for other decisions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidates: Option<Vec<CandidateView>>,
}

/// One candidate of a choice of hosts.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct CandidateView {
    pub host_id: String,
    /// Its place among the picks, 1 is the best; none when the policy did not pick it.
    pub pick: Option<u32>,
    /// What the policy gave it; none when it was not picked.
    pub score: Option<f64>,
    /// Why the policy picked it, in its own words.
    pub reason: Option<String>,
    /// What the zone asks for and the host did not have: `min_quality_score`, `min_bandwidth_mbps`, `max_latency_ms`. A policy may
    /// look past it, and may have reasons of its own to pass over a host without any.
    pub misses: Vec<&'static str>,
    pub quality_score: f64,
    pub latency_ms: f64,
    pub packet_loss_percent: f64,
    /// Link speed less the bandwidth in use.
    pub free_mbps: f64,
    pub free_players: u32,
    /// Live sessions that it served already.
    pub sessions: u32,
    pub region: Option<String>,
}

impl Explanation {
    /// Explains a decision.
    #[must_use]
    pub fn of(decision: LoggedDecision) -> Self {
        Self {
            candidates: candidates(&decision),
            decision,
        }
    }
}

fn candidates(decision: &LoggedDecision) -> Option<Vec<CandidateView>> {
    if decision.slot != SlotName::HostSelection {
        return None;
    }
    let question = Question::deserialize(&decision.question).ok()?;
    let answer = Answer::deserialize(&decision.answer).ok()?;
    let (Question::Rank(question), Answer::Rank(picks)) = (question, answer) else {
        return None;
    };
    let view = |candidate: &Candidate| {
        let place = picks.iter().position(|pick| pick.host_id == candidate.host_id);
        let pick = place.and_then(|place| picks.get(place));
        let free_mbps = f64::from(candidate.network_mbps) - candidate.bandwidth_usage_mbps;
        CandidateView {
            host_id: candidate.host_id.clone(),
            pick: place.and_then(|place| u32::try_from(place + 1).ok()),
            score: pick.map(|pick| pick.score),
            reason: pick.map(|pick| pick.reason.clone()),
            misses: misses(&question, candidate, free_mbps),
            quality_score: candidate.quality_score,
            latency_ms: candidate.latency_ms,
            packet_loss_percent: candidate.packet_loss_percent,
            free_mbps,
            free_players: candidate.max_players.saturating_sub(candidate.current_players),
            sessions: candidate.sessions,
            region: candidate.region.clone(),
        }
    };
    let mut all: Vec<CandidateView> = question.candidates.iter().map(view).collect();
    all.sort_by(|a, b| {
        let place = |view: &CandidateView| view.pick.unwrap_or(u32::MAX);
        place(a)
            .cmp(&place(b))
            .then(b.quality_score.total_cmp(&a.quality_score))
    });
    Some(all)
}

fn misses(question: &RankQuestion, candidate: &Candidate, free_mbps: f64) -> Vec<&'static str> {
    let needs = [
        (
            candidate.quality_score < question.min_quality_score,
            "min_quality_score",
        ),
        (free_mbps < question.min_bandwidth_mbps, "min_bandwidth_mbps"),
        (candidate.latency_ms > question.max_latency_ms, "max_latency_ms"),
    ];
    needs
        .into_iter()
        .filter(|(missed, _)| *missed)
        .map(|(_, name)| name)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::clock::Timestamp;

    #[test]
    fn every_candidate_is_explained_picks_first() {
        let decision = LoggedDecision {
            id: "0000002a-h1".to_owned(),
            at: Timestamp(0),
            slot: SlotName::HostSelection,
            release: None,
            rung: "component".to_owned(),
            reason: None,
            duration_us: 1.0,
            request_id: None,
            session_id: None,
            question: json!({"rank": {"zone_id": "z", "min_quality_score": 50.0, "max_latency_ms": 100.0, "candidates": [
                {"host_id": "slow", "quality_score": 90.0, "latency_ms": 200.0},
                {"host_id": "bad", "quality_score": 10.0},
                {"host_id": "good", "quality_score": 60.0, "network_mbps": 100, "bandwidth_usage_mbps": 40.0},
            ]}}),
            answer: json!({"rank": [{"host_id": "good", "score": 61.5, "reason": "near"}]}),
        };
        let explained = Explanation::of(decision).candidates.unwrap();
        let shown: Vec<_> = explained
            .iter()
            .map(|view| (view.host_id.as_str(), view.pick, view.misses.clone()))
            .collect();
        assert_eq!(
            shown,
            [
                ("good", Some(1), vec![]),
                ("slow", None, vec!["max_latency_ms"]),
                ("bad", None, vec!["min_quality_score"]),
            ]
        );
        assert_eq!((explained[0].score, explained[0].free_mbps), (Some(61.5), 60.0));
        assert_eq!(explained[0].reason.as_deref(), Some("near"));
    }
}
