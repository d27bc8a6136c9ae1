//! Who is in which session: joins, leaves and ends of connections, each a step of the fleet whose event changes the rooms.
//!
//! While the fleet does not answer, a step is taken with what this node knows, and the fleet is told later (`keeper`).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use super::hub::{EVENT_WAIT, Hub};
use super::room::{Entering, JoinAnswer, Peer, SessionHost};
use crate::domain::identity::player_of;
use crate::ports::fleet::{Departure, Joined as FleetJoined};

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
    /// Somebody was put out of a session meanwhile: check the right to join again. Another session may have been left.
    Again { left: Option<Left> },
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
            return Joined::Again { left: None };
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
                return Joined::Again { left: None };
            }
            Some(FleetJoined::Gone) => {
                peer.entering.lock().take();
                // Without a newer connection the fleet has forgotten this one; it is told again soon.
                if self.is_current(peer) && !self.is_elsewhere(peer).await {
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
        let left = left.map(|left| Left::of(left.session_id, host_before, &left.peer_id, &left.remaining));
        match tokio::time::timeout(EVENT_WAIT, placed).await {
            Ok(Ok(true)) => Joined::Done { left },
            Ok(Ok(false)) => {
                self.leave(peer).await;
                Joined::Again { left }
            }
            Ok(Err(_)) | Err(_) => {
                // The event is lost.
                peer.entering.lock().take();
                self.stale.notify_one();
                match self.join_alone(peer, session_id, host, seen, answer) {
                    Joined::Done { left: here } => Joined::Done { left: left.or(here) },
                    other => other,
                }
            }
        }
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
            return Joined::Again { left };
        }
        let current = directory.peers.get(&peer.peer_id);
        if current.is_none_or(|current| !Arc::ptr_eq(current, peer)) {
            return Joined::Gone;
        }
        peer.alone.store(true, Ordering::Release);
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
        peer.alone.store(true, Ordering::Release);
        self.left_here(&room.session_id, peer, false);
        Some(Left::of(room.session_id.to_string(), host, &peer.peer_id, &remaining))
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
                Ok(true) => {
                    // The event that says so takes it out. Were it lost, the connection would be announced for ever.
                    if tokio::time::timeout(EVENT_WAIT, peer.over.notified()).await.is_err() {
                        self.stale.notify_one();
                        self.parked(peer_id, generation);
                    }
                    return None;
                }
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
        self.left_here(&departure.session_id, peer, false);
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
}
