//! A connected peer, and the room of a session: its peers on this node, and the names of those elsewhere.
//!
//! Locks are short, never held over a wait, and always taken in this order: the hub's directory, a peer's place, a
//! room's members. Only the hub changes who is in a room, under its directory lock.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, oneshot};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::dialect::Dialect;
use super::outbox::Outbox;
use super::wire;
use crate::domain::identity::{Identity, player_of};
use crate::ports::fleet::Parcel;
pub use crate::ports::fleet::SessionHost;

/// Nodes that a peer remembers the last parcel of; far more than send to one peer.
const MOST_ORIGINS: usize = 64;

/// One connection that has said who it is.
pub struct Peer {
    pub peer_id: Arc<str>,
    /// `peer_id` as a JSON string with its quotes.
    pub json: Box<str>,
    pub identity: Identity,
    pub dialect: Dialect,
    pub outbox: Outbox,
    /// Resumes this connection when it breaks. For its own client alone.
    pub resume_token: Box<str>,
    /// The place is kept when the connection breaks.
    pub resumable: bool,
    /// Orders connections of the same peer.
    generation: AtomicU64,
    /// Senders on this node may reach the outbox themselves: nothing for it is on its way through the fleet.
    pub(super) direct: AtomicBool,
    /// It has the place of an older connection and has not joined by itself yet.
    pub(super) inherited: AtomicBool,
    pub(super) room: Mutex<Option<Arc<Room>>>,
    /// What it is joining.
    pub(super) entering: Mutex<Option<Box<Entering>>>,
    /// While the place of an older connection is handed over.
    pub(super) handover: Mutex<Option<Box<Handover>>>,
    /// Its session, or that it has none, was settled without the fleet, which is still to be told.
    pub(super) alone: AtomicBool,
    /// It was taken out of this node.
    pub(super) over: Notify,
    /// The number of the last parcel, by the node it came from.
    heard: Mutex<Vec<(Box<str>, u64)>>,
}

/// A join that waits for its event.
pub(super) struct Entering {
    pub(super) session_id: String,
    pub(super) host: SessionHost,
    pub(super) answer: JoinAnswer,
    pub(super) endings: u64,
    /// Whether the peer was placed.
    pub(super) done: oneshot::Sender<bool>,
}

/// How a join is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinAnswer {
    /// `session-joined`.
    Joined,
    /// `session_created`, to the game DLL.
    Created,
    /// `session-joined` that says so.
    Resumed,
    /// Not at all: the place of an older connection is taken over.
    Silent,
}

/// What comes for a resumed peer before it may have it.
#[derive(Default)]
pub(super) struct Handover {
    /// Came for the new connection. Bounded like an outbox.
    pub(super) held: Vec<Parcel>,
    /// Bytes of frames in `held`.
    pub(super) bytes: usize,
    /// What the older connection had not sent, once it is there.
    pub(super) leftovers: Option<Vec<Parcel>>,
    pub(super) arrived: Option<oneshot::Sender<()>>,
}

impl Peer {
    pub(super) fn new(peer_id: &str, identity: Identity, dialect: Dialect, token: String, resumable: bool) -> Self {
        Self {
            peer_id: peer_id.into(),
            json: wire::json_string(peer_id).into(),
            identity,
            dialect,
            outbox: Outbox::default(),
            resume_token: token.into(),
            resumable,
            generation: AtomicU64::new(0),
            direct: AtomicBool::new(false),
            inherited: AtomicBool::new(false),
            room: Mutex::new(None),
            entering: Mutex::new(None),
            handover: Mutex::new(None),
            alone: AtomicBool::new(false),
            over: Notify::new(),
            heard: Mutex::default(),
        }
    }

    /// Orders connections of the same peer: the higher one is the newer.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn set_generation(&self, generation: u64) {
        self.generation.store(generation, Ordering::Release);
    }

    /// The room the peer is in.
    #[must_use]
    pub fn room(&self) -> Option<Arc<Room>> {
        self.room.lock().clone()
    }

    /// Whether the parcel was not taken before: after a failure a node may send one twice. What one node sends to one peer comes in
    /// the order of its numbers; what goes to different peers may not.
    pub(super) fn takes(&self, parcel: &Parcel) -> bool {
        let mut heard = self.heard.lock();
        if let Some((_, last)) = heard.iter_mut().find(|(origin, _)| **origin == *parcel.origin) {
            let news = parcel.number > *last;
            *last = parcel.number.max(*last);
            return news;
        }
        if heard.len() >= MOST_ORIGINS {
            heard.remove(0);
        }
        heard.push((parcel.origin.as_str().into(), parcel.number));
        true
    }

    pub(super) fn take_inherited(&self) -> bool {
        self.inherited.swap(false, Ordering::Relaxed)
    }
}

/// Who is in a session.
#[derive(Default)]
pub(super) struct Members {
    /// Connected to this node.
    pub(super) here: HashMap<Arc<str>, Arc<Peer>>,
    /// Connected to another node, or away.
    pub(super) elsewhere: BTreeSet<Arc<str>>,
    /// Grows with every change.
    pub(super) changes: u64,
}

/// A session with a peer on this node.
pub struct Room {
    pub session_id: Arc<str>,
    pub(super) members: RwLock<Members>,
    pub(super) host: Mutex<SessionHost>,
    /// Everybody here has been told that the session is over.
    pub(super) told_end: AtomicBool,
}

impl Room {
    pub(super) fn new(session_id: &str, host: SessionHost) -> Self {
        Self {
            session_id: session_id.into(),
            members: RwLock::default(),
            host: Mutex::new(host),
            told_end: AtomicBool::new(false),
        }
    }

    /// The member with this `peer_id`, if it is connected to this node.
    #[must_use]
    pub fn member(&self, peer_id: &str) -> Option<Arc<Peer>> {
        self.members.read().here.get(peer_id).cloned()
    }

    /// Whether this `peer_id` is a member that is connected to another node, or away.
    #[must_use]
    pub fn has_elsewhere(&self, peer_id: &str) -> bool {
        self.members.read().elsewhere.contains(peer_id)
    }

    /// Everybody in the session but this one, sorted.
    pub(super) fn others(&self, peer_id: &str) -> Vec<String> {
        let members = self.members.read();
        let names: BTreeSet<&str> = members
            .here
            .keys()
            .chain(&members.elsewhere)
            .map(|name| &**name)
            .filter(|name| *name != peer_id)
            .collect();
        names.into_iter().map(str::to_owned).collect()
    }

    /// The host, when it is this peer's player.
    pub(super) fn host_of(&self, peer_id: &str) -> Option<SessionHost> {
        let host = self.host.lock();
        (host.player_id == player_of(peer_id)).then(|| host.clone())
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
