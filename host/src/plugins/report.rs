//! What operators see of the slots: which policy serves, how it fares, and what was refused.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::failure::{FailureKind, Step};
use super::slot::Slot;
use super::slot_name::SlotName;
use super::worlds::World;
use crate::domain::clock::Timestamp;

/// All slots.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PluginReport {
    /// The version of the contract this coordinator speaks.
    pub wit_version: String,
    /// The watched folder, none when only the bundled policies serve.
    pub plugin_dir: Option<String>,
    pub slots: Vec<SlotReport>,
}

/// Who answers the calls of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SlotState {
    /// The policy.
    Serving,
    /// The native default, because there is no policy in the slot.
    Native,
    /// The native default, because the policy keeps failing. It is tried again after a pause.
    BreakerOpen,
}

/// One slot.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SlotReport {
    pub slot: SlotName,
    pub state: SlotState,
    /// None when there is no policy in the slot.
    pub policy: Option<PolicyReport>,
    /// Calls since the start, whoever answered.
    pub calls: u64,
    /// Calls that the native default answered, or the static decision.
    pub fallbacks: u64,
    /// Calls by who answered: `candidate`, `component`, `previous`, `native`, `static`.
    pub rungs: BTreeMap<&'static str, u64>,
    /// Failed calls by kind; every kind is there.
    pub failures: BTreeMap<&'static str, u64>,
    pub last_failure: Option<FailureReport>,
    /// Policies that replaced another.
    pub swaps: u64,
    /// Policies that were refused.
    pub refusals: u64,
    pub last_refusal: Option<RefusalReport>,
    /// Time of the calls that the policy answered. On the slot `rate-limit` one call in 64 is timed.
    pub latency: LatencyReport,
}

/// The policy in a slot.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PolicyReport {
    /// `bundled`, `release`, or the file's path.
    pub source: String,
    /// The id of its record; what is bundled or a file has one as if it were stored.
    pub release_id: String,
    /// SHA-256 of the component, in hex.
    pub digest: String,
    pub name: String,
    pub version: String,
    pub summary: String,
    /// Version of the contract it was built for.
    pub wit_version: String,
    #[schema(value_type = String, format = DateTime)]
    pub loaded_at: Timestamp,
}

/// The last failed call.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FailureReport {
    pub kind: FailureKind,
    pub detail: String,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// The last refused policy.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RefusalReport {
    pub step: Step,
    pub reason: String,
    /// What to do about it.
    pub mend: &'static str,
    /// `bundled`, or the file's path.
    pub source: String,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// Times in microseconds; none before the first call.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct LatencyReport {
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
}

impl SlotReport {
    /// The report of one slot.
    #[must_use]
    pub fn of<W: World>(slot: &Slot<W>) -> Self {
        // In this order: a swap that is seen is counted.
        let current = slot.current();
        let counts = slot.counts();
        let state = match &current {
            None => SlotState::Native,
            Some(release) if release.breaker.is_open() => SlotState::BreakerOpen,
            Some(_) => SlotState::Serving,
        };
        Self {
            slot: W::SLOT,
            state,
            policy: current.map(|release| {
                let about = &release.about;
                PolicyReport {
                    source: about.source.shown(),
                    release_id: about.release_id.clone(),
                    digest: about.digest.clone(),
                    name: about.description.name.clone(),
                    version: about.description.version.clone(),
                    summary: about.description.summary.clone(),
                    wit_version: about.wit_version.clone(),
                    loaded_at: about.loaded_at,
                }
            }),
            calls: counts.calls(),
            fallbacks: counts.native + counts.fixed,
            rungs: counts.by_rung().map(|(rung, count)| (rung.as_str(), count)).into(),
            failures: FailureKind::ALL
                .iter()
                .zip(counts.failures)
                .map(|(kind, n)| (kind.as_str(), n))
                .collect(),
            last_failure: slot.last_failure().map(|last| FailureReport {
                kind: last.failure.kind,
                detail: last.failure.detail,
                at: last.at,
            }),
            swaps: counts.swaps,
            refusals: counts.refusals,
            last_refusal: slot.last_refusal().map(|last| RefusalReport {
                step: last.refusal.step,
                reason: last.refusal.reason,
                mend: last.refusal.mend,
                source: last.source.shown(),
                at: last.at,
            }),
            latency: LatencyReport {
                p50_us: counts.latency.quantile_us(0.5),
                p99_us: counts.latency.quantile_us(0.99),
            },
        }
    }
}
