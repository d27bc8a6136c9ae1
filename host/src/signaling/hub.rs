//! Everybody on this node: the peers, the rooms of their sessions, and what is known of messages on their way.
//!
//! Peers come by `arrivals`, sessions change by `membership` and the fleet's events (`events`). While the fleet does not answer, the node
//! goes on with the peers it has, and announces them afterwards. No socket is read or written here, and nothing waits for a peer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_util::task::TaskTracker;

use super::courier::Courier;
use super::membership::Seen;
use super::metrics::{SignalingMetrics, register_outboxes};
use super::queue::{OutboxLimits, Queued, Worth};
use super::room::{Peer, Room};
use super::wire;
use crate::domain::clock::SharedClock;
use crate::ports::fleet::{Fleet, HOLD};
use crate::ports::live::LiveError;
use crate::telemetry::metrics::Metrics;

/// Bounds of signaling on one node.
#[derive(Clone, Copy, Debug)]
pub struct HubLimits {
    /// `WS_MAX_CONNECTIONS`: open sockets.
    pub max_connections: usize,
    pub outbox: OutboxLimits,
    /// Between two pings; a connection that says nothing for a whole period after a ping is closed.
    pub ping_interval: Duration,
    /// For a connection without a `peer_id` to send `create_session`.
    pub identify_within: Duration,
    /// Messages refused by the rate limit in a row before the connection is closed.
    pub refused_in_a_row: u32,
    /// How long the place of a broken connection is kept.
    pub hold: Duration,
}

impl Default for HubLimits {
    fn default() -> Self {
        Self {
            max_connections: 100_000,
            outbox: OutboxLimits {
                frames: 1024,
                bytes: 1024 * 1024,
            },
            ping_interval: Duration::from_secs(25),
            identify_within: Duration::from_secs(10),
            refused_in_a_row: 1000,
            hold: HOLD,
        }
    }
}

/// How long a sender waits to hear what became of a message; far longer than a node that lives takes.
pub(super) const RECEIPT_WAIT: Duration = Duration::from_secs(30);
/// Messages whose outcome is waited for at most; further ones may end without one when a node dies.
pub(super) const MOST_RECEIPTS: usize = 64 * 1024;
/// How long an event that a step of ours brings about may take.
pub(super) const EVENT_WAIT: Duration = Duration::from_secs(2);

/// Everybody on this node. One lock for all that must fit together; relaying does not take it.
#[derive(Default)]
pub(super) struct Directory {
    pub(super) peers: HashMap<Arc<str>, Arc<Peer>>,
    pub(super) rooms: HashMap<Arc<str>, Arc<Room>>,
}

/// A connection that waits for its event, and who waits with it.
type Awaited = (Arc<Peer>, oneshot::Sender<()>);

/// See the module.
pub struct Hub {
    pub(super) fleet: Arc<dyn Fleet>,
    clock: SharedClock,
    pub(super) node: Arc<str>,
    pub(super) limits: HubLimits,
    pub(super) metrics: SignalingMetrics,
    pub(super) directory: Mutex<Directory>,
    pub(super) courier: Courier,
    /// Connections that wait for `Event::Arrived`, by ticket.
    pub(super) arrivals: Mutex<HashMap<u64, Awaited>>,
    pub(super) tickets: AtomicU64,
    /// Messages to other nodes whose senders wait to hear what became of them, by sender and `id`, and since when.
    pub(super) receipts: Mutex<HashMap<(Arc<str>, String), Instant>>,
    /// The number of the last parcel for whole sessions, by the node it came from.
    pub(super) heard: Mutex<HashMap<String, u64>>,
    /// Grows whenever somebody on this node is put out of a session from outside.
    endings: AtomicU64,
    /// Events may have been missed.
    pub(super) stale: Notify,
    pub(super) open: AtomicUsize,
    pub(super) all_closed: Notify,
    pub(super) draining: AtomicBool,
    pub(super) tracker: TaskTracker,
}

/// A place among the node's connections; given back when dropped.
pub struct Admission {
    hub: Arc<Hub>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.hub.metrics.connections.dec();
        if self.hub.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.hub.all_closed.notify_waiters();
        }
    }
}

impl Hub {
    /// An empty hub. `start` makes it a node of the fleet.
    ///
    /// # Errors
    /// When a metric's name is taken.
    pub fn new(
        fleet: Arc<dyn Fleet>,
        clock: SharedClock,
        metrics: &Metrics,
        node: impl Into<Arc<str>>,
        limits: HubLimits,
    ) -> prometheus::Result<Arc<Self>> {
        let node = node.into();
        let hub = Arc::new(Self {
            courier: Courier::new(Arc::clone(&fleet), Arc::clone(&node)),
            fleet,
            clock,
            node,
            limits,
            metrics: SignalingMetrics::register(&metrics.registry)?,
            directory: Mutex::default(),
            arrivals: Mutex::default(),
            tickets: AtomicU64::new(0),
            receipts: Mutex::default(),
            heard: Mutex::default(),
            endings: AtomicU64::new(0),
            stale: Notify::new(),
            open: AtomicUsize::new(0),
            all_closed: Notify::new(),
            draining: AtomicBool::new(false),
            tracker: TaskTracker::new(),
        });
        register_outboxes(&metrics.registry, Arc::downgrade(&hub))?;
        Ok(hub)
    }

