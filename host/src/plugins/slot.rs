//! One slot: the release in it, instances kept per worker, counters, and the swap. Knows nothing of files or worlds.
//!
//! A call loads one pointer and takes one uncontended lock: the slot keeps several cells, each with one instance and its
//! own counters, and every thread starts at a cell of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use parking_lot::{Mutex, MutexGuard};

use super::failure::{Failure, FailureKind, Refusal};
use super::instance::{Instance, Release, Source};
use super::latency::Latency;
use super::worlds::World;
use crate::domain::clock::{Clock, SystemClock, Timestamp};

/// The last time a policy was refused.
#[derive(Clone, Debug)]
pub struct LastRefusal {
    pub refusal: Refusal,
    pub source: Source,
    pub at: Timestamp,
}

/// The last time a call failed.
#[derive(Clone, Debug)]
pub struct LastFailure {
    pub failure: Failure,
    pub at: Timestamp,
}

/// One slot.
pub struct Slot<W: World> {
    current: ArcSwapOption<Release<W>>,
    cells: Box<[Cell<W>]>,
    failures: [AtomicU64; FailureKind::ALL.len()],
    /// Locked for the exchange, so that a report shows a release together with its swap. No call takes it.
    swaps: Mutex<u64>,
    refusals: AtomicU64,
    last_refusal: Mutex<Option<LastRefusal>>,
    last_failure: Mutex<Option<LastFailure>>,
    histogram: prometheus::Histogram,
}

/// Kept apart by two cache lines, so that threads do not disturb each other.
#[repr(align(128))]
struct Cell<W: World> {
    inner: Mutex<Inner<W>>,
    /// Calls that the component answered here. Written under the lock only, read without it.
    component: AtomicU64,
    native: AtomicU64,
}

/// An instance with the release it is of.
type Kept<W> = (Arc<Release<W>>, Box<Instance<W>>);

struct Inner<W: World> {
    instance: Option<Kept<W>>,
    latency: Latency,
}

/// What a slot has counted.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Calls that the component answered.
    pub component: u64,
    /// Calls that the native default answered.
    pub native: u64,
    /// By kind, in the order of `FailureKind::ALL`.
    pub failures: [u64; FailureKind::ALL.len()],
    pub swaps: u64,
    pub refusals: u64,
    pub latency: Latency,
}

impl<W: World> Slot<W> {
    /// An empty slot: the native default answers. `histogram` gets the timed calls.
    #[must_use]
    pub fn new(cells: usize, histogram: prometheus::Histogram) -> Self {
        let cell = |_| Cell {
            inner: Mutex::new(Inner {
                instance: None,
                latency: Latency::default(),
            }),
            component: AtomicU64::new(0),
            native: AtomicU64::new(0),
        };
        Self {
            current: ArcSwapOption::empty(),
            cells: (0..cells.max(1)).map(cell).collect(),
            failures: std::array::from_fn(|_| AtomicU64::new(0)),
            swaps: Mutex::new(0),
            refusals: AtomicU64::new(0),
            last_refusal: Mutex::new(None),
            last_failure: Mutex::new(None),
            histogram,
        }
    }

