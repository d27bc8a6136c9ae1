//! Messages from the service to connected peers, as the application sends them.

use serde::Serialize;

/// A message that the service itself sends. Serialised once, whatever the number of receivers.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Push {
    /// What peers see of the zone's NPCs at this tick.
    NpcState {
        zone_id: String,
        session_id: String,
        tick: u64,
        timestamp: String,
        npcs: Box<serde_json::value::RawValue>,
    },
    /// The session goes on with another host.
    HostChanged {
        session_id: String,
        /// The new host's `host_id`.
        host_id: String,
        /// The peer to call: the new host's `player_id`.
        peer_id: String,
        reason: String,
    },
    /// The session is over.
    SessionEnded { session_id: String, reason: String },
    /// Peer-to-peer cannot go on: use the game server.
    Fallback {
        session_id: String,
        /// Always `server`.
        mode: &'static str,
        reason: String,
    },
    /// This node goes away: connect again after the delay.
    ServerDraining { reconnect_after_ms: u64 },
}

/// Whoever can reach connected peers.
pub trait PeerNotifier: Send + Sync {
    /// Queues the message for every peer in the session; never waits. Returns how many peers it was queued for.
    fn notify_session(&self, session_id: &str, push: &Push) -> usize;

    /// Takes every peer out of a session that is over.
    fn close_session(&self, session_id: &str);

    /// Takes the peers of one player out of a session (the player was removed from it).
    fn evict(&self, session_id: &str, player_id: &str);

    /// Sessions (by `session_id`) with at least one connected peer on this node.
    fn sessions(&self) -> Vec<String>;
}
