//! How long the peers of a session wait for `host-changed` after the socket of its host's player is gone.

use std::time::Instant;

use anyhow::Context as _;
use serde_json::json;
use tokio::task::JoinSet;

use crate::Plan;
use crate::client::Wire;
use crate::fleet::{Kind, Server, host};
use crate::report::{Delays, word};

/// Hosts lost one after another, and then again all at once.
const LOSSES: usize = 150;
/// Peers of each session, beside its host.
const PEERS: usize = 3;
/// Milliseconds at the 99th percentile.
const MOST_MS: f64 = 500.0;

pub async fn run(plan: &Plan) -> anyhow::Result<()> {
    println!("\nloss of a host's socket until `host-changed`, {LOSSES} sessions of {PEERS} peers, ms");
    println!("  {:<28} {:>12} {:>10} {:>10}", "", "p50", "p99", "slowest");
    let mut met = true;
    for (title, at_once) in [("one after another", false), ("all at once", true)] {
        let server = Server::start(Kind::Coordinator, plan).await?;
        let delays = lose(sessions(&server).await?, at_once).await?;
        let [median, p99, slowest] = [0.5, 0.99, 1.0].map(|share| delays.quantile(share));
        println!("  {title:<28} {median:>12.2} {p99:>10.2} {slowest:>10.2}");
        met &= p99 <= MOST_MS;
    }
    println!("  p99 must be: at most {MOST_MS:.0} ms: {}", word(met));
    Ok(())
}

/// Open sessions: the socket of each host's player, and those of the peers.
async fn sessions(server: &Server) -> anyhow::Result<Vec<(Wire, Vec<Wire>)>> {
    let zone = json!({"zone_id": "load", "zone_name": "load", "zone_display_name": "Load", "map_name": "load",
        "max_players": 1000, "recommended_players": 100});
    server.must("/api/v1/zones/", zone).await?;
    let mut sessions = Vec::with_capacity(LOSSES);
    for number in 0..LOSSES {
        let host_id = format!("host-{number}");
        server.must("/api/v1/hosts/register", host(&host_id, 1000)).await?;
        let players: Vec<String> = (0..PEERS).map(|peer| format!("player-{number}-{peer}")).collect();
        let session = json!({"zone_id": "load", "host_id": host_id, "player_ids": players});
        let session = server.must("/api/v1/sessions/", session).await?;
        let session_id = session["session_id"].as_str().context("no session_id")?;
        let machine = server.peer(&format!("owner-{host_id}"), session_id).await?;
        let mut peers = Vec::with_capacity(PEERS);
        for player in &players {
            peers.push(server.peer(player, session_id).await?);
        }
        sessions.push((machine, peers));
    }
    Ok(sessions)
}

async fn lose(sessions: Vec<(Wire, Vec<Wire>)>, at_once: bool) -> anyhow::Result<Delays> {
    let mut delays = Delays::new();
    let mut waiting = JoinSet::new();
    for (machine, peers) in sessions {
        drop(machine);
        let lost = Instant::now();
        for mut peer in peers {
            waiting.spawn_local(async move {
                peer.frame_of("host-changed").await?;
                anyhow::Ok((lost.elapsed(), peer))
            });
        }
        if !at_once {
            record(&mut waiting, &mut delays).await?;
        }
    }
    record(&mut waiting, &mut delays).await?;
    Ok(delays)
}

async fn record(
    waiting: &mut JoinSet<anyhow::Result<(std::time::Duration, Wire)>>,
    delays: &mut Delays,
) -> anyhow::Result<()> {
    // The sockets of the peers stay open until all were told.
    let mut peers = Vec::new();
    while let Some(told) = waiting.join_next().await {
        let (took, peer) = told??;
        delays.record(took);
        peers.push(peer);
    }
    Ok(())
}
