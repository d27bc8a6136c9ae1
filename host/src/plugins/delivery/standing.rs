//! What stands in a slot: the releases that are loaded, the file that goes before them, what is desired, and the ladder that
//! follows from it. Every change of a slot goes through here, one at a time.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::shadow::Compared;
use crate::domain::clock::{Clock, SystemClock, Timestamp};
use crate::domain::release::ReleaseRecord;
use crate::domain::rollout::{DesiredSlot, Rollout, RolloutCounts, RolloutMode};
use crate::plugins::instance::{Instance, Release};
use crate::plugins::ladder::{self, Canary, Ladder, PARTS};
use crate::plugins::limits;
use crate::plugins::slot::Slot;
use crate::plugins::tally::Seen;
use crate::plugins::worlds::World;
use crate::ports::delivery::{Health, Running};

/// What a file of the policy folder is called in reports.
const FILE: &str = "file";

/// What stands in one slot.
pub struct Standing<W: World>(Mutex<Inner<W>>);

struct Inner<W: World> {
    /// Loaded releases of records, the latest at the end.
    ready: Vec<Ready<W>>,
    bundled: Option<Arc<Release<W>>>,
    file: Option<Arc<Release<W>>>,
    /// The file as a release, until somebody stores it.
    unstored: Option<(ReleaseRecord, Vec<u8>)>,
    desired: DesiredSlot,
    changed_at: Timestamp,
    /// The counts of the active release when it became active.
    active_from: Seen,
    trial: Option<Trial>,
}

struct Ready<W: World> {
    release: Arc<Release<W>>,
    /// The instance that passed the steps of loading.
    tried: Option<Instance<W>>,
}

/// The counts of both releases when a rollout began on this node.
struct Trial {
    rollout: Rollout,
    candidate: Seen,
    active: Seen,
}

impl<W: World> Default for Standing<W> {
    fn default() -> Self {
        Self(Mutex::new(Inner {
            ready: Vec::new(),
            bundled: None,
            file: None,
            unstored: None,
            desired: DesiredSlot::untouched(W::SLOT),
            changed_at: SystemClock.now(),
            active_from: Seen::default(),
            trial: None,
        }))
    }
}

impl<W: World> Inner<W> {
    fn find(&self, id: &str) -> Option<Arc<Release<W>>> {
        let mut all = self.ready.iter().map(|ready| &ready.release).chain(&self.bundled);
        all.find(|release| release.about.release_id == id).cloned()
    }

    /// The release that is desired; none when it is not ready.
    fn wanted(&self) -> Option<Arc<Release<W>>> {
        match &self.desired.active {
            Some(id) => self.find(id),
            None => self.bundled.clone(),
        }
    }

    fn ladder(&self, now: &Ladder<W>) -> Ladder<W> {
        let serving = self.wanted().or_else(|| now.active.clone());
        let active = self.file.clone().or_else(|| serving.clone());
        let before = if self.file.is_some() {
            serving
        } else {
            self.desired.previous().and_then(|id| self.find(id))
        };
        let is_active = |release: &Arc<Release<W>>| active.as_ref().is_some_and(|active| Arc::ptr_eq(active, release));
        let previous = [before, self.bundled.clone()]
            .into_iter()
            .flatten()
            .find(|release| !is_active(release));
        let rollout = self.desired.rollout.as_ref().filter(|_| self.file.is_none());
        let canary = rollout
            .filter(|rollout| rollout.mode == RolloutMode::Canary)
            .and_then(|rollout| {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    clippy::cast_precision_loss,
                    reason = "a small number"
                )]
                let share = (rollout.percent.clamp(0.0, 100.0) / 100.0 * PARTS as f64).round() as u64;
                Some(Canary {
                    release: self.find(&rollout.release_id).filter(|release| !is_active(release))?,
                    share,
                    salt: ladder::key(&[rollout.release_id.as_bytes()]),
                })
            });
        Ladder {
            canary,
            active,
            previous,
        }
    }
}

impl<W: World> Slot<W> {
    /// Keeps a loaded release ready.
    pub(in crate::plugins) fn keep_ready(&self, release: Arc<Release<W>>, tried: Option<Instance<W>>) {
        let mut inner = self.standing.0.lock();
        let known = inner
            .ready
            .iter()
            .position(|ready| ready.release.about.release_id == release.about.release_id);
        if known.is_none() {
            inner.ready.push(Ready { release, tried });
            let gone = self.prune(&mut inner);
            drop(inner);
            drop(gone);
        }
    }

    /// Whether a release is loaded.
    pub(in crate::plugins) fn has_ready(&self, id: &str) -> bool {
        self.standing.0.lock().find(id).is_some()
    }

    /// Takes the bundled policy.
    pub(in crate::plugins) fn stand_bundled(&self, release: Arc<Release<W>>, tried: Option<Instance<W>>) {
        let mut inner = self.standing.0.lock();
        inner.bundled = Some(release);
        self.rebuild(inner, tried);
    }

    /// Takes a file of the policy folder, or does without one again. `stored` is the file as a release.
    pub(in crate::plugins) fn stand_file(
        &self,
        file: Option<(Arc<Release<W>>, Instance<W>)>,
        stored: Option<(ReleaseRecord, Vec<u8>)>,
    ) {
        let mut inner = self.standing.0.lock();
        let (release, tried) = file.unzip();
        inner.file = release;
        inner.unstored = stored;
        self.rebuild(inner, tried);
    }

    /// The file that goes before what is desired.
    pub(in crate::plugins) fn file(&self) -> Option<Arc<Release<W>>> {
        self.standing.0.lock().file.clone()
    }

    /// The file as a release, once.
    pub(in crate::plugins) fn take_file(&self) -> Option<(ReleaseRecord, Vec<u8>)> {
        self.standing.0.lock().unstored.take()
    }

