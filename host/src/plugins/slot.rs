//! One slot: the ladder of releases in it, instances kept per worker, counters, and the swap. Knows nothing of files,
//! records or worlds.
//!
//! A call takes one uncontended lock: the slot keeps several cells, each with the ladder, an instance of each release and its
//! own counters, and every thread starts at a cell of its own. An exchange goes through all cells.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::cell::{ANSWERING, Cell, Inner, Instances, Kept, Taken, thread_number};
use super::counts::Counts;
use super::decisions::DecisionLog;
use super::delivery::shadow::Shadow;
use super::delivery::standing::Standing;
use super::failure::{Failure, FailureKind, Refusal};
use super::instance::{Instance, Release, Source};
use super::ladder::{Answered, Ladder, Skipped};
use super::worlds::World;
use crate::domain::clock::{Clock, SystemClock, Timestamp};
use crate::ports::policies::Rung;

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
    ladder: ArcSwap<Ladder<W>>,
    /// Taken for a whole exchange: all cells end with the ladder of the last one.
    exchanging: Mutex<()>,
    cells: Box<[Cell<W>]>,
    failures: [AtomicU64; FailureKind::ALL.len()],
    fixed: AtomicU64,
    /// Locked for the exchange, so that a report shows a release together with its swap. No call takes it.
    swaps: Mutex<u64>,
    refusals: AtomicU64,
    last_refusal: Mutex<Option<LastRefusal>>,
    last_failure: Mutex<Option<LastFailure>>,
    histogram: prometheus::Histogram,
    pub(super) standing: Standing<W>,
    pub(super) shadow: Shadow<W>,
    pub(super) log: DecisionLog<W>,
}

impl<W: World> Slot<W> {
    /// An empty slot: the native default answers. `histogram` gets the timed calls.
    #[must_use]
    pub fn new(cells: usize, histogram: prometheus::Histogram) -> Self {
        Self {
            ladder: ArcSwap::default(),
            exchanging: Mutex::new(()),
            cells: (0..cells.max(1)).map(|_| Cell::default()).collect(),
            failures: Default::default(),
            fixed: AtomicU64::new(0),
            swaps: Mutex::new(0),
            refusals: AtomicU64::new(0),
            last_refusal: Mutex::new(None),
            last_failure: Mutex::new(None),
            histogram,
            standing: Standing::default(),
            shadow: Shadow::default(),
            log: DecisionLog::default(),
        }
    }

    /// Asks the releases in the slot, one after the other until one answers: the candidate if it takes this key, the active
    /// one, the previous one. When there is none, when all are held back, or when all failed, the caller then asks the native
    /// default. `key` is what must not meet two policies; it is only asked for during a rollout.
    ///
    /// # Errors
    ///
    /// Why the first of them did not answer; none when there is none.
    pub fn call<R>(
        &self,
        key: impl Fn() -> Option<u64>,
        ticks: u64,
        ask: impl Fn(&mut Instance<W>) -> Result<R, Failure>,
    ) -> Result<Answered<R>, Option<Skipped>> {
        let home = thread_number() % self.cells.len();
        let Some((number, cell, mut inner)) = self.free_cell(home) else {
            if let Some(cell) = self.cells.get(home) {
                cell.native.fetch_add(1, Ordering::Relaxed);
            }
            return Err(self.no_cell());
        };
        let answered = self.go_down((number, cell, &mut inner), key, ticks, &ask);
        drop(inner);
        if answered.is_err() {
            cell.native.fetch_add(1, Ordering::Relaxed);
        }
        answered
    }

    /// Every cell is in use. Why no release answers then.
    fn no_cell(&self) -> Option<Skipped> {
        let ladder = self.ladder.load();
        let release = ladder.active.as_ref().or(ladder.previous.as_ref())?;
        if release.breaker.is_open() {
            return Some(Skipped::HeldBack);
        }
        self.count(&Failure {
            kind: FailureKind::Busy,
            detail: "every instance is busy".to_owned(),
        });
        release.tally.failed(FailureKind::Busy);
        Some(Skipped::Failed(FailureKind::Busy))
    }

