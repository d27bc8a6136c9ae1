//! What happens when a part of the fleet fails, with real processes: nothing acknowledged is lost, nothing needs a restart.

use std::time::{Duration, Instant};

use p2p_coordinator_tests::fleet::{Cable, millis};
use p2p_coordinator_tests::server::Options;
use p2p_coordinator_tests::shapes::{heartbeat, host, session};
use p2p_coordinator_tests::swarm::{Report, Swarm};
use p2p_coordinator_tests::{Fleet, Server, Ws, eventually};
use serde_json::{Value, json};

use crate::fleet_load::plan;

/// How soon every node serves again after Redis is back.
const BACK: Duration = Duration::from_secs(5);
/// How soon the peers of a dead node are gone for the others.
const CLEANED_UP: Duration = Duration::from_secs(15);

async fn active(node: &Server, name: &str, players: &[&str]) -> String {
    let made = session(&node.operator(), name, "owner", players).await;
    made["session_id"].as_str().unwrap().to_owned()
}

/// Sends offers until one gets through, and returns how long that took.
async fn until_heard(from: &mut Ws, to: &mut Ws, to_id: &str) -> Duration {
    let started = Instant::now();
    for number in 0.. {
        let text = format!("probe-{number}");
        from.send(&json!({ "type": "offer", "to": to_id, "sdp": text })).await;
        let heard = tokio::time::timeout(Duration::from_millis(200), to.wait_for("offer")).await;
        if heard.is_ok() {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{to_id} hears nothing");
    }
    started.elapsed()
}

async fn status(node: &Server, path: &str) -> u16 {
    node.anonymous().get(path).await.status
}

fn nobody_left(report: &Report) {
    assert_eq!((report.departures, report.places_lost), (0, 0), "{report:?}");
    assert_eq!(report.doubled, 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_killed_under_load_costs_no_session() {
    let mut fleet = Fleet::start(3);
    let plan = plan(&fleet, 30_000, Duration::from_millis(60)).await;
    // A pair for each two nodes beside the load.
    let id = active(&fleet.nodes[0], "probes", &["x", "y", "z"]).await;
    let mut x = Ws::joined(&fleet.nodes[0], "x", &id).await;
    let mut y = Ws::joined(&fleet.nodes[1], "y", &id).await;
    let mut z = Ws::joined(&fleet.nodes[2], "z", &id).await;
    let swarm = Swarm::start(&fleet.nodes, &plan).await;
    swarm.reaches(swarm.expected() / 4).await;
    fleet.redis.kill();
    for node in &fleet.nodes {
        assert_eq!(
            status(node, "/health/live").await,
            200,
            "liveness does not depend on Redis"
        );
        eventually("the node says that Redis is away", async || {
            let health = node.anonymous().get("/health").await.json();
            (health["database"]["redis"] == "disconnected").then_some(())
        })
        .await;
        assert_eq!(status(node, "/health/ready").await, 200, "each node serves on its own");
    }
    // Requests go on meanwhile.
    let _ = fleet.nodes[1]
        .operator()
        .post("/hosts/register", &host("during", "owner"))
        .await
        .ok(201);
    fleet.redis.start_again();
    let back = Instant::now();
    let spans = [
        until_heard(&mut x, &mut y, "y").await,
        until_heard(&mut y, &mut z, "z").await,
        until_heard(&mut z, &mut x, "x").await,
    ];
    let whole = back.elapsed();
    println!(
        "every node serves again {} after Redis is back ({spans:?})",
        millis(whole)
    );
    assert!(whole < BACK, "{whole:?}");
    let report = swarm.finish(Duration::from_secs(20)).await;
    println!("{report:?}");
    nobody_left(&report);
    assert_eq!(report.reconnects, 0, "every socket stayed open: {report:?}");
    // What Redis had passed on and not delivered when it died is all that may be lost.
    assert!(report.lost < 300, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_under_load_loses_no_write_and_its_peers_go_on_elsewhere() {
    let mut fleet = Fleet::start(3);
    let plan = plan(&fleet, 20_000, Duration::from_millis(80)).await;
    let swarm = Swarm::start(&fleet.nodes, &plan).await;
    let id = active(&fleet.nodes[1], "watch", &["watcher", "gone"]).await;
    let mut watcher = Ws::joined(&fleet.nodes[1], "watcher", &id).await;
    let gone = Ws::joined(&fleet.nodes[0], "gone", &id).await;
    watcher.expect("peer-joined").await;
    swarm.reaches(swarm.expected() / 4).await;
    // Writes at the node that dies, up to the very moment.
    let writer = fleet.nodes[0].operator();
    let writing = tokio::spawn(async move {
        let mut acknowledged = Vec::new();
        for number in 0.. {
            let name = format!("written-{number}");
            match writer
                .attempt(reqwest::Method::POST, "/hosts/register", &host(&name, "owner"))
                .await
            {
                Some((201, _)) => acknowledged.push(name),
                _ => break,
            }
        }
        acknowledged
    });
    eventually("some writes are acknowledged", async || {
        let count = fleet.sql("SELECT count(*) FROM hosts WHERE host_id LIKE 'written-%'");
        (count.trim().parse::<u32>().unwrap_or(0) > 20).then_some(())
    })
    .await;
    let dead = fleet.nodes.remove(0);
    Server::kill_now(dead.pid());
    let died = Instant::now();
    swarm.nodes(fleet.nodes.iter());
    let acknowledged = writing.await.unwrap();
    for name in &acknowledged {
        let found = fleet.sql(&format!("SELECT count(*) FROM hosts WHERE host_id = '{name}'"));
        assert_eq!(found.trim(), "1", "{name} was acknowledged");
    }
    println!("{} acknowledged writes are there", acknowledged.len());
    // Who does not come back is gone for the others.
    assert_eq!(watcher.expect("peer-left").await["peer_id"], json!("gone"));
    println!("peer-left {} after the node died", millis(died.elapsed()));
    assert!(died.elapsed() < CLEANED_UP, "{:?}", died.elapsed());
    drop((gone, dead));
    let report = swarm.finish(Duration::from_secs(10)).await;
    println!("{report:?}");
    assert!(report.reconnects >= 100, "{report:?}");
    nobody_left(&report);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_cut_off_from_redis_serves_its_own_peers_and_comes_back() {
    let fleet = Fleet::start(1);
    let cable = Cable::to(fleet.redis.port()).await;
    let url = format!("redis://127.0.0.1:{}", cable.port());
    let far = fleet.options(Options::default()).env("REDIS_URL", url).start();
    let near = &fleet.nodes[0];
    let id = active(near, "cut", &["a", "b", "c"]).await;
    let mut a = Ws::joined(near, "a", &id).await;
    let mut b = Ws::joined(&far, "b", &id).await;
    let mut c = Ws::joined(&far, "c", &id).await;
    a.expect("peer-joined").await;
    a.expect("peer-joined").await;
    until_heard(&mut a, &mut b, "b").await;
    cable.cut();
    let cut = Instant::now();
    // Peers of the same node still reach each other; and new ones come.
    b.send(&json!({ "type": "offer", "to": "c", "sdp": "near" })).await;
    assert_eq!(c.wait_for("offer").await["sdp"], json!("near"));
    let mut late = Ws::joined(&far, "late", &id).await;
    let left = [a.wait_for("peer-left").await, a.wait_for("peer-left").await];
    println!(
        "peers of the node that was cut off left after {}",
        millis(cut.elapsed())
    );
    assert!(cut.elapsed() < CLEANED_UP, "{:?}", cut.elapsed());
    let mut names: Vec<&str> = left.iter().filter_map(|left| left["peer_id"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["b", "c"]);
    cable.mend();
    let mended = Instant::now();
    let mut joined: Vec<Value> = Vec::new();
    for _ in 0..3 {
        joined.push(a.wait_for("peer-joined").await["peer_id"].clone());
    }
    println!("they are back {} after the cable was mended", millis(mended.elapsed()));
    until_heard(&mut a, &mut late, "late").await;
    until_heard(&mut b, &mut a, "a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_joined_or_left_while_cut_off_is_known_afterwards() {
    let fleet = Fleet::start(1);
    let cable = Cable::to(fleet.redis.port()).await;
    let url = format!("redis://127.0.0.1:{}", cable.port());
    let far = fleet.options(Options::default()).env("REDIS_URL", url).start();
    let near = &fleet.nodes[0];
    let id = active(near, "alone", &["a", "b", "c"]).await;
    let mut a = Ws::joined(near, "a", &id).await;
    let mut b = Ws::peer(&far, "b").await;
    let mut c = Ws::joined(&far, "c", &id).await;
    a.expect("peer-joined").await;
    cable.cut();
    b.join(&id).await;
    c.wait_for("peer-joined").await;
    c.send(&json!({ "type": "leave" })).await;
    c.expect("session-left").await;
    cable.mend();
    // In which order the node tells of the two is left open.
    let told = [a.next().await.unwrap(), a.next().await.unwrap()];
    let told: Vec<_> = told
        .iter()
        .map(|told| (told["type"].clone(), told["peer_id"].clone()))
        .collect();
    assert!(told.contains(&(json!("peer-joined"), json!("b"))), "{told:?}");
    assert!(told.contains(&(json!("peer-left"), json!("c"))), "{told:?}");
    until_heard(&mut a, &mut b, "b").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_goes_away_and_comes_back() {
    let fleet = Fleet::start(2);
    let [one, two] = &fleet.nodes[..] else { panic!() };
    let id = active(one, "away", &["a", "b"]).await;
    let mut a = Ws::joined(one, "a", &id).await;
    let mut b = Ws::joined(two, "b", &id).await;
    a.expect("peer-joined").await;
    fleet.postgres.kill();
    let problem = one
        .operator()
        .post("/hosts/register", &host("h", "owner"))
        .await
        .problem(503);
    assert!(problem["detail"].is_string());
    assert_eq!(status(one, "/health").await, 503);
    assert_eq!(status(one, "/health/live").await, 200);
    // Signaling goes on, and heartbeats are taken.
    until_heard(&mut a, &mut b, "b").await;
    let beat = one
        .operator()
        .post("/hosts/host-away/heartbeat", &heartbeat())
        .await
        .ok(200);
    fleet.postgres.start_again();
    let back = Instant::now();
    eventually("a registration is taken", async || {
        let answer = one.operator().post("/hosts/register", &host("h", "owner")).await;
        (answer.status == 201).then_some(())
    })
    .await;
    println!("writes are taken {} after PostgreSQL is back", millis(back.elapsed()));
    eventually("the heartbeat reaches the database", async || {
        let score = fleet.sql("SELECT quality_score FROM hosts WHERE host_id = 'host-away' AND latency_ms = 20");
        (score.trim().parse::<f64>().ok() == beat["quality_score"].as_f64()).then_some(())
    })
    .await;
    assert_eq!(status(two, "/health").await, 200);
    let session = two.operator().get(&format!("/sessions/{id}")).await.ok(200);
    assert_eq!(session["status"], json!("active"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_hangs_ends_in_503_within_a_bound() {
    let fleet = Fleet::with(1, &Options::default().env("DATABASE_STATEMENT_TIMEOUT_MS", 1000));
    let node = &fleet.nodes[0];
    let _ = active(node, "slow", &["a"]).await;
    fleet.postgres.pause();
    let asked = Instant::now();
    let answer = node.operator().post("/hosts/register", &host("h", "owner")).await;
    println!("503 after {}", millis(asked.elapsed()));
    assert_eq!(answer.status, 503);
    assert!(asked.elapsed() < Duration::from_secs(12), "{:?}", asked.elapsed());
    assert_eq!(status(node, "/health/live").await, 200);
    fleet.postgres.resume();
    eventually("the node serves again", async || {
        let answer = node.operator().post("/hosts/register", &host("h", "owner")).await;
        (answer.status == 201).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_pool_ends_in_503_and_recovers() {
    let small = Options::default()
        .env("DATABASE_POOL_SIZE", 1)
        .env("DATABASE_MAX_OVERFLOW", 1)
        .env("DATABASE_STATEMENT_TIMEOUT_MS", 3000);
    let fleet = Fleet::with(1, &small);
    let node = &fleet.nodes[0];
    let _ = active(node, "full", &["a"]).await;
    // Somebody holds the table, so that whoever gets a connection keeps it for a while.
    let database = fleet.database();
    let hold = "BEGIN; LOCK TABLE hosts IN EXCLUSIVE MODE; SELECT pg_sleep(6); COMMIT";
    let holding = std::thread::spawn(move || database.sql(hold));
    eventually("the table is locked", async || {
        let locks = fleet.sql("SELECT count(*) FROM pg_locks WHERE mode = 'ExclusiveLock' AND relation IS NOT NULL");
        (locks.trim() != "0").then_some(())
    })
    .await;
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..12 {
        let operator = node.operator();
        waiting.spawn(async move {
            let asked = Instant::now();
            let answer = operator
                .post("/hosts/register", &host(&format!("h{number}"), "owner"))
                .await;
            (answer.status, asked.elapsed())
        });
    }
    let answers = waiting.join_all().await;
    println!("{answers:?}");
    assert!(
        answers.iter().all(|(status, _)| [201, 503].contains(status)),
        "{answers:?}"
    );
    assert!(answers.iter().any(|(status, _)| *status == 503), "{answers:?}");
    assert!(
        answers.iter().all(|(_, span)| *span < Duration::from_secs(12)),
        "{answers:?}"
    );
    holding.join().unwrap();
    eventually("the node serves again", async || {
        let answer = node.operator().post("/hosts/register", &host("h", "owner")).await;
        (answer.status == 201).then_some(())
    })
    .await;
}
