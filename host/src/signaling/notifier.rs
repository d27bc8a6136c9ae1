//! What the application tells peers: at once on this node, and in order to those on other nodes or away.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::hub::Hub;
use super::queue::Worth;
use super::room::{Frames, Peer, SessionHost};
use crate::domain::identity::player_of;
use crate::ports::fleet::Dispatch;
use crate::ports::peers::{PeerNotifier, Push};

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
            self.left_here(session_id, &peer, true);
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

impl Hub {
    /// Sends a frame to everybody in the session on this node.
    pub(super) fn push(&self, session_id: &str, frame: String, fresh: bool, host: Option<SessionHost>) -> usize {
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
}

/// Whether a push says that the session is over.
fn is_end(frame: &str) -> bool {
    frame.starts_with("{\"type\":\"session-ended\"") || frame.starts_with("{\"type\":\"fallback\"")
}
