//! What the fleet's events do to the rooms of this node.
//!
//! Events come in order and are applied at once, under the directory lock where rooms change. Nothing here waits.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::dialect::Dialect;
use super::hub::{Directory, Hub};
use super::queue::Worth;
use super::room::{Frames, JoinAnswer, Peer, Room, SessionHost};
use super::wire;
use crate::ports::fleet::{Event, NodeEvents, Parcel};
use crate::ports::peers::Push;

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
            } => self.left(&session_id, &peer_id, generation, evicted),
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

    /// Whether the parcel for a whole session was not taken before: after a failure a node may send one twice.
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
            members.changes += 1;
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
        members.changes += 1;
        let json = wire::json_string(peer_id);
        let mut frames = Frames::new(wire::peer(Dialect::Hyphen, "peer-joined", &json));
        for other in members.here.values() {
            self.send(other, frames.of(other.dialect), Worth::Keep);
        }
    }

    /// A peer has left a room. In the order of events nobody newer can be meant: a later connection joins later.
    fn left(&self, session_id: &str, peer_id: &str, generation: u64, evicted: bool) {
        self.take_out(session_id, peer_id, generation, evicted, true);
    }

    /// Takes a connection of this node out of a room, before the event that says so. A newer one of the same peer stays.
    pub(super) fn left_here(&self, session_id: &str, peer: &Peer, evicted: bool) {
        self.take_out(session_id, &peer.peer_id, peer.generation(), evicted, false);
    }

    /// Takes a peer out of a room, and tells the others here. Names of peers elsewhere are taken out by events alone.
    fn take_out(&self, session_id: &str, peer_id: &str, generation: u64, evicted: bool, elsewhere: bool) {
        let mut directory = self.directory.lock();
        let Some(room) = directory.rooms.get(session_id).cloned() else {
            return;
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
        let elsewhere = elsewhere && members.elsewhere.remove(peer_id);
        if members.here.is_empty() {
            directory.rooms.remove(session_id);
        }
        if here.is_none() && !elsewhere {
            return;
        }
        members.changes += 1;
        let json = wire::json_string(peer_id);
        let mut frames = Frames::new(wire::peer(Dialect::Hyphen, "peer-left", &json));
        for other in members.here.values() {
            self.send(other, frames.of(other.dialect), Worth::Keep);
        }
    }

    /// Nobody is in the session any more.
    pub(super) fn closed(&self, session_id: &str) {
        let mut directory = self.directory.lock();
        let Some(room) = directory.rooms.remove(session_id) else {
            return;
        };
        let ended = Push::SessionEnded {
            session_id: session_id.to_owned(),
            reason: "ended".to_owned(),
        };
        let mut members = room.members.write();
        members.changes += 1;
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
}
