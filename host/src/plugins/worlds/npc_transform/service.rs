//! The slot as the application calls it, with the native default behind it.

use std::sync::Arc;

use async_trait::async_trait;

use super::kept::Kept;
use super::{Answer, Bound, Npc, ask, native};
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
        let span = self.slot.span();
        if frame.npcs.len() > limits::NPCS {
            let answered = self.slot.natively(None, || native::transform(frame.npcs), Vec::new);
            if let Some(span) = span {
                span.answered(&answered.by());
            }
            return answered.answer;
        }
        let onlookers = self.slot.onlookers();
        let (at, frame) = (frame.now, Arc::new(frame));
        let kept = onlookers.map(|onlookers| (onlookers, Kept(Arc::clone(&frame))));
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
        let (by, npcs) = match changes {
            Ok(changes) => (changes.by(), changes.answer.apply(npcs)),
            Err(skipped) => {
                // The static decision shows nothing rather than what peers must not see.
                let answered = self.slot.natively(skipped, || native::transform(npcs), Vec::new);
                (answered.by(), answered.answer)
            }
        };
        if let Some(span) = span {
            span.answered(&by);
        }
        if let Some((onlookers, kept)) = kept {
            let answer = Answer { npcs: npcs.clone() };
            self.slot.show(onlookers, by, at, kept, answer);
        }
        npcs
    }
}
