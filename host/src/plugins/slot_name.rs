//! What the coordinator knows of each slot beyond its name: file, interfaces, bundled component.

pub use crate::domain::slot::SlotName;

impl SlotName {
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
