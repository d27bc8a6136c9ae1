//! What one release showed: calls, failures by kind, times, memory. Written by every call, so each thread writes to a place
//! of its own where it can.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::failure::FailureKind;
use super::latency::{Latency, STEPS};

/// Places for the counts of answers; the cells of a slot share them when they are more.
const PLACES: usize = 32;

/// Kept apart by two cache lines, so that threads do not disturb each other.
#[repr(align(128))]
#[derive(Default)]
struct Place(AtomicU64);

/// The counts of one release since it was loaded.
pub struct Tally {
    answered: Box<[Place]>,
    failures: [AtomicU64; FailureKind::ALL.len()],
    times: Box<[AtomicU32]>,
    peak_memory: AtomicUsize,
    instances: Arc<AtomicUsize>,
}

/// The counts at one moment.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Calls that were answered.
    pub answered: u64,
    /// By kind, in the order of `FailureKind::ALL`.
    pub failures: [u64; FailureKind::ALL.len()],
    pub times: Latency,
}

impl Seen {
    /// Calls that failed by the policy's own fault: a call that found every instance busy says nothing of it.
    #[must_use]
    pub fn failed(&self) -> u64 {
        FailureKind::ALL
            .iter()
            .zip(self.failures)
            .filter(|(kind, _)| **kind != FailureKind::Busy)
            .map(|(_, count)| count)
            .sum()
    }

    /// What came since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut failures = self.failures;
        for (now, then) in failures.iter_mut().zip(before.failures) {
            *now = now.saturating_sub(then);
        }
        Self {
            answered: self.answered.saturating_sub(before.answered),
            failures,
            times: self.times.since(&before.times),
        }
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            answered: (0..PLACES).map(|_| Place::default()).collect(),
            failures: Default::default(),
            times: (0..STEPS).map(|_| AtomicU32::new(0)).collect(),
            peak_memory: AtomicUsize::new(0),
            instances: Arc::default(),
        }
    }
}

impl Tally {
    /// Counts an answer that was given in this cell. One thread at a time holds a cell.
    pub fn answered(&self, cell: usize) {
        if let Some(place) = self.answered.get(cell % PLACES) {
            place.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a failed call.
    pub fn failed(&self, kind: FailureKind) {
        if let Some(counter) = self.failures.get(kind as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts the time of a call.
    pub fn timed(&self, took: Duration) {
        if let Some(count) = self.times.get(Latency::step(took)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes how much memory an instance has.
    pub fn memory(&self, bytes: usize) {
        if self.peak_memory.load(Ordering::Relaxed) < bytes {
            self.peak_memory.fetch_max(bytes, Ordering::Relaxed);
        }
    }

    /// The most memory that one instance had, in bytes.
    #[must_use]
    pub fn peak_memory(&self) -> usize {
        self.peak_memory.load(Ordering::Relaxed)
    }

    /// Instances that are alive.
    #[must_use]
    pub fn instances(&self) -> usize {
        self.instances.load(Ordering::Relaxed)
    }

    /// Counts an instance for as long as the answer lives.
    pub(super) fn alive(&self) -> Alive {
        self.instances.fetch_add(1, Ordering::Relaxed);
        Alive(Arc::clone(&self.instances))
    }

    /// The counts now.
    #[must_use]
    pub fn seen(&self) -> Seen {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Seen {
            answered: self.answered.iter().map(|place| load(&place.0)).sum(),
            failures: std::array::from_fn(|kind| self.failures.get(kind).map_or(0, load)),
            times: Latency::of(self.times.iter().map(|count| count.load(Ordering::Relaxed))),
        }
    }
}

/// One living instance.
pub(super) struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
