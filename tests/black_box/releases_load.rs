//! Swaps of releases while requests come in: none fails, memory stays flat, nothing of an old release lives on; and how fast a
//! rollback is.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use p2p_coordinator_tests::fleet::millis;
use p2p_coordinator_tests::releases::push;
use p2p_coordinator_tests::shapes::{heartbeat, host, with, zone};
use p2p_coordinator_tests::{Client, Options, Server, Ws};
use reqwest::Method;
use serde_json::json;

use crate::npcs::AiService;
use crate::policies::{SLOTS, Tally, bundled, fixture, load, variant};

/// Swaps of each slot.
const SWAPS: usize = 1000;
/// Swaps before memory is looked at for the first time.
const WARM_UP: usize = 100;
/// Releases that take turns.
const TURNS: usize = 3;

/// Resident memory of a process, in MiB.
fn resident(server: &Server) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1024.0
}

/// Has releases take turns; each number is a swap.
async fn swap(operator: &Client, slot: &str, ids: &[String], numbers: Range<usize>) {
    for number in numbers {
        let wanted = json!({ "release_id": ids[number % ids.len()] });
        let _ = operator
            .post(&format!("/plugins/{slot}/activate"), &wanted)
            .await
            .ok(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_swaps_of_each_slot_under_load() {
    const WORKERS: usize = 10;
    const RATE: u64 = 300;
    let ai = AiService::start().await;
    let server = Options::default()
        .env("RATE_LIMIT_ENABLED", "true")
        .env("RATE_LIMIT_API_REQUESTS", 1_000_000)
        .env("AI_SERVICE_ENABLED", "true")
        .env("AI_SERVICE_URL", ai.url())
        .env("NPC_BROADCAST_INTERVAL", "0.1")
        .start();
    let operator = server.operator();
    let wide = json!({ "max_players": 1000, "max_zones": 1000 });
    for worker in 0..WORKERS {
        let machine = with(host(&format!("load-{worker}"), "alice"), &wide);
        let _ = operator.post("/hosts/register", &machine).await.ok(201);
        let path = format!("/hosts/load-{worker}/heartbeat");
        let _ = operator.post(&path, &heartbeat()).await.ok(200);
    }
    let _ = operator.post("/zones/", &zone("load")).await.ok(201);
    let watched = json!({ "zone_id": "load", "player_ids": ["watcher"] });
    let session = operator.post("/sessions/", &watched).await.ok(201);
    let id = session["session_id"].as_str().unwrap().to_owned();
    let _ = operator.poke(&format!("/sessions/{id}/activate")).await.ok(200);
    let mut peer = Ws::joined(&server, "watcher", &id).await;
    tokio::spawn(async move { while peer.next().await.is_ok() {} });

    let mut ids = Vec::new();
    for slot in SLOTS {
        let mut of_slot = Vec::new();
        for number in 0..TURNS {
            of_slot.push(push(&operator, slot, &variant(bundled(slot), number), "").await);
        }
        ids.push(of_slot);
    }
    let (stop, tally) = (Arc::new(AtomicBool::new(false)), Arc::new(Tally::default()));
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let share = RATE / WORKERS as u64;
            tokio::spawn(load(
                server.operator(),
                worker,
                share,
                Arc::clone(&stop),
                Arc::clone(&tally),
            ))
        })
        .collect();
    for (slot, ids) in SLOTS.into_iter().zip(&ids) {
        swap(&operator, slot, ids, 0..WARM_UP).await;
    }
    let (before, started) = (resident(&server), Instant::now());
    for (slot, ids) in SLOTS.into_iter().zip(&ids) {
        swap(&operator, slot, ids, WARM_UP..SWAPS).await;
    }
    let (took, after) = (started.elapsed(), resident(&server));
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.unwrap();
    }
    let answered = tally.answered.load(Ordering::Relaxed);
    println!(
        "{SWAPS} swaps of each slot: {:.2} ms each under {answered} requests, slowest request {} ms; resident memory {before:.1} MiB \
         after {WARM_UP} swaps, {after:.1} MiB at the end",
        took.as_secs_f64() * 1000.0 / (SLOTS.len() * (SWAPS - WARM_UP)) as f64,
        tally.slowest_us.load(Ordering::Relaxed) / 1000,
    );
    let wrong = std::mem::take(&mut *tally.wrong.lock().unwrap());
    assert!(
        wrong.is_empty(),
        "{} of {answered} failed: {:?}",
        wrong.len(),
        &wrong[..wrong.len().min(5)]
    );
    assert!(
        after < before + 24.0,
        "memory grows with swaps: {before} MiB, then {after} MiB"
    );
    let text = server.anonymous().absolute(Method::GET, "/metrics", None).await.body;
    for slot in SLOTS {
        let label = format!("slot=\"{slot}\"");
        let of = |name: &str| {
            text.lines()
                .filter(|line| line.starts_with(name) && line.contains(&label))
                .count()
        };
        assert_eq!(
            of("p2p_policy_release_instances"),
            2,
            "{slot}: the active and the previous release\n{text}"
        );
        let swaps = format!("p2p_policy_swaps_total{{result=\"done\",{label}}} {SWAPS}");
        assert!(text.contains(&swaps), "{swaps}\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_under_load_decides_at_once() {
    const ROUNDS: usize = 30;
    let server = Server::start();
    let operator = server.operator();
    let _ = operator.post("/hosts/register", &host("h1", "alice")).await.ok(201);
    let slot = "host-selection";
    let old = push(&operator, slot, &variant(bundled(slot), 1), "").await;
    let new = push(&operator, slot, &fixture(slot, "good"), "").await;
    let _ = operator
        .post(&format!("/plugins/{slot}/activate"), &json!({ "release_id": old }))
        .await
        .ok(200);
    let mut spans = Vec::new();
    for _ in 0..ROUNDS {
        let _ = operator
            .post(&format!("/plugins/{slot}/activate"), &json!({ "release_id": new }))
            .await
            .ok(200);
        let caller = server.operator();
        let _ = caller.post("/hosts/h1/heartbeat", &heartbeat()).await.ok(200);
        // One caller after the other asks for decisions, and sees when the old release gives the first one.
        let started = Instant::now();
        let deciding = tokio::spawn(async move {
            loop {
                let beaten = caller.post("/hosts/h1/heartbeat", &heartbeat()).await.ok(200);
                if beaten["quality_score"].as_f64() == Some(98.0) {
                    return started.elapsed();
                }
            }
        });
        let _ = operator.poke(&format!("/plugins/{slot}/rollback")).await.ok(200);
        spans.push(deciding.await.unwrap());
    }
    spans.sort_unstable();
    let (median, slowest) = (spans[ROUNDS / 2], spans[ROUNDS - 1]);
    println!(
        "rollback on one node, from the request to the first decision by the old release: median {}, slowest {} of {ROUNDS}",
        millis(median),
        millis(slowest)
    );
    assert!(
        median < Duration::from_millis(if cfg!(debug_assertions) { 100 } else { 10 }),
        "{spans:?}"
    );
}
