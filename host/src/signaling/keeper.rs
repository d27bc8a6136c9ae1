//! Keeps this node a member of the fleet: says that it lives, announces its peers when the fleet may have forgotten them,
//! and takes out peers that are gone for good, of this node and of nodes that died.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::hub::Hub;
use super::queue::Worth;
use super::room::{Frames, Room};
use super::wire;
use crate::app::sessions;
use crate::domain::identity::player_of;
use crate::http::state::HttpState;
use crate::ports::fleet::{Announced, Departure, Outcome};

/// Between two signs of life; a node is taken for dead after `NODE_SILENCE`.
const EVERY: Duration = Duration::from_secs(1);
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
    loop {
        let stale = tokio::select! {
            () = tokio::time::sleep(EVERY) => false,
            () = hub.stale.notified() => true,
        };
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
        let missed = stale || known.is_none();
        if missed || announced.is_none_or(|at| at.elapsed() > ANNOUNCE) {
            if !hub.announce(known.unwrap_or(0), missed).await {
                hub.stale.notify_one();
                tokio::time::sleep(EVERY / 4).await;
                continue;
            }
            announced = Some(Instant::now());
            if missed {
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
            && let Err(error) = sessions::player_left(&state.app, &session_id, player, "host_disconnected").await
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
        let peers: Vec<Announced> = {
            let directory = self.directory.lock();
            directory
                .peers
                .values()
                .map(|peer| Announced {
                    peer_id: peer.peer_id.to_string(),
                    generation: peer.generation(),
                    identity: super::arrivals::identity_word(&peer.identity),
                    token: super::resume::digest(&peer.resume_token),
                    session_id: peer.room().map(|room| room.session_id.to_string()),
                })
                .collect()
        };
        match self.fleet.announce(&self.node, asof, &peers).await {
            Ok((superseded, waiting)) => {
                for peer_id in superseded {
                    if let Some(told) = peers.iter().find(|told| told.peer_id == peer_id) {
                        self.replaced(&peer_id, told.generation, false);
                    }
                }
                for (peer_id, parcel) in waiting {
                    self.signal(&peer_id, parcel);
                }
                tracing::debug!(peers = peers.len(), "announced to the fleet");
                true
            }
            Err(error) => {
                self.fleet_failed("announce", &error);
                false
            }
        }
    }

    /// Compares the rooms with what the fleet has, and tells peers who came and, with `gone`, who is not there any more.
    async fn compare(&self, gone: bool) {
        let rooms: Vec<Arc<Room>> = self.directory.lock().rooms.values().cloned().collect();
        for room in rooms {
            match self.fleet.members(&room.session_id).await {
                Ok(members) => self.adjust(&room, &members.iter().map(String::as_str).collect(), gone),
                Err(error) => return self.fleet_failed("members", &error),
            }
        }
    }

    fn adjust(&self, room: &Room, members: &BTreeSet<&str>, gone: bool) {
        let _directory = self.directory.lock();
        let mut known = room.members.write();
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
    }
}
