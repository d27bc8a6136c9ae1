//! A connected peer, and the room of a session: the peers of it that are connected to this node.
//!
//! Locks are short, never held over a wait, and always taken in this order: the hub's directory, a peer's place, a
//! room's members. Only the hub changes who is in a room, under its directory lock.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::dialect::Dialect;
use super::outbox::Outbox;
use super::wire;
use crate::domain::identity::{Identity, player_of};

/// One connection that has said who it is.
pub struct Peer {
    pub peer_id: Arc<str>,
    /// `peer_id` as a JSON string with its quotes.
    pub json: Box<str>,
    pub identity: Identity,
    pub dialect: Dialect,
    /// Orders connections of the same peer; 0 when live state did not answer.
    pub generation: u64,
    pub outbox: Outbox,
    /// It took the place of an older connection and has not joined by itself yet.
    pub(super) inherited: AtomicBool,
    pub(super) room: Mutex<Option<Arc<Room>>>,
}

impl Peer {
    pub(super) fn new(peer_id: &str, identity: Identity, dialect: Dialect, generation: u64) -> Self {
        Self {
            peer_id: peer_id.into(),
            json: wire::json_string(peer_id).into(),
            identity,
            dialect,
            generation,
            outbox: Outbox::default(),
            inherited: AtomicBool::new(false),
            room: Mutex::new(None),
        }
    }

    /// The room the peer is in.
    #[must_use]
    pub fn room(&self) -> Option<Arc<Room>> {
        self.room.lock().clone()
    }

    pub(super) fn take_inherited(&self) -> bool {
        self.inherited.swap(false, Ordering::Relaxed)
    }
}

/// The host of a session, as far as signaling cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionHost {
    pub host_id: String,
    /// Whose machine it is.
    pub player_id: String,
}

/// The peers of one session on this node.
pub struct Room {
    pub session_id: Arc<str>,
    pub(super) members: RwLock<HashMap<Arc<str>, Arc<Peer>>>,
    pub(super) host: Mutex<SessionHost>,
}

impl Room {
    pub(super) fn new(session_id: &str, host: SessionHost) -> Self {
        Self {
            session_id: session_id.into(),
            members: RwLock::default(),
            host: Mutex::new(host),
        }
    }

    /// The member with this `peer_id`.
    #[must_use]
    pub fn member(&self, peer_id: &str) -> Option<Arc<Peer>> {
        self.members.read().get(peer_id).cloned()
    }

    /// The host, when this player's last socket is gone from the room while others are still there.
    pub(super) fn lost_host(&self, gone: &str) -> Option<SessionHost> {
        let player = player_of(gone);
        let members = self.members.read();
        let host = self.host.lock();
        let lost =
            host.player_id == player && !members.is_empty() && members.keys().all(|member| player_of(member) != player);
        lost.then(|| host.clone())
    }
}

/// One message in both dialects, each made once and only when somebody needs it.
pub(super) struct Frames {
    hyphen: Utf8Bytes,
    underscore: Option<Utf8Bytes>,
}

impl Frames {
    /// `frame` is spelled with hyphens and opens with its type.
    pub(super) fn new(frame: String) -> Self {
        Self {
            hyphen: frame.into(),
            underscore: None,
        }
    }

    pub(super) fn of(&mut self, dialect: Dialect) -> Utf8Bytes {
        match dialect {
            Dialect::Hyphen => self.hyphen.clone(),
            Dialect::Underscore => self
                .underscore
                .get_or_insert_with(|| {
                    dialect
                        .respell(&self.hyphen)
                        .map_or_else(|| self.hyphen.clone(), Utf8Bytes::from)
                })
                .clone(),
        }
    }
}
