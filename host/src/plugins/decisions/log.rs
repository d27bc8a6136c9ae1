//! The decision log of one slot: off until it is opened, then a share of the calls in a ring.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::record::{DecisionId, LoggedDecision, Record};
use super::ring::Ring;
use crate::plugins::limits;
use crate::plugins::worlds::World;
use crate::telemetry::sampling::Share;

/// The log of one slot.
pub struct DecisionLog<W: World> {
    share: Share,
    open: OnceLock<Open<W>>,
}

struct Open<W: World> {
    origin: u32,
    next: AtomicU64,
    ring: Ring<W>,
}

/// Which decisions are wanted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this session alone.
    pub session_id: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// What became of sampled decisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// Kept in the ring.
    pub recorded: u64,
    /// Not kept because every part of the ring was busy, or lost to the file.
    pub dropped: u64,
}

impl<W: World> Default for DecisionLog<W> {
    fn default() -> Self {
        Self {
            share: Share::default(),
            open: OnceLock::new(),
        }
    }
}

impl<W: World> DecisionLog<W> {
    /// Keeps the last `size` of this share (0 to 1) of the calls from now on. `origin` is in the ids, `written` says that
    /// somebody takes what is to be written. Once; later calls change the share alone.
    pub fn open(&self, origin: u32, size: usize, share: f64, written: bool) {
        self.open.get_or_init(|| Open {
            origin,
            next: AtomicU64::new(1),
            ring: Ring::new(size, limits::DECISION_BYTES, written),
        });
        self.share.set(if size == 0 { 0.0 } else { share });
    }

    /// Whether this call is one to keep.
    #[must_use]
    pub fn samples(&self) -> bool {
        self.share.takes()
    }

    /// The next id. The first digits are 0 while the log is not open.
    pub(super) fn next_id(&self) -> DecisionId {
        let open = self.open.get();
        DecisionId {
            origin: open.map_or(0, |open| open.origin),
            slot: W::SLOT,
            number: open.map_or(0, |open| open.next.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// Keeps a decision. Never waits.
    pub(super) fn keep(&self, record: Arc<Record<W>>) {
        if let Some(open) = self.open.get() {
            open.ring.push(record);
        }
    }

    /// The decisions that pass the filter, newest first, as long as their JSON is not too much.
    #[must_use]
    pub fn find(&self, filter: &Filter) -> Vec<LoggedDecision> {
        let Some(open) = self.open.get() else {
            return Vec::new();
        };
        let passes = |record: &&Arc<Record<W>>| {
            let wanted = filter.session_id.as_deref();
            wanted.is_none() || record.session() == wanted
        };
        let mut weight = 0;
        open.ring
            .newest()
            .iter()
            .filter(passes)
            .take(filter.limit)
            .take_while(|record| {
                let first = weight == 0;
                weight += record.weight();
                first || weight <= limits::DECISIONS_SHOWN_BYTES
            })
            .filter_map(|record| record.logged().ok())
            .collect()
    }

    /// One decision, none when it is not kept, or not any more.
    #[must_use]
    pub fn get(&self, id: DecisionId) -> Option<LoggedDecision> {
        let open = self.open.get()?;
        let known = open.ring.newest().into_iter().find(|record| record.id == id)?;
        known.logged().ok()
    }

    /// Appends what was not written yet, a line for each. Answers how many lines that are.
    pub fn write_to(&self, lines: &mut Vec<u8>) -> u64 {
        let Some(open) = self.open.get() else { return 0 };
        let mut written = 0;
        for record in open.ring.take_unwritten() {
            match record.line() {
                Ok(line) => {
                    lines.extend_from_slice(line.as_bytes());
                    lines.push(b'\n');
                    written += 1;
                }
                Err(_) => open.ring.lost(1),
            }
        }
        written
    }

    /// Counts decisions that could not be written.
    pub fn lost(&self, count: u64) {
        if let Some(open) = self.open.get() {
            open.ring.lost(count);
        }
    }

    /// What became of sampled decisions.
    #[must_use]
    pub fn counts(&self) -> LogCounts {
        let Some(open) = self.open.get() else {
            return LogCounts::default();
        };
        let (recorded, dropped) = open.ring.counts();
        LogCounts { recorded, dropped }
    }
}
