//! Keeps this node a member of the fleet: says that it lives, announces its peers when the fleet may have forgotten them,
//! and takes out peers that are gone for good, of this node and of nodes that died.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::hub::Hub;
use super::queue::Worth;
use super::room::{Frames, Peer, Room};
use super::wire;
use crate::app::losses;
use crate::domain::identity::player_of;
use crate::http::state::HttpState;
use crate::ports::fleet::{Announced, Departure, Outcome};

/// Between two signs of life; a node is taken for dead after `NODE_SILENCE`.
const EVERY: Duration = Duration::from_secs(1);
/// Between two announcements because events were missed.
const AGAIN: Duration = Duration::from_millis(500);
/// Times a room is compared that changes meanwhile.
const COMPARE_ATTEMPTS: u32 = 5;
/// Between two announcements of all peers, which renew their places.
const ANNOUNCE: Duration = Duration::from_secs(30);
/// Peers taken out between two signs of life.
const REAP: usize = 1000;
/// How long after an announcement the rooms are compared with the fleet, again and again: other nodes announce too.
const COMPARE_AFTER: [Duration; 3] = [Duration::ZERO, Duration::from_secs(3), Duration::from_secs(10)];

/// Runs until it is dropped.
pub async fn keep(state: Arc<HttpState>) {
    let hub = &state.hub;
    let mut announced: Option<Instant> = None;
    let mut compared = COMPARE_AFTER.len();
    // Kept until the fleet was told, however often it does not answer.
    let mut missed = false;
    loop {
        missed |= tokio::select! {
            () = tokio::time::sleep(if missed { AGAIN } else { EVERY }) => false,
            () = hub.stale.notified(), if !missed => true,
        };
        if missed && let Some(at) = announced {
            // Clients can bring this about.
            tokio::time::sleep(AGAIN.saturating_sub(at.elapsed())).await;
        }
        hub.metrics
            .courier
            .set(i64::try_from(hub.courier.depth()).unwrap_or(i64::MAX));
        hub.expire_receipts();
        let known = match hub.fleet.renew(&hub.node).await {
            Ok(known) => known,
            Err(error) => {
                hub.fleet_failed("renew", &error);
                continue;
            }
        };
        missed |= known.is_none();
        if missed || announced.is_none_or(|at| at.elapsed() > ANNOUNCE) {
            if !hub.announce(known.unwrap_or(0), missed).await {
                missed = true;
                continue;
            }
            announced = Some(Instant::now());
            if std::mem::take(&mut missed) {
                compared = 0;
            }
        }
        while let Some(&after) = COMPARE_AFTER.get(compared)
            && announced.is_some_and(|at| at.elapsed() >= after)
        {
            hub.compare(compared > 0).await;
            compared += 1;
        }
        if !hub.is_draining() {
            reap(&state).await;
        }
    }
}

async fn reap(state: &HttpState) {
    let departures = match state.hub.fleet.reap(REAP).await {
        Ok(departures) => departures,
        Err(error) => return state.hub.fleet_failed("reap", &error),
    };
    for departure in departures {
        let Departure {
            session_id,
            peer_id,
            remaining,
            undelivered,
        } = departure;
        for parcel in undelivered {
            state.hub.report(parcel, Outcome::Expired);
        }
        let player = player_of(&peer_id);
        tracing::info!(%session_id, %peer_id, "peer did not come back");
        if !remaining.is_empty()
            && remaining.iter().all(|other| player_of(other) != player)
            && let Err(error) = losses::player_left(&state.app, &session_id, player, "host_disconnected").await
        {
            tracing::warn!(%error, %session_id, "the session of a peer that is gone could not be looked at");
        }
    }
}

