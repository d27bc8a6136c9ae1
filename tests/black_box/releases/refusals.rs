//! Releases that are refused, with the step and the reason; and what was changed behind the service.

use p2p_coordinator_tests::postgres;
use p2p_coordinator_tests::releases::Signer;

use super::*;
use crate::policies::repository;

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
