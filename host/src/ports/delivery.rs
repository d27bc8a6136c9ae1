//! What the application needs of this node to deliver releases: try one, have it serve, and say how it fares. Implemented by
//! `plugins`; nothing here knows WebAssembly.

use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::clock::Timestamp;
use crate::domain::release::ReleaseRecord;
use crate::domain::rollout::{DesiredSlot, RolloutCounts};
use crate::domain::slot::SlotName;

/// Why a release is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("refused at step {step}: {reason}; {mend}")]
pub struct Refused {
    /// The step of loading that failed.
    pub step: &'static str,
    pub reason: String,
    /// What to do about it.
    pub mend: &'static str,
}

/// What a component says of itself before it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// SHA-256 in hex.
    pub digest: String,
    /// Version of the contract it was built for.
    pub wit_version: String,
}

/// What serves in a slot of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The generation that was arranged last.
    pub generation: u64,
    /// The id of the active release; none: the bundled policy. `file` when the policy folder has one.
    pub active: Option<String>,
    /// The release that is asked when the active one fails; none: the bundled policy, or nothing.
    pub previous: Option<String>,
    /// When what serves changed.
    pub changed_at: Timestamp,
}

/// How the active release fares since it became active on this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    pub answered: u64,
    pub failed: u64,
    /// Whether it keeps failing and is not called at the moment.
    pub held_back: bool,
}

/// This node's policy engine.
#[async_trait]
pub trait ReleaseHost: Send + Sync {
    /// Looks at a component for a slot without compiling it.
    async fn inspect(&self, slot: SlotName, component: Arc<Vec<u8>>) -> Result<Inspected, Refused>;

    /// Whether a trusted key vouches for the record, as far as the settings ask for it. With `at`, whether one does at that moment;
    /// without, whether one did when the release was stored.
    fn verify(&self, record: &ReleaseRecord, at: Option<Timestamp>) -> Result<(), Refused>;

    /// Whether the release is loaded and can serve at once.
    fn is_ready(&self, slot: SlotName, id: &str) -> bool;

    /// The component with this digest, if this node keeps it.
    async fn kept_component(&self, slot: SlotName, digest: &str) -> Option<Vec<u8>>;

    /// Takes every step of loading up to the swap, and keeps the release ready.
    async fn prepare(&self, record: &ReleaseRecord, component: Vec<u8>) -> Result<(), Refused>;

    /// Has what is ready serve as it is desired, with one pointer exchange. A state that is older than the one before changes
    /// nothing; a release that is not ready leaves its place as it was.
    fn arrange(&self, desired: &DesiredSlot);

    /// Remembers the active release of the slot on this node's disk, for a start that cannot ask storage.
    async fn remember(&self, slot: SlotName, active: Option<&ReleaseRecord>);

    /// Has the remembered releases serve.
    async fn restore(&self);

    /// What serves.
    fn running(&self, slot: SlotName) -> Running;

    /// What this node saw of the candidate that stands in the slot.
    fn rollout(&self, slot: SlotName) -> Option<RolloutCounts>;

    /// How the active release fares.
    fn health(&self, slot: SlotName) -> Health;

    /// Files of the policy folder that serve and were not handed out yet, as releases.
    fn take_files(&self) -> Vec<(ReleaseRecord, Vec<u8>)>;
}
