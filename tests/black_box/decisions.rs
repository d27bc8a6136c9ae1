//! The decision log: why a session got its host, what is written, what is masked, and what another policy would have decided.

use p2p_coordinator_tests::shapes::{heartbeat, host, with, zone};
use p2p_coordinator_tests::{Client, Options, Server, eventually};
use serde_json::{Value, json};

use crate::plugin_tools::{json as output, plugin, said, status};
use crate::policies::{bundled, fixture};

/// Hosts whose addresses and names would be telling, a zone, and a session on the policy's pick.
async fn session(operator: &Client) -> Value {
    for (name, latency) in [("near", 10.0), ("far", 90.0), ("10.11.12.13", 50.0)] {
        let _ = operator.post("/hosts/register", &host(name, "alice")).await.ok(201);
        let beat = with(heartbeat(), &json!({ "latency_ms": latency }));
        let _ = operator.post(&format!("/hosts/{name}/heartbeat"), &beat).await.ok(200);
    }
    let _ = operator.post("/zones/", &zone("z")).await.ok(201);
    let wanted = json!({ "zone_id": "z", "player_ids": ["p1"] });
    operator.post("/sessions/", &wanted).await.ok(201)
}

async fn counted(operator: &Client, slot: &str, outcome: &str) -> u64 {
    let text = operator.get("/monitoring/metrics").await.status_is(200).body.clone();
    let series = format!("p2p_policy_decisions_total{{outcome=\"{outcome}\",slot=\"{slot}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&series));
    line.map_or(0, |value| value.parse().unwrap())
}

#[tokio::test]
async fn an_operator_reads_why_a_session_got_its_host() {
    let server = Options::default()
        .env("RATE_LIMIT_ENABLED", "true")
        .env("RATE_LIMIT_API_REQUESTS", 10_000)
        .env("DECISION_LOG_SAMPLE", "1")
        .start();
    let operator = server.operator();
    let made = session(&operator).await;
    let id = made["session_id"].as_str().unwrap();

    let found = operator.get(&format!("/decisions?session_id={id}")).await.ok(200);
    assert_eq!(found.as_array().unwrap().len(), 1, "{found}");
    let name = found[0]["id"].as_str().unwrap();
    let why = operator.get(&format!("/decisions/{name}")).await.ok(200);
    assert_eq!(
        (&why["slot"], &why["rung"], &why["session_id"], &why["reason"]),
        (&json!("host-selection"), &json!("component"), &json!(id), &Value::Null)
    );
    assert_eq!(why["release"].as_str().map(str::len), Some(12), "{why}");
    assert!(why["duration_us"].as_f64().unwrap() > 0.0, "{why}");
    let candidates = why["candidates"].as_array().unwrap();
    assert_eq!(candidates.len(), 3, "{why}");
    assert_eq!(
        (&candidates[0]["host_id"], &candidates[0]["pick"]),
        (&made["host"], &json!(1))
    );
    assert!(
        candidates[0]["score"].is_number() && candidates[0]["reason"].is_string(),
        "{why}"
    );
    assert!(!why.to_string().contains("10.11.12.13"), "{why}");

    // The limit of the same request has the same request id, and the same in every prefix.
    let limits = operator.get("/decisions?slot=rate-limit&limit=200").await.ok(200);
    let same = |decision: &&Value| decision["request_id"] == why["request_id"];
    let limited: Vec<&Value> = limits.as_array().unwrap().iter().filter(same).collect();
    assert_eq!(limited.len(), 1, "{limits}");
    assert_eq!(limited[0]["question"]["route"], "/sessions", "{limits}");
    assert_eq!(limited[0]["question"]["ip"], "127.0.0.0", "{limits}");
    let path = format!("/api/decisions/{name}/");
    let _ = operator.absolute(reqwest::Method::GET, &path, None).await.ok(200);

    // An answer names the request, too.
    let beaten = operator
        .post("/hosts/near/heartbeat", &heartbeat())
        .await
        .status_is(200);
    let newest = operator.get("/decisions?limit=1").await.ok(200);
    assert_eq!(newest[0]["request_id"], beaten.header("x-request-id"), "{newest}");

    let _ = operator.get("/decisions/none").await.problem(404);
    let _ = operator.get("/decisions?slot=none").await.problem(422);
    let _ = operator.get("/decisions?limit=0").await.problem(422);
    let player = server.player("alice").await;
    let _ = player.get("/decisions").await.problem(403);
    let _ = player.get(&format!("/decisions/{name}")).await.problem(403);
    let _ = server.anonymous().get("/decisions").await.problem(401);
    assert!(counted(&operator, "host-selection", "recorded").await >= 4);
}

#[tokio::test]
async fn a_log_is_masked_and_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("decisions.jsonl");
    let server = Options::default()
        .env("RATE_LIMIT_ENABLED", "true")
        .env("RATE_LIMIT_API_REQUESTS", 10_000)
        .env("DECISION_LOG_SAMPLE", "1")
        .env("DECISION_LOG_FILE", log.display())
        .start();
    let operator = server.operator();
    let made = session(&operator).await;
    let id = made["session_id"].as_str().unwrap().to_owned();
    // A token where a name should be.
    let token = server.player("alice").await.bearer().to_owned();
    let _ = operator.post("/hosts/register", &host(&token[..60], "alice")).await;
    let _ = operator
        .post(&format!("/hosts/{}/heartbeat", &token[..60]), &heartbeat())
        .await;
    let _ = operator
        .post("/sessions/", &json!({ "zone_id": "z", "player_ids": ["p2"] }))
        .await;
    let text = eventually("the choice is written", || async {
        let text = std::fs::read_to_string(&log).ok()?;
        (text.matches("\"rank\":{").count() >= 2 && text.contains(&id)).then_some(text)
    })
    .await;
    for secret in ["10.11.12.13", "127.0.0.1", "192.0.2.10", "eyJ", &token[..60]] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }

    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("hosts.wasm", &bundled("host-selection"));
    write("limits.wasm", &bundled("rate-limit"));
    write("other.wasm", &fixture("host-selection", "good"));
    write("panic.wasm", &fixture("host-selection", "panic"));
    let replay = |component: &str, further: &[&str]| {
        let arguments = [&["replay", component, "decisions.jsonl", "--json"][..], further].concat();
        plugin(folder.path(), None, &arguments)
    };

    // The same policy decides the same; each slot has its own decisions.
    for (component, further) in [
        ("hosts.wasm", &[][..]),
        ("limits.wasm", &["--setting", "RATE_LIMIT_API_REQUESTS=10000"]),
    ] {
        let gate = [further, &["--max-difference-rate", "0"]].concat();
        let same = replay(component, &gate);
        let report = output(&same);
        assert_eq!((status(&same), &report["different"]), (0, &json!(0)), "{report:#}");
        assert!(
            report["same"].as_u64() > Some(3) && report["complete"] == true,
            "{report:#}"
        );
    }

    // Another one does not, and the gate says so.
    let changed = replay("other.wasm", &[]);
    let report = output(&changed);
    assert_eq!(status(&changed), 0, "without a gate: {report:#}");
    let group = &report["groups"][0];
    assert!(
        group["count"].as_u64() > Some(0) && group["example"]["why"].is_string(),
        "{report:#}"
    );
    assert!(report["difference_rate"].as_f64() > Some(0.5), "{report:#}");
    assert_eq!(status(&replay("other.wasm", &["--max-difference-rate", "0.1"])), 1);
    assert_eq!(status(&replay("hosts.wasm", &["--min-decisions", "1000000"])), 1);
    let failing = replay("panic.wasm", &["--max-difference-rate", "0.5"]);
    assert_eq!(status(&failing), 1);
    assert!(said(&failing).contains("no answer"), "{}", said(&failing));

    // What is no decision is named.
    write("decisions.jsonl", format!("nonsense\n{text}{{}}\n").as_bytes());
    let report = output(&replay("hosts.wasm", &[]));
    assert_eq!(report["unreadable"], 2, "{report:#}");
    assert_eq!(report["unreadable_lines"][0], 1, "{report:#}");
}

