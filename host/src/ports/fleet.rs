//! The fleet: which node holds which peer, who is in which session, and what nodes tell each other.
//!
//! Losable, like all live state: a node keeps serving its own peers without it, and announces them again afterwards.
//!
//! Each method is one atomic step of the whole fleet. What a step means for a node reaches that node as an [`Event`],
//! its own steps included, in the one order in which the steps were taken. A node changes its rooms by events only, so
//! every node sees the same story, and what one peer sends to another stays in order wherever the two are connected.

use std::sync::Weak;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::live::Result;

/// How long a place is kept for a peer whose connection broke.
pub const HOLD: Duration = Duration::from_secs(30);
/// Parcels kept for a peer that is away.
pub const MAILBOX_PARCELS: usize = 256;
/// Bytes of frames kept for a peer that is away.
pub const MAILBOX_BYTES: usize = 512 * 1024;
/// How long a node may be silent before its peers are taken for gone.
pub const NODE_SILENCE: Duration = Duration::from_secs(10);

/// One frame on its way to a peer on another node, or to one that is away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parcel {
    /// The frame, spelled with hyphens.
    #[serde(rename = "f")]
    pub frame: String,
    /// When it was sent, in milliseconds since the Unix epoch by the sender's node.
    #[serde(rename = "t")]
    pub at: i64,
    /// The node it comes from.
    #[serde(rename = "o")]
    pub origin: String,
    /// Grows with every parcel of that node, so that one sent twice after a failure is taken once.
    #[serde(rename = "s")]
    pub number: u64,
    /// Whom to tell what became of it.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
}

/// Asks for an outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The sender's node.
    #[serde(rename = "n")]
    pub node: String,
    /// The sender.
    #[serde(rename = "p")]
    pub peer_id: String,
    /// The sender's `id`, as JSON text.
    #[serde(rename = "i")]
    pub id: String,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The receiver's connection has it.
    Delivered,
    /// The receiver is away; it gets it when it comes back in time.
    Queued,
    /// It grew too old on the way.
    Expired,
    /// It was not taken.
    Refused,
}

impl Outcome {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Queued => "queued",
            Self::Expired => "expired",
            Self::Refused => "refused",
        }
    }
}

/// The host of a session, as far as signaling cares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionHost {
    pub host_id: String,
    /// Whose machine it is.
    pub player_id: String,
}

/// What a step of the fleet means for one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The connection that this node asked for under `ticket` is the peer's own now.
    Arrived {
        ticket: u64,
        peer_id: String,
        generation: u64,
        resumed: bool,
    },
    /// This node's peer is in the session, with these others.
    Entered {
        peer_id: String,
        generation: u64,
        session_id: String,
        others: Vec<String>,
        /// It was not there before.
        news: bool,
    },
    /// A peer of another node, or one that is away, is in the session now.
    Joined { session_id: String, peer_id: String },
    /// A peer is not in the session any more.
    Left {
        session_id: String,
        peer_id: String,
        generation: u64,
        /// It was put out.
        evicted: bool,
    },
    /// A frame for a peer of this node.
    Signal { to: String, parcel: Parcel },
    /// A frame for every peer of the session on this node.
    Push {
        session_id: String,
        parcel: Parcel,
        /// Worth something only while it is new.
        fresh: bool,
        /// The session's host from here on.
        host: Option<SessionHost>,
    },
    /// Nobody is in the session any more.
    Closed { session_id: String },
    /// A newer connection of the peer took over, at any node.
    Replaced {
        peer_id: String,
        generation: u64,
        /// It goes on where the older one broke: what that one has not sent goes to `leave_behind`.
        resumed: bool,
    },
    /// The peer is away; what its connection has not sent goes to `leave_behind`.
    Parked { peer_id: String, generation: u64 },
    /// What the older connection of a resumed peer has not sent. Nothing else comes from there.
    Leftovers { peer_id: String, parcels: Vec<Parcel> },
    /// What became of a message of this node's peer.
    Outcome { to: String, id: String, outcome: Outcome },
}

/// Takes the events of one node. Never waits, and never calls the fleet.
pub trait NodeEvents: Send + Sync {
    /// Takes one event; they come in order.
    fn apply(&self, event: Event);

    /// Events come from here on, perhaps after some were missed: announce what is here, and look at what the others have.
    fn listening(&self);
}

/// A connection that wants to be a peer's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub peer_id: String,
    pub node: String,
    /// Who has proved to be it, as one word; a newer connection needs the same one, or `operator`.
    pub identity: String,
    /// Digest of the token that resumes this connection later.
    pub token: String,
    /// Digest of the token of an earlier connection, to go on where that one broke.
    pub presented: Option<String>,
    /// Comes back in `Event::Arrived`.
    pub ticket: u64,
}

/// What became of an arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connected {
    /// The connection is the peer's newest.
    Done(Arrived),
    /// The peer is connected, or its place is kept, under another identity.
    InUse,
}

/// A connection that is its peer's newest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// Different for every connection of the fleet, and growing: the higher one is the newer.
    pub generation: u64,
    /// The session the peer has a place in.
    pub session_id: Option<String>,
    /// The presented token was right: the place was kept, and so was what was sent meanwhile.
    pub resumed: bool,
    /// What was sent meanwhile.
    pub mailbox: Vec<Parcel>,
    /// `Event::Leftovers` is still to come; it goes before the mailbox.
    pub owed: bool,
}

