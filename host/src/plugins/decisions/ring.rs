//! The latest decisions of a slot. Bounded in number and in bytes, and split, so that threads rarely meet: one that finds every
//! part locked drops its decision and counts. The ring is also the queue of the file: what is pushed out before it was written
//! is lost to the file, and counted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::kept::{Kept as _, RINGS};
use super::record::Record;
use crate::plugins::worlds::World;

/// Parts of a ring.
const PARTS: usize = 4;

/// The latest decisions.
pub struct Ring<W: World> {
    parts: Box<[Part<W>]>,
    /// Entries of one part's ring.
    most: usize,
    /// Bytes of one part's ring.
    heaviest: usize,
    /// Whether somebody takes what was not written.
    written: bool,
    dropped: AtomicU64,
}

/// Kept apart by two cache lines, so that threads do not disturb each other.
#[repr(align(128))]
struct Part<W: World>(Mutex<Inner<W>>);

struct Inner<W: World> {
    rings: [Entries<W>; RINGS],
    recorded: u64,
}

struct Entries<W: World> {
    /// Oldest first.
    records: VecDeque<Arc<Record<W>>>,
    weight: usize,
    /// How many of the newest were not written yet.
    unwritten: usize,
}

impl<W: World> Default for Entries<W> {
    fn default() -> Self {
        Self {
            records: VecDeque::new(),
            weight: 0,
            unwritten: 0,
        }
    }
}

impl<W: World> Ring<W> {
    /// A ring of `size` decisions of each kind, at least one, which hold on to `bytes` at most.
    pub(super) fn new(size: usize, bytes: usize, written: bool) -> Self {
        let parts = size.clamp(1, PARTS);
        let part = |_| {
            let inner = Inner {
                rings: Default::default(),
                recorded: 0,
            };
            Part(Mutex::new(inner))
        };
        Self {
            parts: (0..parts).map(part).collect(),
            most: size.div_ceil(parts).max(1),
            heaviest: bytes / parts / RINGS,
            written,
            dropped: AtomicU64::new(0),
        }
    }

    /// Keeps a decision, if a part of the ring is free. Never waits.
    pub(super) fn push(&self, record: Arc<Record<W>>) {
        let first = usize::try_from(record.id.number).unwrap_or(0) % self.parts.len();
        let (before, after) = self.parts.split_at(first);
        let Some(mut inner) = after.iter().chain(before).find_map(|part| part.0.try_lock()) else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        inner.recorded += 1;
        let ring = &mut inner.rings[record.kept.ring().min(RINGS - 1)];
        ring.weight += record.weight();
        ring.records.push_back(record);
        ring.unwritten += usize::from(self.written);
        let mut gone = None;
        let mut lost = 0;
        while ring.records.len() > self.most || (ring.weight > self.heaviest && ring.records.len() > 1) {
            lost += u64::from(ring.unwritten == ring.records.len());
            ring.unwritten = ring.unwritten.min(ring.records.len() - 1);
            gone = ring.records.pop_front();
            ring.weight -= gone.as_ref().map_or(0, |gone| gone.weight());
        }
        drop(inner);
        drop(gone);
        if lost > 0 {
            self.dropped.fetch_add(lost, Ordering::Relaxed);
        }
    }

    /// The decisions that are kept, newest first.
    pub(super) fn newest(&self) -> Vec<Arc<Record<W>>> {
        let mut all = Vec::new();
        for part in &self.parts {
            let inner = part.0.lock();
            all.extend(inner.rings.iter().flat_map(|ring| &ring.records).cloned());
        }
        all.sort_unstable_by_key(|record| std::cmp::Reverse(record.id.number));
        all
    }

    /// The decisions that were not taken yet, oldest first.
    pub(super) fn take_unwritten(&self) -> Vec<Arc<Record<W>>> {
        let mut all = Vec::new();
        for part in &self.parts {
            let mut inner = part.0.lock();
            for ring in &mut inner.rings {
                let old = ring.records.len() - ring.unwritten.min(ring.records.len());
                all.extend(ring.records.range(old..).cloned());
                ring.unwritten = 0;
            }
        }
        all.sort_unstable_by_key(|record| record.id.number);
        all
    }

    /// How many were kept, and how many dropped.
    pub(super) fn counts(&self) -> (u64, u64) {
        let recorded = self.parts.iter().map(|part| part.0.lock().recorded).sum();
        (recorded, self.dropped.load(Ordering::Relaxed))
    }

    /// Counts decisions that the file did not get.
    pub(super) fn lost(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }
}