    /// Has what is ready serve as desired; older states change nothing.
    pub(in crate::plugins) fn stand_as(&self, desired: &DesiredSlot) {
        let mut inner = self.standing.0.lock();
        if desired.generation < inner.desired.generation {
            return;
        }
        inner.desired = desired.clone();
        let wanted = desired.active.as_deref();
        let tried = inner
            .ready
            .iter_mut()
            .find(|ready| Some(ready.release.about.release_id.as_str()) == wanted)
            .and_then(|ready| ready.tried.take());
        self.rebuild(inner, tried);
    }

    fn rebuild(&self, mut inner: MutexGuard<'_, Inner<W>>, tried: Option<Instance<W>>) {
        let now = self.ladder();
        let next = inner.ladder(&now);
        let changes = match (&now.active, &next.active) {
            (Some(now), Some(next)) => !Arc::ptr_eq(now, next),
            (None, None) => false,
            _ => true,
        };
        let active = next.active.clone();
        let tried = tried.filter(|_| changes);
        self.exchange(next, tried);
        if changes {
            inner.changed_at = SystemClock.now();
            inner.active_from = active.as_ref().map(|release| release.tally.seen()).unwrap_or_default();
            if let Some(release) = &active {
                let about = &release.about;
                tracing::info!(slot = W::SLOT.as_str(), release = release.tag.as_str(), source = %about.source.shown(),
                    digest = %about.digest, name = %about.description.name, version = %about.description.version,
                    "policy serves");
            }
        }
        self.stand_trial(&mut inner, active.as_ref());
        let gone = self.prune(&mut inner);
        drop(inner);
        drop(gone);
    }

    /// Begins what a rollout counts from, and turns the shadow on or off.
    fn stand_trial(&self, inner: &mut Inner<W>, active: Option<&Arc<Release<W>>>) {
        let rollout = inner.desired.rollout.clone().filter(|_| inner.file.is_none());
        let candidate = rollout.as_ref().and_then(|rollout| inner.find(&rollout.release_id));
        let (Some(rollout), Some(candidate)) = (rollout, candidate) else {
            inner.trial = None;
            self.shadow.stop();
            return;
        };
        match rollout.mode {
            RolloutMode::Shadow => self.shadow.start(&candidate, rollout.sample_percent / 100.0),
            RolloutMode::Canary => self.shadow.stop(),
        }
        let is_new = inner.trial.as_ref().is_none_or(|trial| trial.rollout != rollout);
        if is_new {
            inner.trial = Some(Trial {
                rollout,
                candidate: candidate.tally.seen(),
                active: active.map(|release| release.tally.seen()).unwrap_or_default(),
            });
        }
    }

    /// Takes out what is not needed any more, but for the latest few.
    fn prune(&self, inner: &mut Inner<W>) -> Vec<Ready<W>> {
        let ladder = self.ladder();
        let desired = &inner.desired;
        let candidate = desired.rollout.as_ref().map(|rollout| rollout.release_id.as_str());
        let named = [desired.active.as_deref(), desired.previous(), candidate];
        let needed = |ready: &Ready<W>| {
            ladder.has(&ready.release) || named.contains(&Some(ready.release.about.release_id.as_str()))
        };
        let mut surplus = inner
            .ready
            .iter()
            .filter(|ready| !needed(ready))
            .count()
            .saturating_sub(limits::SPARE_RELEASES);
        let (gone, kept) = std::mem::take(&mut inner.ready).into_iter().partition(|ready| {
            let goes = surplus > 0 && !needed(ready);
            surplus -= usize::from(goes);
            goes
        });
        inner.ready = kept;
        gone
    }

    /// What serves.
    pub(in crate::plugins) fn running(&self) -> Running {
        let inner = self.standing.0.lock();
        let ladder = self.ladder();
        let id = |release: &Option<Arc<Release<W>>>| {
            let release = release.as_ref()?;
            let id = &release.about.release_id;
            let is_bundled = inner
                .bundled
                .as_ref()
                .is_some_and(|bundled| Arc::ptr_eq(bundled, release));
            // The bundled component may have been pushed as a release, too.
            (!is_bundled || inner.desired.needed().any(|needed| needed == id)).then(|| id.clone())
        };
        Running {
            generation: inner.desired.generation,
            active: if inner.file.is_some() {
                Some(FILE.to_owned())
            } else {
                id(&ladder.active)
            },
            previous: id(&ladder.previous),
            changed_at: inner.changed_at,
        }
    }

    /// What was seen of the candidate since its rollout began here.
    pub(in crate::plugins) fn trial(&self) -> Option<RolloutCounts> {
        let inner = self.standing.0.lock();
        let trial = inner.trial.as_ref()?;
        let candidate = inner
            .find(&trial.rollout.release_id)?
            .tally
            .seen()
            .since(&trial.candidate);
        let active = self.current().map(|release| release.tally.seen().since(&trial.active));
        let Compared {
            compared,
            differences,
            dropped,
        } = self.shadow.compared();
        Some(RolloutCounts {
            samples: candidate.answered + candidate.failed(),
            failures: candidate.failed(),
            compared,
            differences,
            dropped,
            p99_us: candidate.times.quantile_us(0.99),
            active_p99_us: active.and_then(|active| active.times.quantile_us(0.99)),
        })
    }

    /// How the active release fares since it became active.
    pub(in crate::plugins) fn health(&self) -> Health {
        let inner = self.standing.0.lock();
        let Some(active) = self.current() else {
            return Health::default();
        };
        let seen = active.tally.seen().since(&inner.active_from);
        Health {
            answered: seen.answered,
            failed: seen.failed(),
            held_back: active.breaker.is_open(),
        }
    }
}
