//! The tables of the fleet and each step on them.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::domain::identity::player_of;
use crate::ports::fleet::{
    Arrival, Arrived, Connected, Departure, Dispatch, Event, Joined, MAILBOX_BYTES, MAILBOX_PARCELS, NodeEvents,
    Parcel, PeerConnection, Sent,
};

/// A node that events go to.
pub(super) struct Node {
    pub(super) events: Weak<dyn NodeEvents>,
    pub(super) seen: Instant,
}

/// A connected peer, or the place of one that is away.
pub(super) struct Peer {
    pub(super) generation: u64,
    /// None while it is away.
    pub(super) node: Option<Arc<str>>,
    pub(super) identity: Arc<str>,
    pub(super) token: Box<str>,
    pub(super) session: Option<Arc<str>>,
    pub(super) away: Option<Box<Away>>,
    /// The node and generation of a broken connection whose leftovers are still to come.
    pub(super) owed: Option<Box<(Arc<str>, u64)>>,
}

/// What is kept for a peer that is away.
pub(super) struct Away {
    pub(super) until: Instant,
    mail: bool,
    parcels: VecDeque<Parcel>,
    bytes: usize,
}

impl Away {
    fn take_in(&mut self, parcel: &Parcel) -> Sent {
        if !self.mail {
            return Sent::NotThere;
        }
        if self.parcels.len() >= MAILBOX_PARCELS || self.bytes + parcel.frame.len() > MAILBOX_BYTES {
            return Sent::Full;
        }
        self.bytes += parcel.frame.len();
        self.parcels.push_back(parcel.clone());
        Sent::Queued
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) nodes: HashMap<Arc<str>, Node>,
    /// How often somebody was put out of a session.
    pub(super) endings: u64,
    pub(super) generation: u64,
    pub(super) peers: HashMap<Arc<str>, Peer>,
    /// Members in the order they came. A session without members is not kept.
    pub(super) sessions: HashMap<Arc<str>, Vec<Arc<str>>>,
    /// Who is away; a few of many.
    pub(super) away: BTreeSet<Arc<str>>,
}

impl Tables {
    pub(super) fn tell(&self, node: &str, event: Event) -> bool {
        let events = self.nodes.get(node).and_then(|node| node.events.upgrade());
        events.map(|events| events.apply(event)).is_some()
    }

    /// Tells every node that has a member of the session, but `except`.
    pub(super) fn tell_session(&self, session_id: &str, except: Option<&str>, event: &Event) {
        let nodes: BTreeSet<Arc<str>> = self
            .members(session_id)
            .filter_map(|member| self.peers.get(member)?.node.clone())
            .collect();
        for node in nodes.iter().filter(|node| Some(&***node) != except) {
            self.tell(node, event.clone());
        }
    }

    fn members(&self, session_id: &str) -> impl Iterator<Item = &Arc<str>> {
        self.sessions.get(session_id).into_iter().flatten()
    }

    pub(super) fn others(&self, session_id: &str, except: Option<&str>) -> Vec<String> {
        self.members(session_id)
            .filter(|member| Some(&***member) != except)
            .map(|member| member.to_string())
            .collect()
    }

    pub(super) fn is_newest(&self, peer_id: &str, generation: u64) -> bool {
        self.peers
            .get(peer_id)
            .is_some_and(|peer| peer.generation == generation)
    }

    pub(super) fn find(&self, peer_id: &str) -> Option<PeerConnection> {
        self.peers.get(peer_id).map(|peer| PeerConnection {
            generation: peer.generation,
            node: peer.node.as_deref().map(str::to_owned),
        })
    }

    pub(super) fn counts(&self) -> (u64, u64) {
        let connected = self.peers.len() - self.away.len();
        (connected as u64, self.sessions.len() as u64)
    }

