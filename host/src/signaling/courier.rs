//! The one way out of this node: what goes to other nodes, or to peers that are away, waits here and leaves in order.
//!
//! Bounded in number, bytes and age. While the fleet does not answer, everything waits and is tried again; messages that grow too
//! old are given up, and their senders told. The end of a session or of somebody's place in it never grows too old. Knows no sockets
//! and no rooms.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::room::Peer;
use crate::ports::fleet::{Dispatch, Fleet, Parcel, Receipt, Sent};

/// Messages that wait at most.
const MOST: usize = 32 * 1024;
/// What waits at most with what the service itself has to tell.
const MOST_OF_ALL: usize = 2 * MOST;
/// Bytes of frames that wait at most.
const MOST_BYTES: usize = 32 * 1024 * 1024;
/// Sent in one go.
const BATCH: usize = 128;
/// Bytes sent in one go, but for one larger frame.
const BATCH_BYTES: usize = 1024 * 1024;
/// How long a message is tried.
const MAX_AGE: Duration = Duration::from_secs(20);
/// How long a receiver that the fleet does not know may still be announced by its node.
const SETTLING: Duration = Duration::from_secs(5);
/// Pauses between attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How long a caller waits for what was queued before it.
const SETTLE_WAIT: Duration = Duration::from_secs(3);

/// Something on its way.
pub(super) struct Entry {
    pub(super) item: Dispatch,
    /// Who is told when it fails.
    pub(super) sender: Option<Arc<Peer>>,
    since: Instant,
}

#[derive(Default)]
struct Queue {
    /// Those that are being sent are the first ones, until the fleet has answered.
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Parcels on their way, by receiver.
    outstanding: HashMap<String, u32>,
    numbers: u64,
    queued: u64,
    done: u64,
}

/// See the module.
pub(super) struct Courier {
    fleet: Arc<dyn Fleet>,
    node: Arc<str>,
    queue: Mutex<Queue>,
    wake: Notify,
    progress: Notify,
    /// When the fleet last lost what it knew.
    unsettled: Mutex<Option<Instant>>,
}

impl Courier {
    pub(super) fn new(fleet: Arc<dyn Fleet>, node: Arc<str>) -> Self {
        Self {
            fleet,
            node,
            queue: Mutex::default(),
            wake: Notify::new(),
            progress: Notify::new(),
            unsettled: Mutex::new(None),
        }
    }

    /// Queues a frame for one peer; false when too much waits.
    pub(super) fn signal(
        &self,
        sender: &Arc<Peer>,
        to: &str,
        session_id: &str,
        frame: String,
        at: i64,
        id: Option<&str>,
    ) -> bool {
        let receipt = id.map(|id| Receipt {
            node: self.node.to_string(),
            peer_id: sender.peer_id.to_string(),
            id: id.to_owned(),
        });
        let mut queue = self.queue.lock();
        if queue.entries.len() >= MOST || queue.bytes + frame.len() > MOST_BYTES {
            return false;
        }
        *queue.outstanding.entry(to.to_owned()).or_default() += 1;
        let parcel = self.parcel(&mut queue, frame, at, receipt);
        let item = Dispatch::Signal {
            to: to.to_owned(),
            session_id: session_id.to_owned(),
            parcel,
        };
        self.push(queue, item, Some(Arc::clone(sender)));
        true
    }

    /// Queues a frame for a session.
    pub(super) fn push_to_session(
        &self,
        session_id: &str,
        frame: String,
        at: i64,
        fresh: bool,
        host: Option<crate::ports::fleet::SessionHost>,
    ) {
        let mut queue = self.queue.lock();
        // A fresh one is worth nothing later.
        if queue.entries.len() >= if fresh { MOST / 2 } else { MOST_OF_ALL } {
            return;
        }
        let parcel = self.parcel(&mut queue, frame, at, None);
        let item = Dispatch::Push {
            session_id: session_id.to_owned(),
            parcel,
            fresh,
            host,
        };
        self.push(queue, item, None);
    }

    /// Queues anything else.
    pub(super) fn order(&self, item: Dispatch) {
        let queue = self.queue.lock();
        // An outcome that is not told is taken for `expired`.
        let most = if lasts(&item) { MOST_OF_ALL } else { MOST };
        if queue.entries.len() < most {
            self.push(queue, item, None);
        }
    }

    fn parcel(&self, queue: &mut Queue, frame: String, at: i64, receipt: Option<Receipt>) -> Parcel {
        queue.numbers += 1;
        Parcel {
            frame,
            at,
            origin: self.node.to_string(),
            number: queue.numbers,
            receipt,
        }
    }

    /// A parcel of this node that goes another way: it may overtake those that wait here, so its numbers are others.
    pub(super) fn stamped(&self, frame: String, at: i64) -> Parcel {
        let mut queue = self.queue.lock();
        let mut parcel = self.parcel(&mut queue, frame, at, None);
        parcel.origin.push_str(" leftovers");
        parcel
    }

    fn push(&self, mut queue: parking_lot::MutexGuard<'_, Queue>, item: Dispatch, sender: Option<Arc<Peer>>) {
        queue.bytes += weight(&item);
        queue.queued += 1;
        queue.entries.push_back(Entry {
            item,
            sender,
            since: Instant::now(),
        });
        drop(queue);
        self.wake.notify_one();
    }

    /// Whether nothing for this receiver is on its way.
    pub(super) fn is_clear(&self, peer_id: &str) -> bool {
        !self.queue.lock().outstanding.contains_key(peer_id)
    }

