//! What the fleet's events do to the rooms of this node, and what the application sends to peers.
//!
//! Events come in order and are applied at once, under the directory lock where rooms change. Nothing here waits.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::close::CloseReason;
use super::courier::Entry;
use super::dialect::Dialect;
use super::hub::{Directory, Hub};
use super::queue::Worth;
use super::room::{Frames, JoinAnswer, Peer, Room, SessionHost};
use super::wire;
use crate::domain::identity::player_of;
use crate::ports::fleet::{Dispatch, Event, NodeEvents, Outcome, Parcel, Sent};
use crate::ports::peers::{PeerNotifier, Push};

/// Most nodes whose parcels are counted; far more than a fleet has.
const MOST_ORIGINS: usize = 4096;

impl NodeEvents for Hub {
    fn apply(&self, event: Event) {
        match event {
            Event::Arrived {
                ticket,
                generation,
                resumed,
                ..
            } => {
                if let Some((peer, done)) = self.arrivals.lock().remove(&ticket) {
                    self.settle_in(&peer, generation, resumed);
                    let _ = done.send(());
                }
            }
            Event::Entered {
                peer_id,
                generation,
                session_id,
                others,
                news,
            } => self.entered(&peer_id, generation, &session_id, &others, news),
            Event::Joined { session_id, peer_id } => self.joined_elsewhere(&session_id, &peer_id),
            Event::Left {
                session_id,
                peer_id,
                generation,
                evicted,
            } => {
                self.left(&session_id, &peer_id, generation, evicted);
            }
            Event::Signal { to, parcel } => self.signal(&to, parcel),
            Event::Push {
                session_id,
                parcel,
                fresh,
                host,
            } => {
                if self.is_news(&parcel) {
                    self.push(&session_id, parcel.frame, fresh, host);
                }
            }
            Event::Closed { session_id } => self.closed(&session_id),
            Event::Replaced {
                peer_id,
                generation,
                resumed,
            } => self.replaced(&peer_id, generation, resumed),
            Event::Parked { peer_id, generation } => self.parked(&peer_id, generation),
            Event::Leftovers { peer_id, parcels } => self.leftovers(&peer_id, parcels),
            Event::Outcome { to, id, outcome } => self.tell_outcome(&to, &id, outcome, None),
        }
    }

    fn listening(&self) {
        self.stale.notify_one();
    }
}

impl Hub {
    /// The fleet has put the peer into the session.
    fn entered(&self, peer_id: &str, generation: u64, session_id: &str, others: &[String], news: bool) {
        let mut directory = self.directory.lock();
        let Some(peer) = directory
            .peers
            .get(peer_id)
            .filter(|peer| peer.generation() == generation)
            .cloned()
        else {
            return;
        };
        let Some(entering) = peer
            .entering
            .lock()
            .take_if(|entering| entering.session_id == session_id)
        else {
            return;
        };
        let valid = self.endings_here() == entering.endings;
        if valid {
            self.place(
                &mut directory,
                &peer,
                session_id,
                &entering.host,
                others,
                news,
                entering.answer,
            );
        }
        let _ = entering.done.send(valid);
    }

