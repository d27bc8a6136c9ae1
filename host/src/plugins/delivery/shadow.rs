//! The shadow of a slot: some of the questions that were answered are asked again, of a candidate, off the path of requests.
//! Its answers are compared and never used. The queue is bounded; what it has no room for is dropped and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use serde::Serialize;

use super::differences::{Difference, Differences};
use crate::plugins::decisions::{Kept as _, Record};
use crate::plugins::failure::FailureKind;
use crate::plugins::instance::{Instance, Release};
use crate::plugins::limits;
use crate::plugins::vectors::expect;
use crate::plugins::worlds::World;
use crate::telemetry::sampling::Share;

/// The shadow of one slot, off at first.
pub struct Shadow<W: World> {
    /// Of the calls. All that a call without a shadow looks at.
    share: Share,
    running: ArcSwapOption<Running<W>>,
}

struct Running<W: World> {
    release: Arc<Release<W>>,
    queue: SyncSender<Arc<Record<W>>>,
    counts: Arc<Counts<W>>,
}

/// What a shadow has seen.
struct Counts<W: World> {
    compared: AtomicU64,
    differences: AtomicU64,
    dropped: AtomicU64,
    latest: Differences<W>,
}

impl<W: World> Default for Counts<W> {
    fn default() -> Self {
        Self {
            compared: AtomicU64::new(0),
            differences: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            latest: Differences::default(),
        }
    }
}

/// What a shadow has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    pub compared: u64,
    pub differences: u64,
    pub dropped: u64,
}

impl<W: World> Default for Shadow<W> {
    fn default() -> Self {
        Self {
            share: Share::default(),
            running: ArcSwapOption::empty(),
        }
    }
}

impl<W: World> Shadow<W> {
    /// Whether this call is one that the shadow is to be shown.
    #[must_use]
    pub fn samples(&self) -> bool {
        self.share.takes()
    }

    /// Shows the shadow a question and what was answered. Never waits.
    pub fn show(&self, record: Arc<Record<W>>) {
        let running = self.running.load();
        let Some(running) = running.as_ref() else { return };
        if let Err(TrySendError::Full(_)) = running.queue.try_send(record) {
            running.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Shows this share (0 to 1) of the calls to `release` from now on. The same release again keeps its counts.
    pub(super) fn start(&self, release: &Arc<Release<W>>, share: f64) {
        let known = self.running.load_full();
        if known.is_none_or(|running| !Arc::ptr_eq(&running.release, release)) {
            let (queue, inbox) = sync_channel(limits::SHADOW_QUEUE);
            let counts = Arc::new(Counts::default());
            let (candidate, tally) = (Arc::clone(release), Arc::clone(&counts));
            let started = std::thread::Builder::new()
                .name("policy-shadow".to_owned())
                .spawn(move || work(&candidate, &inbox, &tally));
            if let Err(error) = started {
                tracing::error!(%error, slot = W::SLOT.as_str(), "no thread for the shadow; nothing is compared");
                return;
            }
            self.running.store(Some(Arc::new(Running {
                release: Arc::clone(release),
                queue,
                counts,
            })));
        }
        self.share.set(share);
    }

    /// Shows nothing any more. The worker ends with what is in the queue.
    pub(super) fn stop(&self) {
        self.share.set(0.0);
        self.running.store(None);
    }

    /// What was seen of the release in the shadow.
    #[must_use]
    pub fn compared(&self) -> Compared {
        let running = self.running.load();
        let Some(counts) = running.as_ref().map(|running| &running.counts) else {
            return Compared::default();
        };
        Compared {
            compared: counts.compared.load(Ordering::Relaxed),
            differences: counts.differences.load(Ordering::Relaxed),
            dropped: counts.dropped.load(Ordering::Relaxed),
        }
    }

    /// The latest calls that the release in the shadow answered otherwise, newest first.
    #[must_use]
    pub fn differences(&self) -> Vec<Difference> {
        let running = self.running.load_full();
        running.map(|running| running.counts.latest.read()).unwrap_or_default()
    }

    /// The release in the shadow.
    #[must_use]
    pub fn release(&self) -> Option<Arc<Release<W>>> {
        self.running.load().as_ref().map(|running| Arc::clone(&running.release))
    }
}

/// Whether two answers are not the same, as golden vectors and a replay judge it: numbers may differ a little.
fn differs<A: PartialEq + Serialize>(before: &A, after: &A) -> bool {
    let json = |answer: &A| serde_json::to_value(answer);
    let alike = || Some(expect::same(&json(before).ok()?, &json(after).ok()?).is_ok());
    before != after && alike() != Some(true)
}

/// Asks the candidate until nobody can send any more.
fn work<W: World>(release: &Arc<Release<W>>, inbox: &Receiver<Arc<Record<W>>>, counts: &Counts<W>) {
    let mut kept: Option<Instance<W>> = None;
    while let Ok(record) = inbox.recv() {
        if !release.breaker.admits() {
            counts.dropped.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let instance = match kept.take().filter(|instance| !instance.is_worn()) {
            Some(instance) => Ok(instance),
            None => release.instance(),
        };
        let answer = instance.and_then(|mut instance| {
            let question = record.kept.question();
            let started = Instant::now();
            let answer = instance.ask(&question)?;
            release.tally.timed(started.elapsed());
            release.tally.memory(instance.memory());
            kept = Some(instance);
            Ok(answer)
        });
        match answer {
            Ok(answer) => {
                release.breaker.succeeded();
                release.tally.answered(0);
                counts.compared.fetch_add(1, Ordering::Relaxed);
                if differs(&record.answer, &answer) {
                    counts.differences.fetch_add(1, Ordering::Relaxed);
                    counts.latest.keep(record, answer);
                }
            }
            Err(failure) => {
                if failure.kind != FailureKind::Busy {
                    release.breaker.failed();
                }
                release.tally.failed(failure.kind);
                tracing::debug!(slot = W::SLOT.as_str(), release = release.tag.as_str(),
                    kind = failure.kind.as_str(), detail = %failure.detail, "the candidate failed in the shadow");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::differs;

    #[test]
    fn numbers_may_differ_a_little() {
        assert!(!differs(&0.3, &(0.1 + 0.2)));
        assert!(differs(&0.3, &0.31));
        assert!(differs(&f64::NAN, &0.3), "a number that is none is not one");
    }
}