    /// Asks the policy in the slot. None when there is none, when it is held back, or when it failed: the caller then asks
    /// the native default.
    pub fn call<R>(&self, ticks: u64, ask: impl FnOnce(&mut Instance<W>) -> Result<R, Failure>) -> Option<R> {
        let home = thread_number() % self.cells.len();
        let answer = self.try_call(home, ticks, ask);
        if answer.is_none()
            && let Some(cell) = self.cells.get(home)
        {
            cell.native.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    fn try_call<R>(
        &self,
        home: usize,
        ticks: u64,
        ask: impl FnOnce(&mut Instance<W>) -> Result<R, Failure>,
    ) -> Option<R> {
        let current = self.current.load();
        let release = current.as_ref()?;
        if !release.breaker.admits() {
            return None;
        }
        let Some((answered, mut cell)) = self.free_cell(home) else {
            self.count(&Failure {
                kind: FailureKind::Busy,
                detail: "every instance is busy".to_owned(),
            });
            return None;
        };
        let calls = answered.load(Ordering::Relaxed);
        let started = calls.is_multiple_of(W::SAMPLE).then(Instant::now);
        // Out of the cell for the time of the call: whatever ends it badly, the cell is left without it.
        let kept = cell
            .instance
            .take()
            .filter(|(of, instance)| Arc::ptr_eq(of, release) && !instance.is_worn());
        let made = match kept {
            Some(kept) => Ok(kept),
            None => release
                .instance()
                .map(|instance| (Arc::clone(release), Box::new(instance))),
        };
        let outcome = made.and_then(|(of, mut instance)| {
            let answer = instance.run(ticks, ask)?;
            cell.instance = Some((of, instance));
            Ok(answer)
        });
        match outcome {
            Ok(answer) => {
                answered.store(calls + 1, Ordering::Relaxed);
                if let Some(started) = started {
                    let took = started.elapsed();
                    cell.latency.add(took);
                    self.histogram.observe(took.as_secs_f64());
                }
                if release.breaker.succeeded() {
                    tracing::info!(slot = W::SLOT.as_str(), "the policy answers again");
                }
                Some(answer)
            }
            Err(failure) => {
                drop(cell);
                self.failed(release, failure);
                None
            }
        }
    }

    /// A cell that no other thread uses at the moment, the caller's own first.
    fn free_cell(&self, home: usize) -> Option<(&AtomicU64, MutexGuard<'_, Inner<W>>)> {
        let (before, after) = self.cells.split_at(home);
        after
            .iter()
            .chain(before)
            .find_map(|cell| Some((&cell.component, cell.inner.try_lock()?)))
    }

    fn failed(&self, release: &Release<W>, failure: Failure) {
        let paused = release.breaker.failed();
        let slot = W::SLOT.as_str();
        if let Some(pause) = paused {
            tracing::warn!(slot, kind = failure.kind.as_str(), detail = %failure.detail, pause_ms = pause.as_millis(),
                "the policy keeps failing; the native default answers");
        } else {
            tracing::debug!(slot, kind = failure.kind.as_str(), detail = %failure.detail, "the policy failed");
        }
        self.count(&failure);
        *self.last_failure.lock() = Some(LastFailure {
            failure,
            at: SystemClock.now(),
        });
    }

    fn count(&self, failure: &Failure) {
        if let Some(counter) = self.failures.get(failure.kind as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a call that never got its turn.
    pub fn no_turn(&self) {
        self.count(&Failure {
            kind: FailureKind::Busy,
            detail: String::new(),
        });
        if let Some(cell) = self.cells.first() {
            cell.native.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Puts a release into the slot with one pointer exchange. Calls in flight end on the release they started on. Every
    /// worker that has an instance gets one of the new release, so that no call has to wait for one.
    pub fn install(&self, release: Arc<Release<W>>, tried: Option<Instance<W>>) {
        {
            let mut swaps = self.swaps.lock();
            *swaps += u64::from(self.current.swap(Some(Arc::clone(&release))).is_some());
        }
        let mut tried = tried.map(Box::new);
        for (number, cell) in self.cells.iter().enumerate() {
            let used = cell.inner.lock().instance.is_some();
            if !used && number > 0 {
                continue;
            }
            let fresh = tried.take().or_else(|| release.instance().ok().map(Box::new));
            let mut inner = cell.inner.lock();
            let stale = inner.instance.as_ref().is_none_or(|(of, _)| !Arc::ptr_eq(of, &release));
            let old = if stale {
                std::mem::replace(
                    &mut inner.instance,
                    fresh.map(|instance| (Arc::clone(&release), instance)),
                )
            } else {
                None
            };
            drop(inner);
            drop(old);
        }
    }

    /// Notes that a policy did not get the slot.
    pub fn refuse(&self, source: Source, refusal: Refusal) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(slot = W::SLOT.as_str(), source = %source.shown(), step = refusal.step.as_str(),
            reason = %refusal.reason, "policy refused; nothing changes");
        *self.last_refusal.lock() = Some(LastRefusal {
            refusal,
            source,
            at: SystemClock.now(),
        });
    }

    /// The release in the slot.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Release<W>>> {
        self.current.load_full()
    }

    /// The release in the slot, and how many swaps brought it there.
    #[must_use]
    pub fn current_with_swaps(&self) -> (Option<Arc<Release<W>>>, u64) {
        let swaps = self.swaps.lock();
        (self.current(), *swaps)
    }

    /// The last refusal.
    #[must_use]
    pub fn last_refusal(&self) -> Option<LastRefusal> {
        self.last_refusal.lock().clone()
    }

    /// The last failed call.
    #[must_use]
    pub fn last_failure(&self) -> Option<LastFailure> {
        self.last_failure.lock().clone()
    }

    /// What was counted since the start. Never waits: the times of a worker that is in a call are left out.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            swaps: *self.swaps.lock(),
            refusals: self.refusals.load(Ordering::Relaxed),
            ..Counts::default()
        };
        for (sum, counter) in counts.failures.iter_mut().zip(&self.failures) {
            *sum = counter.load(Ordering::Relaxed);
        }
        for cell in &self.cells {
            counts.native += cell.native.load(Ordering::Relaxed);
            counts.component += cell.component.load(Ordering::Relaxed);
            if let Some(inner) = cell.inner.try_lock() {
                counts.latency.merge(&inner.latency);
            }
        }
        counts
    }
}

/// A small number of the calling thread, the same for its whole life.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.with(|number| *number)
}
