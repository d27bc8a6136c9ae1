//! The policy runtime: components in slots, swapped while the service runs, with a native default behind each.
//!
//! A policy is loaded off the event loop (`loader`), tried, and put into its slot by one pointer exchange (`slot`). Every
//! call has a deadline and caps (`limits`); what a policy does not answer with sense, the native default answers.

pub mod bench;
pub mod breaker;
pub mod build;
pub mod cache;
mod cell;
pub mod check;
pub mod compile;
pub mod contract;
pub mod counts;
pub mod decisions;
pub mod delivery;
pub mod doctor;
pub mod engine;
pub mod failure;
pub mod instance;
pub mod ladder;
pub mod latency;
pub mod limits;
pub mod loader;
pub mod metrics;
pub mod offer;
pub mod project;
pub mod replay;
pub mod report;
pub mod slot;
pub mod slot_name;
pub mod source;
pub mod state;
pub mod tally;
pub mod templates;
#[cfg(test)]
mod tests;
mod traced;
pub mod tryout;
pub mod turns;
pub mod vectors;
pub mod wasi;
pub mod watch;
pub mod worlds;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use parking_lot::Mutex;

use crate::config::PluginsConfig;
use crate::domain::release::signing::TrustedKeys;
use crate::ports::policies::Policies;
use crate::telemetry::metrics::Metrics;

use self::cache::Cache;
use self::engine::PolicyEngine;
use self::loader::{Loader, WIT_VERSION};
use self::metrics::{PluginMetrics, SlotCollector};
use self::offer::AnySlot;
pub use self::report::PluginReport;
use self::slot::Slot;
use self::watch::Watch;
use self::worlds::{host_selection, npc_transform, rate_limit};

/// The three slots of a process and what keeps them filled.
pub struct PluginRuntime {
    host_selection: Arc<Slot<host_selection::Bound>>,
    rate_limit: Arc<Slot<rate_limit::Bound>>,
    npc_transform: Arc<Slot<npc_transform::Bound>>,
    policies: Policies,
    dir: Option<PathBuf>,
    watch: Mutex<Option<Watch>>,
    decisions: decisions::runtime::Decisions,
    loader: Loader,
    trust: Trust,
    families: PluginMetrics,
    native_only: bool,
}

/// Who may vouch for releases.
struct Trust {
    /// Whether somebody must.
    required: bool,
    keys: TrustedKeys,
}

impl PluginRuntime {
    /// Fills the slots (with the bundled policies, and files of the policy folder over them) and starts to watch the folder. A policy that
    /// is refused leaves its slot to the next best; only the environment can fail this.
    ///
    /// # Errors
    ///
    /// When the engine, the cache of compiled policies or `PLUGIN_DIR` cannot be set up.
    pub fn start(config: &PluginsConfig, data_dir: &Path, metrics: Arc<Metrics>) -> anyhow::Result<Arc<Self>> {
        let loader = Loader {
            engine: PolicyEngine::start().context("the policy engine does not start")?,
            cache: Some(Cache::open(data_dir)?),
            settings: config.settings.clone().into(),
            trial: true,
        };
        Self::with_loader(config, loader, &metrics)
    }

    fn with_loader(config: &PluginsConfig, loader: Loader, metrics: &Metrics) -> anyhow::Result<Arc<Self>> {
        let families = PluginMetrics::new(&metrics.registry)?;
        let cells = (2 * turns::processors()).clamp(8, 32);
        let host_selection = Arc::new(Slot::new(cells, families.duration(slot_name::SlotName::HostSelection)));
        let rate_limit = Arc::new(Slot::new(cells, families.duration(slot_name::SlotName::RateLimit)));
        let npc_transform = Arc::new(Slot::new(cells, families.duration(slot_name::SlotName::NpcTransform)));
        let policies = Policies {
            host_selection: Arc::new(host_selection::HostChoice::new(Arc::clone(&host_selection))),
            rate_limit: Arc::new(rate_limit::RateLimit::new(Arc::clone(&rate_limit), &config.settings)),
            npc_transform: Arc::new(npc_transform::NpcView::new(Arc::clone(&npc_transform))),
        };
        let runtime = Arc::new(Self {
            host_selection,
            rate_limit,
            npc_transform,
            policies,
            dir: config.dir.clone(),
            watch: Mutex::new(None),
            decisions: Default::default(),
            loader,
            trust: Trust {
                required: config.require_signature,
                keys: config.trusted_keys.clone(),
            },
            families,
            native_only: config.native_only,
        });
        metrics
            .registry
            .register(Box::new(SlotCollector::new(Arc::downgrade(&runtime))?))?;
        runtime.open_decision_log(&config.decisions)?;
        if config.native_only {
            tracing::warn!("POLICY_MODE=native: no policy component is called");
            return Ok(runtime);
        }
        // Before anything is compiled: a start that cannot work says so at once.
        if let Some(dir) = &config.dir {
            watch::make_folder(dir)?;
        }
        for slot in runtime.slots() {
            slot.offer_bundled(&runtime.loader);
        }
        if let Some(dir) = &config.dir {
            *runtime.watch.lock() = Some(Watch::start(dir, &runtime)?);
        }
        Ok(runtime)
    }

    /// The policies as the application calls them.
    #[must_use]
    pub fn policies(&self) -> Policies {
        self.policies.clone()
    }

    /// What operators see.
    #[must_use]
    pub fn report(&self) -> PluginReport {
        PluginReport {
            wit_version: WIT_VERSION.to_owned(),
            plugin_dir: self.dir.as_ref().map(|dir| dir.display().to_string()),
            slots: self.slots().iter().map(|slot| slot.report()).collect(),
        }
    }

    /// Stops watching, and writes the last decisions. Calls go on.
    pub fn shutdown(&self) {
        let watch = self.watch.lock().take();
        drop(watch);
        self.close_decision_log();
    }

    /// One slot.
    fn slot(&self, name: slot_name::SlotName) -> &dyn AnySlot {
        match name {
            slot_name::SlotName::HostSelection => &*self.host_selection,
            slot_name::SlotName::RateLimit => &*self.rate_limit,
            slot_name::SlotName::NpcTransform => &*self.npc_transform,
        }
    }

    /// The slots, in the order of reports.
    #[must_use]
    pub fn slots(&self) -> [&dyn AnySlot; 3] {
        [&*self.host_selection, &*self.rate_limit, &*self.npc_transform]
    }
}
