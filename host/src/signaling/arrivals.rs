//! How connections become a peer's own.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use super::close::CloseReason;
use super::dialect::Dialect;
use super::hub::{EVENT_WAIT, Hub};
use super::resume;
use super::room::Peer;
use crate::domain::identity::Identity;
use crate::ports::fleet::{Arrival, Arrived, Connected};

/// A connection that has said who it is.
pub struct Arriving<'a> {
    pub peer_id: &'a str,
    pub identity: &'a Identity,
    pub dialect: Dialect,
    /// Keep its place when it breaks.
    pub resumable: bool,
    /// The token of an earlier connection to go on from.
    pub resume_token: Option<&'a str>,
}

/// Why a connection may not carry its `peer_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Somebody else is connected under it.
    InUse,
}

impl Hub {
    /// Makes the connection the peer's own, with the place that the peer has. An older one of the same verified identity is
    /// closed, on whichever node it is.
    ///
    /// # Errors
    /// `Refusal` when the `peer_id` is somebody else's.
    pub async fn connect(&self, arriving: Arriving<'_>) -> Result<(Arc<Peer>, Arrived), Refusal> {
        let Arriving {
            peer_id,
            identity,
            dialect,
            resumable,
            resume_token,
        } = arriving;
        let token = resume::new_token();
        let peer = Arc::new(Peer::new(peer_id, identity.clone(), dialect, token, resumable));
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let arrival = Arrival {
            peer_id: peer_id.to_owned(),
            node: self.node.to_string(),
            identity: identity_word(identity),
            token: resume::digest(&peer.resume_token),
            presented: resume_token.map(resume::digest),
            ticket,
        };
        let (done, arrived) = oneshot::channel();
        self.arrivals.lock().insert(ticket, (Arc::clone(&peer), done));
        let connected = self.fleet.connect(&arrival).await;
        let place = match connected {
            Ok(Connected::Done(place)) => {
                if tokio::time::timeout(EVENT_WAIT, arrived).await.is_err() {
                    // The event is lost, unless it came just now.
                    self.stale.notify_one();
                    let lost = self.arrivals.lock().remove(&ticket).is_some();
                    if lost {
                        self.settle_in(&peer, place.generation, place.resumed);
                    }
                }
                place
            }
            Ok(Connected::InUse) => {
                self.arrivals.lock().remove(&ticket);
                return Err(Refusal::InUse);
            }
            Err(error) => {
                self.fleet_failed("connect", &error);
                self.arrivals.lock().remove(&ticket);
                self.stale.notify_one();
                self.connect_alone(&peer)?
            }
        };
        // Entered after the peers were listed, it would miss being sent away.
        if self.is_draining() {
            self.send_away(&peer, 0);
        }
        Ok((peer, place))
    }

    /// Connects with what this node knows, while the fleet does not answer.
    fn connect_alone(&self, peer: &Arc<Peer>) -> Result<Arrived, Refusal> {
        let existing = self.directory.lock().peers.get(&peer.peer_id).cloned();
        let mut generation = u64::try_from(self.now().0).unwrap_or_default().saturating_mul(1000);
        let mut session_id = None;
        if let Some(existing) = existing {
            if !may_replace(&peer.identity, &existing.identity) {
                return Err(Refusal::InUse);
            }
            generation = generation.max(existing.generation() + 1);
            session_id = existing.room().map(|room| room.session_id.to_string());
            self.replaced(&existing.peer_id, existing.generation(), false);
        }
        self.settle_in(peer, generation, false);
        Ok(Arrived {
            generation,
            session_id,
            ..Arrived::default()
        })
    }

    /// Puts a connection into the directory.
    pub(super) fn settle_in(&self, peer: &Arc<Peer>, generation: u64, resumed: bool) {
        peer.set_generation(generation);
        if resumed {
            *peer.handover.lock() = Some(Box::default());
        }
        let other = self.directory.lock().peers.get(&peer.peer_id).cloned();
        match other {
            Some(other) if Arc::ptr_eq(&other, peer) => return,
            Some(other) if other.generation() > generation => return peer.outbox.close(CloseReason::Replaced),
            // The event that it was replaced is lost.
            Some(older) => self.replaced(&peer.peer_id, older.generation(), resumed),
            None => {}
        }
        let mut directory = self.directory.lock();
        directory.peers.insert(Arc::clone(&peer.peer_id), Arc::clone(peer));
    }
}

/// Who has proved to be it, as one word.
pub(super) fn identity_word(identity: &Identity) -> String {
    match identity {
        Identity::Operator => "operator".to_owned(),
        Identity::AnyPlayer => "any".to_owned(),
        Identity::Anonymous => "anonymous".to_owned(),
        Identity::Player { player_id, .. } => format!("player:{player_id}"),
    }
}

/// A newer connection takes over when it proves the same identity; an operator always may.
fn may_replace(newer: &Identity, older: &Identity) -> bool {
    *newer == Identity::Operator || identity_word(newer) == identity_word(older)
}
