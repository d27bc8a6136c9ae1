//! Releases on several nodes: what one is told all do, within a second, and each says how it stands.

use std::time::{Duration, Instant};

use p2p_coordinator_tests::fleet::{Fleet, millis};
use p2p_coordinator_tests::releases::{Signer, push};
use p2p_coordinator_tests::{Client, Options, eventually};
use serde_json::{Value, json};

use crate::policies::{bundled, slot, variant};

const SLOT: &str = "host-selection";

/// Waits until every node runs this release, and returns how long that took.
async fn until_all_run(clients: &[Client], wanted: Option<&str>, since: Instant) -> Duration {
    for client in clients {
        eventually("the node runs it", || async {
            let report = slot(client, SLOT).await;
            let runs = match wanted {
                Some(id) => report["policy"]["release_id"] == id,
                None => report["policy"]["source"] == "bundled",
            };
            runs.then_some(())
        })
        .await;
    }
    since.elapsed()
}

async fn post(client: &Client, what: &str, body: &Value) -> Value {
    client.post(&format!("/plugins/{SLOT}/{what}"), body).await.ok(200)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_does_what_one_node_is_told() {
    let signer = Signer::new("ours");
    let mut fleet = Fleet::start(3);
    let clients: Vec<Client> = fleet.nodes.iter().map(|node| node.operator()).collect();
    let first = push(&clients[0], SLOT, &variant(bundled(SLOT), 1), "first").await;
    let second = push(&clients[1], SLOT, &variant(bundled(SLOT), 2), "second").await;

    let started = Instant::now();
    let _ = post(&clients[0], "activate", &json!({ "release_id": first })).await;
    let compiled = until_all_run(&clients, Some(&first), started).await;
    let _ = post(&clients[1], "activate", &json!({ "release_id": second })).await;
    until_all_run(&clients, Some(&second), started).await;
    let started = Instant::now();
    let _ = clients[2].poke(&format!("/plugins/{SLOT}/rollback")).await.ok(200);
    let back = until_all_run(&clients, Some(&first), started).await;
    println!(
        "three nodes: activated (each compiles) after {}, rolled back after {}",
        millis(compiled),
        millis(back)
    );
    assert!(
        back < Duration::from_secs(1),
        "three nodes roll back within a second: {back:?}"
    );

    eventually("all say so", || async {
        let words = slot(&clients[0], SLOT).await["delivery"]["convergence"].clone();
        (words == format!("3 of 3 nodes on {}", &first[..12])).then_some(())
    })
    .await;

    // A node that must not take it says why, and the others go on.
    let options = fleet
        .options(Options::default())
        .env("PLUGIN_REQUIRE_SIGNATURE", "true")
        .env("PLUGIN_TRUSTED_KEYS", signer.trusted());
    let strict = options.start();
    let words = eventually("the fourth says why", || async {
        let words = slot(&clients[0], SLOT).await["delivery"]["convergence"]
            .as_str()
            .unwrap()
            .to_owned();
        words.contains("refused").then_some(words)
    })
    .await;
    assert!(
        words.starts_with(&format!("3 of 4 nodes on {}", &first[..12])),
        "{words}"
    );
    assert!(words.contains("refused: signature: it is not signed"), "{words}");
    assert_eq!(slot(&strict.operator(), SLOT).await["policy"]["source"], "bundled");

    // A node that stops is not waited for.
    strict.terminate();
    eventually("the fourth is gone", || async {
        let words = slot(&clients[0], SLOT).await["delivery"]["convergence"].clone();
        words.as_str().unwrap().starts_with("3 of 3").then_some(())
    })
    .await;

    // Without wake-ups nodes look by themselves.
    fleet.redis.kill();
    let started = Instant::now();
    let _ = post(&clients[0], "activate", &json!({ "release_id": second })).await;
    let polled = until_all_run(&clients, Some(&second), started).await;
    println!("three nodes without Redis: {}", millis(polled));
    assert!(polled < Duration::from_secs(10), "{polled:?}");
}
