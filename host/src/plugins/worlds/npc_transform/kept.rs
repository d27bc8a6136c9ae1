//! What is kept of a question until somebody reads it: the frame that the call had.

use std::sync::Arc;

use super::Question;
use crate::plugins::decisions;
use crate::ports::policies::NpcFrame;

/// Bytes of one NPC's record, before and after, about.
const NPC_BYTES: usize = 2048;

/// A question of this slot.
pub struct Kept(pub(super) Arc<NpcFrame>);

impl decisions::Kept for Kept {
    type Question = Question;

    fn question(&self) -> Question {
        Question::of(&self.0)
    }

    fn weight(&self) -> usize {
        self.0.npcs.len() * NPC_BYTES
    }
}
