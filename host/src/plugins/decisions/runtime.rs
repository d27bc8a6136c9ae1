//! The decision logs of all slots together: opened with the settings, read by operators, written to one file.

use std::sync::{Arc, Weak};

use anyhow::Context as _;
use parking_lot::Mutex;

use super::file::{FileSink, Source};
use super::{DecisionId, Filter, LoggedDecision};
use crate::config::DecisionLogConfig;
use crate::plugins::PluginRuntime;
use crate::plugins::delivery::differences::Difference;
use crate::plugins::slot_name::SlotName;

/// What the runtime keeps of the log.
#[derive(Default)]
pub struct Decisions {
    file: Mutex<Option<FileSink>>,
}

/// The runtime as the thread that writes sees it.
struct Runtime(Weak<PluginRuntime>);

impl Source for Runtime {
    fn lines(&self, slot: SlotName, buffer: &mut Vec<u8>) -> Option<u64> {
        Some(self.0.upgrade()?.slot(slot).write_decisions(buffer))
    }

    fn lost(&self, slot: SlotName, count: u64) {
        if let Some(runtime) = self.0.upgrade() {
            runtime.slot(slot).lost_decisions(count);
        }
    }
}

impl PluginRuntime {
    pub(in crate::plugins) fn open_decision_log(self: &Arc<Self>, config: &DecisionLogConfig) -> anyhow::Result<()> {
        let origin = getrandom::u32().map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
        if config.size == 0 {
            return Ok(());
        }
        for slot in self.slots() {
            let share = config.share(slot.name());
            slot.open_log(origin, config.size, share, config.file.is_some());
        }
        if let Some(path) = &config.file {
            let sink = FileSink::start(path, Runtime(Arc::downgrade(self)));
            let sink = sink.with_context(|| format!("DECISION_LOG_FILE: cannot open {}", path.display()))?;
            *self.decisions.file.lock() = Some(sink);
        }
        Ok(())
    }

    pub(in crate::plugins) fn close_decision_log(&self) {
        let file = self.decisions.file.lock().take();
        drop(file);
    }

    /// Decisions of a slot that this node made and still has, newest first.
    #[must_use]
    pub fn decisions(&self, slot: SlotName, filter: &Filter) -> Vec<LoggedDecision> {
        self.slot(slot).decisions(filter)
    }

    /// The latest calls of this node that the shadow of a slot answered otherwise, newest first.
    #[must_use]
    pub fn differences(&self, slot: SlotName) -> Vec<Difference> {
        self.slot(slot).differences()
    }

    /// One decision, none when this node did not make it or does not have it any more.
    #[must_use]
    pub fn decision(&self, id: &str) -> Option<LoggedDecision> {
        let id = DecisionId::parse(id)?;
        self.slot(id.slot).decision(id)
    }
}
