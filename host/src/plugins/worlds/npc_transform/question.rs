//! The slot's questions and answers as JSON, and the way between them and the domain. Decides nothing.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::clock::Timestamp;
use crate::ports::policies::NpcFrame;

/// All NPCs of one zone at one tick. What is left out is 0 or empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Question {
    pub zone_id: String,
    /// Counts up by one with every tick of the zone.
    pub tick: u64,
    /// Milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// The records as the AI service sent them.
    pub npcs: Vec<Map<String, Value>>,
}

/// What peers get to see: the policy's changes, checked and carried out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    pub npcs: Vec<Map<String, Value>>,
}

impl Question {
    /// The question about `frame`.
    #[must_use]
    pub fn of(frame: &NpcFrame) -> Self {
        Self {
            zone_id: frame.zone_id.clone(),
            tick: frame.tick,
            now_ms: u64::try_from(frame.now.0).unwrap_or(0),
            npcs: frame.npcs.clone(),
        }
    }

    /// The frame as in service.
    pub(super) fn to_domain(&self) -> NpcFrame {
        NpcFrame {
            zone_id: self.zone_id.clone(),
            tick: self.tick,
            now: Timestamp(i64::try_from(self.now_ms).unwrap_or(i64::MAX)),
            npcs: self.npcs.clone(),
        }
    }
}