    /// A parcel for this receiver has arrived or was given up.
    pub(super) fn arrived(&self, peer_id: &str) {
        let mut queue = self.queue.lock();
        if let Some(count) = queue.outstanding.get_mut(peer_id) {
            *count -= 1;
            if *count == 0 {
                queue.outstanding.remove(peer_id);
            }
        }
    }

    /// Events were missed, or the fleet has lost what it knew: what was thought to come back may never come.
    pub(super) fn unsettle(&self) {
        let mut queue = self.queue.lock();
        queue.outstanding = HashMap::new();
        let waiting: Vec<String> = queue
            .entries
            .iter()
            .filter_map(|entry| match &entry.item {
                Dispatch::Signal { to, .. } => Some(to.clone()),
                _ => None,
            })
            .collect();
        for to in waiting {
            *queue.outstanding.entry(to).or_default() += 1;
        }
        drop(queue);
        *self.unsettled.lock() = Some(Instant::now());
    }

    /// What waits now.
    pub(super) fn depth(&self) -> usize {
        let queue = self.queue.lock();
        usize::try_from(queue.queued - queue.done).unwrap_or(usize::MAX)
    }

    /// Returns when all that was queued before has left, or after a bounded time.
    pub(super) async fn settled(&self) {
        let target = {
            let queue = self.queue.lock();
            if queue.done == queue.queued {
                return;
            }
            queue.queued
        };
        let reached = async {
            loop {
                let moved = self.progress.notified();
                if self.queue.lock().done >= target {
                    return;
                }
                moved.await;
            }
        };
        let _ = tokio::time::timeout(SETTLE_WAIT, reached).await;
    }

    /// Sends what waits, for ever. `told` learns what became of each.
    pub(super) async fn run(&self, told: impl Fn(Entry, Option<Sent>)) {
        let mut pause = FIRST_PAUSE;
        loop {
            let items = self.first();
            if items.is_empty() {
                self.wake.notified().await;
                continue;
            }
            let failed = match self.fleet.dispatch(&self.node, &items).await {
                Ok(sent) => self.sent(&sent, &told),
                Err(error) => {
                    tracing::debug!(%error, waiting = items.len(), "the fleet takes nothing");
                    true
                }
            };
            if !failed {
                pause = FIRST_PAUSE;
                continue;
            }
            self.give_up(items.len(), &told);
            tokio::time::sleep(pause.mul_f64(jitter())).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// What is sent in one go.
    fn first(&self) -> Vec<Dispatch> {
        let mut queue = self.queue.lock();
        if queue.entries.is_empty() && queue.entries.capacity() > BATCH {
            queue.entries = VecDeque::new();
        }
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            let fits = bytes < BATCH_BYTES;
            bytes += weight(&entry.item);
            fits
        };
        let first = queue.entries.iter().take(BATCH).take_while(fits);
        first.map(|entry| entry.item.clone()).collect()
    }

    /// The fleet has answered for the first entries. True when some of them are asked for once more.
    fn sent(&self, sent: &[Sent], told: &impl Fn(Entry, Option<Sent>)) -> bool {
        let settling = self.is_settling();
        let mut queue = self.queue.lock();
        let count = sent.len().min(queue.entries.len());
        let first: Vec<Entry> = queue.entries.drain(..count).collect();
        // A receiver whose node has not announced it again yet. All that is for it waits with it.
        let (again, done): (Vec<_>, Vec<_>) = first
            .into_iter()
            .zip(sent)
            .partition(|(_, sent)| settling && **sent == Sent::NotThere);
        let some = !again.is_empty();
        for (entry, _) in again.into_iter().rev() {
            queue.entries.push_front(entry);
        }
        drop(queue);
        for (entry, sent) in done {
            self.finish(entry, Some(*sent), told);
        }
        some
    }

    /// Gives up those of the first entries that are too old.
    fn give_up(&self, count: usize, told: &impl Fn(Entry, Option<Sent>)) {
        let mut queue = self.queue.lock();
        let count = count.min(queue.entries.len());
        let first: Vec<Entry> = queue.entries.drain(..count).collect();
        let (old, young): (Vec<_>, Vec<_>) = first
            .into_iter()
            .partition(|entry| entry.since.elapsed() > MAX_AGE && !lasts(&entry.item));
        for entry in young.into_iter().rev() {
            queue.entries.push_front(entry);
        }
        drop(queue);
        for entry in old {
            self.finish(entry, None, told);
        }
    }

    fn is_settling(&self) -> bool {
        let since = *self.unsettled.lock();
        since.is_some_and(|since| since.elapsed() < SETTLING)
    }

    fn finish(&self, entry: Entry, sent: Option<Sent>, told: &impl Fn(Entry, Option<Sent>)) {
        let bytes = weight(&entry.item);
        if let Dispatch::Signal { to, .. } = &entry.item
            && sent != Some(Sent::Here)
        {
            self.arrived(to);
        }
        told(entry, sent);
        let mut queue = self.queue.lock();
        queue.bytes -= bytes;
        queue.done += 1;
        drop(queue);
        self.progress.notify_waiters();
    }
}

/// Whether it has to be told however late.
fn lasts(item: &Dispatch) -> bool {
    matches!(item, Dispatch::Close { .. } | Dispatch::Evict { .. })
}

fn weight(item: &Dispatch) -> usize {
    match item {
        Dispatch::Signal { parcel, .. } | Dispatch::Push { parcel, .. } => parcel.frame.len(),
        Dispatch::Close { .. } | Dispatch::Evict { .. } | Dispatch::Outcome { .. } => 0,
    }
}

/// 0.5 to 1, so that nodes do not come back in step.
fn jitter() -> f64 {
    let random = getrandom::u32().unwrap_or(u32::MAX);
    0.5 + f64::from(random) / f64::from(u32::MAX) / 2.0
}
