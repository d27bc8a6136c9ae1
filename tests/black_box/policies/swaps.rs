//! Policies that are replaced while requests and messages go on: none is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use p2p_coordinator_tests::Ws;
use p2p_coordinator_tests::shapes::zone;
use reqwest::Method;
use serde_json::json;

use super::*;
use crate::npcs::AiService;

/// What the load saw.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub answered: AtomicU64,
    pub slowest_us: AtomicU64,
    pub wrong: std::sync::Mutex<Vec<String>>,
}

impl Tally {
    fn note(&self, started: Instant, what: &str, failure: Option<String>) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        let took = u64::try_from(started.elapsed().as_micros()).unwrap();
        self.slowest_us.fetch_max(took, Ordering::Relaxed);
        if let Some(failure) = failure {
            self.wrong.lock().unwrap().push(format!("{what}: {failure}"));
        }
    }
}

/// One of the workers: its share of the requests, on its own connection, each answer checked.
pub(crate) async fn load(operator: Client, worker: usize, rate: u64, stop: Arc<AtomicBool>, tally: Arc<Tally>) {
    let mut pace = tokio::time::interval(Duration::from_micros(1_000_000 / rate));
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let path = format!("/hosts/load-{worker}/heartbeat");
    let beat = heartbeat();
    let wanted = json!({ "zone_id": "load", "player_ids": ["p"] });
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        number += 1;
        let started = Instant::now();
        if number.is_multiple_of(100) {
            match operator.attempt(Method::POST, "/sessions/", &wanted).await {
                Some((201, session)) => {
                    tally.note(started, "create", None);
                    let started = Instant::now();
                    let path = format!("/sessions/{}/end", session["id"]);
                    let ended = operator.attempt(Method::POST, &path, &json!({})).await;
                    let bad = !matches!(ended, Some((200, _)));
                    tally.note(started, "end", bad.then(|| format!("{ended:?}")));
                }
                other => tally.note(started, "create", Some(format!("{other:?}"))),
            }
        } else if number.is_multiple_of(4) {
            let answer = operator.attempt(Method::POST, &path, &beat).await;
            let good = matches!(&answer, Some((200, host)) if host["quality_score"].as_f64() == Some(98.0));
            tally.note(started, "heartbeat", (!good).then(|| format!("{answer:?}")));
        } else {
            let answer = operator.attempt(Method::GET, "/zones/load", &Value::Null).await;
            let good = matches!(&answer, Some((200, zone)) if zone["zone_id"] == "load");
            tally.note(started, "zone", (!good).then(|| format!("{answer:?}")));
        }
    }
}

