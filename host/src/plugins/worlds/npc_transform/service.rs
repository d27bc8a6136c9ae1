//! The slot as the application calls it, with the native default behind it.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Bound, Npc, ask, native};
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
            return native::transform(frame.npcs);
        }
        let frame = Arc::new(frame);
        let changes = self
            .turns
            .take(&self.slot, || {
                self.slot
                    .call(limits::TRANSFORM_TICKS, |instance| ask::transform(instance, &frame))
            })
            .await;
        let npcs = Arc::try_unwrap(frame).map_or_else(|shared| shared.npcs.clone(), |frame| frame.npcs);
        match changes {
            Some(changes) => changes.apply(npcs),
            None => native::transform(npcs),
        }
    }
}
