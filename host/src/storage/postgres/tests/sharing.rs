//! Several nodes on one database.

use std::time::Duration;

use super::{LIMITS, empty, open};
use crate::domain::host::{HostStatus, Measurements};
use crate::domain::session::SessionStatus;
use crate::ports::contract::{NOW, a_host, a_session, a_zone, done, key, new_session, registration};
use crate::ports::storage::{HeartbeatRecord, Opened, SessionFilter, Storage, ZoneFilter};

const ALL: SessionFilter = SessionFilter {
    host: None,
    zone: None,
    statuses: Vec::new(),
    limit: 999,
    offset: 0,
};

fn beats(hosts: impl Iterator<Item = usize>, second: i64) -> Vec<HeartbeatRecord> {
    hosts
        .map(|number| HeartbeatRecord {
            host_id: format!("host-{number}"),
            measured: Measurements {
                current_players: u32::try_from(second).unwrap(),
                ..Measurements::default()
            },
            quality_score: 1.0,
            at: NOW.plus_seconds(second),
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reopening_shows_all_again() {
    let (store, database) = empty().await;
    a_host(&store, "one").await;
    a_zone(&store, "plaza").await;
    a_session(&store, "a", "one", "plaza", &["ann"]).await;
    done(store.sessions.activate(&key("a"), NOW).await.unwrap());
    let all = async |store: &Storage| {
        (
            store.hosts.all().await.unwrap(),
            store.zones.list(ZoneFilter::default()).await.unwrap(),
            store.sessions.list(&ALL).await.unwrap(),
        )
    };
    let before = all(&store).await;
    assert_eq!(before.2[0].status, SessionStatus::Active);
    let second = open(database.url(), LIMITS).await.unwrap();
    assert_eq!(all(&second).await, before);
    store.health.close().await;
    assert_eq!(all(&second).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_are_never_given_twice() {
    let (store, _database) = empty().await;
    let first = a_host(&store, "one").await;
    assert!(store.hosts.delete("one").await.unwrap());
    assert!(a_host(&store, "one").await.id > first.id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_share_the_room_of_a_host() {
    let (first, database) = empty().await;
    let second = open(database.url(), LIMITS).await.unwrap();
    a_zone(&first, "plaza").await;
    let mut host = registration("one");
    host.max_zones = 5;
    first.hosts.register(&host, 80.0, None, NOW).await.unwrap();
    let tasks: Vec<_> = (0..40)
        .map(|number| {
            let store = if number % 2 == 0 { first.clone() } else { second.clone() };
            tokio::spawn(async move {
                let session = new_session(&number.to_string(), "one", "plaza", &["ann"]);
                store.sessions.open(&session, NOW).await.unwrap()
            })
        })
        .collect();
    let mut opened = 0;
    for task in tasks {
        opened += usize::from(matches!(task.await.unwrap(), Opened::Done(_)));
    }
    assert_eq!(opened, 5);
    assert_eq!(second.zones.get("plaza").await.unwrap().unwrap().active_sessions, 5);
}

/// Everything that locks many rows at once, on two nodes, in opposite orders.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_of_two_nodes_do_not_deadlock() {
    let (first, database) = empty().await;
    let second = open(database.url(), LIMITS).await.unwrap();
    for zone in ["plaza", "forest"] {
        a_zone(&first, zone).await;
    }
    for number in 0..50 {
        a_host(&first, &format!("host-{number}")).await;
        let zone = ["plaza", "forest"][number % 2];
        a_session(&first, &number.to_string(), &format!("host-{number}"), zone, &[]).await;
    }
    let names: Vec<String> = (0..50).map(|number| format!("session-{number}")).collect();
    let mut tasks = Vec::new();
    for (store, backwards) in [(first.clone(), false), (second.clone(), true)] {
        for round in 1..30_i64 {
            let (store, mut names) = (store.clone(), names.clone());
            tasks.push(tokio::spawn(async move {
                let later = NOW.plus_seconds(round);
                let records = if backwards {
                    names.reverse();
                    beats((0..50).rev(), round)
                } else {
                    beats(0..50, round)
                };
                store.hosts.save_heartbeats(&records).await.unwrap();
                store.sessions.touch(&names, later).await.unwrap();
                store.hosts.expire(later, later).await.unwrap();
                store
                    .sessions
                    .expire(NOW.plus_seconds(round - 25), later)
                    .await
                    .unwrap();
                store.sessions.purge(later, 5).await.unwrap();
                store.refresh.purge(later).await.unwrap();
            }));
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(
        database.sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"),
        "0"
    );
    let live = first.sessions.sums().await.unwrap().by_status[0];
    let zones = first.zones.list(ZoneFilter::default()).await.unwrap();
    assert_eq!(zones.iter().map(|zone| zone.active_sessions).sum::<i64>(), live);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_batch_of_heartbeats_is_one_write() {
    let (store, _database) = empty().await;
    for number in 0..200 {
        a_host(&store, &format!("host-{number}")).await;
    }
    store.hosts.save_heartbeats(&beats(0..200, 7)).await.unwrap();
    let hosts = store.hosts.all().await.unwrap();
    assert!(hosts.iter().all(|host| host.current_players == 7
        && host.last_heartbeat == Some(NOW.plus_seconds(7))
        && host.status == HostStatus::Online));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_call_leaves_no_transaction_open() {
    let (store, _database) = empty().await;
    a_zone(&store, "plaza").await;
    a_host(&store, "one").await;
    for number in 0..50_u64 {
        let call = new_session(&format!("dropped-{number}"), "one", "plaza", &[]);
        let _ = tokio::time::timeout(Duration::from_micros(number * 60), store.sessions.open(&call, NOW)).await;
    }
    // Waits for the zone's lock, if anyone still holds it.
    let zone = store.zones.set_p2p("plaza", true, NOW).await.unwrap().unwrap();
    let stored = store.sessions.list(&ALL).await.unwrap().len();
    assert_eq!(
        i64::try_from(stored).unwrap(),
        zone.total_sessions,
        "whole or not at all"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_documents_come_back_to_the_letter() {
    let (store, _database) = empty().await;
    assert_eq!(store.hosts.get("nu\0l").await.unwrap(), None);
    assert_eq!(store.zones.get("nu\0l").await.unwrap(), None);
    let mut odd = registration("odd");
    odd.ice_servers = Some(serde_json::json!([{"nul": "\0", "big": 1e19, "z": 1.0, "a": -0.0, "text": "☂\u{1F600}"}]));
    let stored = store.hosts.register(&odd, 1.0, None, NOW).await.unwrap();
    let host = store.hosts.get("odd").await.unwrap().unwrap();
    assert_eq!(
        host.ice_servers.as_ref().unwrap().to_string(),
        odd.ice_servers.unwrap().to_string()
    );
    assert_eq!(stored, crate::ports::storage::Registered::Done(host));
}
