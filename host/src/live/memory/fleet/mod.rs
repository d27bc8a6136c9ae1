//! The fleet in the memory of one process: usually one node, several in tests.
//!
//! One lock covers it all, and events are told under it: that is what gives them one order. Nothing waits here.

mod lifetimes;
mod tables;

use std::sync::Weak;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::ports::fleet::{
    Announced, Arrival, Connected, Departure, Dispatch, Fleet, Joined, NodeEvents, Parcel, PeerConnection, Sent,
};
use crate::ports::live::Result;
use tables::{Node, Tables};

/// See the module.
#[derive(Default)]
pub struct MemoryFleet(Mutex<Tables>);

#[async_trait]
impl Fleet for MemoryFleet {
    async fn enter(&self, node: &str, events: Weak<dyn NodeEvents>) -> Result<()> {
        let told = events.upgrade();
        self.0.lock().nodes.insert(
            node.into(),
            Node {
                events,
                seen: Instant::now(),
            },
        );
        if let Some(told) = told {
            told.listening();
        }
        Ok(())
    }

    async fn exit(&self, node: &str) -> Result<()> {
        self.0.lock().exit(node);
        Ok(())
    }

    async fn renew(&self, node: &str) -> Result<Option<u64>> {
        Ok(self.0.lock().renew(node))
    }

    async fn announce(&self, node: &str, asof: u64, peers: &[Announced], arriving: &[String]) -> Result<Vec<String>> {
        Ok(self.0.lock().announce(node, asof, peers, arriving))
    }

    async fn connect(&self, arrival: &Arrival) -> Result<Connected> {
        Ok(self.0.lock().connect(arrival))
    }

    async fn find(&self, peer_id: &str) -> Result<Option<PeerConnection>> {
        Ok(self.0.lock().find(peer_id))
    }

    async fn endings(&self, _: &str) -> Result<u64> {
        Ok(self.0.lock().endings)
    }

    async fn join(&self, peer_id: &str, generation: u64, session_id: &str, seen: u64) -> Result<Joined> {
        Ok(self.0.lock().join(peer_id, generation, session_id, seen))
    }

    async fn leave(&self, peer_id: &str, generation: u64) -> Result<Option<Departure>> {
        let mut tables = self.0.lock();
        Ok(tables
            .is_newest(peer_id, generation)
            .then(|| tables.leave(peer_id, false))
            .flatten())
    }

    async fn disconnect(&self, peer_id: &str, generation: u64) -> Result<Option<Departure>> {
        let mut tables = self.0.lock();
        Ok(tables
            .is_newest(peer_id, generation)
            .then(|| tables.forget(peer_id))
            .flatten())
    }

    async fn park(&self, peer_id: &str, generation: u64, hold: Duration, mail: bool) -> Result<bool> {
        Ok(self.0.lock().park(peer_id, generation, hold, mail))
    }

    async fn leave_behind(&self, peer_id: &str, generation: u64, parcels: Vec<Parcel>) -> Result<()> {
        self.0.lock().leave_behind(peer_id, generation, parcels);
        Ok(())
    }

    async fn dispatch(&self, node: &str, items: &[Dispatch]) -> Result<Vec<Sent>> {
        let mut tables = self.0.lock();
        Ok(items.iter().map(|item| tables.dispatch(node, item)).collect())
    }

    async fn reap(&self, limit: usize) -> Result<Vec<Departure>> {
        Ok(self.0.lock().reap(limit, Instant::now()))
    }

    async fn members(&self, session_id: &str) -> Result<Vec<String>> {
        Ok(self.0.lock().others(session_id, None))
    }

    async fn counts(&self) -> Result<(u64, u64)> {
        Ok(self.0.lock().counts())
    }
}