    /// Puts the peer into the room, answers it, and tells the others here.
    #[expect(clippy::too_many_arguments, reason = "one step under one lock")]
    pub(super) fn place(
        &self,
        directory: &mut Directory,
        peer: &Arc<Peer>,
        session_id: &str,
        host: &SessionHost,
        others: &[String],
        news: bool,
        answer: JoinAnswer,
    ) {
        let room = Arc::clone(
            directory
                .rooms
                .entry(session_id.into())
                .or_insert_with_key(|_| Arc::new(Room::new(session_id, host.clone()))),
        );
        *room.host.lock() = host.clone();
        room.told_end.store(false, Ordering::Relaxed);
        let neighbours: Vec<Arc<Peer>> = {
            let mut members = room.members.write();
            members.elsewhere.remove(&peer.peer_id);
            members.here.insert(Arc::clone(&peer.peer_id), Arc::clone(peer));
            for other in others {
                if !members.here.contains_key(&**other) && !members.elsewhere.contains(&**other) {
                    members.elsewhere.insert(other.as_str().into());
                }
            }
            let here = members.here.values();
            here.filter(|other| !Arc::ptr_eq(other, peer)).cloned().collect()
        };
        *peer.room.lock() = Some(Arc::clone(&room));
        if answer == JoinAnswer::Silent {
            peer.inherited.store(true, Ordering::Relaxed);
            return;
        }
        let inherited = peer.take_inherited();
        let frame = match answer {
            JoinAnswer::Created => wire::session_created(session_id, &host.host_id),
            JoinAnswer::Joined | JoinAnswer::Resumed | JoinAnswer::Silent => {
                let others = room.others(&peer.peer_id);
                let others: Vec<String> = others.iter().map(|name| wire::json_string(name)).collect();
                let others = others.iter().map(String::as_str);
                let resumed = answer == JoinAnswer::Resumed;
                wire::session_joined(peer.dialect, session_id, others, &peer.resume_token, resumed)
            }
        };
        self.send(peer, frame.into(), Worth::Keep);
        if answer != JoinAnswer::Resumed && (news || inherited) {
            let mut frames = Frames::new(wire::peer(Dialect::Hyphen, "peer-joined", &peer.json));
            for other in &neighbours {
                self.send(other, frames.of(other.dialect), Worth::Keep);
            }
            if !news {
                self.tell_joined_elsewhere(session_id, peer);
            }
        }
    }

    fn joined_elsewhere(&self, session_id: &str, peer_id: &str) {
        let directory = self.directory.lock();
        let Some(room) = directory.rooms.get(session_id) else {
            return;
        };
        let mut members = room.members.write();
        if members.here.contains_key(peer_id) || !members.elsewhere.insert(peer_id.into()) {
            return;
        }
        let json = wire::json_string(peer_id);
        let mut frames = Frames::new(wire::peer(Dialect::Hyphen, "peer-joined", &json));
        for other in members.here.values() {
            self.send(other, frames.of(other.dialect), Worth::Keep);
        }
    }

    /// Takes a peer out of a room, and tells the others here; false when it was not there.
    pub(super) fn left(&self, session_id: &str, peer_id: &str, generation: u64, evicted: bool) -> bool {
        let mut directory = self.directory.lock();
        let Some(room) = directory.rooms.get(session_id).cloned() else {
            return false;
        };
        let mut members = room.members.write();
        let here = members
            .here
            .get(peer_id)
            .filter(|peer| peer.generation() <= generation)
            .cloned();
        if let Some(peer) = &here {
            members.here.remove(peer_id);
            peer.room.lock().take();
            if evicted {
                self.send(peer, wire::session_left(peer.dialect, session_id).into(), Worth::Keep);
            }
        }
        let elsewhere = members.elsewhere.remove(peer_id);
        if members.here.is_empty() {
            directory.rooms.remove(session_id);
        }
        if here.is_none() && !elsewhere {
            return false;
        }
        let json = wire::json_string(peer_id);
        let mut frames = Frames::new(wire::peer(Dialect::Hyphen, "peer-left", &json));
        for other in members.here.values() {
            self.send(other, frames.of(other.dialect), Worth::Keep);
        }
        true
    }

    /// A parcel has come for a peer of this node.
    pub(super) fn signal(&self, to: &str, parcel: Parcel) {
        if *parcel.origin == *self.node {
            self.courier.arrived(to);
        }
        if !self.is_news(&parcel) {
            return;
        }
        let Some(peer) = self.directory.lock().peers.get(to).cloned() else {
            // It ended while the parcel was on its way.
            self.report(parcel, Outcome::Expired);
            return;
        };
        let mut handover = peer.handover.lock();
        if let Some(handover) = handover.as_mut() {
            handover.held.push(parcel);
            return;
        }
        drop(handover);
        self.deliver(&peer, parcel);
    }

    /// Whether the parcel was not taken before: after a failure a node may send one twice.
    fn is_news(&self, parcel: &Parcel) -> bool {
        let mut heard = self.heard.lock();
        match heard.get_mut(&parcel.origin) {
            Some(last) if *last >= parcel.number => false,
            Some(last) => {
                *last = parcel.number;
                true
            }
            None => {
                if heard.len() >= MOST_ORIGINS {
                    heard.clear();
                }
                heard.insert(parcel.origin.clone(), parcel.number);
                true
            }
        }
    }

