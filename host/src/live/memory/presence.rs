//! Who is connected to this node and who is in which session.
//!
//! One lock covers it all: every method takes well under a microsecond, and a peer is never seen in two sessions.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::ports::live::{PeerConnection, Presence, Result};

/// The peers. As many as there are connections; whoever accepts those bounds them.
#[derive(Default)]
pub struct Peers(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    generation: u64,
    connections: HashMap<String, PeerConnection>,
    session_of: HashMap<Arc<str>, Arc<str>>,
    /// Members in the order they came. A session without members is not kept.
    members: HashMap<Arc<str>, Vec<Arc<str>>>,
}

impl Tables {
    fn leave(&mut self, peer_id: &str) -> Option<Arc<str>> {
        let session = self.session_of.remove(peer_id)?;
        if let Some(members) = self.members.get_mut(&session) {
            members.retain(|member| **member != *peer_id);
            if members.is_empty() {
                self.members.remove(&session);
            }
        }
        Some(session)
    }

    fn join(&mut self, peer_id: &str, session_id: &str) -> Vec<String> {
        if self
            .session_of
            .get(peer_id)
            .is_none_or(|session| **session != *session_id)
        {
            self.leave(peer_id);
            let peer: Arc<str> = peer_id.into();
            let session: Arc<str> = match self.members.get_key_value(session_id) {
                Some((session, _)) => session.clone(),
                None => session_id.into(),
            };
            self.members.entry(session.clone()).or_default().push(peer.clone());
            self.session_of.insert(peer, session);
        }
        self.others(session_id, Some(peer_id))
    }

    fn others(&self, session_id: &str, except: Option<&str>) -> Vec<String> {
        let members = self.members.get(session_id).map(Vec::as_slice).unwrap_or_default();
        members
            .iter()
            .filter(|member| Some(&***member) != except)
            .map(|member| (**member).to_owned())
            .collect()
    }
}

#[async_trait]
impl Presence for Peers {
    async fn connect(&self, peer_id: &str, node: &str) -> Result<(PeerConnection, Option<PeerConnection>)> {
        let mut tables = self.0.lock();
        tables.generation += 1;
        let connection = PeerConnection {
            generation: tables.generation,
            node: node.to_owned(),
        };
        let replaced = tables.connections.insert(peer_id.to_owned(), connection.clone());
        Ok((connection, replaced))
    }

    async fn disconnect(&self, peer_id: &str, generation: u64) -> Result<bool> {
        let mut tables = self.0.lock();
        let newest = tables
            .connections
            .get(peer_id)
            .is_some_and(|connection| connection.generation == generation);
        if newest {
            tables.connections.remove(peer_id);
        }
        Ok(newest)
    }

    async fn find(&self, peer_id: &str) -> Result<Option<PeerConnection>> {
        Ok(self.0.lock().connections.get(peer_id).cloned())
    }

    async fn join(&self, peer_id: &str, session_id: &str) -> Result<Vec<String>> {
        Ok(self.0.lock().join(peer_id, session_id))
    }

    async fn leave(&self, peer_id: &str) -> Result<Option<String>> {
        Ok(self.0.lock().leave(peer_id).map(|session| (*session).to_owned()))
    }

    async fn members(&self, session_id: &str) -> Result<Vec<String>> {
        Ok(self.0.lock().others(session_id, None))
    }

    async fn counts(&self) -> Result<(u64, u64)> {
        let tables = self.0.lock();
        Ok((tables.connections.len() as u64, tables.members.len() as u64))
    }
}
