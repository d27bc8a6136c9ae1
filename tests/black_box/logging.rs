//! What is logged, what never is, and that a request can be followed through it.

use std::sync::{Arc, Mutex};

use axum::http::HeaderMap;
use axum::routing::get;
use axum::{Json, Router};
use p2p_coordinator_tests::server::{API_KEY, JWT_SECRET};
use p2p_coordinator_tests::shapes::{host, session, with, zone};
use p2p_coordinator_tests::{Options, Ws, eventually};
use serde_json::{Value, json};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// An AI service that notes the trace of each question.
async fn ai_service() -> (String, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = seen.clone();
    let npcs = get(move |headers: HeaderMap| async move {
        let trace = headers
            .get("traceparent")
            .map_or("", |value| value.to_str().unwrap_or_default());
        note.lock().unwrap().push(trace.to_owned());
        Json(json!([{ "npc_id": 1, "position": { "x": 1 }, "dialogue_state": "secret-words-of-an-npc" }]))
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/api/world/zones/{zone}/npcs", npcs);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, seen)
}

/// Plays a game through everything that carries a secret; returns what must not be in any log.
async fn play(server: &p2p_coordinator_tests::Server) -> Vec<String> {
    let operator = server.operator();
    let tokens = operator
        .post("/auth/token", &json!({ "player_id": "alice" }))
        .await
        .ok(200);
    let (access, refresh) = (
        tokens["access_token"].as_str().unwrap(),
        tokens["refresh_token"].as_str().unwrap(),
    );
    let spent = json!({ "refresh_token": refresh });
    let next = server.anonymous().post("/auth/refresh", &spent).await.ok(200);
    assert_eq!(server.anonymous().post("/auth/refresh", &spent).await.status, 401);
    let wrong_key = "wrong-key-of-a-caller-0123456789";
    assert_eq!(
        server.anonymous().with_api_key(wrong_key).get("/hosts/").await.status,
        401
    );
    let wrong_token = format!("{access}x");
    assert_eq!(
        server.anonymous().with_bearer(&wrong_token).get("/hosts/").await.status,
        401
    );
    let at = json!({ "ip_address": "198.51.100.77", "public_ip": "203.0.113.88" });
    let _ = operator
        .post("/hosts/register", &with(host("host-log", "alice"), &at))
        .await
        .ok(201);
    let made = session(&operator, "log", "alice", &["alice", "bob"]).await;
    let id = made["session_id"].as_str().unwrap();
    let alice = server.anonymous().with_bearer(access);
    let mut one = Ws::player(server, &alice, "alice").await;
    one.join(id).await;
    let mut two = Ws::joined(server, "bob", id).await;
    let _ = one.wait_for("peer-joined").await;
    one.send(&json!({ "type": "offer", "to": "bob", "sdp": "v=0 secret-fingerprint" }))
        .await;
    one.send(&json!({ "type": "ice-candidate", "to": "bob", "candidate": "192.0.2.99 secret-candidate" }))
        .await;
    one.send_text("{\"type\": \"secret-nonsense\"").await;
    let _ = two.wait_for("ice-candidate").await;
    let _ = two.wait_for("npc-state").await;
    one.close().await;
    let _ = two.wait_for("peer-left").await;
    let secrets = [
        access,
        refresh,
        next["access_token"].as_str().unwrap(),
        next["refresh_token"].as_str().unwrap(),
    ];
    let mut secrets: Vec<String> = secrets.iter().map(ToString::to_string).collect();
    // The signature alone would do to whoever knows the rest.
    secrets.extend(
        secrets
            .clone()
            .iter()
            .map(|token| token.rsplit('.').next().unwrap().to_owned()),
    );
    let words = [
        "secret-fingerprint",
        "secret-candidate",
        "secret-nonsense",
        "secret-words",
        wrong_key,
        API_KEY,
        JWT_SECRET,
    ];
    secrets.extend(words.map(ToOwned::to_owned));
    secrets
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_ever_logged_and_no_address_at_info() {
    let (ai, traces) = ai_service().await;
    for level in ["TRACE", "INFO"] {
        let logs = tempfile::tempdir().unwrap();
        let file = logs.path().join("service.log");
        let server = Options::default()
            .env("LOG_LEVEL", level)
            .env("LOG_FORMAT", "json")
            .env("LOG_FILE", file.display())
            .env("AI_SERVICE_ENABLED", "true")
            .env("AI_SERVICE_URL", &ai)
            .env("NPC_BROADCAST_INTERVAL", "0.1")
            .start();
        let secrets = play(&server).await;
        let mut server = server;
        server.terminate();
        assert!(server.wait().success());
        let log = std::fs::read_to_string(&file).unwrap();
        assert!(
            log.contains("session opened") && log.contains("spent refresh token"),
            "{log}"
        );
        for text in [&log, &server.log()] {
            for secret in &secrets {
                assert!(!text.contains(secret.as_str()), "{level}: {secret} is in the log");
            }
            if level == "INFO" {
                for address in ["198.51.100.77", "203.0.113.88", "192.0.2.99"] {
                    assert!(!text.contains(address), "{address} is in the log:\n{text}");
                }
            }
        }
        for line in log.lines() {
            let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            for member in ["timestamp", "level", "message", "target"] {
                assert!(event[member].is_string(), "{member}: {line}");
            }
        }
    }
    let traces = traces.lock().unwrap();
    assert!(
        !traces.is_empty() && traces.iter().all(|trace| trace.len() == 55 && trace.starts_with("00-")),
        "{traces:?}"
    );
}

#[tokio::test]
async fn a_request_with_a_trace_is_found_in_the_log() {
    let server = Options::default().env("LOG_FORMAT", "json").start();
    let traced = server
        .operator()
        .with_header("traceparent", &format!("00-{TRACE}-00f067aa0ba902b7-01"));
    let _ = traced.post("/hosts/register", &host("traced", "alice")).await.ok(201);
    let _ = server.operator().post("/zones/", &zone("without")).await.ok(201);
    let _ = server
        .operator()
        .with_header("traceparent", "00-nonsense-\"}-01")
        .post("/zones/", &zone("nonsense"))
        .await
        .ok(201);
    let find = |word: &'static str| {
        let server = &server;
        async move {
            eventually(word, || async {
                let log = server.log();
                let line = log.lines().find(|line| line.contains(word))?;
                Some(serde_json::from_str::<Value>(line).unwrap())
            })
            .await
        }
    };
    let line = find("host registered").await;
    assert_eq!(
        (&line["span"]["trace_id"], &line["span"]["method"]),
        (&json!(TRACE), &json!("POST")),
        "{line}"
    );
    assert_eq!(line["span"]["route"], "/api/v1/hosts/register");
    assert!(find("zone defined").await["span"]["trace_id"].is_null());
    assert!(!server.log().contains("nonsense-"), "{}", server.log());
}
