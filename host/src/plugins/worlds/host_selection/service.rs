//! The slot as the application calls it, with the native default behind it.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Answer, Bound, Question, ask, native};
use crate::domain::host::Host;
use crate::plugins::ladder;
use crate::plugins::limits;
use crate::plugins::slot::Slot;
use crate::plugins::turns::Turns;
use crate::ports::policies::{HostCandidate, HostPick, HostRequest, HostSelection, Rung};

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

#[async_trait]
impl HostSelection for HostChoice {
    fn score(&self, host: &Host) -> f64 {
        let score = self
            .slot
            // Scores of different policies do not compare, so no share of the hosts is scored by a candidate.
            .call(|| None, limits::DECISION_TICKS, |instance| ask::score(instance, host))
            .unwrap_or_else(|| self.slot.natively(|| native::score(host), || 0.0))
            .answer;
        if self.slot.shadow.samples() {
            self.slot.shadow.show(Question::score(host), Answer::Score(score));
        }
        score
    }

    async fn rank(&self, request: HostRequest, candidates: Vec<HostCandidate>) -> (Vec<HostPick>, Rung) {
        let candidates = ask::best(candidates);
        let zone = || Some(ladder::key(&[request.zone.zone_id.as_bytes()]));
        let answer = self
            .turns
            .take(&self.slot, || {
                self.slot.call(zone, limits::RANK_TICKS, |instance| {
                    ask::rank(instance, &request, &candidates)
                })
            })
            .await;
        // The static decision picks nobody: players use the game server.
        let answered = answer.unwrap_or_else(|| self.slot.natively(|| native::rank(&request, &candidates), Vec::new));
        if answered.rung != Rung::Candidate && self.slot.shadow.samples() {
            let question = Question::rank(&request, &candidates);
            self.slot.shadow.show(question, Answer::rank(&answered.answer));
        }
        (answered.answer, answered.rung)
    }
}
