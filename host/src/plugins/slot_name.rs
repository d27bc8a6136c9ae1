//! The three slots by name. One spelling in files, metrics, logs and reports.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a policy is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
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

    /// The file in the policy folder that takes the slot.
    #[must_use]
    pub const fn file(self) -> &'static str {
        match self {
            Self::HostSelection => "host-selection.wasm",
            Self::RateLimit => "rate-limit.wasm",
            Self::NpcTransform => "npc-transform.wasm",
        }
    }

    /// The interface that a policy of this slot must export beside `lifecycle`.
    #[must_use]
    pub const fn export(self) -> &'static str {
        match self {
            Self::HostSelection => "selection",
            Self::RateLimit => "limiting",
            Self::NpcTransform => "transformation",
        }
    }

    /// The interface that a policy of this slot may import beside `logging`.
    #[must_use]
    pub const fn import(self) -> &'static str {
        match self {
            Self::HostSelection => "candidates",
            Self::RateLimit => "attributes",
            Self::NpcTransform => "npcs",
        }
    }

    /// Reads a name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|slot| slot.as_str() == text)
    }

    /// The component that is built into the coordinator.
    #[must_use]
    pub const fn bundled(self) -> &'static [u8] {
        match self {
            Self::HostSelection => include_bytes!("../../../plugins/dist/host-selection.wasm"),
            Self::RateLimit => include_bytes!("../../../plugins/dist/rate-limit.wasm"),
            Self::NpcTransform => include_bytes!("../../../plugins/dist/npc-transform.wasm"),
        }
    }
}