    /// Asks one release after the other.
    fn go_down<R>(
        &self,
        (number, cell, inner): (usize, &Cell<W>, &mut Inner<W>),
        key: impl Fn() -> Option<u64>,
        ticks: u64,
        ask: &impl Fn(&mut Instance<W>) -> Result<R, Failure>,
    ) -> Result<Answered<R>, Option<Skipped>> {
        let Inner { ladder, instances } = inner;
        let canary = ladder
            .canary
            .as_ref()
            .filter(|canary| key().is_some_and(|key| canary.takes(key)))
            .map(|canary| &canary.release);
        let rungs = [canary, ladder.active.as_ref(), ladder.previous.as_ref()];
        let mut skipped = None;
        for ((release, answers), rung) in rungs.into_iter().zip(&cell.answered).zip(ANSWERING) {
            let Some(release) = release else { continue };
            match self.attempt((number, answers, instances), release, ticks, ask) {
                Ok(answer) => {
                    return Ok(Answered {
                        answer,
                        rung,
                        release: Some(release.tag),
                        skipped,
                    });
                }
                Err(why) => skipped = skipped.or(Some(why)),
            }
        }
        Err(skipped)
    }

    /// What one release answers.
    fn attempt<R>(
        &self,
        (number, answered, instances): (usize, &AtomicU64, &mut Instances<W>),
        release: &Arc<Release<W>>,
        ticks: u64,
        ask: &impl Fn(&mut Instance<W>) -> Result<R, Failure>,
    ) -> Result<R, Skipped> {
        if !release.breaker.admits() {
            return Err(Skipped::HeldBack);
        }
        let calls = answered.load(Ordering::Relaxed);
        let started = calls.is_multiple_of(W::SAMPLE).then(Instant::now);
        // Out of the cell for the time of the call: whatever ends it badly, the cell is left without it.
        let kept = instances.take(release).filter(|(_, instance)| !instance.is_worn());
        let made = match kept {
            Some(kept) => Ok(kept),
            None => release
                .instance()
                .map(|instance| (Arc::clone(release), Box::new(instance))),
        };
        let outcome = made.and_then(|(of, mut instance)| {
            let answer = instance.run(ticks, ask)?;
            release.tally.memory(instance.memory());
            // An exchange that leaves this release out waits for the cell, to clean it.
            drop(instances.put((of, instance)));
            Ok(answer)
        });
        match outcome {
            Ok(answer) => {
                answered.store(calls + 1, Ordering::Relaxed);
                release.tally.answered(number);
                if let Some(started) = started {
                    let took = started.elapsed();
                    instances.latency.add(took);
                    release.tally.timed(took);
                    release.observe(took);
                    self.histogram.observe(took.as_secs_f64());
                }
                if release.breaker.succeeded() {
                    tracing::info!(
                        slot = W::SLOT.as_str(),
                        release = release.tag.as_str(),
                        "the policy answers again"
                    );
                }
                Ok(answer)
            }
            Err(failure) => {
                let kind = failure.kind;
                self.failed(release, failure);
                Err(Skipped::Failed(kind))
            }
        }
    }

