//! Who is connected to this node and who shares a session: connects, joins, leaves, and reaches peers.
//!
//! The rooms here are the truth of this node; presence is told of every change and may be lost. No socket is read or
//! written here, and nothing waits for a peer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_util::task::TaskTracker;

use super::close::CloseReason;
use super::dialect::Dialect;
use super::metrics::SignalingMetrics;
use super::queue::{OutboxLimits, Queued, Worth};
use super::room::{Frames, Peer, Room, SessionHost};
use super::wire;
use crate::domain::clock::SharedClock;
use crate::domain::identity::{Identity, player_of};
use crate::ports::live::Presence;
use crate::ports::peers::{PeerNotifier, Push};
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
        }
    }
}

/// Longest delay a client is told to wait when this node drains.
const LONGEST_SPREAD: Duration = Duration::from_secs(30);

/// Everybody on this node. One lock for all that must fit together; relaying does not take it.
#[derive(Default)]
struct Directory {
    peers: HashMap<Arc<str>, Arc<Peer>>,
    rooms: HashMap<Arc<str>, Arc<Room>>,
}

/// See the module.
pub struct Hub {
    presence: Arc<dyn Presence>,
    clock: SharedClock,
    node: String,
    pub(super) limits: HubLimits,
    pub(super) metrics: SignalingMetrics,
    directory: Mutex<Directory>,
    /// Grows whenever somebody is put out of a session from outside, so that a join that began before looks again.
    endings: AtomicU64,
    open: AtomicUsize,
    all_closed: Notify,
    draining: AtomicBool,
    tracker: TaskTracker,
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

/// Why a connection may not carry its `peer_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Somebody else is connected under it.
    InUse,
    /// A newer connection of the same peer is there already.
    Outdated,
}

/// What leaving a session brought about.
#[derive(Debug, PartialEq, Eq)]
pub struct Left {
    pub session_id: Arc<str>,
    /// The session lost its host by it, and there are peers to tell.
    pub lost_host: Option<SessionHost>,
}

/// What joining brought about.
#[derive(Debug)]
pub enum Joined {
    /// Done and answered; another session may have been left for it.
    Done { left: Option<Left> },
    /// Somebody was put out of a session meanwhile: check the right to join again.
    Again,
    /// This connection is not the peer's any more.
    Gone,
}

