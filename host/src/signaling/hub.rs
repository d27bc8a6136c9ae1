//! Who is connected to this node and who shares a session: connects, joins, leaves, and reaches peers.
//!
//! Rooms change by the fleet's events alone (`events`). While the fleet does not answer, the node goes on with the peers
//! it has, and announces them afterwards. No socket is read or written here, and nothing waits for a peer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_util::task::TaskTracker;

use super::close::CloseReason;
use super::courier::Courier;
use super::metrics::SignalingMetrics;
use super::queue::{OutboxLimits, Queued, Worth};
use super::room::{Entering, Frames, JoinAnswer, Peer, Room, SessionHost};
use super::wire;
use crate::domain::clock::SharedClock;
use crate::domain::identity::player_of;
use crate::ports::fleet::{Departure, Fleet, HOLD, Joined as FleetJoined};
use crate::ports::live::LiveError;
use crate::ports::peers::Push;
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

/// Longest delay a client is told to wait when this node drains.
const LONGEST_SPREAD: Duration = Duration::from_secs(10);
/// How long a sender waits to hear what became of a message; far longer than a node that lives takes.
const RECEIPT_WAIT: Duration = Duration::from_secs(30);
/// Messages whose outcome is waited for at most; further ones may end without one when a node dies.
const MOST_RECEIPTS: usize = 64 * 1024;
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
    /// The number of the last parcel taken, by the node it came from.
    pub(super) heard: Mutex<HashMap<String, u64>>,
    /// Grows whenever somebody on this node is put out of a session from outside.
    endings: AtomicU64,
    /// Events may have been missed.
    pub(super) stale: Notify,
    open: AtomicUsize,
    all_closed: Notify,
    draining: AtomicBool,
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

/// What leaving a session brought about.
#[derive(Debug, PartialEq, Eq)]
pub struct Left {
    pub session_id: String,
    /// The session lost its host by it, and there are peers to tell.
    pub lost_host: Option<SessionHost>,
}

impl Left {
    /// The host is lost with the last peer of its player, while others are there.
    fn of(session_id: String, host: Option<SessionHost>, gone: &str, remaining: &[String]) -> Self {
        let player = player_of(gone);
        let lost = !remaining.is_empty() && remaining.iter().all(|other| player_of(other) != player);
        Self {
            session_id,
            lost_host: host.filter(|_| lost),
        }
    }
}

/// What joining brought about.
#[derive(Debug, PartialEq, Eq)]
pub enum Joined {
    /// Done and answered; another session may have been left for it.
    Done { left: Option<Left> },
    /// Somebody was put out of a session meanwhile: check the right to join again.
    Again,
    /// This connection is not the peer's any more.
    Gone,
}