    /// Sends a frame to everybody in the session on this node.
    fn push(&self, session_id: &str, frame: String, fresh: bool, host: Option<SessionHost>) -> usize {
        let Some(room) = self.directory.lock().rooms.get(session_id).cloned() else {
            return 0;
        };
        if let Some(host) = host {
            *room.host.lock() = host;
        }
        if is_end(&frame) {
            room.told_end.store(true, Ordering::Relaxed);
        }
        let worth = if fresh { Worth::Fresh } else { Worth::Keep };
        let mut frames = Frames::new(frame);
        let members = room.members.read();
        members
            .here
            .values()
            .filter(|peer| self.send(peer, frames.of(peer.dialect), worth))
            .count()
    }

    fn closed(&self, session_id: &str) {
        let mut directory = self.directory.lock();
        let Some(room) = directory.rooms.remove(session_id) else {
            return;
        };
        let ended = Push::SessionEnded {
            session_id: session_id.to_owned(),
            reason: "ended".to_owned(),
        };
        let mut members = room.members.write();
        // Who came after the end was told has not heard of it.
        if !room.told_end.load(Ordering::Relaxed)
            && let Ok(frame) = serde_json::to_string(&ended)
        {
            let mut frames = Frames::new(frame);
            for peer in members.here.values() {
                self.send(peer, frames.of(peer.dialect), Worth::Keep);
            }
        }
        for peer in members.here.values() {
            peer.room.lock().take();
        }
        members.here.clear();
        members.elsewhere.clear();
    }

    /// A newer connection took over.
    pub(super) fn replaced(&self, peer_id: &str, generation: u64, resumed: bool) {
        let Some(peer) = self.remove(peer_id, generation) else {
            if resumed {
                self.leave_behind(peer_id.to_owned(), generation, Vec::new());
            }
            return;
        };
        let frames = peer.outbox.close_and_take(CloseReason::Replaced);
        if resumed {
            let parcels = self.parcels(frames);
            self.leave_behind(peer_id.to_owned(), generation, parcels);
        }
    }

    /// The connection is over and its place is kept.
    fn parked(&self, peer_id: &str, generation: u64) {
        let Some(peer) = self.remove(peer_id, generation) else {
            self.leave_behind(peer_id.to_owned(), generation, Vec::new());
            return;
        };
        let frames = peer.outbox.close_and_take(CloseReason::ByClient);
        let parcels = if peer.resumable {
            self.parcels(frames)
        } else {
            Vec::new()
        };
        self.leave_behind(peer_id.to_owned(), generation, parcels);
    }

    /// Takes a connection out of the directory. Its place in the room is one elsewhere from now on.
    fn remove(&self, peer_id: &str, generation: u64) -> Option<Arc<Peer>> {
        let mut directory = self.directory.lock();
        directory
            .peers
            .get(peer_id)
            .filter(|peer| peer.generation() == generation)?;
        let peer = directory.peers.remove(peer_id)?;
        if let Some(room) = peer.room.lock().take() {
            let mut members = room.members.write();
            members.here.remove(peer_id);
            members.elsewhere.insert(Arc::clone(&peer.peer_id));
            if members.here.is_empty() {
                directory.rooms.remove(&room.session_id);
            }
        }
        Some(peer)
    }

    fn parcels(&self, frames: Vec<String>) -> Vec<Parcel> {
        let at = self.now().0;
        frames
            .into_iter()
            .map(|frame| self.courier.stamped(frame, at))
            .collect()
    }

    fn leave_behind(&self, peer_id: String, generation: u64, parcels: Vec<Parcel>) {
        let fleet = Arc::clone(&self.fleet);
        let failures = self.metrics.fleet_failures.clone();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        self.tracker.spawn_on(
            async move {
                if let Err(error) = fleet.leave_behind(&peer_id, generation, parcels).await {
                    failures.inc();
                    tracing::warn!(%error, %peer_id, "what a connection had not sent is lost");
                }
            },
            &runtime,
        );
    }

