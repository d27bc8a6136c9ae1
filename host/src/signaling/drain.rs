//! The end of a node: its peers are sent away in good order, and the fleet is told.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::close::CloseReason;
use super::hub::Hub;
use super::queue::Worth;
use super::room::{Frames, Peer};
use crate::ports::peers::Push;

/// Longest delay a client is told to wait when this node drains.
const LONGEST_SPREAD: Duration = Duration::from_secs(10);

impl Hub {
    /// Sends everybody away: `server-draining` with a delay that spreads them, then close 1012. Returns when all are gone or
    /// `grace` is over.
    pub async fn drain(&self, grace: Duration) {
        self.draining.store(true, Ordering::Release);
        let peers: Vec<Arc<Peer>> = self.directory.lock().peers.values().cloned().collect();
        let spread = Duration::from_millis(2 * peers.len() as u64).clamp(Duration::from_secs(1), LONGEST_SPREAD);
        let step = spread.as_micros() / (peers.len().max(1) as u128);
        for (index, peer) in peers.iter().enumerate() {
            let reconnect_after_ms = u64::try_from(step * index as u128 / 1000).unwrap_or_default();
            self.send_away(peer, reconnect_after_ms);
        }
        self.tracker.close();
        let gone = async {
            loop {
                let closed = self.all_closed.notified();
                if self.open.load(Ordering::Acquire) == 0 {
                    break;
                }
                closed.await;
            }
            self.tracker.wait().await;
        };
        if tokio::time::timeout(grace, gone).await.is_err() {
            tracing::warn!(
                open = self.open.load(Ordering::Acquire),
                "connections still open after the grace"
            );
        }
    }

    /// Leaves the fleet, when every connection is gone and what they sent is on its way.
    pub async fn stop(&self) {
        self.courier.settled().await;
        if let Err(error) = self.fleet.exit(&self.node).await {
            self.fleet_failed("exit", &error);
        }
    }

    /// Tells a peer that this node goes away, and closes its connection.
    pub(super) fn send_away(&self, peer: &Peer, reconnect_after_ms: u64) {
        if let Ok(frame) = serde_json::to_string(&Push::ServerDraining { reconnect_after_ms }) {
            self.send(peer, Frames::new(frame).of(peer.dialect), Worth::Keep);
        }
        peer.outbox.close(CloseReason::Restart);
    }
}
