//! The board of hosts of one node among several: this node's memory, which every read asks, and the news it tells the others.
//!
//! A change is applied here first, then told within a few ten milliseconds, the latest of each host, many hosts in one
//! message. Nobody waits for that. What is missed is mended from storage: see `take_missed`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::value::to_raw_value;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::board_news::{News, Packet};
use super::connection::Connection;
use super::subscription::{Event, Subscription};
use crate::domain::clock::Timestamp;
use crate::domain::host::{Host, HostStatus, Measurements};
use crate::live::memory::board::Board;
use crate::ports::live::HostBoard;
use crate::ports::storage::HeartbeatRecord;

/// How long news are gathered.
const GATHER: Duration = Duration::from_millis(20);
/// Hosts of one message.
const BATCH: usize = 500;
/// Bytes of one message, unless a single host needs more.
const MESSAGE: usize = 256 * 1024;
/// Before news are told again that did not get through.
const PAUSE: Duration = Duration::from_millis(100);
/// Hosts with news that were not told yet, at most. What does not fit is dropped; storage has it.
const MAX_WAITING: usize = 100_000;

/// The board.
pub(super) struct SharedBoard {
    shared: Arc<Shared>,
    _end: DropGuard,
}

struct Shared {
    board: Board,
    /// By `host_id`.
    waiting: Mutex<HashMap<String, Change>>,
    more: Notify,
    missed: AtomicBool,
    /// This node, in messages.
    node: String,
}

/// What others have to know. Of two for the same host the wider one stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Beat,
    Whole,
    Removed,
}

impl SharedBoard {
    /// An empty board that talks with the others from now on.
    pub(super) fn start(connection: &Connection, node: &str) -> Self {
        let shared = Arc::new(Shared {
            board: Board::default(),
            waiting: Mutex::default(),
            more: Notify::new(),
            missed: AtomicBool::new(false),
            node: node.to_owned(),
        });
        let end = CancellationToken::new();
        let news = connection.subscribe(connection.keys().hosts());
        tokio::spawn(end.clone().run_until_cancelled_owned(listen(shared.clone(), news)));
        tokio::spawn(
            end.clone()
                .run_until_cancelled_owned(tell(shared.clone(), connection.clone())),
        );
        Self {
            shared,
            _end: end.drop_guard(),
        }
    }
}

impl Shared {
    fn queue(&self, host_id: &str, change: Change) {
        let mut waiting = self.waiting.lock();
        let known = waiting.len();
        match waiting.get_mut(host_id) {
            // A host that was removed and is here again is told as a whole.
            Some(before) => {
                *before = if change == Change::Whole {
                    change
                } else {
                    change.max(*before)
                }
            }
            None if known < MAX_WAITING => {
                waiting.insert(host_id.to_owned(), change);
            }
            None => {}
        }
        drop(waiting);
        self.more.notify_one();
    }

    /// Takes some news out, as they are now.
    fn take(&self) -> Vec<(String, Change)> {
        let mut waiting = self.waiting.lock();
        let names: Vec<String> = waiting.keys().take(BATCH).cloned().collect();
        names
            .into_iter()
            .filter_map(|name| waiting.remove_entry(&name))
            .collect()
    }

    /// Puts news back that were not told. Later ones stay.
    fn put_back(&self, changes: Vec<(String, Change)>) {
        let mut waiting = self.waiting.lock();
        for (host_id, change) in changes {
            let now = waiting.entry(host_id).or_insert(change);
            if *now == Change::Beat {
                *now = change;
            }
        }
    }

    fn news(&self, host_id: &str, change: Change) -> Option<News> {
        if change == Change::Removed {
            return Some(News::Removed(host_id.to_owned()));
        }
        let host = self.board.get(host_id)?;
        if change == Change::Whole {
            return Some(News::whole(&host));
        }
        News::beat(&host)
    }

