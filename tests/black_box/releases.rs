//! Releases on one node: stored, tried, activated, shown to live calls, promoted, rolled back and audited; and refused with a
//! reason when they are not what they should be.

mod refusals;
mod rollouts;

use p2p_coordinator_tests::releases::{push, upload};
use p2p_coordinator_tests::shapes::{heartbeat, host};
use p2p_coordinator_tests::{Client, Options, Server, eventually};
use serde_json::{Value, json};

use crate::policies::{bundled, fixture, put, slot, variant};

const HOSTS: &str = "host-selection";
const LIMITS: &str = "rate-limit";

async fn act(operator: &Client, slot: &str, what: &str, body: Value) -> Value {
    operator.post(&format!("/plugins/{slot}/{what}"), &body).await.ok(200)
}

async fn score(operator: &Client) -> f64 {
    let beaten = operator.post("/hosts/h1/heartbeat", &heartbeat()).await.ok(200);
    beaten["quality_score"].as_f64().unwrap()
}

async fn audit(operator: &Client, slot: &str) -> Vec<Value> {
    let entries = operator.get(&format!("/plugins/{slot}/audit")).await.ok(200);
    entries.as_array().unwrap().clone()
}

#[tokio::test]
async fn a_release_lives_from_its_upload_to_its_rollback() {
    let server = Server::start();
    let operator = server.operator();
    let _ = operator.post("/hosts/register", &host("h1", "alice")).await.ok(201);

    // Stored, and stored again.
    let component = fixture(HOSTS, "good");
    let first = operator
        .post("/plugins/host-selection/releases", &upload(&component, "first"))
        .await
        .ok(201);
    let again = operator
        .post("/plugins/host-selection/releases", &upload(&component, "first"))
        .await
        .ok(200);
    assert_eq!(first, again);
    let id = first["id"].as_str().unwrap();
    assert_eq!(
        (id.len(), first["created_by"].as_str()),
        (64, Some("operator")),
        "{first}"
    );
    assert_eq!(operator.get(&format!("/plugins/releases/{id}")).await.ok(200), first);
    let other = push(&operator, HOSTS, &component, "another note").await;
    assert_ne!(id, other, "a changed member is another release");
    let listed = operator.get("/plugins/host-selection/releases").await.ok(200);
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert!(
        (score(&operator).await - 98.0).abs() < 1e-9,
        "an upload changes nothing"
    );

    // Activated: the very next call is its own.
    let state = act(&operator, HOSTS, "activate", json!({ "release_id": id, "note": "go" })).await;
    assert_eq!(
        (state["active"].as_str(), state["generation"].as_u64()),
        (Some(id), Some(1))
    );
    assert!((score(&operator).await - 42.0).abs() < 1e-9);
    let report = slot(&operator, HOSTS).await;
    assert_eq!(report["policy"]["source"], "release", "{report}");
    assert_eq!(report["policy"]["release_id"], id, "{report}");
    assert_eq!(
        report["delivery"]["convergence"],
        format!("1 of 1 node on {}", &id[..12]),
        "{report}"
    );

    // In the shadow: it is asked, compared, and never used.
    let next = push(&operator, HOSTS, &variant(bundled(HOSTS), 1), "second").await;
    let shadow = json!({ "release_id": next, "mode": "shadow", "sample_percent": 100,
        "gates": { "max_failure_rate": 0.5 } });
    let _ = act(&operator, HOSTS, "rollout", shadow.clone()).await;
    let seen = eventually("the shadow compares", || async {
        assert!((score(&operator).await - 42.0).abs() < 1e-9, "a shadow answers nobody");
        let seen = slot(&operator, HOSTS).await["delivery"]["rollout_seen"].clone();
        (seen["compared"].as_u64() > Some(3)).then_some(seen)
    })
    .await;
    assert_eq!(seen["compared"], seen["differences"], "{seen}");
    let _ = act(&operator, HOSTS, "halt", json!({ "note": "too different" })).await;
    let _ = operator.poke("/plugins/host-selection/halt").await.problem(400);
    let _ = operator.poke("/plugins/host-selection/promote").await.problem(400);

    // Promoted and rolled back, one by one and to the start.
    let _ = act(&operator, HOSTS, "rollout", shadow).await;
    let promoted = act(&operator, HOSTS, "promote", json!({})).await;
    assert_eq!(
        (promoted["active"].as_str(), &promoted["rollout"]),
        (Some(next.as_str()), &Value::Null)
    );
    assert!((score(&operator).await - 98.0).abs() < 1e-9);
    let back = act(&operator, HOSTS, "rollback", json!({ "note": "on second thought" })).await;
    assert_eq!(back["active"].as_str(), Some(id));
    assert!((score(&operator).await - 42.0).abs() < 1e-9);
    let bundled = operator.poke("/plugins/host-selection/rollback").await.ok(200);
    assert_eq!(bundled["active"], Value::Null);
    assert!((score(&operator).await - 98.0).abs() < 1e-9);
    let _ = operator.poke("/plugins/host-selection/rollback").await.problem(400);

    let entries = audit(&operator, HOSTS).await;
    let actions: Vec<&str> = entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    let wanted = [
        "rollback", "rollback", "promote", "rollout", "halt", "rollout", "upload", "activate", "upload", "upload",
    ];
    assert_eq!(actions, wanted);
    assert_eq!(
        (
            entries[1]["who"].as_str(),
            entries[1]["why"].as_str(),
            entries[1]["release_id"].as_str()
        ),
        (Some("operator"), Some("on second thought"), Some(id))
    );
    assert!(entries.iter().all(|entry| entry["at"].is_string()));
}

