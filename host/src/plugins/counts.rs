//! What a slot has counted since the start, as reports and metrics read it. Counts nothing itself.

use super::failure::FailureKind;
use super::latency::Latency;
use crate::ports::policies::Rung;

/// What a slot has counted.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Calls by who answered: the candidate, the active release, the previous one, the native default, the static decision.
    pub candidate: u64,
    pub component: u64,
    pub previous: u64,
    pub native: u64,
    pub fixed: u64,
    /// By kind, in the order of `FailureKind::ALL`.
    pub failures: [u64; FailureKind::ALL.len()],
    pub swaps: u64,
    pub refusals: u64,
    pub latency: Latency,
}

impl Counts {
    /// Calls by who answered.
    #[must_use]
    pub const fn by_rung(&self) -> [(Rung, u64); 5] {
        [
            (Rung::Candidate, self.candidate),
            (Rung::Component, self.component),
            (Rung::Previous, self.previous),
            (Rung::Native, self.native),
            (Rung::Static, self.fixed),
        ]
    }

    /// All calls.
    #[must_use]
    pub const fn calls(&self) -> u64 {
        self.candidate + self.component + self.previous + self.native + self.fixed
    }
}
