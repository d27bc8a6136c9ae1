//! Releases on one node: stored, tried, activated, shown to live calls, promoted, rolled back and audited; and refused with a
//! reason when they are not what they should be.

use p2p_coordinator_tests::releases::{Signer, push, upload};
use p2p_coordinator_tests::shapes::{heartbeat, host};
use p2p_coordinator_tests::{Client, Options, Server, eventually, postgres};
use serde_json::{Value, json};

use crate::policies::{bundled, fixture, put, repository, slot, variant};

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
async fn a_release_is_refused_with_the_step_the_reason_and_what_to_do() {
    let server = Server::shared();
    let operator = server.operator();
    let push_to = async |slot: &str, body: &Value| operator.post(&format!("/plugins/{slot}/releases"), body).await;
    for (slot, bytes, step) in [
        (HOSTS, b"not a component".to_vec(), "parse"),
        (HOSTS, bundled(HOSTS)[..900].to_vec(), "parse"),
        (HOSTS, bundled(LIMITS), "world"),
        (
            LIMITS,
            std::fs::read(repository("tests/fixtures/dist/unknown-import.wasm")).unwrap(),
            "imports",
        ),
    ] {
        let problem = push_to(slot, &upload(&bytes, "")).await.problem(422);
        assert_eq!(problem["step"], step, "{problem}");
        assert!(
            problem["reason"].as_str().is_some_and(|reason| reason.len() > 10),
            "{problem}"
        );
        assert!(
            problem["mend"].as_str().is_some_and(|mend| mend.len() > 10),
            "{problem}"
        );
    }
    // What only shows when it runs is seen when it is to serve.
    for (behaviour, settings, limits, step) in [
        ("panic", json!({}), json!({}), "trial"),
        ("describe-loop", json!({}), json!({}), "describe"),
        (
            "good",
            json!({ "POLICY_FIXTURE": "configure-error" }),
            json!({}),
            "configure",
        ),
        ("good", json!({}), json!({ "memory_bytes": 65_536 }), "instantiate"),
    ] {
        let mut body = upload(&fixture(LIMITS, behaviour), "refused");
        body["settings"] = settings;
        body["limits"] = limits;
        let record = push_to(LIMITS, &body).await;
        let record = record.ok(record.status.clamp(200, 201));
        let wanted = json!({ "release_id": record["id"] });
        for what in ["activate", "rollout"] {
            let mut wanted = wanted.clone();
            wanted["mode"] = json!("shadow");
            let problem = operator
                .post(&format!("/plugins/rate-limit/{what}"), &wanted)
                .await
                .problem(422);
            assert_eq!(problem["step"], step, "{behaviour}: {problem}");
            assert!(problem["mend"].is_string(), "{problem}");
        }
    }
    assert!(slot(&operator, LIMITS).await["delivery"]["desired"]["active"].is_null());

    let bad = operator
        .post(
            "/plugins/rate-limit/releases",
            &json!({ "component": "%", "settings": { "a b": "c" }, "limits": { "deadline_ms": 0 }, "note": 1, "signature": {} }),
        )
        .await;
    let _ = bad.names_fields(&["component", "settings", "limits.deadline_ms", "note", "signature"]);
    let _ = operator
        .post(
            "/plugins/rate-limit/rollout",
            &json!({ "release_id": "x", "mode": "canary" }),
        )
        .await
        .names_fields(&["percent"]);
    let _ = operator.get("/plugins/nothing/releases").await.problem(404);
    let of_hosts = push(&operator, HOSTS, &bundled(HOSTS), "for another slot").await;
    let _ = operator
        .post("/plugins/rate-limit/activate", &json!({ "release_id": of_hosts }))
        .await
        .problem(400);
}