#[tokio::test]
async fn what_is_active_outlives_a_restart_and_a_tampered_compiled_file() {
    let server = Server::start();
    let operator = server.operator();
    let _ = operator.post("/hosts/register", &host("h1", "alice")).await.ok(201);
    let id = push(&operator, HOSTS, &fixture(HOSTS, "good"), "").await;
    let record = operator.get(&format!("/plugins/releases/{id}")).await.ok(200);
    let _ = act(&operator, HOSTS, "activate", json!({ "release_id": id })).await;
    let server = server.restart();
    assert!((score(&server.operator()).await - 42.0).abs() < 1e-9);

    let folder = server.home().join("data/compiled");
    let digest = record["digest"].as_str().unwrap();
    let compiled = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|e| e == "cwasm") && path.to_string_lossy().contains(digest))
        .expect("the compiled release");
    let mut code = std::fs::read(&compiled).unwrap();
    let middle = code.len() / 2;
    code[middle] ^= 1;
    std::fs::write(&compiled, code).unwrap();
    let server = server.restart();
    assert!(server.log().contains("its seal is broken"), "{}", server.log());
    assert!(
        (score(&server.operator()).await - 42.0).abs() < 1e-9,
        "it was compiled again"
    );
}

#[tokio::test]
async fn a_file_is_a_release_of_its_node_alone() {
    let dir = tempfile::tempdir().unwrap();
    let server = Options::default().env("PLUGIN_DIR", dir.path().display()).start();
    let operator = server.operator();
    let id = push(&operator, HOSTS, &variant(bundled(HOSTS), 1), "").await;
    let _ = act(&operator, HOSTS, "activate", json!({ "release_id": id })).await;
    put(dir.path(), HOSTS, &fixture(HOSTS, "good"));
    let file = eventually("the file is a release", || async {
        let listed = operator.get("/plugins/host-selection/releases").await.ok(200);
        listed
            .as_array()
            .unwrap()
            .iter()
            .find(|r| r["created_by"] == "file")
            .cloned()
    })
    .await;
    let report = slot(&operator, HOSTS).await;
    assert_eq!(report["policy"]["release_id"], file["id"], "{report}");
    assert_eq!(
        report["delivery"]["desired"]["active"].as_str(),
        Some(id.as_str()),
        "{report}"
    );
    assert!(
        report["delivery"]["convergence"]
            .as_str()
            .unwrap()
            .contains("a file of its own"),
        "{report}"
    );
    std::fs::remove_file(dir.path().join("host-selection.wasm")).unwrap();
    eventually("what is desired serves again", || async {
        (slot(&operator, HOSTS).await["policy"]["release_id"] == id.as_str()).then_some(())
    })
    .await;
    // The file as a release goes everywhere.
    let _ = act(&operator, HOSTS, "activate", json!({ "release_id": file["id"] })).await;
}

#[tokio::test]
async fn metrics_have_series_for_what_serves_and_no_other() {
    let server = Server::start();
    let operator = server.operator();
    let mut ids = Vec::new();
    for number in 0..4 {
        let id = push(&operator, HOSTS, &variant(bundled(HOSTS), number), "").await;
        let _ = act(&operator, HOSTS, "activate", json!({ "release_id": id })).await;
        ids.push(id[..12].to_owned());
    }
    let _ = operator.post("/hosts/register", &host("h1", "alice")).await.ok(201);
    let text = server
        .anonymous()
        .absolute(reqwest::Method::GET, "/metrics", None)
        .await
        .body;
    for family in [
        "p2p_policy_release_calls_total",
        "p2p_policy_release_failures_total",
        "p2p_policy_release_breaker_open",
        "p2p_policy_release_peak_memory_bytes",
        "p2p_policy_release_instances",
        "p2p_policy_release_shadow_differences_total",
        "p2p_policy_release_call_duration_seconds_count",
    ] {
        let of = |id: &str| {
            let label = format!("release=\"{id}\"");
            text.lines()
                .any(|line| line.starts_with(family) && line.contains(&label))
        };
        assert!(of(&ids[3]) && of(&ids[2]), "{family}: active and previous\n{text}");
        assert!(!of(&ids[0]) && !of(&ids[1]), "{family}: older ones\n{text}");
    }
    assert!(
        text.contains(r#"p2p_policy_generation{slot="host-selection"} 4"#),
        "{text}"
    );
    assert!(
        text.contains(r#"p2p_policy_activation_seconds_count{result="done",slot="host-selection"} 4"#),
        "{text}"
    );
}
