//! The slot as the application calls it, with the native default behind it.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Answer, Bound, Npc, Question, ask, native};
use crate::plugins::ladder;
use crate::plugins::limits;
use crate::plugins::slot::Slot;
use crate::plugins::turns::Turns;
use crate::ports::policies::{NpcFrame, NpcTransforming};

/// The slot as the application calls it.
pub struct NpcView {
    slot: Arc<Slot<Bound>>,
    turns: Turns,
}

impl NpcView {
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
impl NpcTransforming for NpcView {
    async fn transform(&self, frame: NpcFrame) -> Vec<Npc> {
        if frame.npcs.len() > limits::NPCS {
            return self.slot.natively(|| native::transform(frame.npcs), Vec::new).answer;
        }
        let shown = self.slot.shadow.samples().then(|| Question::of(&frame));
        let frame = Arc::new(frame);
        // All sessions of a zone see one frame, so it is the zone that must not meet two policies.
        let zone = || Some(ladder::key(&[frame.zone_id.as_bytes()]));
        let changes = self
            .turns
            .take(&self.slot, || {
                self.slot.call(zone, limits::TRANSFORM_TICKS, |instance| {
                    ask::transform(instance, &frame)
                })
            })
            .await;
        let npcs = Arc::try_unwrap(frame).map_or_else(|shared| shared.npcs.clone(), |frame| frame.npcs);
        let npcs = match changes {
            Some(changes) => changes.answer.apply(npcs),
            // The static decision shows nothing rather than what peers must not see.
            None => self.slot.natively(|| native::transform(npcs), Vec::new).answer,
        };
        if let Some(question) = shown {
            self.slot.shadow.show(question, Answer { npcs: npcs.clone() });
        }
        npcs
    }
}
