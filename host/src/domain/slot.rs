//! The slots of policies by name. One spelling in records, files, paths, metrics, logs and reports. What a slot's policies
//! look like is the business of `plugins`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a policy is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SlotName {
    HostSelection,
    RateLimit,
    NpcTransform,
}

impl SlotName {
    /// Every slot, in the order of reports.
    pub const ALL: [Self; 3] = [Self::HostSelection, Self::RateLimit, Self::NpcTransform];

    /// The name, which is also the name of the WIT world.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HostSelection => "host-selection",
            Self::RateLimit => "rate-limit",
            Self::NpcTransform => "npc-transform",
        }
    }

    /// Reads a name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|slot| slot.as_str() == text)
    }
}
