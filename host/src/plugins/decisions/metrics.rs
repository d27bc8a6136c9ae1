//! How many decisions were kept, dropped and passed over. The sums are taken when somebody asks.

use parking_lot::Mutex;
use prometheus::core::{Collector as _, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, Opts};

use super::log::LogCounts;
use crate::plugins::slot_name::SlotName;

/// The family of counters.
pub struct DecisionCounters {
    decisions: IntCounterVec,
    /// Since when nothing was added, in the order of `SlotName::ALL`: recorded, dropped, unsampled.
    seen: Mutex<[[u64; 3]; SlotName::ALL.len()]>,
}

const OUTCOMES: [&str; 3] = ["recorded", "dropped", "unsampled"];

impl DecisionCounters {
    /// Counters at 0.
    ///
    /// # Errors
    ///
    /// Never, unless a name is bad.
    pub fn new() -> prometheus::Result<Self> {
        let options = Opts::new(
            "p2p_policy_decisions_total",
            "Policy calls by what the decision log made of them.",
        );
        Ok(Self {
            decisions: IntCounterVec::new(options, &["slot", "outcome"])?,
            seen: Mutex::default(),
        })
    }

    /// Takes over what a slot has counted: all of its calls, and what became of those that were sampled.
    pub fn count(&self, slot: SlotName, calls: u64, sampled: LogCounts) {
        let kept = sampled.recorded + sampled.dropped;
        let now = [sampled.recorded, sampled.dropped, calls.saturating_sub(kept)];
        let mut seen = self.seen.lock();
        let Some(seen) = SlotName::ALL
            .iter()
            .position(|known| *known == slot)
            .and_then(|place| seen.get_mut(place))
        else {
            return;
        };
        for ((outcome, now), seen) in OUTCOMES.into_iter().zip(now).zip(seen) {
            self.decisions
                .with_label_values(&[slot.as_str(), outcome])
                .inc_by(now.saturating_sub(*seen));
            *seen = now.max(*seen);
        }
    }

    /// Of the family.
    pub fn desc(&self) -> Vec<&Desc> {
        self.decisions.desc()
    }

    /// The family.
    pub fn collect(&self) -> Vec<MetricFamily> {
        self.decisions.collect()
    }
}