    fn leftovers(&self, peer_id: &str, parcels: Vec<Parcel>) {
        let Some(peer) = self.directory.lock().peers.get(peer_id).cloned() else {
            return;
        };
        let mut handover = peer.handover.lock();
        if let Some(handover) = handover.as_mut() {
            handover.leftovers = Some(parcels);
            if let Some(arrived) = handover.arrived.take() {
                let _ = arrived.send(());
            }
        }
    }

    /// Answers a message that asked for an outcome.
    pub(super) fn tell_outcome(&self, to: &str, id: &str, outcome: Outcome, why: Option<&str>) {
        self.receipts.lock().remove(&(Arc::from(to), id.to_owned()));
        if let Some(peer) = self.directory.lock().peers.get(to).cloned() {
            self.send(&peer, wire::outcome(id, outcome, why).into(), Worth::Keep);
        }
    }

    /// What became of something that the courier took.
    pub(super) fn dispatched(&self, entry: Entry, sent: Option<Sent>) {
        let Dispatch::Signal { to, parcel, .. } = &entry.item else {
            return;
        };
        let (outcome, why) = match sent {
            Some(Sent::Done | Sent::Here) => {
                self.metrics.remote("sent");
                return;
            }
            Some(Sent::Queued) => (Outcome::Queued, None),
            Some(Sent::NotThere) => (Outcome::Refused, Some(wire::not_in_session(to))),
            Some(Sent::Full) => (
                Outcome::Refused,
                Some(format!("Peer {} is away and takes no more", wire::shorten(to))),
            ),
            None => (
                Outcome::Expired,
                Some(format!("The message did not reach {} in time", wire::shorten(to))),
            ),
        };
        self.metrics.remote(outcome.as_str());
        let Some(sender) = entry.sender else { return };
        match (&parcel.receipt, why) {
            (Some(receipt), why) => self.tell_outcome(&sender.peer_id, &receipt.id, outcome, why.as_deref()),
            (None, Some(why)) => {
                self.send(&sender, wire::error(&why, "").into(), Worth::Keep);
            }
            (None, None) => {}
        }
    }
}

impl PeerNotifier for Hub {
    fn notify_session(&self, session_id: &str, push: &Push) -> usize {
        let host = match push {
            Push::HostChanged { host_id, peer_id, .. } => Some(SessionHost {
                host_id: host_id.clone(),
                player_id: peer_id.clone(),
            }),
            _ => None,
        };
        let frame = match serde_json::to_string(push) {
            Ok(frame) => frame,
            Err(error) => {
                tracing::error!(%error, "a push cannot be written as JSON");
                return 0;
            }
        };
        let fresh = matches!(push, Push::NpcState { .. });
        self.courier
            .push_to_session(session_id, frame.clone(), self.now().0, fresh, host.clone());
        self.push(session_id, frame, fresh, host)
    }

    fn close_session(&self, session_id: &str) {
        self.count_ending();
        if let Some(room) = self.directory.lock().rooms.get(session_id) {
            room.told_end.store(true, Ordering::Relaxed);
        }
        self.closed(session_id);
        self.courier.order(Dispatch::Close {
            session_id: session_id.to_owned(),
        });
    }

    fn evict(&self, session_id: &str, player_id: &str) {
        self.count_ending();
        let room = self.directory.lock().rooms.get(session_id).cloned();
        let evicted: Vec<Arc<Peer>> = room.map_or_else(Vec::new, |room| {
            let members = room.members.read();
            let here = members.here.values();
            here.filter(|peer| player_of(&peer.peer_id) == player_id)
                .cloned()
                .collect()
        });
        for peer in evicted {
            self.left(session_id, &peer.peer_id, peer.generation(), true);
        }
        self.courier.order(Dispatch::Evict {
            session_id: session_id.to_owned(),
            player_id: player_id.to_owned(),
        });
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

/// Whether a push says that the session is over.
fn is_end(frame: &str) -> bool {
    frame.starts_with("{\"type\":\"session-ended\"") || frame.starts_with("{\"type\":\"fallback\"")
}
