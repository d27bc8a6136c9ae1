//! What a slot is to run, and how that changes: activation, rollout, promotion, rollback, and the gates that decide on a
//! rollout by its numbers. Rules only; storage keeps the state and lets one change win.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::clock::Timestamp;
use super::slot::SlotName;

/// Releases that a slot remembers to go back to.
pub const MAX_HISTORY: usize = 20;
/// How long after it became active a release is watched, in seconds.
pub const WATCH_SECONDS: i64 = 60;
/// Calls of a watched release before its failures count as a rate.
pub const WATCH_SAMPLES: u64 = 20;
/// Share of failed calls that a watched release is taken back for.
pub const WATCH_FAILURE_RATE: f64 = 0.05;

/// How a candidate is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RolloutMode {
    /// It is asked what was answered already; its answers are compared and never used.
    Shadow,
    /// It answers a share of the calls.
    Canary,
}

impl RolloutMode {
    /// The name in requests, records and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shadow => "shadow",
            Self::Canary => "canary",
        }
    }
}

/// What a rollout has to keep to. A bound that is none is not looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Gates {
    /// Calls of the candidate before it is judged.
    pub min_samples: u64,
    /// Share of compared answers that may differ, 0 to 1.
    pub max_difference_rate: Option<f64>,
    /// Share of calls that may fail, 0 to 1.
    pub max_failure_rate: Option<f64>,
    /// How many times as long as the active release it may take, at the 99th percentile.
    pub max_p99_ratio: Option<f64>,
    /// Whether it becomes active by itself when it has kept to all of them.
    pub promote_automatically: bool,
}

impl Default for Gates {
    fn default() -> Self {
        Self {
            min_samples: 100,
            max_difference_rate: None,
            max_failure_rate: Some(0.01),
            max_p99_ratio: None,
            promote_automatically: false,
        }
    }
}

/// What a candidate showed so far, on one node or on all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RolloutCounts {
    /// Calls of the candidate, failed ones too.
    pub samples: u64,
    pub failures: u64,
    /// Answers that were compared, and those that differed.
    pub compared: u64,
    pub differences: u64,
    /// Questions that the queue of the shadow had no room for.
    pub dropped: u64,
    /// 99th percentile of the candidate and of the active release since the rollout began, in microseconds.
    pub p99_us: Option<f64>,
    pub active_p99_us: Option<f64>,
}

impl RolloutCounts {
    /// Adds what another node saw. Of the times the worst node counts.
    pub fn add(&mut self, other: &Self) {
        self.samples += other.samples;
        self.failures += other.failures;
        self.compared += other.compared;
        self.differences += other.differences;
        self.dropped += other.dropped;
        if other.ratio() > self.ratio() {
            (self.p99_us, self.active_p99_us) = (other.p99_us, other.active_p99_us);
        }
    }

    fn ratio(&self) -> Option<f64> {
        let (ours, theirs) = self.p99_us.zip(self.active_p99_us)?;
        (theirs > 0.0).then(|| ours / theirs)
    }
}

/// What the gates say.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Not enough was seen.
    Wait,
    /// It kept to all bounds.
    Good,
    /// It broke one; which and how.
    Broken(String),
}

impl Gates {
    /// Judges a candidate. Failures and differences that break a bound whatever follows count before `min_samples` are seen.
    #[must_use]
    pub fn judge(&self, seen: &RolloutCounts, mode: RolloutMode) -> Verdict {
        let rates = [
            ("failed", self.max_failure_rate, seen.failures, seen.samples),
            ("differed", self.max_difference_rate, seen.differences, seen.compared),
        ];
        for (what, bound, bad, of) in rates {
            let Some(bound) = bound else { continue };
            let of_enough = of.max(self.min_samples).max(1);
            #[expect(clippy::cast_precision_loss, reason = "counts of calls")]
            let (rate, bad_share) = (bad as f64 / of_enough as f64, bad as f64 / of.max(1) as f64);
            if bad > 0 && rate > bound {
                return Verdict::Broken(format!(
                    "{bad} of {of} {what} ({:.2} %), {:.2} % are allowed",
                    bad_share * 100.0,
                    bound * 100.0
                ));
            }
        }
        let compares = mode == RolloutMode::Shadow && self.max_difference_rate.is_some();
        if seen.samples < self.min_samples || (compares && seen.compared < self.min_samples) {
            return Verdict::Wait;
        }
        match (self.max_p99_ratio, seen.ratio()) {
            (Some(bound), Some(ratio)) if ratio > bound => Verdict::Broken(format!(
                "its 99th percentile is {ratio:.2} times that of the active release, {bound:.2} times are allowed"
            )),
            _ => Verdict::Good,
        }
    }
}

/// A candidate that is being tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Rollout {
    pub release_id: String,
    pub mode: RolloutMode,
    /// Share of the calls that a canary answers, in percent.
    pub percent: f64,
    /// Share of the calls that a shadow is asked, in percent.
    pub sample_percent: f64,
    pub gates: Gates,
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
}

