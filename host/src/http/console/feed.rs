//! Makes the live snapshot once a second while somebody watches, however many do, and a little longer, so that a page that is
//! loaded anew has its charts. One task per node, on the tracker; it ends when nobody has come back, and with the drain.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::snapshot::{self, OVERVIEW, Snapshot};
use crate::http::state::HttpState;

/// Consoles that may watch one node at one time.
pub const MAX_WATCHERS: usize = 32;
/// Time between two snapshots.
const EVERY: Duration = Duration::from_secs(1);
/// Overviews that are kept for who comes later, one a second.
const KEPT: usize = 300;
/// Snapshots that are made when nobody watches any more.
const LINGER: u32 = 60;
/// Older ones are from when nobody watched.
const STALE: Duration = Duration::from_secs(3);

/// The snapshot of this node, and who watches.
pub struct Feed {
    latest: watch::Sender<Arc<Snapshot>>,
    places: Arc<Semaphore>,
    running: Mutex<bool>,
    history: Mutex<VecDeque<Arc<str>>>,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            latest: watch::Sender::new(Arc::new(Snapshot::default())),
            places: Arc::new(Semaphore::new(MAX_WATCHERS)),
            running: Mutex::new(false),
            history: Mutex::default(),
        }
    }
}

/// One watcher's place.
pub struct Subscription {
    latest: watch::Receiver<Arc<Snapshot>>,
    fresh: bool,
    _place: OwnedSemaphorePermit,
}

impl Subscription {
    /// The next snapshot; at first the latest one if it is fresh. None when there will be no more.
    pub async fn next(&mut self) -> Option<Arc<Snapshot>> {
        if !std::mem::take(&mut self.fresh) {
            self.latest.changed().await.ok()?;
        }
        Some(Arc::clone(&self.latest.borrow_and_update()))
    }
}

impl Feed {
    /// The overviews of the last minutes as a JSON array, the latest at the end.
    #[must_use]
    pub fn history(&self) -> String {
        let history = self.history.lock();
        let texts: Vec<&str> = history.iter().map(|text| &**text).collect();
        format!("[{}]", texts.join(","))
    }

    fn keep(&self, overview: &Arc<str>) {
        let mut history = self.history.lock();
        if history.len() >= KEPT {
            history.pop_front();
        }
        history.push_back(Arc::clone(overview));
    }
}

/// A place among the watchers; none when all are taken, or when this node drains.
pub fn subscribe(state: &Arc<HttpState>) -> Option<Subscription> {
    if state.shutdown.is_cancelled() {
        return None;
    }
    let feed = &state.console.feed;
    let place = Arc::clone(&feed.places).try_acquire_owned().ok()?;
    let latest = feed.latest.subscribe();
    let fresh = latest.borrow().made.is_some_and(|made| made.elapsed() < STALE);
    let mut running = feed.running.lock();
    if !*running {
        *running = true;
        state.tracker.spawn(run(Arc::clone(state)));
    }
    Some(Subscription {
        latest,
        fresh,
        _place: place,
    })
}

async fn run(state: Arc<HttpState>) {
    let feed = &state.console.feed;
    feed.history.lock().clear();
    let mut alone = 0;
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let next = async {
            tick.tick().await;
            let latest = Arc::clone(&feed.latest.borrow());
            snapshot::take(&state, &latest).await
        };
        let snapshot = tokio::select! {
            biased;
            () = state.shutdown.cancelled() => break,
            snapshot = next => snapshot,
        };
        feed.keep(&snapshot.parts[OVERVIEW].json);
        feed.latest.send_replace(Arc::new(snapshot));
        let mut running = feed.running.lock();
        alone = if feed.latest.receiver_count() == 0 {
            alone + 1
        } else {
            0
        };
        if alone > LINGER {
            *running = false;
            break;
        }
    }
}