    pub(super) fn connect(&mut self, arrival: &Arrival) -> Connected {
        let node: Arc<str> = match self.nodes.get_key_value(&*arrival.node) {
            Some((node, _)) => Arc::clone(node),
            None => arrival.node.as_str().into(),
        };
        let mut place = Arrived::default();
        let mut owed = None;
        if let Some(peer) = self.peers.get_mut(&*arrival.peer_id) {
            if *peer.identity != *arrival.identity && arrival.identity != "operator" {
                return Connected::InUse;
            }
            place.session_id = peer.session.as_deref().map(str::to_owned);
            place.resumed =
                arrival.presented.as_deref() == Some(&*peer.token) && peer.away.as_ref().is_none_or(|away| away.mail);
            owed = peer.owed.take();
            if let Some(away) = peer.away.take() {
                self.away.remove(&*arrival.peer_id);
                if place.resumed {
                    place.mailbox = away.parcels.into();
                }
            } else if let Some(old) = peer.node.clone() {
                let (generation, resumed) = (peer.generation, place.resumed);
                if resumed {
                    owed = Some(Box::new((Arc::clone(&old), generation)));
                }
                self.tell(
                    &old,
                    Event::Replaced {
                        peer_id: arrival.peer_id.clone(),
                        generation,
                        resumed,
                    },
                );
            }
        }
        place.owed = place.resumed && owed.is_some();
        self.generation += 1;
        place.generation = self.generation;
        let peer = Peer {
            generation: self.generation,
            node: Some(Arc::clone(&node)),
            identity: arrival.identity.as_str().into(),
            token: arrival.token.as_str().into(),
            session: None,
            away: None,
            owed: owed.filter(|_| place.owed),
        };
        match self.peers.entry(arrival.peer_id.as_str().into()) {
            Entry::Occupied(mut entry) => {
                let session = entry.get_mut().session.take();
                entry.insert(Peer { session, ..peer });
            }
            Entry::Vacant(entry) => {
                entry.insert(peer);
            }
        }
        self.tell(
            &node,
            Event::Arrived {
                ticket: arrival.ticket,
                peer_id: arrival.peer_id.clone(),
                generation: place.generation,
                resumed: place.resumed,
            },
        );
        Connected::Done(place)
    }

    pub(super) fn join(&mut self, peer_id: &str, generation: u64, session_id: &str, seen: u64) -> Joined {
        if !self.is_newest(peer_id, generation) {
            return Joined::Gone;
        }
        if self.endings != seen {
            return Joined::Again;
        }
        let here = self
            .peers
            .get(peer_id)
            .and_then(|peer| peer.session.as_deref())
            .map(|session| session == session_id);
        let left = if here == Some(false) {
            self.leave(peer_id, false)
        } else {
            None
        };
        if here != Some(true) {
            let name = self.peers.get_key_value(peer_id).map(|(name, _)| Arc::clone(name));
            let session: Arc<str> = match self.sessions.get_key_value(session_id) {
                Some((session, _)) => Arc::clone(session),
                None => session_id.into(),
            };
            self.sessions.entry(Arc::clone(&session)).or_default().extend(name);
            if let Some(peer) = self.peers.get_mut(peer_id) {
                peer.session = Some(session);
            }
        }
        let Some(node) = self.peers.get(peer_id).and_then(|peer| peer.node.clone()) else {
            return Joined::Gone;
        };
        if here != Some(true) {
            let joined = Event::Joined {
                session_id: session_id.to_owned(),
                peer_id: peer_id.to_owned(),
            };
            self.tell_session(session_id, Some(&node), &joined);
        }
        self.tell(
            &node,
            Event::Entered {
                peer_id: peer_id.to_owned(),
                generation,
                session_id: session_id.to_owned(),
                others: self.others(session_id, Some(peer_id)),
                news: here != Some(true),
            },
        );
        Joined::Done { left }
    }

    pub(super) fn leave(&mut self, peer_id: &str, evicted: bool) -> Option<Departure> {
        let peer = self.peers.get_mut(peer_id)?;
        let (session, generation, node) = (peer.session.take()?, peer.generation, peer.node.clone());
        if let Some(members) = self.sessions.get_mut(&session) {
            members.retain(|member| **member != *peer_id);
            if members.is_empty() {
                self.sessions.remove(&session);
            }
        }
        let left = Event::Left {
            session_id: session.to_string(),
            peer_id: peer_id.to_owned(),
            generation,
            evicted,
        };
        self.tell_session(&session, node.as_deref(), &left);
        if let Some(node) = node {
            self.tell(&node, left);
        }
        Some(Departure {
            session_id: session.to_string(),
            peer_id: peer_id.to_owned(),
            remaining: self.others(&session, None),
            undelivered: Vec::new(),
        })
    }