impl Hub {
    /// Tells the fleet every connection of this node; false when it did not answer. `missed`: events may have been missed.
    async fn announce(&self, asof: u64, missed: bool) -> bool {
        if missed {
            self.courier.unsettle();
        }
        // Before the peers: whoever arrives meanwhile is in one of the two.
        let arriving: Vec<String> = {
            let arrivals = self.arrivals.lock();
            arrivals.values().map(|(peer, _)| peer.peer_id.to_string()).collect()
        };
        let peers: Vec<Arc<Peer>> = self.directory.lock().peers.values().cloned().collect();
        let told: Vec<Announced> = peers.iter().map(|peer| announced(peer)).collect();
        let superseded = match self.fleet.announce(&self.node, asof, &told, &arriving).await {
            Ok(superseded) => superseded,
            Err(error) => {
                self.fleet_failed("announce", &error);
                for (peer, _) in peers.iter().zip(&told).filter(|(_, told)| told.alone) {
                    peer.alone.store(true, Ordering::Release);
                }
                return false;
            }
        };
        let superseded: BTreeSet<&str> = superseded.iter().map(String::as_str).collect();
        for (peer, told) in peers.iter().zip(&told) {
            if superseded.contains(&*told.peer_id) {
                self.replaced(&told.peer_id, told.generation, false);
            } else if told.alone && told.session_id != session_of(peer) {
                // It went on while the fleet was told.
                peer.alone.store(true, Ordering::Release);
                self.stale.notify_one();
            }
        }
        tracing::debug!(peers = peers.len(), "announced to the fleet");
        true
    }

    /// Compares the rooms with what the fleet has, and tells peers who came and, with `gone`, who is not there any more.
    async fn compare(&self, gone: bool) {
        let rooms: Vec<Arc<Room>> = self.directory.lock().rooms.values().cloned().collect();
        for room in rooms {
            for _ in 0..COMPARE_ATTEMPTS {
                let before = room.members.read().changes;
                match self.fleet.members(&room.session_id).await {
                    Ok(members) if self.adjust(&room, before, &members.iter().map(String::as_str).collect(), gone) => {
                        break;
                    }
                    Ok(_) => {}
                    Err(error) => return self.fleet_failed("members", &error),
                }
            }
        }
    }

    /// Makes the room what the fleet says it was; false when the room has changed since, so that this may be older.
    pub(super) fn adjust(&self, room: &Room, before: u64, members: &BTreeSet<&str>, gone: bool) -> bool {
        let _directory = self.directory.lock();
        let mut known = room.members.write();
        if known.changes != before {
            return false;
        }
        let came: Vec<&str> = members
            .iter()
            .copied()
            .filter(|name| !known.here.contains_key(*name) && !known.elsewhere.contains(*name))
            .collect();
        let left: Vec<Arc<str>> = known
            .elsewhere
            .iter()
            .filter(|name| gone && !members.contains(&***name))
            .cloned()
            .collect();
        let mut frames: Vec<String> = Vec::new();
        for name in came {
            known.elsewhere.insert(name.into());
            frames.push(wire::peer(
                super::dialect::Dialect::Hyphen,
                "peer-joined",
                &wire::json_string(name),
            ));
        }
        for name in left {
            known.elsewhere.remove(&name);
            frames.push(wire::peer(
                super::dialect::Dialect::Hyphen,
                "peer-left",
                &wire::json_string(&name),
            ));
        }
        for frame in frames {
            let mut frames = Frames::new(frame);
            for peer in known.here.values() {
                self.send(peer, frames.of(peer.dialect), Worth::Keep);
            }
        }
        true
    }
}

fn session_of(peer: &Peer) -> Option<String> {
    peer.room().map(|room| room.session_id.to_string())
}

fn announced(peer: &Peer) -> Announced {
    Announced {
        // First: what is settled alone after this is told the next time.
        alone: peer.alone.swap(false, Ordering::AcqRel),
        peer_id: peer.peer_id.to_string(),
        generation: peer.generation(),
        identity: super::arrivals::identity_word(&peer.identity),
        token: super::resume::digest(&peer.resume_token),
        session_id: session_of(peer),
    }
}