    /// Makes this a node of the fleet, and starts to send what goes to other nodes. The returned handle stops that.
    ///
    /// # Errors
    /// When the fleet does not answer.
    pub async fn start(self: &Arc<Self>) -> Result<tokio::task::AbortHandle, LiveError> {
        let events: std::sync::Weak<Self> = Arc::downgrade(self);
        self.fleet.enter(&self.node, events).await?;
        let hub = Arc::downgrade(self);
        let courier = tokio::spawn(async move {
            if let Some(hub) = hub.upgrade() {
                hub.courier.run(|entry, sent| hub.dispatched(entry, sent)).await;
            }
        });
        Ok(courier.abort_handle())
    }

    /// This node's name in the fleet.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The time, for frames and limits.
    #[must_use]
    pub fn now(&self) -> crate::domain::clock::Timestamp {
        self.clock.now()
    }

    /// A place for a new connection; none when the node is full or goes away.
    #[must_use]
    pub fn admit(self: &Arc<Self>) -> Option<Admission> {
        let before = self.open.fetch_add(1, Ordering::AcqRel);
        self.metrics.connections.inc();
        let admission = Admission { hub: Arc::clone(self) };
        (before < self.limits.max_connections && !self.is_draining()).then_some(admission)
    }

    /// Whether this node goes away.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// How often somebody was put out of the session; taken before the right to join is checked and given to `join`.
    pub async fn endings(&self, session_id: &str) -> Seen {
        let here = self.endings.load(Ordering::Acquire);
        let fleet = match self.fleet.endings(session_id).await {
            Ok(count) => Some(count),
            Err(error) => {
                self.fleet_failed("endings", &error);
                None
            }
        };
        Seen { here, fleet }
    }

    pub(super) fn count_ending(&self) {
        self.endings.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn endings_here(&self) -> u64 {
        self.endings.load(Ordering::Acquire)
    }

    pub(super) fn is_current(&self, peer: &Arc<Peer>) -> bool {
        let directory = self.directory.lock();
        directory
            .peers
            .get(&peer.peer_id)
            .is_some_and(|current| Arc::ptr_eq(current, peer))
    }

    /// Who is connected to this node.
    pub(super) fn peers(&self) -> Vec<Arc<Peer>> {
        self.directory.lock().peers.values().cloned().collect()
    }

    /// Queues a frame for one peer.
    pub fn send(&self, peer: &Peer, frame: Utf8Bytes, worth: Worth) -> bool {
        self.counted(peer, peer.outbox.push(frame, worth, &self.limits.outbox))
    }

    /// Sends a frame to one peer at once. Not to be called under a lock.
    pub fn relay(&self, peer: &Peer, frame: Utf8Bytes) -> bool {
        self.counted(peer, peer.outbox.relay(frame, Worth::Keep, &self.limits.outbox))
    }

    fn counted(&self, peer: &Peer, queued: Queued) -> bool {
        match queued {
            Queued::Done { dropped: 0 } => true,
            Queued::Done { dropped } => {
                self.metrics.outbox_dropped.inc_by(dropped.into());
                true
            }
            Queued::Overflow { dropped } => {
                self.metrics.outbox_dropped.inc_by(dropped.into());
                tracing::debug!(peer_id = %peer.peer_id, "slow reader closed");
                false
            }
            Queued::Closing => false,
        }
    }

    /// Whether a sender on this node may push into the outbox itself, or what it sent before may still be on its way.
    pub(super) fn may_reach(&self, peer: &Peer) -> bool {
        if peer.direct.load(Ordering::Acquire) {
            return true;
        }
        let clear = peer.handover.lock().is_none() && self.courier.is_clear(&peer.peer_id);
        if clear {
            peer.direct.store(true, Ordering::Release);
        }
        clear
    }

    /// Connections and sessions: of the fleet, or of this node when the fleet does not answer.
    pub async fn counts(&self) -> (u64, u64) {
        match self.fleet.counts().await {
            Ok(counts) => counts,
            Err(error) => {
                self.fleet_failed("counts", &error);
                let directory = self.directory.lock();
                (directory.peers.len() as u64, directory.rooms.len() as u64)
            }
        }
    }

    /// Tells the others of its session, wherever they are, that a peer is there.
    pub(super) fn tell_joined_elsewhere(&self, session_id: &str, peer: &Peer) {
        let frame = wire::peer(super::dialect::Dialect::Hyphen, "peer-joined", &peer.json);
        self.courier
            .push_to_session(session_id, frame, self.now().0, false, None);
    }

    pub(super) fn fleet_failed(&self, what: &'static str, error: &LiveError) {
        self.metrics.fleet_failures.inc();
        tracing::debug!(%error, what, "the fleet did not answer");
    }
}