/// How often somebody was put out of a session, as seen before the right to join was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub(super) here: u64,
    /// None when the fleet did not answer.
    pub(super) fleet: Option<u64>,
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
        Ok(Arc::new(Self {
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
        }))
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

    /// Puts the peer into the session's room, answers it, and tells the others.
    pub async fn join(
        &self,
        peer: &Arc<Peer>,
        session_id: &str,
        host: &SessionHost,
        seen: Seen,
        answer: JoinAnswer,
    ) -> Joined {
        if self.endings_here() != seen.here {
            return Joined::Again;
        }
        if !self.is_current(peer) {
            return Joined::Gone;
        }
        let host_before = peer.room().and_then(|room| room.host_of(&peer.peer_id));
        let (done, placed) = oneshot::channel();
        *peer.entering.lock() = Some(Box::new(Entering {
            session_id: session_id.to_owned(),
            host: host.clone(),
            answer,
            endings: seen.here,
            done,
        }));
        let joined = match seen.fleet {
            Some(count) => {
                let join = self.fleet.join(&peer.peer_id, peer.generation(), session_id, count);
                join.await.inspect_err(|error| self.fleet_failed("join", error)).ok()
            }
            None => None,
        };
        let left = match joined {
            Some(FleetJoined::Done { left }) => left,
            Some(FleetJoined::Again) => {
                peer.entering.lock().take();
                return Joined::Again;
            }
            Some(FleetJoined::Gone) => {
                peer.entering.lock().take();
                // The fleet has forgotten it; it is told again soon.
                if self.is_current(peer) {
                    self.stale.notify_one();
                    return self.join_alone(peer, session_id, host, seen, answer);
                }
                return Joined::Gone;
            }
            None => {
                peer.entering.lock().take();
                return self.join_alone(peer, session_id, host, seen, answer);
            }
        };
        match tokio::time::timeout(EVENT_WAIT, placed).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => {
                self.leave(peer).await;
                return Joined::Again;
            }
            Ok(Err(_)) | Err(_) => {
                // The event is lost.
                peer.entering.lock().take();
                self.stale.notify_one();
                return self.join_alone(peer, session_id, host, seen, answer);
            }
        }
        let left = left.map(|left| Left::of(left.session_id, host_before, &left.peer_id, &left.remaining));
        Joined::Done { left }
    }

    /// Joins with what this node knows, while the fleet does not answer.
    fn join_alone(
        &self,
        peer: &Arc<Peer>,
        session_id: &str,
        host: &SessionHost,
        seen: Seen,
        answer: JoinAnswer,
    ) -> Joined {
        let here = peer.room().is_some_and(|room| *room.session_id == *session_id);
        let left = if here { None } else { self.leave_alone(peer) };
        let mut directory = self.directory.lock();
        if self.endings_here() != seen.here {
            return Joined::Again;
        }
        let others = directory.rooms.get(session_id).map(|room| room.others(&peer.peer_id));
        self.place(
            &mut directory,
            peer,
            session_id,
            host,
            &others.unwrap_or_default(),
            !here,
            answer,
        );
        Joined::Done { left }
    }

    fn leave_alone(&self, peer: &Arc<Peer>) -> Option<Left> {
        let room = peer.room()?;
        let remaining = room.others(&peer.peer_id);
        let host = room.host_of(&peer.peer_id);
        self.left(&room.session_id, &peer.peer_id, peer.generation(), false);
        Some(Left::of(room.session_id.to_string(), host, &peer.peer_id, &remaining))
    }

    pub(super) fn is_current(&self, peer: &Arc<Peer>) -> bool {
        let directory = self.directory.lock();
        directory
            .peers
            .get(&peer.peer_id)
            .is_some_and(|current| Arc::ptr_eq(current, peer))
    }

    /// Takes the peer out of its session, and tells the others there.
    pub async fn leave(&self, peer: &Arc<Peer>) -> Option<Left> {
        self.courier.settled().await;
        let host = peer.room().and_then(|room| room.host_of(&peer.peer_id));
        match self.fleet.leave(&peer.peer_id, peer.generation()).await {
            Ok(Some(departure)) => Some(self.departed(peer, host, departure)),
            Ok(None) if self.is_elsewhere(peer).await => None,
            Ok(None) => self.leave_alone(peer),
            Err(error) => {
                self.fleet_failed("leave", &error);
                self.leave_alone(peer)
            }
        }
    }

    /// Takes a connection that has ended out of the node. With `keep` its place is kept for a while.
    pub async fn depart(&self, peer: &Arc<Peer>, keep: bool) -> Option<Left> {
        self.courier.settled().await;
        if !self.is_current(peer) {
            return None;
        }
        let (peer_id, generation) = (&*peer.peer_id, peer.generation());
        if keep {
            let mail = peer.resumable;
            match self.fleet.park(peer_id, generation, self.limits.hold, mail).await {
                Ok(true) => return None,
                Ok(false) => {}
                Err(error) => self.fleet_failed("park", &error),
            }
        }
        let host = peer.room().and_then(|room| room.host_of(peer_id));
        let left = match self.fleet.disconnect(peer_id, generation).await {
            Ok(Some(departure)) => Some(self.departed(peer, host, departure)),
            // The event that says so comes, and takes along what the connection has not sent.
            Ok(None) if self.is_elsewhere(peer).await => return None,
            Ok(None) => self.leave_alone(peer),
            Err(error) => {
                self.fleet_failed("disconnect", &error);
                self.leave_alone(peer)
            }
        };
        let mut directory = self.directory.lock();
        let current = directory.peers.get(peer_id);
        if current.is_some_and(|current| Arc::ptr_eq(current, peer)) {
            directory.peers.remove(peer_id);
        }
        left
    }

    fn departed(&self, peer: &Peer, host: Option<SessionHost>, departure: Departure) -> Left {
        self.left(&departure.session_id, &peer.peer_id, peer.generation(), false);
        Left::of(departure.session_id, host, &peer.peer_id, &departure.remaining)
    }

    /// Whether a newer connection of the peer is known.
    async fn is_elsewhere(&self, peer: &Peer) -> bool {
        match self.fleet.find(&peer.peer_id).await {
            Ok(found) => found.is_some_and(|found| found.generation > peer.generation()),
            Err(error) => {
                self.fleet_failed("find", &error);
                false
            }
        }
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

    /// Remembers that a sender waits to hear what becomes of a message.
    pub(super) fn await_outcome(&self, sender: &Peer, id: &str) {
        let mut receipts = self.receipts.lock();
        if receipts.len() < MOST_RECEIPTS {
            receipts.insert((Arc::clone(&sender.peer_id), id.to_owned()), Instant::now());
        }
    }

    /// Tells senders whose messages went to a node that never answered.
    pub(super) fn expire_receipts(&self) {
        let mut old = Vec::new();
        self.receipts.lock().retain(|key, since| {
            let keep = since.elapsed() < RECEIPT_WAIT;
            if !keep {
                old.push(key.clone());
            }
            keep
        });
        for (peer_id, id) in old {
            self.tell_outcome(&peer_id, &id, crate::ports::fleet::Outcome::Expired, None);
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

    /// Sends everybody away: `server-draining` with a delay that spreads them, then close 1012. Returns when all are gone or
    /// `grace` is over.
    pub async fn drain(&self, grace: Duration) {
        self.draining.store(true, Ordering::Release);
        let peers: Vec<Arc<Peer>> = self.directory.lock().peers.values().cloned().collect();
        let spread = Duration::from_millis(2 * peers.len() as u64).clamp(Duration::from_secs(1), LONGEST_SPREAD);
        let step = spread.as_micros() / (peers.len().max(1) as u128);
        for (index, peer) in peers.iter().enumerate() {
            let reconnect_after_ms = u64::try_from(step * index as u128 / 1000).unwrap_or_default();
            self.send_away(peer, reconnect_after_ms);
        }
        self.tracker.close();
        let gone = async {
            loop {
                let closed = self.all_closed.notified();
                if self.open.load(Ordering::Acquire) == 0 {
                    break;
                }
                closed.await;
            }
            self.tracker.wait().await;
        };
        if tokio::time::timeout(grace, gone).await.is_err() {
            tracing::warn!(
                open = self.open.load(Ordering::Acquire),
                "connections still open after the grace"
            );
        }
    }

    /// Leaves the fleet, when every connection is gone and what they sent is on its way.
    pub async fn stop(&self) {
        self.courier.settled().await;
        if let Err(error) = self.fleet.exit(&self.node).await {
            self.fleet_failed("exit", &error);
        }
    }

    /// Tells a peer that this node goes away, and closes its connection.
    pub(super) fn send_away(&self, peer: &Peer, reconnect_after_ms: u64) {
        if let Ok(frame) = serde_json::to_string(&Push::ServerDraining { reconnect_after_ms }) {
            self.send(peer, Frames::new(frame).of(peer.dialect), Worth::Keep);
        }
        peer.outbox.close(CloseReason::Restart);
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
