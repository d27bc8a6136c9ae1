//! Many peers over several nodes, under load: no message is lost, doubled or out of order, also while nodes are replaced.
//!
//! `FLEET_MESSAGES` (100,000) says how many messages are exchanged.

use std::time::{Duration, Instant};

use p2p_coordinator_tests::Fleet;
use p2p_coordinator_tests::shapes::session;
use p2p_coordinator_tests::swarm::{Plan, Swarm};

/// Peers of the whole swarm.
const PEERS: usize = 300;
/// Peers of one session, spread over all nodes.
const TOGETHER: usize = 10;

pub fn messages() -> u64 {
    let set = std::env::var("FLEET_MESSAGES").ok().and_then(|n| n.parse().ok());
    set.unwrap_or(100_000)
}

/// Sessions for the whole swarm, and so many messages that all of them together are about `messages`.
pub async fn plan(fleet: &Fleet, messages: u64, pace: Duration) -> Plan {
    let operator = fleet.nodes[0].operator();
    let mut sessions = Vec::new();
    for number in 0..PEERS / TOGETHER {
        let players: Vec<String> = (0..TOGETHER).map(|place| format!("p{number}-{place}")).collect();
        let names: Vec<&str> = players.iter().map(String::as_str).collect();
        let made = session(
            &operator,
            &format!("swarm-{number}"),
            &format!("owner-{number}"),
            &names,
        )
        .await;
        sessions.push((made["session_id"].as_str().unwrap().to_owned(), players));
    }
    Plan {
        sessions,
        messages: messages.div_ceil((PEERS * (TOGETHER - 1)) as u64),
        pace,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fleet_under_load_loses_nothing() {
    let fleet = Fleet::start(3);
    let plan = plan(&fleet, messages(), Duration::from_millis(30)).await;
    let swarm = Swarm::start(&fleet.nodes, &plan).await;
    let (expected, started) = (swarm.expected(), Instant::now());
    let report = swarm.finish(Duration::from_secs(20)).await;
    println!("{expected} messages in {:?}: {report:?}", started.elapsed());
    assert!(expected >= messages());
    assert_eq!(
        (report.lost, report.doubled, report.disordered),
        (0, 0, 0),
        "{report:?}"
    );
    assert_eq!(
        (report.reconnects, report.departures, report.errors.len()),
        (0, 0, 0),
        "{report:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fleet_under_load_loses_nothing_while_nodes_are_replaced() {
    let mut fleet = Fleet::start(3);
    let plan = plan(&fleet, messages(), Duration::from_millis(60)).await;
    let swarm = Swarm::start(&fleet.nodes, &plan).await;
    let (expected, started) = (swarm.expected(), Instant::now());
    for turn in 0..3 {
        swarm.reaches(expected * (2 * turn + 1) / 8).await;
        // As a rolling restart does it: one node out of the balancer, stopped, replaced, back in.
        let old = fleet.nodes.remove(0);
        swarm.nodes(fleet.nodes.iter());
        let new = tokio::task::spawn_blocking(move || old.restart()).await.unwrap();
        fleet.nodes.push(new);
        swarm.nodes(fleet.nodes.iter());
    }
    let report = swarm.finish(Duration::from_secs(30)).await;
    println!("{expected} messages in {:?}: {report:?}", started.elapsed());
    assert!(report.reconnects >= 200, "every node's peers moved: {report:?}");
    assert_eq!(
        (report.lost, report.doubled, report.disordered),
        (0, 0, 0),
        "{report:?}"
    );
    assert_eq!(
        (report.places_lost, report.departures),
        (0, 0),
        "nobody saw anybody leave: {report:?}"
    );
}
