//! The slot as the application calls it, with the native default behind it.

use std::sync::Arc;

use async_trait::async_trait;

use super::kept::Kept;
use super::{Answer, Bound, HostFacts, ask, native};
use crate::domain::clock::{Clock as _, SystemClock};
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
        let (onlookers, span) = (self.slot.onlookers(), self.slot.span());
        let answered = self
            .slot
            // Scores of different policies do not compare, so no share of the hosts is scored by a candidate.
            .call(|| None, limits::DECISION_TICKS, |instance| ask::score(instance, host))
            .unwrap_or_else(|skipped| self.slot.natively(skipped, || native::score(host), || 0.0));
        let score = answered.answer;
        if let Some(span) = span {
            span.answered(&answered.by());
        }
        if let Some(onlookers) = onlookers {
            let kept = Kept::Score(HostFacts::of(host));
            let answer = Answer::Score(score);
            self.slot
                .show(onlookers, answered.by(), SystemClock.now(), kept, answer);
        }
        score
    }

    async fn rank(&self, request: HostRequest, candidates: Vec<HostCandidate>) -> (Vec<HostPick>, Rung) {
        let (onlookers, span) = (self.slot.onlookers(), self.slot.span());
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
        let answered = answer.unwrap_or_else(|skipped| {
            self.slot
                .natively(skipped, || native::rank(&request, &candidates), Vec::new)
        });
        if let Some(span) = span {
            span.answered(&answered.by());
        }
        if let Some(onlookers) = onlookers {
            let (at, answer) = (request.now, Answer::rank(&answered.answer));
            let kept = Kept::Rank(Arc::new(request), candidates);
            self.slot.show(onlookers, answered.by(), at, kept, answer);
        }
        (answered.answer, answered.rung)
    }
}
