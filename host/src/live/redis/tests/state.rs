//! Buckets, leases and boards of several nodes, and what becomes of them when the server goes away and comes back empty.

use std::sync::Arc;
use std::time::Instant;

use super::*;
use crate::domain::clock::{Clock as _, SystemClock};
use crate::domain::host::Measurements;
use crate::ports::contract::board::host;
use crate::ports::live::{BucketDraw, HostBoard, Live};

fn draw(key: &str, capacity: u32, window_seconds: u32) -> [BucketDraw; 1] {
    [BucketDraw {
        key: key.to_owned(),
        capacity,
        window_seconds,
        cost: 1,
    }]
}

/// A node that has joined the others.
async fn node(url: &str, name: &str) -> (Live, Connection) {
    let connection = connect(url).await;
    let live = open(&connection, name);
    eventually("the board joins", || live.hosts.take_missed()).await;
    (live, connection)
}

async fn eventually(what: &str, mut ask: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !ask() {
        assert!(Instant::now() < end, "did not happen: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buckets_are_shared_and_go_by_the_clock_of_the_server() {
    let server = Redis::start();
    let ((one, _), (other, _)) = (node(&server.url(), "one").await, node(&server.url(), "other").await);
    // What a node thinks of the time does not matter. A token comes every 20 ms.
    let (early, late) = (crate::domain::clock::Timestamp(5), SystemClock.now());
    let draws = draw("a", 50, 1);
    let started = Instant::now();
    let mut passed = 0_u32;
    while passed < 60 {
        let answer = one.buckets.draw(&draws, early).await.unwrap();
        assert!(answer.reset_at >= early && answer.reset_at <= early.plus_seconds(1));
        passed += u32::from(answer.allowed);
        passed += u32::from(other.buckets.draw(&draws, late).await.unwrap().allowed);
    }
    let refilled = started.elapsed().as_secs_f64() * 50.0;
    assert!(
        f64::from(passed) <= 51.0 + refilled,
        "{passed} passed, {refilled} refilled"
    );
    let ttl: i64 = server.cli(&["PTTL", "ratelimit:a"]).parse().unwrap();
    // It may have ended just now.
    assert!(ttl == -2 || (0..=1000).contains(&ttl), "{ttl}");
    eventually("the full bucket is forgotten", || {
        server.cli(&["EXISTS", "ratelimit:a"]) == "0"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_fails_at_once_without_the_server_and_works_again_with_an_empty_one() {
    let mut server = Redis::start();
    let (live, connection) = node(&server.url(), "one").await;
    let ttl = Duration::from_secs(60);
    let first = live.leases.acquire("work", "one", ttl).await.unwrap().unwrap();
    assert!(
        live.buckets
            .draw(&draw("a", 1, 60), SystemClock.now())
            .await
            .unwrap()
            .allowed
    );
    server.kill();
    until(&connection, |state| !state.up).await;
    let asked = Instant::now();
    assert!(live.buckets.draw(&draw("a", 1, 60), SystemClock.now()).await.is_err());
    assert!(live.leases.renew("work", first, ttl).await.is_err());
    assert!(live.health.ping().await.is_err());
    assert!(asked.elapsed() < Duration::from_millis(500));
    server.start_again();
    until(&connection, |state| state.up).await;
    assert!(
        live.buckets
            .draw(&draw("a", 1, 60), SystemClock.now())
            .await
            .unwrap()
            .allowed
    );
    assert!(!live.leases.renew("work", first, ttl).await.unwrap());
    let second = live.leases.acquire("work", "two", ttl).await.unwrap().unwrap();
    assert!(second >= first, "fences go on growing with the clock");
    live.health.ping().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boards_tell_each_other() {
    let server = Redis::start();
    let ((one, _), (other, _)) = (node(&server.url(), "one").await, node(&server.url(), "other").await);
    let seen = |name: &str| other.hosts.get(name);
    one.hosts.put(host("a", 50.0));
    one.hosts.put(host("b", 60.0));
    eventually("both hosts are there", || other.hosts.all().len() == 2).await;
    assert_eq!(seen("a").as_deref(), one.hosts.get("a").as_deref());
    assert_eq!(seen("a").unwrap().revision, 1);
    let measured = Measurements {
        current_players: 7,
        ..Measurements::default()
    };
    let later = crate::ports::contract::NOW.plus_seconds(9);
    other.hosts.beat("a", &measured, later, &|_| 70.0).unwrap();
    eventually("the heartbeat comes", || {
        one.hosts.get("a").unwrap().current_players == 7
    })
    .await;
    assert_eq!(one.hosts.get("a").as_deref(), seen("a").as_deref());
    assert_eq!(one.hosts.available(0.0, 1)[0].host_id, "a");
    assert!(
        one.hosts.take_unsaved(9).is_empty(),
        "who accepts a heartbeat stores it"
    );
    assert_eq!(other.hosts.take_unsaved(9).len(), 1);
    other.hosts.remove("b");
    eventually("the host is gone", || one.hosts.get("b").is_none()).await;
    assert!(!one.hosts.take_missed() && !other.hosts.take_missed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boards_say_what_they_may_have_missed_and_tell_what_happened_meanwhile() {
    let mut server = Redis::start();
    let ((one, connection), (other, _)) = (node(&server.url(), "one").await, node(&server.url(), "other").await);
    server.kill();
    until(&connection, |state| !state.up).await;
    for _ in 0..3 {
        one.hosts.put(host("a", 50.0));
    }
    one.hosts.put(host("b", 50.0));
    one.hosts.remove("b");
    server.start_again();
    // Who listens again later than the news are told has a gap, and reads storage.
    eventually("a gap is told", || other.hosts.take_missed()).await;
    one.hosts.put(host("c", 50.0));
    eventually("later news come", || other.hosts.get("c").is_some()).await;
    assert!(other.hosts.get("b").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_of_an_unknown_host_is_a_gap() {
    let server = Redis::start();
    let ((one, _), (other, _)) = (node(&server.url(), "one").await, node(&server.url(), "other").await);
    one.hosts.fill(vec![host("a", 50.0)], &[]);
    let board: &Arc<dyn HostBoard> = &one.hosts;
    board
        .beat("a", &Measurements::default(), SystemClock.now(), &|_| 1.0)
        .unwrap();
    eventually("a gap is told", || other.hosts.take_missed()).await;
    assert!(other.hosts.get("a").is_none());
}