#[tokio::test]
async fn a_tiny_ring_forgets_counts_and_never_waits() {
    let folder = tempfile::tempdir().unwrap();
    let server = Options::default()
        .env("DECISION_LOG_SIZE", 1)
        .env("DECISION_LOG_FILE", folder.path().join("log").display())
        .start();
    let operator = server.operator();
    let first = session(&operator).await;
    let id = first["session_id"].as_str().unwrap();
    let kept = operator.get(&format!("/decisions?session_id={id}")).await.ok(200);
    let name = kept[0]["id"].as_str().unwrap().to_owned();
    let again = json!({ "zone_id": "z", "player_ids": ["p2"] });
    let _ = operator.post("/sessions/", &again).await.ok(201);
    let gone = operator.get(&format!("/decisions/{name}")).await.problem(404);
    assert!(
        gone["detail"].as_str().unwrap().contains("the node that made it"),
        "{gone}"
    );
    // More decisions than one between two looks of the file's thread.
    eventually("decisions are dropped", || async {
        let beat = heartbeat();
        let beats = (0..50).map(|_| operator.post("/hosts/near/heartbeat", &beat));
        for answer in futures_util::future::join_all(beats).await {
            assert_eq!(answer.status, 200);
        }
        (counted(&operator, "host-selection", "dropped").await > 0).then_some(())
    })
    .await;
    assert!(counted(&operator, "host-selection", "recorded").await > 50);
}

#[tokio::test]
async fn a_log_that_is_off_has_nothing() {
    let server = Options::default().env("DECISION_LOG_SIZE", 0).start();
    let operator = server.operator();
    let _ = session(&operator).await;
    assert_eq!(operator.get("/decisions").await.ok(200), json!([]));
    assert_eq!(counted(&operator, "host-selection", "recorded").await, 0);
    assert!(counted(&operator, "host-selection", "unsampled").await > 0);
    let (status, said) = Options::default()
        .env("DECISION_LOG_SAMPLE", "hosts=1")
        .run(&["check-config"]);
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains("DECISION_LOG_SAMPLE") && said.contains("no slot"),
        "{said}"
    );
}

#[tokio::test]
async fn the_last_decisions_are_written_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut server: Server = Options::default().env("DECISION_LOG_FILE", log.display()).start();
    let made = session(&server.operator()).await;
    server.terminate();
    assert!(server.wait().success());
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.contains(made["session_id"].as_str().unwrap()), "{text}");
}