    /// A cell that no other thread uses at the moment, the caller's own first.
    fn free_cell(&self, home: usize) -> Option<Taken<'_, W>> {
        let (before, after) = self.cells.split_at(home);
        let numbered = (home..).zip(after).chain((0..).zip(before));
        numbered
            .into_iter()
            .find_map(|(number, cell)| Some((number, cell, cell.inner.try_lock()?)))
    }

    pub(super) fn failed(&self, release: &Release<W>, failure: Failure) {
        let paused = release.breaker.failed();
        let (slot, tag) = (W::SLOT.as_str(), release.tag.as_str());
        if let Some(pause) = paused {
            tracing::warn!(slot, release = tag, kind = failure.kind.as_str(), detail = %failure.detail,
                pause_ms = pause.as_millis(), "the policy keeps failing; the next of its ladder answers");
        } else {
            tracing::debug!(slot, release = tag, kind = failure.kind.as_str(), detail = %failure.detail, "the policy failed");
        }
        self.count(&failure);
        release.tally.failed(failure.kind);
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

    /// The native default's answer; should it panic, the static decision. `skipped` is why no release answered.
    pub fn natively<R>(
        &self,
        skipped: Option<Skipped>,
        native: impl FnOnce() -> R,
        fixed: impl FnOnce() -> R,
    ) -> Answered<R> {
        let answered = |answer, rung| Answered {
            answer,
            rung,
            release: None,
            skipped,
        };
        match catch_unwind(AssertUnwindSafe(native)) {
            Ok(answer) => answered(answer, Rung::Native),
            Err(_) => {
                self.fixed.fetch_add(1, Ordering::Relaxed);
                tracing::error!(
                    slot = W::SLOT.as_str(),
                    "the native default panicked; the static decision stands"
                );
                answered(fixed(), Rung::Static)
            }
        }
    }

    /// Puts one release into the slot, alone.
    pub fn install(&self, release: Arc<Release<W>>, tried: Option<Instance<W>>) {
        let ladder = Ladder {
            active: Some(release),
            ..Ladder::default()
        };
        self.exchange(ladder, tried);
    }

    /// Puts a ladder into the slot. Calls in flight end on the releases they started on. Every cell that has an instance gets one of
    /// the new active release with the ladder, so that no call has to wait for one; instances of releases that are in no place of the
    /// ladder any more are gone when this returns.
    pub(super) fn exchange(&self, ladder: Ladder<W>, tried: Option<Instance<W>>) {
        let ladder = Arc::new(ladder);
        let _last = self.exchanging.lock();
        let mut tried = tried.map(Box::new);
        // Made while calls go on with what there is.
        let fresh: Vec<Option<Kept<W>>> = (self.cells.iter().enumerate())
            .map(|(number, cell)| {
                let active = ladder.active.as_ref()?;
                if !cell.inner.lock().instances.lacks(active, number == 0) {
                    return None;
                }
                let instance = tried.take().or_else(|| active.instance().ok().map(Box::new))?;
                Some((Arc::clone(active), instance))
            })
            .collect();
        {
            let mut swaps = self.swaps.lock();
            let replaces = match (&self.ladder.load().active, &ladder.active) {
                (Some(old), Some(new)) => !Arc::ptr_eq(old, new),
                _ => false,
            };
            self.ladder.store(Arc::clone(&ladder));
            *swaps += u64::from(replaces);
        }
        for (cell, fresh) in self.cells.iter().zip(fresh) {
            // What is gone is freed after the lock.
            let gone = cell.inner.lock().go_by(&ladder, fresh);
            drop(gone);
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

    /// The active release.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Release<W>>> {
        self.ladder.load().active.clone()
    }

    /// The ladder.
    #[must_use]
    pub fn ladder(&self) -> Arc<Ladder<W>> {
        self.ladder.load_full()
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
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let fixed = load(&self.fixed);
        let mut counts = Counts {
            fixed,
            swaps: *self.swaps.lock(),
            refusals: load(&self.refusals),
            ..Counts::default()
        };
        for (sum, counter) in counts.failures.iter_mut().zip(&self.failures) {
            *sum = load(counter);
        }
        for cell in &self.cells {
            let [candidate, component, previous] = &cell.answered;
            counts.candidate += load(candidate);
            counts.component += load(component);
            counts.previous += load(previous);
            counts.native += load(&cell.native);
            if let Some(inner) = cell.inner.try_lock() {
                counts.latency.merge(&inner.instances.latency);
            }
        }
        // Each of these was counted as a native one when no release answered.
        counts.native = counts.native.saturating_sub(fixed);
        counts
    }
}
