//! This node as the application sees it: looks at components, tries releases off the event loop, and has them serve.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;

use crate::domain::clock::Timestamp;
use crate::domain::release::ReleaseRecord;
use crate::domain::release::signing::{self, SignatureError};
use crate::domain::rollout::{DesiredSlot, RolloutCounts};
use crate::domain::slot::SlotName;
use crate::plugins::PluginRuntime;
use crate::plugins::cache::{COMPONENT, Cache};
use crate::plugins::failure::{Refusal, Step};
use crate::plugins::instance::{Source, off_the_worker};
use crate::plugins::limits;
use crate::plugins::loader::{self, Outline};
use crate::ports::delivery::{Health, Inspected, Refused, ReleaseHost, Running};

/// What serves when `POLICY_MODE` lets no component serve.
const NATIVE: &str = "native";

/// The runtime as a port.
pub struct Node(pub Arc<PluginRuntime>);

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self {
            step: refusal.step.as_str(),
            reason: refusal.reason,
            mend: refusal.mend,
        }
    }
}

/// Work that may take long, off the event loop.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refused> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Refusal::new(Step::Instantiate, format!("trying it failed: {error}")).into())
}

fn last_name(slot: SlotName) -> String {
    format!("last-{}.release", slot.as_str())
}

fn component_name(slot: SlotName, digest: &str) -> String {
    format!("{}-{digest}.{COMPONENT}", slot.as_str())
}

impl PluginRuntime {
    fn cache(&self) -> Option<&Cache> {
        self.loader.cache.as_ref()
    }

    fn check_trust(&self, record: &ReleaseRecord, at: Option<Timestamp>) -> Result<(), SignatureError> {
        let trust = &self.trust;
        if !trust.required && (record.signature.is_none() || trust.keys.is_empty()) {
            return if record.is_whole() {
                Ok(())
            } else {
                Err(SignatureError::Changed)
            };
        }
        signing::verify(record, &trust.keys, at.unwrap_or(record.created_at))
    }

    fn try_release(&self, record: &ReleaseRecord, component: &[u8]) -> Result<(), Refusal> {
        let started = Instant::now();
        let slot = self.slot(record.slot);
        let tried = self
            .check_trust(record, None)
            .map_err(Refusal::from)
            .and_then(|()| slot.prepare(&self.loader, record, component));
        let result = match &tried {
            Ok(()) => "done",
            Err(refusal) => refusal.step.as_str(),
        };
        self.families.tried(record.slot, result, started.elapsed());
        if let Err(refusal) = &tried {
            slot.note_refusal(Source::Stored, refusal.clone());
        } else if let Some(cache) = self.cache()
            && let Err(error) = cache.keep(&component_name(record.slot, &record.digest), component)
        {
            tracing::warn!(%error, "cannot keep the component on disk");
        }
        tried
    }

    fn restore_slot(&self, slot: SlotName) -> Option<()> {
        let cache = self.cache()?;
        let record: ReleaseRecord = serde_json::from_slice(&cache.kept(&last_name(slot))?).ok()?;
        let component = cache.kept(&component_name(record.slot, &record.digest))?;
        match self.try_release(&record, &component) {
            Ok(()) => {
                tracing::warn!(slot = slot.as_str(), release_id = %record.id, "storage did not say what to run; the last good release serves");
                let desired = DesiredSlot {
                    active: Some(record.id),
                    ..DesiredSlot::untouched(slot)
                };
                self.slot(slot).arrange(&desired);
            }
            Err(refusal) => tracing::error!(slot = slot.as_str(), %refusal, "the last good release is not taken"),
        }
        Some(())
    }
}

#[async_trait]
impl ReleaseHost for Node {
    async fn inspect(&self, slot: SlotName, component: Arc<Vec<u8>>) -> Result<Inspected, Refused> {
        aside(move || {
            if component.len() as u64 > limits::COMPONENT_BYTES {
                let reason = format!("the component is larger than {} bytes", limits::COMPONENT_BYTES);
                return Err(Refusal::new(Step::Read, reason));
            }
            let outline = Outline::parse(&component)?;
            let wit_version = outline.admit(slot)?;
            Ok(Inspected {
                digest: loader::digest(&component),
                wit_version,
            })
        })
        .await?
        .map_err(Refused::from)
    }

    fn verify(&self, record: &ReleaseRecord, at: Option<Timestamp>) -> Result<(), Refused> {
        self.0
            .check_trust(record, at)
            .map_err(|error| Refused::from(Refusal::from(error)))
    }

    fn is_ready(&self, slot: SlotName, id: &str) -> bool {
        self.0.slot(slot).is_ready(id)
    }

    async fn kept_component(&self, slot: SlotName, digest: &str) -> Option<Vec<u8>> {
        let (runtime, name) = (Arc::clone(&self.0), component_name(slot, digest));
        aside(move || runtime.cache().and_then(|cache| cache.kept(&name)))
            .await
            .ok()
            .flatten()
    }

    async fn prepare(&self, record: &ReleaseRecord, component: Vec<u8>) -> Result<(), Refused> {
        let (runtime, record) = (Arc::clone(&self.0), record.clone());
        aside(move || runtime.try_release(&record, &component))
            .await?
            .map_err(Refused::from)
    }

    fn arrange(&self, desired: &DesiredSlot) {
        if !self.0.native_only {
            // A swap waits for calls in hand, each within its deadline.
            off_the_worker(|| self.0.slot(desired.slot).arrange(desired));
        }
    }

    async fn remember(&self, slot: SlotName, active: Option<&ReleaseRecord>) {
        let runtime = Arc::clone(&self.0);
        let text = active
            .and_then(|record| serde_json::to_vec(record).ok())
            .unwrap_or_default();
        let kept = aside(move || {
            let cache = runtime.cache()?;
            let name = last_name(slot);
            if cache.kept(&name).as_ref() == Some(&text) {
                return None;
            }
            cache.keep(&name, &text).err()
        });
        if let Ok(Some(error)) = kept.await {
            tracing::warn!(%error, slot = slot.as_str(), "cannot remember the active release on disk");
        }
    }

    async fn restore(&self) {
        if self.0.native_only {
            return;
        }
        let runtime = Arc::clone(&self.0);
        let restored = aside(move || {
            for slot in SlotName::ALL {
                runtime.restore_slot(slot);
            }
        });
        if let Err(error) = restored.await {
            tracing::error!(%error, "the last good releases are not taken");
        }
    }

    fn running(&self, slot: SlotName) -> Running {
        let mut running = self.0.slot(slot).running();
        if self.0.native_only {
            running.active = Some(NATIVE.to_owned());
        }
        running
    }

    fn rollout(&self, slot: SlotName) -> Option<RolloutCounts> {
        self.0.slot(slot).trial()
    }

    fn health(&self, slot: SlotName) -> Health {
        self.0.slot(slot).health()
    }

    fn take_files(&self) -> Vec<(ReleaseRecord, Vec<u8>)> {
        self.0.slots().iter().filter_map(|slot| slot.take_file()).collect()
    }
}