#[tokio::test]
async fn unsigned_expired_and_wrongly_signed_releases_are_refused() {
    let (ours, old, stranger) = (Signer::new("ours"), Signer::new("old"), Signer::new("stranger"));
    let keys = format!("{},{}:2020-01-31", ours.trusted(), old.trusted());
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), LIMITS, &bundled(LIMITS));
    let server = Options::default()
        .env("PLUGIN_REQUIRE_SIGNATURE", "true")
        .env("PLUGIN_TRUSTED_KEYS", keys)
        .env("PLUGIN_DIR", dir.path().display())
        .start();
    let operator = server.operator();
    let component = fixture(HOSTS, "good");
    let refused = async |body: &Value, part: &str| {
        let problem = operator
            .post("/plugins/host-selection/releases", body)
            .await
            .problem(422);
        assert_eq!(problem["step"], "signature", "{problem}");
        assert!(problem["reason"].as_str().unwrap().contains(part), "{part}: {problem}");
        assert!(problem["mend"].is_string(), "{problem}");
    };
    refused(&upload(&component, ""), "not signed").await;
    refused(&old.signed(HOSTS, &component, ""), "only until 2020-01-31").await;
    refused(&stranger.signed(HOSTS, &component, ""), "does not name").await;
    let forged = Signer::new("ours");
    refused(&forged.signed(HOSTS, &component, ""), "not one of the key \"ours\"").await;
    let mut other = ours.signed(HOSTS, &component, "");
    other["component"] = upload(&variant(component.clone(), 1), "")["component"].clone();
    refused(&other, "not one of the key \"ours\"").await;
    let mut noted = ours.signed(HOSTS, &component, "");
    noted["note"] = json!("changed");
    refused(&noted, "not one of the key \"ours\"").await;

    let record = operator
        .post(
            "/plugins/host-selection/releases",
            &ours.signed(HOSTS, &component, "good"),
        )
        .await
        .ok(201);
    assert_eq!(record["created_by"], "key:ours", "{record}");
    let _ = act(&operator, HOSTS, "activate", json!({ "release_id": record["id"] })).await;

    // A file cannot be signed.
    let report = slot(&operator, LIMITS).await;
    assert_eq!(report["policy"]["source"], "bundled", "{report}");
    assert_eq!(report["last_refusal"]["step"], "signature", "{report}");
}

#[tokio::test]
async fn what_was_changed_in_the_database_does_not_serve() {
    let database = postgres::database();
    let server = Options::default().env("DATABASE_URL", database.url()).start();
    let operator = server.operator();
    let component = push(&operator, HOSTS, &variant(bundled(HOSTS), 1), "component").await;
    let record = push(&operator, HOSTS, &variant(bundled(HOSTS), 2), "record").await;
    let stored = operator.get(&format!("/plugins/releases/{component}")).await.ok(200);
    let _ = database.sql(&format!(
        "UPDATE release_components SET bytes = bytes || '\\x00' WHERE digest = '{}'",
        stored["digest"].as_str().unwrap()
    ));
    let _ = database.sql(&format!(
        "UPDATE releases SET record = jsonb_set(record::jsonb, '{{note}}', '\"other\"') WHERE id = '{record}'"
    ));
    for (id, step, part) in [
        (component, "digest", "the record names"),
        (record, "signature", "record was changed"),
    ] {
        let answer = operator
            .post("/plugins/host-selection/activate", &json!({ "release_id": id }))
            .await;
        let problem = answer.problem(422);
        assert_eq!(problem["step"], step, "{problem}");
        assert!(problem["reason"].as_str().unwrap().contains(part), "{problem}");
    }
}

/// Many requests of one address; each must be answered well.
async fn calls(server: &Server, count: usize) {
    let anonymous = server.anonymous();
    for _ in 0..count {
        let _ = anonymous.get("/").await.status_is(200);
        let _ = server.operator().get("/zones/").await.status_is(200);
    }
}

