//! A node without a policy engine, for tests of everything else.

use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::clock::Timestamp;
use crate::domain::release::ReleaseRecord;
use crate::domain::rollout::{DesiredSlot, RolloutCounts};
use crate::domain::slot::SlotName;
use crate::ports::delivery::{Health, Inspected, Refused, ReleaseHost, Running};

/// Takes nothing and runs nothing.
pub(crate) struct Idle;

const NOTHING: Refused = Refused {
    step: "read",
    reason: String::new(),
    mend: "",
};

#[async_trait]
impl ReleaseHost for Idle {
    async fn inspect(&self, _: SlotName, _: Arc<Vec<u8>>) -> Result<Inspected, Refused> {
        Err(NOTHING)
    }

    fn verify(&self, _: &ReleaseRecord, _: Option<Timestamp>) -> Result<(), Refused> {
        Ok(())
    }

    fn is_ready(&self, _: SlotName, _: &str) -> bool {
        false
    }

    async fn kept_component(&self, _: SlotName, _: &str) -> Option<Vec<u8>> {
        None
    }

    async fn prepare(&self, _: &ReleaseRecord, _: Vec<u8>) -> Result<(), Refused> {
        Err(NOTHING)
    }

    fn arrange(&self, _: &DesiredSlot) {}

    async fn remember(&self, _: SlotName, _: Option<&ReleaseRecord>) {}

    async fn restore(&self) {}

    fn running(&self, _: SlotName) -> Running {
        Running {
            generation: 0,
            active: None,
            previous: None,
            changed_at: Timestamp(0),
        }
    }

    fn rollout(&self, _: SlotName) -> Option<RolloutCounts> {
        None
    }

    fn health(&self, _: SlotName) -> Health {
        Health::default()
    }

    fn take_files(&self) -> Vec<(ReleaseRecord, Vec<u8>)> {
        Vec::new()
    }
}