/// Replaces one slot 50 times, 10 of them with bad files, and sees each in the report.
async fn replace(operator: Client, dir: PathBuf, name: &'static str) {
    let good = bundled(name);
    for number in 0..50 {
        let before = slot(&operator, name).await;
        let (swaps, refusals) = (before["swaps"].as_u64().unwrap(), before["refusals"].as_u64().unwrap());
        if number % 5 == 4 {
            let bad = match number % 3 {
                0 => good[..good.len() / 2 + number].to_vec(),
                1 => variant(
                    bundled(if name == "rate-limit" {
                        "npc-transform"
                    } else {
                        "rate-limit"
                    }),
                    number,
                ),
                _ => variant(fixture(name, "panic"), number),
            };
            put(&dir, name, &bad);
            let report = slot_until(&operator, name, "the refusal", |s| {
                s["refusals"].as_u64() > Some(refusals)
            })
            .await;
            assert_eq!(report["swaps"].as_u64(), Some(swaps), "{report}");
            assert_eq!(report["policy"]["digest"], before["policy"]["digest"], "{report}");
            assert!(report["last_refusal"]["reason"].is_string(), "{report}");
        } else {
            let next = variant(good.clone(), number);
            if number % 5 == 2 {
                put_slowly(&dir, name, &next).await;
            } else {
                put(&dir, name, &next);
            }
            let report = slot_until(&operator, name, "the swap", |s| s["swaps"].as_u64() > Some(swaps)).await;
            assert_ne!(report["policy"]["digest"], before["policy"]["digest"], "{report}");
            assert_eq!(report["state"], "serving", "{report}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaps_under_load_lose_no_request() {
    const WORKERS: usize = 20;
    const RATE: u64 = 1000;
    let ai = AiService::start().await;
    let limits = Options::default()
        .env("RATE_LIMIT_ENABLED", "true")
        .env("RATE_LIMIT_API_REQUESTS", 1_000_000);
    let limits = limits
        .env("AI_SERVICE_ENABLED", "true")
        .env("AI_SERVICE_URL", ai.url())
        .env("NPC_BROADCAST_INTERVAL", 1);
    let (dir, options) = folder(limits);
    let server = options.start();
    let operator = server.operator();
    let wide = json!({ "max_players": 1000, "max_zones": 1000 });
    for worker in 0..WORKERS {
        let machine = with(host(&format!("load-{worker}"), "alice"), &wide);
        let _ = operator.post("/hosts/register", &machine).await.ok(201);
        let _ = operator
            .post(&format!("/hosts/load-{worker}/heartbeat"), &heartbeat())
            .await
            .ok(200);
    }
    let _ = operator.post("/zones/", &zone("load")).await.ok(201);
    let watched = json!({ "zone_id": "load", "player_ids": ["watcher"] });
    let session = operator.post("/sessions/", &watched).await.ok(201);
    let id = session["session_id"].as_str().unwrap().to_owned();
    let _ = operator.poke(&format!("/sessions/{id}/activate")).await.ok(200);
    let mut peer = Ws::joined(&server, "watcher", &id).await;

    let (stop, tally) = (Arc::new(AtomicBool::new(false)), Arc::new(Tally::default()));
    let started = Instant::now();
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
    let swapping: Vec<_> = SLOTS
        .into_iter()
        .map(|name| tokio::spawn(replace(server.operator(), dir.path().to_owned(), name)))
        .collect();
    let watching = tokio::spawn(async move {
        // Ticks go on, and no policy ever lets an internal member through.
        let mut ticks = 0;
        while let Ok(message) = peer.next().await {
            if message["type"] == "npc-state" {
                crate::npcs::check_public(&message);
                ticks += 1;
            }
        }
        ticks
    });
    for task in swapping {
        task.await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.unwrap();
    }
    let seconds = started.elapsed().as_secs_f64();
    let answered = tally.answered.load(Ordering::Relaxed);
    let slowest = tally.slowest_us.load(Ordering::Relaxed) / 1000;
    println!(
        "{answered} requests in {seconds:.1} s ({:.0}/s), slowest {slowest} ms",
        answered as f64 / seconds
    );
    let wrong = std::mem::take(&mut *tally.wrong.lock().unwrap());
    assert!(
        wrong.is_empty(),
        "{} of {answered} failed: {:?}",
        wrong.len(),
        &wrong[..wrong.len().min(5)]
    );
    for name in SLOTS {
        let report = slot(&operator, name).await;
        assert!(report["swaps"].as_u64() >= Some(40), "{report}");
        assert!(report["refusals"].as_u64() >= Some(10), "{report}");
        // A call that misses its deadline on a busy machine is answered by the native default: no request notices.
        let (calls, fallbacks) = (report["calls"].as_u64().unwrap(), report["fallbacks"].as_u64().unwrap());
        assert!(fallbacks * 20 <= calls, "more than one call in 20 was late: {report}");
    }
    assert!(
        answered as f64 / seconds > 0.9 * RATE as f64,
        "the load did not reach {RATE} requests a second"
    );
    let pid = server.pid();
    Server::kill_now(pid);
    let ticks = watching.await.unwrap();
    assert!(ticks > 5, "{ticks} NPC ticks arrived");
}