/// A peer's connection, as the fleet knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConnection {
    pub generation: u64,
    /// The node that holds the socket; none while the peer is away.
    pub node: Option<String>,
}

/// What became of joining.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joined {
    /// Done; another session may have been left for it.
    Done { left: Option<Departure> },
    /// Somebody was put out of the session since `seen`: check the right to join again.
    Again,
    /// The connection is not the peer's newest.
    Gone,
}

/// A peer that left a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    pub session_id: String,
    pub peer_id: String,
    /// Who is still there.
    pub remaining: Vec<String>,
    /// What waited for it and reached nobody.
    pub undelivered: Vec<Parcel>,
}

/// What goes out in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dispatch {
    /// To one peer of the session.
    Signal {
        to: String,
        session_id: String,
        parcel: Parcel,
    },
    /// To every peer of the session on the other nodes; to those that are away too, unless it is `fresh`.
    Push {
        session_id: String,
        parcel: Parcel,
        fresh: bool,
        host: Option<SessionHost>,
    },
    /// Takes everybody out of the session.
    Close { session_id: String },
    /// Takes the peers of one player out of the session.
    Evict { session_id: String, player_id: String },
    /// Tells a sender on another node what became of its message.
    Outcome {
        node: String,
        to: String,
        id: String,
        outcome: Outcome,
    },
}

/// What became of a dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Done, or on its way to another node.
    Done,
    /// It comes back to this node as an event.
    Here,
    /// It waits for a peer that is away.
    Queued,
    /// The receiver is not in the session.
    NotThere,
    /// As much waits for the receiver as may.
    Full,
}

/// A connection that a node has, told to a fleet that may have forgotten it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    pub peer_id: String,
    pub generation: u64,
    pub identity: String,
    pub token: String,
    pub session_id: Option<String>,
    /// The node settled this session, or that there is none, without the fleet: it counts. Otherwise what the fleet has counts.
    pub alone: bool,
}

/// See the module.
#[async_trait]
pub trait Fleet: Send + Sync {
    /// Makes the node known and sends its events to `events`; returns when it listens.
    async fn enter(&self, node: &str, events: Weak<dyn NodeEvents>) -> Result<()>;

    /// Takes the node out. One that still has peers stays until it has been silent for too long and they are reaped.
    async fn exit(&self, node: &str) -> Result<()>;

    /// Says that the node lives. Returns the last generation so far; none when the fleet does not know the node (any more):
    /// announce its peers.
    async fn renew(&self, node: &str) -> Result<Option<u64>>;

    /// Tells all connections of the node, again and again: places that nobody renews end. Peers that the fleet has from this
    /// node up to the generation `asof`, and that are neither named nor `arriving`, leave. A node that has missed that its peer is
    /// out of a session, or what was sent to it, is told again. Returns the names of peers for which there is a newer connection.
    async fn announce(&self, node: &str, asof: u64, peers: &[Announced], arriving: &[String]) -> Result<Vec<String>>;

    /// Makes a connection the peer's newest, with the place the peer has.
    async fn connect(&self, arrival: &Arrival) -> Result<Connected>;

    /// The peer's newest connection.
    async fn find(&self, peer_id: &str) -> Result<Option<PeerConnection>>;

    /// How often somebody was put out of the session; taken before the right to join is checked, and given to `join`.
    async fn endings(&self, session_id: &str) -> Result<u64>;

    /// Puts the peer into the session; it leaves another one first.
    async fn join(&self, peer_id: &str, generation: u64, session_id: &str, seen: u64) -> Result<Joined>;

    /// Takes the peer out of its session.
    async fn leave(&self, peer_id: &str, generation: u64) -> Result<Option<Departure>>;

    /// Forgets a connection, if it still is the peer's newest, and its place.
    async fn disconnect(&self, peer_id: &str, generation: u64) -> Result<Option<Departure>>;

    /// Keeps the place of a connection that broke for so long, if it still is the peer's newest; with `mail`, also what is
    /// sent to it meanwhile. False when it was not.
    async fn park(&self, peer_id: &str, generation: u64, hold: Duration, mail: bool) -> Result<bool>;

    /// Hands over what a broken connection has not sent: before all that waits for the peer already. Follows
    /// `Event::Parked` and a resumed `Event::Replaced`, even when there is nothing.
    async fn leave_behind(&self, peer_id: &str, generation: u64, parcels: Vec<Parcel>) -> Result<()>;

    /// Sends all of them, in order. On an error, some may have been sent.
    async fn dispatch(&self, node: &str, items: &[Dispatch]) -> Result<Vec<Sent>>;

    /// Takes out peers whose time away is over, and the peers of nodes that have been silent for too long; at most about
    /// `limit`.
    async fn reap(&self, limit: usize) -> Result<Vec<Departure>>;

    /// The peers in a session, those that are away included.
    async fn members(&self, session_id: &str) -> Result<Vec<String>>;

    /// How many peers are connected, and how many sessions have a peer.
    async fn counts(&self) -> Result<(u64, u64)>;
}
