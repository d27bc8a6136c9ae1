//! How what an older connection has not sent gets to the newer one that goes on in its place.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::close::CloseReason;
use super::hub::{EVENT_WAIT, Hub};
use super::resume;
use super::room::{Handover, Peer};
use crate::ports::fleet::{Outcome, Parcel};

impl Hub {
    /// A newer connection took over.
    pub(super) fn replaced(&self, peer_id: &str, generation: u64, resumed: bool) {
        let Some(peer) = self.remove(peer_id, generation) else {
            if resumed {
                self.leave_behind(peer_id.to_owned(), generation, Vec::new());
            }
            return;
        };
        let frames = peer.outbox.close_and_take(CloseReason::Replaced);
        if resumed {
            let parcels = self.parcels(frames);
            self.leave_behind(peer_id.to_owned(), generation, parcels);
        }
    }

    /// The connection is over and its place is kept.
    pub(super) fn parked(&self, peer_id: &str, generation: u64) {
        let Some(peer) = self.remove(peer_id, generation) else {
            self.leave_behind(peer_id.to_owned(), generation, Vec::new());
            return;
        };
        let frames = peer.outbox.close_and_take(CloseReason::ByClient);
        let parcels = if peer.resumable {
            self.parcels(frames)
        } else {
            Vec::new()
        };
        self.leave_behind(peer_id.to_owned(), generation, parcels);
    }

    /// Takes a connection out of the directory. Its place in the room is one elsewhere from now on.
    fn remove(&self, peer_id: &str, generation: u64) -> Option<Arc<Peer>> {
        let mut directory = self.directory.lock();
        directory
            .peers
            .get(peer_id)
            .filter(|peer| peer.generation() == generation)?;
        let peer = directory.peers.remove(peer_id)?;
        peer.over.notify_one();
        if let Some(room) = peer.room.lock().take() {
            let mut members = room.members.write();
            members.here.remove(peer_id);
            members.elsewhere.insert(Arc::clone(&peer.peer_id));
            members.changes += 1;
            if members.here.is_empty() {
                directory.rooms.remove(&room.session_id);
            }
        }
        Some(peer)
    }

    fn parcels(&self, frames: Vec<String>) -> Vec<Parcel> {
        let at = self.now().0;
        frames
            .into_iter()
            .map(|frame| self.courier.stamped(frame, at))
            .collect()
    }

    fn leave_behind(&self, peer_id: String, generation: u64, parcels: Vec<Parcel>) {
        let fleet = Arc::clone(&self.fleet);
        let failures = self.metrics.fleet_failures.clone();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        self.tracker.spawn_on(
            async move {
                if let Err(error) = fleet.leave_behind(&peer_id, generation, parcels).await {
                    failures.inc();
                    tracing::warn!(%error, %peer_id, "what a connection had not sent is lost");
                }
            },
            &runtime,
        );
    }

    pub(super) fn leftovers(&self, peer_id: &str, parcels: Vec<Parcel>) {
        let Some(peer) = self.directory.lock().peers.get(peer_id).cloned() else {
            return;
        };
        let mut handover = peer.handover.lock();
        if let Some(handover) = handover.as_mut() {
            handover.leftovers = Some(parcels);
            if let Some(arrived) = handover.arrived.take() {
                let _ = arrived.send(());
            }
        }
    }

    /// Gives a resumed peer what its older connection left behind, what waited, and what came since; in this order.
    pub async fn hand_over(&self, peer: &Arc<Peer>, mailbox: Vec<Parcel>, owed: bool) {
        if owed {
            let waiting = {
                let mut handover = peer.handover.lock();
                match handover.as_mut() {
                    Some(handover) if handover.leftovers.is_none() => {
                        let (arrived, waiting) = oneshot::channel();
                        handover.arrived = Some(arrived);
                        Some(waiting)
                    }
                    _ => None,
                }
            };
            if let Some(waiting) = waiting
                && tokio::time::timeout(EVENT_WAIT, waiting).await.is_err()
            {
                tracing::debug!(peer_id = %peer.peer_id, "the older connection's node left nothing behind in time");
            }
        }
        let mut handover = peer.handover.lock();
        let Some(Handover { held, leftovers, .. }) = handover.take().map(|handover| *handover) else {
            return;
        };
        let now = self.now().0;
        let parcels = leftovers.unwrap_or_default().into_iter().chain(mailbox).chain(held);
        let (parcels, dropped) = resume::still_worth(parcels.collect(), now, self.limits.hold);
        for parcel in parcels {
            peer.takes(&parcel);
            self.deliver(peer, parcel);
        }
        drop(handover);
        for parcel in dropped {
            self.report(parcel, Outcome::Expired);
        }
    }
}