impl Hub {
    /// An empty hub.
    ///
    /// # Errors
    /// When a metric's name is taken.
    pub fn new(
        presence: Arc<dyn Presence>,
        clock: SharedClock,
        metrics: &Metrics,
        node: impl Into<String>,
        limits: HubLimits,
    ) -> prometheus::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            presence,
            clock,
            node: node.into(),
            limits,
            metrics: SignalingMetrics::register(&metrics.registry)?,
            directory: Mutex::default(),
            endings: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            all_closed: Notify::new(),
            draining: AtomicBool::new(false),
            tracker: TaskTracker::new(),
        }))
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

    /// Makes the connection the peer's own. An older one of the same verified identity is closed, and its place in a session
    /// taken over.
    ///
    /// # Errors
    /// `Refusal` when the `peer_id` is somebody else's.
    pub async fn connect(&self, peer_id: &str, identity: &Identity, dialect: Dialect) -> Result<Arc<Peer>, Refusal> {
        if let Some(existing) = self.directory.lock().peers.get(peer_id)
            && !may_replace(identity, &existing.identity)
        {
            return Err(Refusal::InUse);
        }
        let generation = match self.presence.connect(peer_id, &self.node).await {
            Ok((connection, _)) => connection.generation,
            Err(error) => {
                self.presence_failed("connect", &error);
                0
            }
        };
        let peer = Arc::new(Peer::new(peer_id, identity.clone(), dialect, generation));
        let refused = self.enter_directory(&peer).err();
        match refused {
            None => {
                // Entered after the peers were listed, it would miss being sent away.
                if self.is_draining() {
                    self.send_away(&peer, 0);
                }
                Ok(peer)
            }
            Some(refusal) => {
                self.forget(peer_id, generation, false).await;
                Err(refusal)
            }
        }
    }

    fn enter_directory(&self, peer: &Arc<Peer>) -> Result<(), Refusal> {
        let mut directory = self.directory.lock();
        let replaced = match directory.peers.entry(Arc::clone(&peer.peer_id)) {
            Entry::Vacant(entry) => {
                entry.insert(Arc::clone(peer));
                return Ok(());
            }
            Entry::Occupied(mut entry) => {
                let existing = entry.get();
                if !may_replace(&peer.identity, &existing.identity) {
                    return Err(Refusal::InUse);
                }
                if peer.generation != 0 && peer.generation < existing.generation {
                    return Err(Refusal::Outdated);
                }
                entry.insert(Arc::clone(peer))
            }
        };
        if let Some(room) = replaced.room.lock().take() {
            room.members.write().insert(Arc::clone(&peer.peer_id), Arc::clone(peer));
            peer.inherited.store(true, Ordering::Relaxed);
            *peer.room.lock() = Some(room);
        }
        drop(directory);
        replaced.outbox.close(CloseReason::Replaced);
        Ok(())
    }

    /// How often somebody was put out of a session; taken before the right to join is checked and given to `join`.
    #[must_use]
    pub fn endings(&self) -> u64 {
        self.endings.load(Ordering::Acquire)
    }

    /// Puts the peer into the session's room, answers it with `answer` (made from the others there), and tells the others.
    pub async fn join(
        &self,
        peer: &Arc<Peer>,
        session_id: &str,
        host: &SessionHost,
        seen: u64,
        answer: &(dyn Fn(&[Arc<Peer>]) -> String + Send + Sync),
    ) -> Joined {
        let joined = self.enter_room(peer, session_id, host, seen, answer);
        if matches!(joined, Joined::Done { .. }) {
            if let Err(error) = self.presence.join(&peer.peer_id, session_id).await {
                self.presence_failed("join", &error);
            }
            // Put out of it meanwhile: presence may have heard of that before it heard of the join.
            if !self.is_placed(&peer.peer_id)
                && let Err(error) = self.presence.leave(&peer.peer_id).await
            {
                self.presence_failed("leave", &error);
            }
        }
        joined
    }

    fn is_placed(&self, peer_id: &str) -> bool {
        let directory = self.directory.lock();
        directory.peers.get(peer_id).is_some_and(|peer| peer.room().is_some())
    }

    fn enter_room(
        &self,
        peer: &Arc<Peer>,
        session_id: &str,
        host: &SessionHost,
        seen: u64,
        answer: &(dyn Fn(&[Arc<Peer>]) -> String + Send + Sync),
    ) -> Joined {
        let mut directory = self.directory.lock();
        if self.endings.load(Ordering::Acquire) != seen {
            return Joined::Again;
        }
        if !directory
            .peers
            .get(&peer.peer_id)
            .is_some_and(|current| Arc::ptr_eq(current, peer))
        {
            return Joined::Gone;
        }
        let here = peer.room().is_some_and(|room| *room.session_id == *session_id);
        let left = if here {
            None
        } else {
            self.leave_room(&mut directory, peer)
        };
        let room = Arc::clone(
            directory
                .rooms
                .entry(session_id.into())
                .or_insert_with_key(|_| Arc::new(Room::new(session_id, host.clone()))),
        );
        *room.host.lock() = host.clone();
        let mut others: Vec<Arc<Peer>> = {
            let mut members = room.members.write();
            members.insert(Arc::clone(&peer.peer_id), Arc::clone(peer));
            members
                .values()
                .filter(|other| !Arc::ptr_eq(other, peer))
                .cloned()
                .collect()
        };
        *peer.room.lock() = Some(Arc::clone(&room));
        let news = !here || peer.take_inherited();
        others.sort_by(|a, b| a.peer_id.cmp(&b.peer_id));
        self.send(peer, answer(&others).into(), Worth::Keep);
        if news {
            let mut frames = Frames::new(wire::peer(Dialect::Hyphen, "peer-joined", &peer.json));
            for other in &others {
                self.send(other, frames.of(other.dialect), Worth::Keep);
            }
        }
        Joined::Done { left }
    }

    /// Takes the peer out of its session, and tells the others there.
    pub async fn leave(&self, peer: &Arc<Peer>) -> Option<Left> {
        let left = self.leave_room(&mut self.directory.lock(), peer)?;
        if let Err(error) = self.presence.leave(&peer.peer_id).await {
            self.presence_failed("leave", &error);
        }
        Some(left)
    }

    /// Takes the connection out at once. What it left is returned; `forget` has to follow.
    pub fn depart(&self, peer: &Arc<Peer>) -> Option<Left> {
        let mut directory = self.directory.lock();
        let left = self.leave_room(&mut directory, peer);
        if directory
            .peers
            .get(&peer.peer_id)
            .is_some_and(|current| Arc::ptr_eq(current, peer))
        {
            directory.peers.remove(&peer.peer_id);
        }
        left
    }

    /// Tells presence that a connection is gone.
    pub async fn forget(&self, peer_id: &str, generation: u64, was_in_session: bool) {
        match self.presence.disconnect(peer_id, generation).await {
            Ok(true) if was_in_session => {
                if let Err(error) = self.presence.leave(peer_id).await {
                    self.presence_failed("leave", &error);
                }
            }
            Ok(_) => {}
            Err(error) => self.presence_failed("disconnect", &error),
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

    /// Connections and sessions: of the fleet, or of this node when live state does not answer.
    pub async fn counts(&self) -> (u64, u64) {
        match self.presence.counts().await {
            Ok(counts) => counts,
            Err(error) => {
                self.presence_failed("counts", &error);
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

    /// Tells a peer that this node goes away, and closes its connection.
    fn send_away(&self, peer: &Peer, reconnect_after_ms: u64) {
        if let Ok(frame) = serde_json::to_string(&Push::ServerDraining { reconnect_after_ms }) {
            self.send(peer, Frames::new(frame).of(peer.dialect), Worth::Keep);
        }
        peer.outbox.close(CloseReason::Restart);
    }

    fn leave_room(&self, directory: &mut Directory, peer: &Arc<Peer>) -> Option<Left> {
        let room = peer.room.lock().take()?;
        {
            let mut members = room.members.write();
            if members
                .get(&peer.peer_id)
                .is_some_and(|member| Arc::ptr_eq(member, peer))
            {
                members.remove(&peer.peer_id);
            }
            if members.is_empty()
                && directory
                    .rooms
                    .get(&room.session_id)
                    .is_some_and(|r| Arc::ptr_eq(r, &room))
            {
                directory.rooms.remove(&room.session_id);
            }
        }
        let mut frames = Frames::new(wire::peer(Dialect::Hyphen, "peer-left", &peer.json));
        for other in room.members.read().values() {
            self.send(other, frames.of(other.dialect), Worth::Keep);
        }
        Some(Left {
            session_id: Arc::clone(&room.session_id),
            lost_host: room.lost_host(&peer.peer_id),
        })
    }

    /// Tells presence, in the background, that peers are in no session any more.
    fn forget_places(&self, peers: Vec<Arc<Peer>>) {
        let presence = Arc::clone(&self.presence);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        self.tracker.spawn_on(
            async move {
                for peer in peers.iter().filter(|peer| peer.room().is_none()) {
                    if let Err(error) = presence.leave(&peer.peer_id).await {
                        tracing::debug!(%error, "presence did not take a leave");
                    }
                }
            },
            &runtime,
        );
    }

    fn presence_failed(&self, what: &'static str, error: &crate::ports::live::LiveError) {
        self.metrics.presence_failures.inc();
        tracing::debug!(%error, what, "presence did not answer");
    }
}

impl PeerNotifier for Hub {
    fn notify_session(&self, session_id: &str, push: &Push) -> usize {
        let Some(room) = self.directory.lock().rooms.get(session_id).cloned() else {
            return 0;
        };
        if let Push::HostChanged { host_id, peer_id, .. } = push {
            *room.host.lock() = SessionHost {
                host_id: host_id.clone(),
                player_id: peer_id.clone(),
            };
        }
        let frame = match serde_json::to_string(push) {
            Ok(frame) => frame,
            Err(error) => {
                tracing::error!(%error, "a push cannot be written as JSON");
                return 0;
            }
        };
        let worth = if matches!(push, Push::NpcState { .. }) {
            Worth::Fresh
        } else {
            Worth::Keep
        };
        let mut frames = Frames::new(frame);
        let members = room.members.read();
        members
            .values()
            .filter(|peer| self.send(peer, frames.of(peer.dialect), worth))
            .count()
    }

    fn close_session(&self, session_id: &str) {
        let mut directory = self.directory.lock();
        self.endings.fetch_add(1, Ordering::AcqRel);
        let Some(room) = directory.rooms.remove(session_id) else {
            return;
        };
        let peers: Vec<_> = std::mem::take(&mut *room.members.write()).into_values().collect();
        for peer in &peers {
            peer.room.lock().take();
        }
        drop(directory);
        self.forget_places(peers);
    }

    fn evict(&self, session_id: &str, player_id: &str) {
        let mut directory = self.directory.lock();
        self.endings.fetch_add(1, Ordering::AcqRel);
        let Some(room) = directory.rooms.get(session_id).cloned() else {
            return;
        };
        let evicted: Vec<Arc<Peer>> = {
            let members = room.members.read();
            members
                .values()
                .filter(|peer| player_of(&peer.peer_id) == player_id)
                .cloned()
                .collect()
        };
        for peer in &evicted {
            self.leave_room(&mut directory, peer);
            self.send(peer, wire::session_left(peer.dialect, session_id).into(), Worth::Keep);
        }
        drop(directory);
        self.forget_places(evicted);
    }

    fn sessions(&self) -> Vec<String> {
        self.directory
            .lock()
            .rooms
            .keys()
            .map(|session_id| session_id.to_string())
            .collect()
    }
}

/// A newer connection takes over when it proves the same identity; an operator always may.
fn may_replace(newer: &Identity, older: &Identity) -> bool {
    match (newer, older) {
        (Identity::Operator, _) | (Identity::AnyPlayer, Identity::AnyPlayer) => true,
        (Identity::Player { player_id: a, .. }, Identity::Player { player_id: b, .. }) => a == b,
        _ => false,
    }
}