    /// One message with the first of these changes, as things are now, and what did not fit. None when there is nothing to say.
    fn write(&self, mut changes: Vec<(String, Change)>) -> (Option<Vec<u8>>, Vec<(String, Change)>) {
        let (mut news, mut bytes, mut taken) = (Vec::new(), 0, 0);
        for (host_id, change) in &changes {
            let written = self.news(host_id, *change).and_then(|new| to_raw_value(&new).ok());
            if let Some(new) = written {
                bytes += new.get().len();
                if bytes > MESSAGE && !news.is_empty() {
                    break;
                }
                news.push(new);
            }
            taken += 1;
        }
        let rest = changes.split_off(taken);
        if news.is_empty() {
            return (None, rest);
        }
        let node = self.node.clone();
        (serde_json::to_vec(&Packet { node, news }).ok(), rest)
    }

    /// Takes over what another node told.
    fn hear(&self, message: &[u8]) {
        let Ok(packet) = serde_json::from_slice::<Packet<News>>(message) else {
            // Of another version perhaps.
            self.missed.store(true, Ordering::Relaxed);
            return;
        };
        if packet.node == self.node {
            return;
        }
        for news in packet.news {
            match news {
                News::Whole { host, revision } => self.board.put(Host { revision, ..*host }),
                News::Removed(host_id) => self.board.remove(&host_id),
                News::Beat(beat) => {
                    if !self.board.heard(&beat.record()) {
                        self.missed.store(true, Ordering::Relaxed);
                    }
                }
            }
        }
    }
}

async fn listen(shared: Arc<Shared>, mut news: Subscription) {
    loop {
        match news.next().await {
            Event::Message(message) => shared.hear(&message),
            Event::Connected => shared.missed.store(true, Ordering::Relaxed),
            Event::Lost => {}
        }
    }
}

async fn tell(shared: Arc<Shared>, connection: Connection) {
    let (channel, mut state) = (connection.keys().hosts(), connection.watch());
    loop {
        shared.more.notified().await;
        tokio::time::sleep(GATHER).await;
        loop {
            let changes = shared.take();
            let more = changes.len() == BATCH;
            let (message, rest) = shared.write(changes.clone());
            let more = more || !rest.is_empty();
            shared.put_back(rest);
            let Some(message) = message else { break };
            if connection.publish(&channel, &message).await.is_err() {
                shared.put_back(changes);
                shared.more.notify_one();
                tokio::time::sleep(PAUSE).await;
                // Ends with the connection, which is gone with this task.
                let _ = state.wait_for(|state| state.up).await;
                break;
            }
            // What came meanwhile is gathered first: a busy host would be told again and again.
            if !more {
                break;
            }
        }
    }
}

impl HostBoard for SharedBoard {
    fn put(&self, host: Host) {
        let host_id = host.host_id.clone();
        self.shared.board.put(host);
        self.shared.queue(&host_id, Change::Whole);
    }

    fn beat(
        &self,
        host_id: &str,
        measured: &Measurements,
        now: Timestamp,
        score: &dyn Fn(&Host) -> f64,
    ) -> Option<Arc<Host>> {
        let host = self.shared.board.beat(host_id, measured, now, score)?;
        self.shared.queue(host_id, Change::Beat);
        Some(host)
    }

    fn set_status(&self, host_id: &str, status: HostStatus, now: Timestamp) -> Option<Arc<Host>> {
        let host = self.shared.board.set_status(host_id, status, now)?;
        self.shared.queue(host_id, Change::Whole);
        Some(host)
    }

    fn get(&self, host_id: &str) -> Option<Arc<Host>> {
        self.shared.board.get(host_id)
    }

    fn all(&self) -> Vec<Arc<Host>> {
        self.shared.board.all()
    }

    fn available(&self, min_quality_score: f64, limit: usize) -> Vec<Arc<Host>> {
        self.shared.board.available(min_quality_score, limit)
    }

    fn remove(&self, host_id: &str) {
        self.shared.board.remove(host_id);
        self.shared.queue(host_id, Change::Removed);
    }

    fn take_unsaved(&self, limit: usize) -> Vec<HeartbeatRecord> {
        self.shared.board.take_unsaved(limit)
    }

    fn put_back(&self, records: Vec<HeartbeatRecord>) {
        self.shared.board.put_back(records);
    }

    fn fill(&self, stored: Vec<Host>, known: &[Arc<Host>]) {
        self.shared.board.fill(stored, known);
    }

    fn take_missed(&self) -> bool {
        self.shared.missed.swap(false, Ordering::Relaxed)
    }
}