#[tokio::test]
async fn a_release_that_fails_under_live_calls_is_halted_without_one_failed_request() {
    let server = Options::default()
        .env("RATE_LIMIT_ENABLED", "true")
        .env("RATE_LIMIT_API_REQUESTS", 1_000_000)
        .start();
    let operator = server.operator();
    let bad = push(&operator, LIMITS, &fixture(LIMITS, "live-panic"), "good in every test").await;
    for (mode, percent) in [("canary", 100), ("shadow", 0)] {
        let rollout = json!({ "release_id": bad, "mode": mode, "percent": percent, "sample_percent": 100,
            "gates": { "min_samples": 50, "max_failure_rate": 0.02, "promote_automatically": true } });
        let _ = act(&operator, LIMITS, "rollout", rollout).await;
        let halted = eventually("the gate halts it", || async {
            calls(&server, 5).await;
            let entry = audit(&operator, LIMITS).await.swap_remove(0);
            (entry["action"] == "halt").then_some(entry)
        })
        .await;
        assert!(halted["who"].as_str().unwrap().starts_with("gate node-"), "{halted}");
        let why = halted["why"].as_str().unwrap();
        assert!(why.starts_with(mode) && why.contains("failed"), "{halted}");
        assert_eq!(halted["release_id"], bad.as_str(), "{halted}");
        let report = slot(&operator, LIMITS).await;
        assert!(report["delivery"]["desired"]["rollout"].is_null(), "{report}");
        assert_eq!(report["policy"]["source"], "bundled", "{report}");
    }
    let report = slot(&operator, LIMITS).await;
    assert_eq!(
        report["rungs"]["native"], 0,
        "the active release answered what the candidate did not: {report}"
    );

    // Activated at once it is taken back: its calls are answered by the release before it.
    let _ = act(&operator, LIMITS, "activate", json!({ "release_id": bad })).await;
    let taken_back = eventually("it is taken back", || async {
        calls(&server, 5).await;
        let entry = audit(&operator, LIMITS).await.swap_remove(0);
        (entry["action"] == "rollback").then_some(entry)
    })
    .await;
    assert!(taken_back["who"].as_str().unwrap().starts_with("gate "), "{taken_back}");
    assert!(
        taken_back["why"].as_str().unwrap().contains("soon after"),
        "{taken_back}"
    );
    let report = slot(&operator, LIMITS).await;
    assert!(report["rungs"]["previous"].as_u64() > Some(0), "{report}");
    assert_eq!(
        (&report["rungs"]["native"], &report["rungs"]["static"]),
        (&json!(0), &json!(0)),
        "{report}"
    );
    assert_eq!(report["policy"]["source"], "bundled", "{report}");
}

#[tokio::test]
async fn a_release_that_keeps_to_its_gates_is_promoted_by_itself() {
    let server = Options::default()
        .env("RATE_LIMIT_ENABLED", "true")
        .env("RATE_LIMIT_API_REQUESTS", "1000000")
        .start();
    let operator = server.operator();
    let next = push(&operator, LIMITS, &variant(bundled(LIMITS), 1), "").await;
    let rollout = json!({ "release_id": next, "mode": "shadow", "sample_percent": 100,
        "gates": { "min_samples": 30, "max_difference_rate": 0, "promote_automatically": true } });
    let _ = act(&operator, LIMITS, "rollout", rollout).await;
    let promoted = eventually("it is promoted", || async {
        calls(&server, 5).await;
        let entry = audit(&operator, LIMITS).await.swap_remove(0);
        (entry["action"] == "promote").then_some(entry)
    })
    .await;
    assert!(
        promoted["why"].as_str().unwrap().contains("kept to its gates"),
        "{promoted}"
    );
    let state = slot(&operator, LIMITS).await["delivery"]["desired"].clone();
    assert_eq!(
        (state["active"].as_str(), &state["rollout"]),
        (Some(next.as_str()), &Value::Null)
    );

    // Another that differs is not.
    let different = push(&operator, LIMITS, &fixture(LIMITS, "good"), "").await;
    let rollout = json!({ "release_id": different, "mode": "shadow", "sample_percent": 100,
        "gates": { "min_samples": 30, "max_difference_rate": 0.1 } });
    let _ = act(&operator, LIMITS, "rollout", rollout).await;
    let halted = eventually("it is halted", || async {
        calls(&server, 5).await;
        let entry = audit(&operator, LIMITS).await.swap_remove(0);
        (entry["action"] == "halt").then_some(entry)
    })
    .await;
    assert!(halted["why"].as_str().unwrap().contains("differed"), "{halted}");
}

#[tokio::test]
async fn a_canary_answers_its_share_of_the_players_and_each_always_alike() {
    let server = Options::default()
        .env("RATE_LIMIT_ENABLED", "true")
        .env("RATE_LIMIT_AUTH_REQUESTS", "1000000")
        .env("RATE_LIMIT_API_REQUESTS", "1000")
        .start();
    let operator = server.operator();
    let candidate = push(&operator, LIMITS, &fixture(LIMITS, "good"), "").await;
    let rollout =
        json!({ "release_id": candidate, "mode": "canary", "percent": 40, "gates": { "max_failure_rate": null } });
    let _ = act(&operator, LIMITS, "rollout", rollout).await;
    let mut by_candidate = 0;
    for number in 0..60 {
        let player = server.player(&format!("player-{number}")).await;
        let first = player.get("/zones/").await.number("x-ratelimit-limit");
        for _ in 0..3 {
            assert_eq!(
                player.get("/hosts/").await.number("x-ratelimit-limit"),
                first,
                "player {number}"
            );
        }
        by_candidate += u32::from(first == 999_999);
    }
    assert!((10..40).contains(&by_candidate), "{by_candidate} of 60 at 40 %");
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
