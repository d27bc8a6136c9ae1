//! How long places last: nodes say that they live and what they have, and what nobody renews is taken out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::tables::{Peer, Tables};
use crate::ports::fleet::{Announced, Departure, Event, NODE_SILENCE};

impl Tables {
    pub(super) fn reap(&mut self, limit: usize, now: Instant) -> Vec<Departure> {
        let silent: Vec<Arc<str>> = self
            .nodes
            .iter()
            .filter(|(_, node)| now.saturating_duration_since(node.seen) > NODE_SILENCE)
            .map(|(name, _)| Arc::clone(name))
            .collect();
        let over = |peer: &Peer| match (&peer.away, &peer.node) {
            (Some(away), _) => away.until <= now,
            (None, Some(node)) => silent.contains(node),
            (None, None) => true,
        };
        let gone: Vec<Arc<str>> = if silent.is_empty() {
            let away = self.away.iter();
            away.filter(|name| self.peers.get(&***name).is_none_or(over))
                .take(limit)
                .cloned()
                .collect()
        } else {
            let peers = self.peers.iter().filter(|(_, peer)| over(peer));
            peers.map(|(name, _)| Arc::clone(name)).take(limit).collect()
        };
        if gone.len() < limit {
            self.nodes.retain(|name, _| !silent.contains(name));
        }
        gone.iter().filter_map(|name| self.forget(name)).collect()
    }

    pub(super) fn renew(&mut self, node: &str) -> Option<u64> {
        self.nodes.get_mut(node)?.seen = Instant::now();
        Some(self.generation)
    }

    pub(super) fn exit(&mut self, node: &str) {
        if !self.peers.values().any(|peer| peer.node.as_deref() == Some(node)) {
            self.nodes.remove(node);
        }
    }

    pub(super) fn announce(&mut self, node: &str, asof: u64, peers: &[Announced], arriving: &[String]) -> Vec<String> {
        let named = peers.iter().map(|peer| &*peer.peer_id);
        let named: BTreeSet<&str> = named.chain(arriving.iter().map(String::as_str)).collect();
        let gone: Vec<_> = self
            .peers
            .iter()
            .filter(|(name, peer)| {
                peer.node.as_deref() == Some(node) && peer.generation <= asof && !named.contains(&***name)
            })
            .map(|(name, _)| Arc::clone(name))
            .collect();
        for name in gone {
            self.forget(&name);
        }
        let mut superseded = Vec::new();
        for told in peers {
            match self.peers.get_mut(&*told.peer_id) {
                Some(known) if known.node.as_deref() == Some(node) && *known.token == *told.token => {
                    known.generation = told.generation;
                    self.settle(node, told);
                }
                Some(known) if known.generation > told.generation => superseded.push(told.peer_id.clone()),
                Some(known) if known.generation == told.generation => {
                    if known.node.as_deref() == Some(node) {
                        self.settle(node, told);
                    }
                }
                _ => self.restore(node, told),
            }
        }
        superseded
    }

    /// The node and the fleet agree about a connection, but perhaps not about its session.
    fn settle(&mut self, node: &str, told: &Announced) {
        let known = self.peers.get(&*told.peer_id).and_then(|peer| peer.session.clone());
        if known.as_deref() == told.session_id.as_deref() {
            return;
        }
        if told.alone {
            self.leave(&told.peer_id, false);
            self.place(node, told);
        } else if let Some(session_id) = &told.session_id {
            let left = Event::Left {
                session_id: session_id.clone(),
                peer_id: told.peer_id.clone(),
                generation: told.generation,
                evicted: true,
            };
            self.tell(node, left);
        }
    }

    fn restore(&mut self, node: &str, told: &Announced) {
        self.forget(&told.peer_id);
        self.generation = self.generation.max(told.generation);
        self.peers.insert(
            told.peer_id.as_str().into(),
            Peer {
                generation: told.generation,
                node: Some(node.into()),
                identity: told.identity.as_str().into(),
                token: told.token.as_str().into(),
                session: None,
                away: None,
                owed: None,
            },
        );
        self.place(node, told);
    }

    /// Puts a peer into the session that its node says it is in.
    fn place(&mut self, node: &str, told: &Announced) {
        let Some(session_id) = &told.session_id else { return };
        let joined = Event::Joined {
            session_id: session_id.clone(),
            peer_id: told.peer_id.clone(),
        };
        self.tell_session(session_id, Some(node), &joined);
        let session: Arc<str> = session_id.as_str().into();
        let name = self
            .peers
            .get_key_value(&*told.peer_id)
            .map(|(name, _)| Arc::clone(name));
        self.sessions.entry(Arc::clone(&session)).or_default().extend(name);
        if let Some(peer) = self.peers.get_mut(&*told.peer_id) {
            peer.session = Some(session);
        }
    }
}