/// What a slot is to run, on every node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DesiredSlot {
    pub slot: SlotName,
    /// Grows with every change.
    pub generation: u64,
    /// The release that serves; none: the bundled policy.
    pub active: Option<String>,
    /// Releases that served before, the latest at the end.
    pub history: Vec<String>,
    pub rollout: Option<Rollout>,
    /// When the active release became active.
    #[schema(value_type = String, format = DateTime)]
    pub activated_at: Timestamp,
    /// Until when it is taken back should it fail too often. None after it was gone back to.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub watched_until: Option<Timestamp>,
}

impl DesiredSlot {
    /// A slot that nobody touched.
    #[must_use]
    pub const fn untouched(slot: SlotName) -> Self {
        Self {
            slot,
            generation: 0,
            active: None,
            history: Vec::new(),
            rollout: None,
            activated_at: Timestamp(0),
            watched_until: None,
        }
    }

    /// The release to go back to: none is the bundled policy.
    #[must_use]
    pub fn previous(&self) -> Option<&str> {
        self.history.last().map(String::as_str)
    }

    /// With another active release. A rollout of that very release is over; of another one it goes on.
    #[must_use]
    pub fn activated(&self, release_id: &str, now: Timestamp) -> Self {
        let mut next = self.clone();
        if next
            .rollout
            .as_ref()
            .is_some_and(|rollout| rollout.release_id == release_id)
        {
            next.rollout = None;
        }
        if self.active.as_deref() == Some(release_id) {
            return next;
        }
        next.history.retain(|id| id != release_id);
        next.history.extend(self.active.clone());
        let surplus = next.history.len().saturating_sub(MAX_HISTORY);
        next.history.drain(..surplus);
        next.active = Some(release_id.to_owned());
        next.activated_at = now;
        next.watched_until = Some(now.plus_seconds(WATCH_SECONDS));
        next
    }

    /// Back by one release; with `to`, to that one, which must have served before. A rollout is over. None when there is nothing to
    /// go back to.
    #[must_use]
    pub fn rolled_back(&self, to: Option<&str>, now: Timestamp) -> Option<Self> {
        let mut next = self.clone();
        next.rollout = None;
        next.activated_at = now;
        next.watched_until = None;
        match to {
            Some(wanted) => {
                let place = self.history.iter().rposition(|id| id == wanted)?;
                next.history.truncate(place);
                next.active = Some(wanted.to_owned());
            }
            None => {
                self.active.as_ref()?;
                next.active = next.history.pop();
            }
        }
        Some(next)
    }

    /// With a candidate.
    #[must_use]
    pub fn rolling_out(&self, rollout: Rollout) -> Self {
        Self {
            rollout: Some(rollout),
            ..self.clone()
        }
    }

    /// Without a candidate; none when there is none.
    #[must_use]
    pub fn halted(&self) -> Option<Self> {
        self.rollout.as_ref()?;
        Some(Self {
            rollout: None,
            ..self.clone()
        })
    }

    /// With the candidate as the active release; none when there is none.
    #[must_use]
    pub fn promoted(&self, now: Timestamp) -> Option<Self> {
        let rollout = self.rollout.as_ref()?;
        Some(self.activated(&rollout.release_id, now))
    }

    /// Every release that this state may need.
    pub fn needed(&self) -> impl Iterator<Item = &str> {
        let candidate = self.rollout.as_ref().map(|rollout| rollout.release_id.as_str());
        self.active
            .as_deref()
            .into_iter()
            .chain(candidate)
            .chain(self.history.iter().map(String::as_str))
    }
}

/// What was done to a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuditAction {
    Upload,
    Activate,
    Rollout,
    Promote,
    Halt,
    Rollback,
}

impl AuditAction {
    const ALL: [Self; 6] = [
        Self::Upload,
        Self::Activate,
        Self::Rollout,
        Self::Promote,
        Self::Halt,
        Self::Rollback,
    ];

    /// The name in records and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Upload => "upload",
            Self::Activate => "activate",
            Self::Rollout => "rollout",
            Self::Promote => "promote",
            Self::Halt => "halt",
            Self::Rollback => "rollback",
        }
    }

    /// Reads a name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == text)
    }
}

/// Who did what to a slot, when and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    pub slot: SlotName,
    /// `operator`, or `gate` and the node that judged.
    pub who: String,
    pub action: AuditAction,
    /// The release it was about; none: the bundled policy.
    pub release_id: Option<String>,
    /// The generation that it made, none when nothing is desired otherwise.
    pub generation: Option<u64>,
    /// Why, as the caller or the gate said.
    pub why: String,
}

/// What one node says of one slot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeReport {
    pub node: String,
    pub slot: SlotName,
    /// The generation it knows.
    pub generation: u64,
    /// What it was told to run, what it runs and what it would go back to. None: the bundled policy; `file`: one of its own folder.
    pub desired: Option<String>,
    pub active: Option<String>,
    pub previous: Option<String>,
    /// Why it does not run what it was told.
    pub error: Option<String>,
    /// When it last changed what it runs.
    #[schema(value_type = String, format = DateTime)]
    pub changed_at: Timestamp,
    /// When it said so.
    #[schema(value_type = String, format = DateTime)]
    pub seen_at: Timestamp,
    /// What it saw of the candidate of this generation.
    pub rollout: Option<RolloutCounts>,
}

#[cfg(test)]
mod tests;
