//! Tasks of two nodes over one database and one Redis: who does what, who takes over, and what happens without Redis.

use std::time::Instant;

use p2p_coordinator_tests::Redis;

use super::npcs_alone::TestSource;
use super::*;
use crate::config::{RedisConfig, RedisUrl};
use crate::live::redis::{self, Connection};
use crate::tasks::lease::TaskLease;

const PATIENCE: Duration = Duration::from_secs(30);

/// Two nodes. A session has a peer on one of them, or on both.
async fn nodes(server: &Redis) -> (Fixture, Fixture, [Connection; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let storage = crate::storage::sqlite::open(&dir.path().join("test.db"), 2)
        .await
        .unwrap();
    let connections = [connect(server).await, connect(server).await];
    let live = |number: usize| redis::open(&connections[number], &format!("node-{number}"));
    let one = Fixture::node(storage.clone(), live(0), dir);
    let other = Fixture::node(storage, live(1), tempfile::tempdir().unwrap());
    eventually("both listen", || one.app.live.hosts.take_missed()).await;
    eventually("both listen", || other.app.live.hosts.take_missed()).await;
    one.register_host().await;
    eventually("the host is known to both", || other.app.live.hosts.get("h").is_some()).await;
    (one, other, connections)
}

async fn connect(server: &Redis) -> Connection {
    let url = RedisUrl::parse(&server.url()).unwrap();
    let config = RedisConfig {
        url: Some(url.clone()),
        max_connections: 10,
    };
    Connection::open(&config, &url, &prometheus::Registry::new())
        .await
        .unwrap()
}

async fn eventually(what: &str, mut ask: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !ask() {
        assert!(Instant::now() < end, "did not happen: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

struct Broadcast {
    task: npcs::NpcBroadcast,
    source: Arc<TestSource>,
    tracker: TaskTracker,
}

impl Broadcast {
    fn of(node: &Fixture, name: &str) -> Self {
        let (source, tracker) = (Arc::new(TestSource::default()), TaskTracker::new());
        let task = npcs::NpcBroadcast::new(
            node.app.clone(),
            source.clone(),
            name,
            tracker.clone(),
            CancellationToken::new(),
        );
        Self {
            task: task.unwrap(),
            source,
            tracker,
        }
    }

    /// One tick to its end.
    async fn tick(&self) {
        self.task.run().await.unwrap();
        while !self.tracker.is_empty() {
            tokio::task::yield_now().await;
        }
    }

    fn asked(&self) -> usize {
        self.source.asked.lock().values().sum()
    }
}

fn sent(node: &mut Fixture) -> Vec<(String, u64)> {
    std::iter::from_fn(|| node.sent.try_recv().ok())
        .map(|push| {
            (
                push["session_id"].as_str().unwrap().to_owned(),
                push["tick"].as_u64().unwrap(),
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_serves_a_zone_and_another_takes_over() {
    let server = Redis::start();
    let (mut one, mut other, _connections) = nodes(&server).await;
    one.session("session-1", "zone").await;
    other.session("session-2", "zone").await;
    let (first, second) = (Broadcast::of(&one, "one"), Broadcast::of(&other, "other"));
    let mut last = 0;
    for _ in 0..3 {
        first.tick().await;
        second.tick().await;
        let mut pushes = sent(&mut one);
        pushes.sort();
        let [(a, tick), (b, same)] = pushes.as_slice() else {
            panic!("{pushes:?}")
        };
        assert_eq!((a.as_str(), b.as_str(), tick), ("session-1", "session-2", same));
        assert!(*tick > last && *tick < 1 << 53, "{tick}");
        last = *tick;
    }
    assert_eq!((second.asked(), sent(&mut other).len()), (0, 0));
    // Without a peer in the zone its node leaves it to others at once.
    one.peers.close_session("session-1");
    first.tick().await;
    second.tick().await;
    one.peers.connected.lock().push("session-1".into());
    first.tick().await;
    let pushes = sent(&mut other);
    assert_eq!(pushes.len(), 2);
    assert!(pushes[0].1 > last, "{pushes:?} after {last}");
    assert_eq!((first.asked(), sent(&mut one).len()), (3, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_answer_of_an_earlier_holder_is_dropped() {
    let server = Redis::start();
    let (mut one, mut other, _connections) = nodes(&server).await;
    one.session("session-1", "held").await;
    other.peers.connected.lock().push("session-1".into());
    let (first, second) = (Broadcast::of(&one, "one"), Broadcast::of(&other, "other"));
    first.task.run().await.unwrap();
    eventually("the AI service is asked", || first.asked() == 1).await;
    assert_eq!(server.cli(&["DEL", "lease:npc:held"]), "1");
    second.source.held.notify_one();
    second.tick().await;
    assert_eq!(sent(&mut other).len(), 1);
    first.source.held.notify_one();
    eventually("the attempt ends", || first.tracker.is_empty()).await;
    assert!(sent(&mut one).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_each_node_serves_its_own_peers() {
    let mut server = Redis::start();
    let (mut one, mut other, connections) = nodes(&server).await;
    one.session("session-1", "zone").await;
    other.session("session-2", "zone").await;
    let (first, second) = (Broadcast::of(&one, "one"), Broadcast::of(&other, "other"));
    server.kill();
    for connection in &connections {
        let mut state = connection.watch();
        tokio::time::timeout(PATIENCE, state.wait_for(|state| !state.up))
            .await
            .unwrap()
            .unwrap();
    }
    first.tick().await;
    second.tick().await;
    let (a, b) = (sent(&mut one), sent(&mut other));
    assert_eq!((a.len(), a[0].0.as_str()), (1, "session-1"));
    assert_eq!((b.len(), b[0].0.as_str()), (1, "session-2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_runs_on_the_node_with_the_lease_and_everywhere_without_redis() {
    let mut server = Redis::start();
    let connections = [connect(&server).await, connect(&server).await];
    let [one, other] = connections
        .each_ref()
        .map(|connection| redis::open(connection, "node").leases);
    let lease = |leases: &Arc<dyn crate::ports::live::Leases>, node: &str| {
        TaskLease::new(leases.clone(), node, "work", Duration::from_secs(60))
    };
    let (mut first, mut second) = (lease(&one, "one"), lease(&other, "other"));
    assert!(first.take().await);
    assert!(!second.take().await);
    assert!(first.take().await);
    first.give_up().await;
    assert!(second.take().await);
    let mut first = lease(&one, "one");
    assert!(!first.take().await);
    server.kill();
    assert!(first.take().await && second.take().await);
    assert_eq!(second.keep_while(async { 7 }).await, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_board_mends_itself_from_storage() {
    let server = Redis::start();
    let (one, other, _connections) = nodes(&server).await;
    let task = board_fill::BoardFill::new(other.app.clone());
    let gone = crate::ports::contract::board::host("never stored", 50.0);
    other.app.live.hosts.put(gone);
    other
        .app
        .live
        .hosts
        .fill(Vec::new(), &[other.app.live.hosts.get("h").unwrap()]);
    assert!(other.app.live.hosts.get("h").is_none());
    one.app
        .live
        .hosts
        .fill(vec![crate::ports::contract::board::host("unknown", 50.0)], &[]);
    one.app
        .live
        .hosts
        .beat(
            "unknown",
            &Measurements::default(),
            Timestamp(1_900_000_000_000),
            &|_| 1.0,
        )
        .unwrap();
    let board = other.app.live.hosts.clone();
    let filled = async {
        while board.get("h").is_none() {
            task.run().await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, filled)
        .await
        .expect("the board is filled");
    assert!(board.get("never stored").is_none());
}
