//! One cell of a slot: what a thread needs to call a policy, for itself as long as nobody else has to share it. The slot decides
//! what is in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::instance::{Instance, Release};
use super::ladder::Ladder;
use super::latency::Latency;
use super::worlds::World;
use crate::ports::policies::Rung;

/// Releases that answer, in the order of `Cell::answered`.
pub(super) const ANSWERING: [Rung; 3] = [Rung::Candidate, Rung::Component, Rung::Previous];

/// Kept apart by two cache lines, so that threads do not disturb each other.
#[repr(align(128))]
pub(super) struct Cell<W: World> {
    pub(super) inner: Mutex<Inner<W>>,
    /// Calls that a release answered here, in the order of `ANSWERING`. Written under the lock only, read without it.
    pub(super) answered: [AtomicU64; ANSWERING.len()],
    pub(super) native: AtomicU64,
}

impl<W: World> Default for Cell<W> {
    fn default() -> Self {
        Self {
            inner: Mutex::new(Inner {
                ladder: Arc::default(),
                instances: Instances {
                    kept: [const { None }; ANSWERING.len()],
                    latency: Latency::default(),
                },
            }),
            answered: Default::default(),
            native: AtomicU64::new(0),
        }
    }
}

/// A cell with its number, taken by one thread.
pub(super) type Taken<'a, W> = (usize, &'a Cell<W>, MutexGuard<'a, Inner<W>>);

/// What is under the lock.
pub(super) struct Inner<W: World> {
    pub(super) ladder: Arc<Ladder<W>>,
    pub(super) instances: Instances<W>,
}

impl<W: World> Inner<W> {
    /// Goes by this ladder from now on, with an instance of its active release if it has none. Gives back what is gone.
    pub(super) fn go_by(&mut self, ladder: &Arc<Ladder<W>>, fresh: Option<Kept<W>>) -> impl Sized + use<W> {
        let gone = self
            .instances
            .kept
            .each_mut()
            .map(|place| place.take_if(|(of, _)| !ladder.has(of)));
        let surplus = fresh.and_then(|fresh| self.instances.add(fresh));
        (std::mem::replace(&mut self.ladder, Arc::clone(ladder)), gone, surplus)
    }
}

/// An instance with the release it is of.
pub(super) type Kept<W> = (Arc<Release<W>>, Box<Instance<W>>);

/// The instances of a cell, at most one of each release, and how long they took.
pub(super) struct Instances<W: World> {
    kept: [Option<Kept<W>>; ANSWERING.len()],
    pub(super) latency: Latency,
}

impl<W: World> Instances<W> {
    /// Whether one of this release is missing: the cell is in use, or is to be at once.
    pub(super) fn lacks(&self, release: &Arc<Release<W>>, at_once: bool) -> bool {
        (at_once || self.kept.iter().any(Option::is_some)) && !self.has(release)
    }

    fn has(&self, release: &Arc<Release<W>>) -> bool {
        self.kept.iter().flatten().any(|(of, _)| Arc::ptr_eq(of, release))
    }

    /// The one of this release.
    pub(super) fn take(&mut self, release: &Arc<Release<W>>) -> Option<Kept<W>> {
        self.kept
            .iter_mut()
            .find_map(|place| place.take_if(|(of, _)| Arc::ptr_eq(of, release)))
    }

    /// Puts one back that was taken. Gives back what had no place.
    pub(super) fn put(&mut self, kept: Kept<W>) -> Option<Kept<W>> {
        match self.kept.iter_mut().find(|place| place.is_none()) {
            Some(place) => place.replace(kept),
            None => Some(kept),
        }
    }

    /// Adds one, unless there is one of its release. Gives back what is surplus.
    fn add(&mut self, kept: Kept<W>) -> Option<Kept<W>> {
        if self.has(&kept.0) { Some(kept) } else { self.put(kept) }
    }
}

/// A small number of the calling thread, the same for its whole life.
pub(super) fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.with(|number| *number)
}
