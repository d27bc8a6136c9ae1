//! The slot as the application calls it, with the native default behind it.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Bound, ask, native};
use crate::domain::host::Host;
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
        self.slot
            .call(limits::DECISION_TICKS, |instance| ask::score(instance, host))
            .unwrap_or_else(|| native::score(host))
    }

    async fn rank(&self, request: HostRequest, candidates: Vec<HostCandidate>) -> (Vec<HostPick>, Rung) {
        let candidates = ask::best(candidates);
        let answer = self
            .turns
            .take(&self.slot, || {
                self.slot.call(limits::RANK_TICKS, |instance| {
                    ask::rank(instance, &request, &candidates)
                })
            })
            .await;
        match answer {
            Some(picks) => (picks, Rung::Component),
            None => (native::rank(&request, &candidates), Rung::Native),
        }
    }
}