    /// Takes the peer out of everything.
    pub(super) fn forget(&mut self, peer_id: &str) -> Option<Departure> {
        let departure = self.leave(peer_id, false);
        let peer = self.peers.remove(peer_id);
        self.away.remove(peer_id);
        let undelivered = peer.and_then(|peer| peer.away).map(|away| away.parcels.into());
        departure.map(|departure| Departure {
            undelivered: undelivered.unwrap_or_default(),
            ..departure
        })
    }

    pub(super) fn park(&mut self, peer_id: &str, generation: u64, hold: Duration, mail: bool) -> bool {
        if !self.is_newest(peer_id, generation) {
            return false;
        }
        let Some((name, _)) = self
            .peers
            .get_key_value(peer_id)
            .filter(|(_, peer)| peer.node.is_some())
        else {
            return false;
        };
        self.away.insert(Arc::clone(name));
        let Some(peer) = self.peers.get_mut(peer_id) else {
            return false;
        };
        let node = peer.node.take();
        peer.away = Some(Box::new(Away {
            until: Instant::now() + hold,
            mail,
            parcels: VecDeque::new(),
            bytes: 0,
        }));
        peer.owed = node.clone().map(|node| Box::new((node, generation)));
        if let Some(node) = node {
            self.tell(
                &node,
                Event::Parked {
                    peer_id: peer_id.to_owned(),
                    generation,
                },
            );
        }
        true
    }

    pub(super) fn leave_behind(&mut self, peer_id: &str, generation: u64, parcels: Vec<Parcel>) {
        let Some(peer) = self.peers.get_mut(peer_id) else {
            return;
        };
        if peer.owed.as_ref().is_none_or(|owed| owed.1 != generation) {
            return;
        }
        peer.owed = None;
        match (&mut peer.away, peer.node.clone()) {
            (Some(away), _) if away.mail => {
                away.bytes += parcels.iter().map(|parcel| parcel.frame.len()).sum::<usize>();
                for parcel in parcels.into_iter().rev() {
                    away.parcels.push_front(parcel);
                }
            }
            (None, Some(node)) => {
                let peer_id = peer_id.to_owned();
                self.tell(&node, Event::Leftovers { peer_id, parcels });
            }
            _ => {}
        }
    }

    pub(super) fn dispatch(&mut self, node: &str, item: &Dispatch) -> Sent {
        match item {
            Dispatch::Signal { to, session_id, parcel } => {
                let Some(peer) = self.peers.get_mut(&**to) else {
                    return Sent::NotThere;
                };
                if peer.session.as_deref() != Some(session_id) {
                    return Sent::NotThere;
                }
                if let Some(away) = &mut peer.away {
                    return away.take_in(parcel);
                }
                let Some(at) = peer.node.clone() else {
                    return Sent::NotThere;
                };
                let (to, parcel) = (to.clone(), parcel.clone());
                self.tell(&at, Event::Signal { to, parcel });
                if *at == *node { Sent::Here } else { Sent::Done }
            }
            Dispatch::Push {
                session_id,
                parcel,
                fresh,
                host,
            } => {
                if !fresh {
                    let members: Vec<_> = self.members(session_id).cloned().collect();
                    for member in members {
                        if let Some(away) = self.peers.get_mut(&member).and_then(|peer| peer.away.as_mut()) {
                            let _ = away.take_in(parcel);
                        }
                    }
                }
                let push = Event::Push {
                    session_id: session_id.clone(),
                    parcel: parcel.clone(),
                    fresh: *fresh,
                    host: host.clone(),
                };
                self.tell_session(session_id, Some(node), &push);
                Sent::Done
            }
            Dispatch::Close { session_id } => {
                self.endings += 1;
                let closed = Event::Closed {
                    session_id: session_id.clone(),
                };
                self.tell_session(session_id, None, &closed);
                for member in self.sessions.remove(&**session_id).unwrap_or_default() {
                    if let Some(peer) = self.peers.get_mut(&member) {
                        peer.session = None;
                    }
                }
                Sent::Done
            }
            Dispatch::Evict { session_id, player_id } => {
                self.endings += 1;
                let evicted: Vec<_> = self
                    .members(session_id)
                    .filter(|member| player_of(member) == player_id)
                    .cloned()
                    .collect();
                for member in evicted {
                    self.leave(&member, true);
                }
                Sent::Done
            }
            Dispatch::Outcome { node, to, id, outcome } => {
                let (to, id, outcome) = (to.clone(), id.clone(), *outcome);
                self.tell(node, Event::Outcome { to, id, outcome });
                Sent::Done
            }
        }
    }
}
